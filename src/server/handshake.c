/* handshake.c - see handshake.h. */
#include "server/handshake.h"

#include <inttypes.h>
#include <openssl/crypto.h>
#include <stdio.h>

#include "base/mem.h"
#include "value/json.h"

#define MAGIC_V0_1        0x3f61ba36u
#define MAGIC_V0_2        0x723081e1u
#define MAGIC_V0_3        0x5f75e83eu
#define MAGIC_V0_4        0x400c2d20u
#define MAGIC_V1_0        0x34c2bdc3u
#define PROTOCOL_PROTOBUF 0x271ffc41u /* 656407617 */
#define PROTOCOL_JSON     0x7e6970c7u /* 2120839367 */

#define MESSAGE_MAX_BYTES 2048 /* an authorization key, or a JSON message with its NUL: one less */

enum { CODE_LIMIT = 7, CODE_JSON = 8, CODE_DATUM = 9, CODE_CRYPTO = 22 };

struct Handshake {
        Os *os;
        const SessionUsers *users;
        enum { MAGIC, KEY_SIZE, KEY, CHECKING, PROTOCOL, FIRST, FINAL, DONE, FAILED } state;
        uint32_t magic;
        size_t key_size, size;
        uint8_t data[MESSAGE_MAX_BYTES]; /* the message being received */
        ScramServer *scram;
        Buf user_name; /* as sent */
        bool known;    /* there is such a user */
        ScramCredential credential;
        char refusal[64];
};

Status handshake_new(Os *os, const SessionUsers *users, Handshake **ret_handshake)
{
        Handshake *handshake = mem_zalloc(sizeof(*handshake));
        if (!handshake)
                return status_nomem();
        handshake->os = os;
        handshake->users = users;
        buf_init(&handshake->user_name, MESSAGE_MAX_BYTES);
        *ret_handshake = handshake;
        return ST_OK;
}

Handshake *handshake_free(Handshake *handshake)
{
        if (!handshake)
                return NULL;
        scram_server_free(handshake->scram);
        buf_done(&handshake->user_name);
        OPENSSL_cleanse(handshake, sizeof(*handshake));
        mem_free(handshake);
        return NULL;
}

Bytes handshake_user(const Handshake *handshake)
{
        return BYTES(handshake->user_name.data, handshake->user_name.size);
}

unsigned handshake_max_in_flight(const Handshake *handshake)
{
        return handshake->magic == MAGIC_V0_3 ? 1 : 1024;
}

const char *handshake_refusal(const Handshake *handshake, Bytes *ret_user)
{
        *ret_user = BYTES(handshake->user_name.data, handshake->user_name.size);
        return handshake->refusal[0] ? handshake->refusal : NULL;
}

/* user_name is known now. Beyond the login a name is a C string: one with a NUL is nobody's. */
static Status find_user(Handshake *handshake)
{
        const Buf *name = &handshake->user_name;
        handshake->known = false;
        if (name->size && memchr(name->data, 0, name->size))
                return ST_OK;
        return handshake->users->find(handshake->users->ctx, BYTES(name->data, name->size), &handshake->credential,
                                      &handshake->known);
}

/* --- answers; each ends with a NUL --- */
static Status fail_text(Handshake *handshake, const char *message, Buf *out)
{
        handshake->state = FAILED;
        TRY(buf_printf(out, "ERROR: %s\n", message));
        return buf_append_byte(out, 0);
}

static Status fail_json(Handshake *handshake, int code, const char *message, Buf *out)
{
        handshake->state = FAILED;
        TRY(buf_append_str(out, "{\"error\":"));
        TRY(json_write_message(BYTES_STR(message), out));
        TRY(buf_printf(out, ",\"error_code\":%d,\"success\":false}", code));
        return buf_append_byte(out, 0);
}

static void refuse(Handshake *handshake, const char *why)
{
        snprintf(handshake->refusal, sizeof(handshake->refusal), "%s", why);
}

/* What SCRAM says about the peer is the answer; what went wrong here is not the peer's business and is returned. */
static Status scram_failed(Handshake *handshake, Status st, Buf *out)
{
        if (status_code(st) == ERR_AUTH) {
                refuse(handshake, status_message(st));
                Status sent = fail_json(handshake, scram_server_error_code(handshake->scram), status_message(st), out);
                status_free(st);
                return sent;
        }
        if (status_code(st) != ERR_INTERNAL)
                return st;
        status_free(st);
        return fail_json(handshake, CODE_CRYPTO, "The cryptographic library failed.", out);
}

/* --- V0_3, V0_4 --- */
static Status on_key(Handshake *handshake, Buf *out)
{
        TRY(buf_append_str(&handshake->user_name, "admin"));
        TRY(find_user(handshake));
        if (!handshake->known) {
                refuse(handshake, "Incorrect authorization key.");
                return fail_text(handshake, handshake->refusal, out);
        }
        handshake->state = CHECKING;
        return ST_OK;
}

Status handshake_check(const Handshake *handshake, bool *ret_right)
{
        return scram_check_password(&handshake->credential, BYTES(handshake->data, handshake->key_size), ret_right);
}

static HandshakeStep step_of(const Handshake *handshake)
{
        switch (handshake->state) {
        case CHECKING: return HANDSHAKE_CHECK;
        case DONE: return HANDSHAKE_DONE;
        case FAILED: return HANDSHAKE_FAILED;
        default: return HANDSHAKE_MORE;
        }
}

Status handshake_checked(Handshake *handshake, bool right, Buf *out, HandshakeStep *ret_step)
{
        OPENSSL_cleanse(handshake->data, sizeof(handshake->data));
        handshake->size = 0;
        handshake->state = PROTOCOL;
        Status st = ST_OK;
        if (!right) {
                refuse(handshake, "Incorrect authorization key.");
                st = fail_text(handshake, handshake->refusal, out);
        }
        *ret_step = step_of(handshake);
        return st;
}

static Status on_protocol(Handshake *handshake, uint32_t protocol, Buf *out)
{
        if (protocol == PROTOCOL_PROTOBUF)
                return fail_text(handshake, "The PROTOBUF client protocol is no longer supported", out);
        if (protocol != PROTOCOL_JSON) {
                char message[64];
                snprintf(message, sizeof(message), "Unrecognized protocol specified: '%" PRId32 "'", (int32_t)protocol);
                return fail_text(handshake, message, out);
        }
        handshake->state = DONE;
        return buf_append(out, "SUCCESS", 8);
}

/* --- V1_0 --- */
static Status on_first(Handshake *handshake, Value message, Buf *out)
{
        Value version = value_get(message, BYTES_STR("protocol_version"));
        if (!value_is(version, V_NUMBER))
                return fail_json(handshake, 1, "Expected a number for `protocol_version`.", out);
        if (version.number != 0)
                return fail_json(handshake, 2, "Unsupported `protocol_version`.", out);
        Value method = value_get(message, BYTES_STR("authentication_method"));
        if (!value_is(method, V_STRING))
                return fail_json(handshake, 3, "Expected a string for `authentication_method`.", out);
        if (!value_bytes_are(method, "SCRAM-SHA-256"))
                return fail_json(handshake, 4, "Unsupported `authentication_method`.", out);
        Value authentication = value_get(message, BYTES_STR("authentication"));
        if (!value_is(authentication, V_STRING))
                return fail_json(handshake, 5, "Expected a string for `authentication`.", out);

        TRY(scram_server_new(handshake->os, &handshake->scram));
        Buf challenge;
        buf_init(&challenge, 4 * MESSAGE_MAX_BYTES);
        Status st = scram_server_first(handshake->scram, value_bytes(authentication), &handshake->user_name);
        if (!st)
                st = find_user(handshake);
        if (!st)
                st = scram_server_challenge(handshake->scram, handshake->known ? &handshake->credential : NULL,
                                            &challenge);
        if (st) {
                buf_done(&challenge);
                return scram_failed(handshake, st, out);
        }
        st = buf_append_str(out, "{\"authentication\":");
        if (!st)
                st = json_write_string(BYTES(challenge.data, challenge.size), out);
        if (!st)
                st = buf_append(out, ",\"success\":true}", sizeof(",\"success\":true}"));
        buf_done(&challenge);
        handshake->state = FINAL;
        return st;
}

static Status on_final(Handshake *handshake, Value message, Buf *out)
{
        Value authentication = value_get(message, BYTES_STR("authentication"));
        if (!value_is(authentication, V_STRING))
                return fail_json(handshake, 5, "Expected a string for `authentication`.", out);
        Buf final;
        buf_init(&final, MESSAGE_MAX_BYTES);
        Status st = scram_server_final(handshake->scram, value_bytes(authentication), &final);
        if (st) {
                buf_done(&final);
                return scram_failed(handshake, st, out);
        }
        st = buf_append_str(out, "{\"authentication\":");
        if (!st)
                st = json_write_string(BYTES(final.data, final.size), out);
        if (!st)
                st = buf_append(out, ",\"success\":true}", sizeof(",\"success\":true}"));
        buf_done(&final);
        handshake->state = DONE;
        return st;
}

/* A JSON message of handshake->size bytes has arrived. */
static Status on_message(Handshake *handshake, Buf *out)
{
        Arena arena;
        Value message;
        arena_init(&arena, (size_t)1 << 20);
        Status st = json_parse_copy(BYTES(handshake->data, handshake->size), JSON_PLAIN, &arena, &message);
        StatusCode code = status_code(st);
        handshake->size = 0;
        if (code == ERR_NONE && !value_is(message, V_OBJECT))
                message = value_object_sorted(NULL, 0); /* has none of the fields asked for */
        if (code == ERR_NONE)
                st = handshake->state == FIRST ? on_first(handshake, message, out) : on_final(handshake, message, out);
        else if (code != ERR_NOMEM) {
                status_free(st);
                st = code == ERR_INVALID ? fail_json(handshake, CODE_JSON, "Invalid JSON object.", out)
                                         : fail_json(handshake, CODE_DATUM, "Failed to convert JSON to datum.", out);
        }
        OPENSSL_cleanse(handshake->data, sizeof(handshake->data));
        arena_done(&arena);
        return st;
}

static Status on_magic(Handshake *handshake, uint32_t magic, Buf *out)
{
        handshake->magic = magic;
        switch (magic) {
        case MAGIC_V0_1:
        case MAGIC_V0_2: return fail_text(handshake, "The PROTOBUF client protocol is no longer supported", out);
        case MAGIC_V0_3:
        case MAGIC_V0_4: handshake->state = KEY_SIZE; return ST_OK;
        case MAGIC_V1_0: {
                static const char hello[] = "{\"max_protocol_version\":0,\"min_protocol_version\":0,\"server_version\":"
                                            "\"" PHOTON_SERVER_VERSION "\",\"success\":true}";
                handshake->state = FIRST;
                return buf_append(out, hello, sizeof(hello));
        }
        default:
                return fail_text(handshake,
                                 "Received an unsupported protocol version. This port is for RethinkDB queries. Does "
                                 "your client driver "
                                 "version not match the server?",
                                 out);
        }
}

/* --- input --- */
/* Fills up to `want` bytes; true once they are there. */
static bool collect(Handshake *handshake, size_t want, const uint8_t *data, size_t size, size_t *used)
{
        size_t n = MIN(want - handshake->size, size - *used);
        if (n)
                memcpy(handshake->data + handshake->size, data + *used, n);
        handshake->size += n;
        *used += n;
        return handshake->size == want;
}

static Status take_number(Handshake *handshake, Buf *out)
{
        uint32_t number = load_u32(handshake->data);
        handshake->size = 0;
        if (handshake->state == MAGIC)
                return on_magic(handshake, number, out);
        if (handshake->state == PROTOCOL)
                return on_protocol(handshake, number, out);
        if (number > MESSAGE_MAX_BYTES)
                return fail_text(handshake, "Client provided an authorization key that is too long.", out);
        handshake->key_size = number;
        handshake->state = KEY;
        return number ? ST_OK : on_key(handshake, out);
}

/* Up to and with the NUL. */
static Status take_message(Handshake *handshake, const uint8_t *data, size_t size, size_t *used, Buf *out)
{
        size_t most = MIN(size - *used, MESSAGE_MAX_BYTES - handshake->size);
        const uint8_t *nul = memchr(data + *used, 0, most);
        size_t n = nul ? (size_t)(nul - (data + *used)) + 1 : most;
        memcpy(handshake->data + handshake->size, data + *used, n);
        handshake->size += n;
        *used += n;
        if (handshake->size == MESSAGE_MAX_BYTES)
                return fail_json(handshake, CODE_LIMIT, "Limited read buffer size.", out);
        if (!nul)
                return ST_OK;
        handshake->size--;
        return on_message(handshake, out);
}

Status handshake_feed(Handshake *handshake, const uint8_t *data, size_t size, size_t *ret_used, Buf *out,
                      HandshakeStep *ret_step)
{
        size_t used = 0;
        while (used < size && step_of(handshake) == HANDSHAKE_MORE) {
                switch (handshake->state) {
                case MAGIC:
                case KEY_SIZE:
                case PROTOCOL:
                        if (collect(handshake, 4, data, size, &used))
                                TRY(take_number(handshake, out));
                        break;
                case KEY:
                        if (collect(handshake, handshake->key_size, data, size, &used))
                                TRY(on_key(handshake, out));
                        break;
                default: TRY(take_message(handshake, data, size, &used, out)); break;
                }
        }
        *ret_used = used;
        *ret_step = step_of(handshake);
        return ST_OK;
}
