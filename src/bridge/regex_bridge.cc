// regex_bridge.cc - see regex_bridge.h.
#include <re2/re2.h>

#include <algorithm>
#include <new>

#define _Static_assert static_assert
extern "C" {
#include "bridge/regex_bridge.h"
}

#define FEW_GROUPS 16 // no allocation for so many

struct Regex {
        re2::RE2 re2;
        Regex(const re2::StringPiece &pattern, const re2::RE2::Options &options) : re2(pattern, options) {}
};

extern "C" {

Status regex_new(Bytes pattern, Regex **ret_regex)
{
        try {
                re2::RE2::Options options;
                options.set_log_errors(false);
                options.set_max_mem(REGEX_MAX_BYTES);
                Regex *regex = new (std::nothrow)
                        Regex(re2::StringPiece(reinterpret_cast<const char *>(pattern.data), pattern.size), options);
                if (!regex)
                        return status_nomem();
                if (!regex->re2.ok()) {
                        Status st = status_new(ERR_LOGIC, "%s", regex->re2.error().c_str());
                        delete regex;
                        return st;
                }
                *ret_regex = regex;
                return ST_OK;
        } catch (...) {
                return status_nomem();
        }
}

Regex *regex_free(Regex *regex)
{
        delete regex;
        return nullptr;
}

int regex_group_count(const Regex *regex)
{
        return regex->re2.NumberOfCapturingGroups();
}

Status regex_match(const Regex *regex, Bytes text, size_t start, Bytes *groups, int count, bool *ret_match)
{
        re2::StringPiece few[FEW_GROUPS], *found = few, *many = nullptr;
        int wanted = std::min(count, regex->re2.NumberOfCapturingGroups() + 1);
        *ret_match = false;
        if (start > text.size)
                return ST_OK;
        if (wanted > FEW_GROUPS) {
                found = many = new (std::nothrow) re2::StringPiece[size_t(wanted)];
                if (!many)
                        return status_nomem();
        }
        /* RE2 takes a null pointer for "no text"; an empty string has to look like one. */
        const char *data = text.data ? reinterpret_cast<const char *>(text.data) : "";
        try {
                *ret_match = regex->re2.Match(re2::StringPiece(data, text.size), start, text.size, re2::RE2::UNANCHORED,
                                              found, wanted);
        } catch (...) { // out of memory in an automaton: RE2 falls back, the standard library may not
                delete[] many;
                return status_nomem();
        }
        for (int i = 0; *ret_match && i < count; i++) {
                bool took_part = i < wanted && found[i].data() != nullptr;
                groups[i] = took_part ? Bytes{reinterpret_cast<const uint8_t *>(found[i].data()), found[i].size()}
                                      : BYTES_NONE;
        }
        delete[] many;
        return ST_OK;
}

} // extern "C"
