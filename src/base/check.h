/* check.h - for tests only: cmocka, and assertions on a Status that say what went wrong. Include it before everything
 * else. */
#ifndef BASE_CHECK_H
#define BASE_CHECK_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/status.h"

/* The call succeeds. */
#define OK(expr)                                                                                                       \
        do {                                                                                                           \
                Status ok_ = (expr);                                                                                   \
                if (ok_) {                                                                                             \
                        char text_[512];                                                                               \
                        fail_msg("%s: %s", #expr, status_text(ok_, text_, sizeof(text_)));                             \
                }                                                                                                      \
        } while (0)
/* The call fails with this code. */
#define FAILS(code, expr)                                                                                              \
        do {                                                                                                           \
                Status fails_ = (expr);                                                                                \
                assert_int_equal(status_code(fails_), code);                                                           \
                status_free(fails_);                                                                                   \
        } while (0)

#endif
