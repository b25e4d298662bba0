/* identity.c - see identity.h. */
#include "server/identity.h"

#include <ctype.h>
#include <stdio.h>
#include <uv.h>

static bool is_uuid(Bytes text)
{
        if (text.size != SERVER_ID_BYTES - 1)
                return false;
        for (size_t i = 0; i < text.size; i++) {
                bool dash = i == 8 || i == 13 || i == 18 || i == 23;
                uint8_t c = text.data[i];
                if (dash ? c != '-' : !((c >= '0' && c <= '9') || (c >= 'a' && c <= 'f')))
                        return false;
        }
        return true;
}

static Status make_id(Os *os, char id[SERVER_ID_BYTES])
{
        uint8_t b[16];
        TRY(os_random(os, b, sizeof(b)));
        b[6] = (uint8_t)((b[6] & 0x0f) | 0x40); /* version 4 */
        b[8] = (uint8_t)((b[8] & 0x3f) | 0x80);
        snprintf(id, SERVER_ID_BYTES, "%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x", b[0],
                 b[1], b[2], b[3], b[4], b[5], b[6], b[7], b[8], b[9], b[10], b[11], b[12], b[13], b[14], b[15]);
        return ST_OK;
}

static Status load_or_make(Os *os, OsDir *dir, Buf *file, char id[SERVER_ID_BYTES])
{
        Status st = os_read_whole(dir, SERVER_ID_FILE, 256, file);
        if (status_code(st) == ERR_NOT_FOUND) {
                status_free(st);
                char line[SERVER_ID_BYTES + 1];
                TRY(make_id(os, id));
                int size = snprintf(line, sizeof(line), "%s\n", id);
                return os_write_whole(dir, SERVER_ID_FILE, line, (size_t)size);
        }
        TRY(st);
        size_t size = file->size;
        while (size && isspace(file->data[size - 1]))
                size--;
        if (!is_uuid(BYTES(file->data, size)))
                return status_hint(
                        status_new(ERR_CORRUPT, "%s/%s does not hold a server id", os_dir_path(dir), SERVER_ID_FILE),
                        "Remove the file: the server makes a new id.");
        memcpy(id, file->data, size);
        id[size] = 0;
        return ST_OK;
}

Status identity_load(Os *os, const char *data_dir, char ret_id[SERVER_ID_BYTES])
{
        _cleanup_(os_dir_closep) OsDir *dir = NULL;
        char id[SERVER_ID_BYTES] = {0};
        Buf file;
        TRY(os_dir_open(os, data_dir, OS_DIR_EXISTING, &dir));
        buf_init(&file, 256);
        Status st = load_or_make(os, dir, &file, id);
        buf_done(&file);
        if (!st)
                memcpy(ret_id, id, sizeof(id));
        return st;
}

void identity_name(const char *name, char ret_name[SERVER_NAME_BYTES])
{
        char host[256] = "";
        size_t size = sizeof(host);
        if (!name || !*name)
                name = uv_os_gethostname(host, &size) == 0 && host[0] ? host : "photondb";
        size_t n = 0;
        for (; name[n] && n < SERVER_NAME_BYTES - 1; n++)
                ret_name[n] = isalnum((unsigned char)name[n]) || name[n] == '_' ? name[n] : '_';
        ret_name[n] = 0;
}
