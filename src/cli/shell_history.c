/* shell_history.c - what of the history is kept, and how. See shell_edit.h. */
#include <ctype.h>
#include <stdlib.h>
#include <strings.h>

#include "cli/shell_edit.h"

static bool is_word(uint8_t c)
{
        return isalnum(c) || c == '_';
}

bool history_may_keep(Bytes statement)
{
        static const char *const secrets[] = {"password", "passwd", "pass", "secret", "auth"};
        if (statement.size == 0 || statement.data[0] == ' ')
                return false;
        for (size_t at = 0; at < statement.size;) {
                size_t from = at;
                while (at < statement.size && is_word(statement.data[at]))
                        at++;
                for (size_t i = 0; i < ELEMENTS(secrets); i++) {
                        if (strlen(secrets[i]) == at - from &&
                            strncasecmp((const char *)statement.data + from, secrets[i], at - from) == 0)
                                return false;
                }
                at += at == from;
        }
        return true;
}

Status history_escape(Bytes statement, Buf *out)
{
        for (size_t i = 0; i < statement.size; i++) {
                uint8_t c = statement.data[i];
                if (c == '\n' || c == '\\') {
                        TRY(buf_append_byte(out, '\\'));
                        c = c == '\n' ? 'n' : c;
                }
                if (c != 0 && c != '\r')
                        TRY(buf_append_byte(out, c));
        }
        return ST_OK;
}

Status history_unescape(Bytes line, Buf *out)
{
        for (size_t i = 0; i < line.size; i++) {
                uint8_t c = line.data[i];
                if (c == '\\' && i + 1 < line.size) {
                        c = line.data[++i];
                        c = c == 'n' ? '\n' : c;
                }
                TRY(buf_append_byte(out, c));
        }
        return ST_OK;
}

const char *history_path(Arena *arena)
{
        const char *state = getenv("XDG_STATE_HOME"), *home = getenv("HOME");
        if (state && *state == '/')
                return arena_printf(arena, "%s/photondb/history", state);
        if (home && *home)
                return arena_printf(arena, "%s/.local/state/photondb/history", home);
        return NULL;
}
