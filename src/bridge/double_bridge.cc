// double_bridge.cc - see double_bridge.h.
#include <double-conversion/double-conversion.h>
#include <rapidjson/internal/dtoa.h>

#include <limits>

extern "C" {
#include "bridge/double_bridge.h"
}

using double_conversion::StringToDoubleConverter;

extern "C" {

int double_digits(double d, char digits[DOUBLE_DIGITS_MAX], int *ret_point)
{
        int length, exponent;
        rapidjson::internal::Grisu2(d < 0 ? -d : d, digits, &length, &exponent);
        *ret_point = length + exponent;
        return length;
}

bool double_parse(const char *text, size_t size, double *ret_number)
{
        /* No infinity and no NaN symbols, no spaces, no trailing junk: what is not a number gives the junk value. */
        static const double junk = std::numeric_limits<double>::quiet_NaN();
        static const StringToDoubleConverter converter(StringToDoubleConverter::NO_FLAGS, 0.0, junk, nullptr, nullptr);
        int used;
        if (size == 0 || size > size_t(std::numeric_limits<int>::max()))
                return false;
        double number = converter.StringToDouble(text, int(size), &used);
        if (number != number || size_t(used) != size)
                return false;
        *ret_number = number;
        return true;
}

} // extern "C"
