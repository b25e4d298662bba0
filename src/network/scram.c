/* scram.c - see scram.h. The server keeps StoredKey and ServerKey (RFC 5802 section 3), never the password or anything
 * from which a login could be made. */
#include "network/scram_int.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/base64.h"
#include "base/mem.h"

#define KEY_BYTES          32
#define NONCE_RANDOM_BYTES 18 /* as RethinkDB: 24 characters of base64 without padding */
#define NONCE_CAPACITY     64

/* RethinkDB's numbers */
enum {
        CODE_ENCODING = 10,
        CODE_EXTENSIONS = 11,
        CODE_PASSWORD = 12,
        CODE_BINDING = 15,
        CODE_UNKNOWN_USER = 17,
        CODE_USERNAME = 18,
        CODE_OTHER = 20
};

struct ScramServer {
        Os *os;
        enum { SERVER_FIRST, SERVER_CHALLENGE, SERVER_FINAL, SERVER_DONE } state;
        int error_code;
        bool known;
        ScramCredential credential;
        char nonce[NONCE_CAPACITY]; /* our part, appended to the client's */
        Buf user;
        Buf bare; /* client-first-message-bare */
        Buf server_first;
        Buf full_nonce;
};

struct ScramClient {
        char *user;
        char *password;
        char nonce[NONCE_CAPACITY];
        Buf bare;
        uint8_t server_signature[KEY_BYTES];
        bool proved;
};

/* --- primitives --- */
static Status crypto_failed(const char *what)
{
        return status_new(ERR_INTERNAL, "SCRAM-SHA-256: %s failed in the cryptographic library", what);
}

static Status hmac(const uint8_t key[KEY_BYTES], Bytes message, uint8_t ret[KEY_BYTES])
{
        unsigned size = KEY_BYTES;
        if (!HMAC(EVP_sha256(), key, KEY_BYTES, message.data ? message.data : (const uint8_t *)"", message.size, ret,
                  &size))
                return crypto_failed("HMAC");
        return ST_OK;
}

static Status hash(const uint8_t in[KEY_BYTES], uint8_t ret[KEY_BYTES])
{
        unsigned size = KEY_BYTES;
        if (!EVP_Digest(in, KEY_BYTES, ret, &size, EVP_sha256(), NULL))
                return crypto_failed("SHA-256");
        return ST_OK;
}

static Status salted_password(Bytes password, Bytes salt, uint32_t iterations, uint8_t ret[KEY_BYTES])
{
        if (password.size > INT32_MAX || salt.size > INT32_MAX)
                return status_new(ERR_LIMIT, "password too long");
        if (!PKCS5_PBKDF2_HMAC(password.data ? (const char *)password.data : "", (int)password.size, salt.data,
                               (int)salt.size, (int)iterations, EVP_sha256(), KEY_BYTES, ret))
                return crypto_failed("PBKDF2");
        return ST_OK;
}

static Status append_base64(Buf *out, const uint8_t *data, size_t size)
{
        size_t text_size = base64_size(BASE64_PLAIN, size);
        TRY(buf_reserve(out, text_size));
        (void)base64_write(BASE64_PLAIN, BYTES(data, size), (char *)out->data + out->size);
        out->size += text_size;
        return ST_OK;
}

static Status make_nonce(Os *os, char nonce[NONCE_CAPACITY])
{
        uint8_t random[NONCE_RANDOM_BYTES];
        TRY(os_random(os, random, sizeof(random)));
        *base64_write(BASE64_PLAIN, BYTES(random, sizeof(random)), nonce) = '\0';
        return ST_OK;
}

/* "a=1,b=2" by letter. False: not of that form or a letter twice. */
typedef struct Attributes {
        Bytes of[256];
} Attributes;
static bool split_attributes(Bytes text, Attributes *ret)
{
        *ret = (Attributes){0};
        for (size_t at = 0; at < text.size;) {
                uint8_t key = text.data[at];
                if (at + 1 >= text.size || text.data[at + 1] != '=' || key == '=' || ret->of[key].data)
                        return false;
                const uint8_t *value = text.data + at + 2;
                const uint8_t *comma = memchr(value, ',', text.size - at - 2);
                size_t size = comma ? (size_t)(comma - value) : text.size - at - 2;
                ret->of[key] = BYTES(value, size);
                at += 2 + size + 1;
        }
        return true;
}

static void buf_wipe(Buf *buf)
{
        if (buf->data)
                OPENSSL_cleanse(buf->data, buf->capacity);
        buf_done(buf);
}

/* --- credentials --- */
static Status credential_keys(const uint8_t salted[KEY_BYTES], ScramCredential *credential,
                              uint8_t client_key[KEY_BYTES])
{
        TRY(hmac(salted, BYTES_STR("Client Key"), client_key));
        TRY(hash(client_key, credential->stored_key));
        return hmac(salted, BYTES_STR("Server Key"), credential->server_key);
}

Status scram_credential_salted(Bytes password, const uint8_t salt[16], uint32_t iterations,
                               ScramCredential *ret_credential)
{
        ScramCredential credential = {.iterations = iterations};
        memcpy(credential.salt, salt, sizeof(credential.salt));
        uint8_t salted[KEY_BYTES], client_key[KEY_BYTES];
        Status st = salted_password(password, BYTES(salt, 16), iterations, salted);
        if (!st)
                st = credential_keys(salted, &credential, client_key);
        OPENSSL_cleanse(salted, sizeof(salted));
        OPENSSL_cleanse(client_key, sizeof(client_key));
        if (!st)
                *ret_credential = credential;
        OPENSSL_cleanse(&credential, sizeof(credential));
        return st;
}

Status scram_credential(Os *os, Bytes password, uint32_t iterations, ScramCredential *ret_credential)
{
        uint8_t salt[16];
        TRY(os_random(os, salt, sizeof(salt)));
        return scram_credential_salted(password, salt, iterations, ret_credential);
}

Status scram_check_password(const ScramCredential *credential, Bytes password, bool *ret_right)
{
        ScramCredential tried;
        TRY(scram_credential_salted(password, credential->salt, credential->iterations, &tried));
        *ret_right = CRYPTO_memcmp(tried.stored_key, credential->stored_key, KEY_BYTES) == 0;
        OPENSSL_cleanse(&tried, sizeof(tried));
        return ST_OK;
}

/* An unknown user gets the same salt each time, as a known one would: derived from a secret of this process. */
static Status unknown_credential(Os *os, Bytes user, ScramCredential *ret)
{
        static _Atomic(uint8_t *) secret; /* 32 bytes, made once, never freed: reachable until exit */
        uint8_t *key = atomic_load_explicit(&secret, memory_order_acquire);
        if (!key) {
                uint8_t *fresh = mem_alloc(KEY_BYTES);
                if (!fresh)
                        return status_nomem();
                Status st = os_random(os, fresh, KEY_BYTES);
                if (st) {
                        mem_free(fresh);
                        return st;
                }
                if (atomic_compare_exchange_strong(&secret, &key, fresh))
                        key = fresh;
                else
                        mem_free(fresh);
        }
        uint8_t digest[KEY_BYTES];
        TRY(hmac(key, user, digest));
        *ret = (ScramCredential){.iterations = SCRAM_ITERATIONS};
        memcpy(ret->salt, digest, sizeof(ret->salt));
        TRY(os_random(os, ret->stored_key, KEY_BYTES));
        return os_random(os, ret->server_key, KEY_BYTES);
}

/* --- server --- */
Status scram_server_new(Os *os, ScramServer **ret_scram)
{
        ScramServer *scram = mem_zalloc(sizeof(*scram));
        if (!scram)
                return status_nomem();
        scram->os = os;
        buf_init(&scram->user, SCRAM_MESSAGE_MAX_BYTES);
        buf_init(&scram->bare, SCRAM_MESSAGE_MAX_BYTES);
        buf_init(&scram->server_first, 2 * SCRAM_MESSAGE_MAX_BYTES);
        buf_init(&scram->full_nonce, 2 * SCRAM_MESSAGE_MAX_BYTES);
        Status st = make_nonce(os, scram->nonce);
        if (st) {
                scram_server_free(scram);
                return st;
        }
        *ret_scram = scram;
        return ST_OK;
}

ScramServer *scram_server_free(ScramServer *scram)
{
        if (!scram)
                return NULL;
        buf_done(&scram->user);
        buf_wipe(&scram->bare);
        buf_wipe(&scram->server_first);
        buf_wipe(&scram->full_nonce);
        OPENSSL_cleanse(scram, sizeof(*scram));
        mem_free(scram);
        return NULL;
}

void scram_server_set_nonce(ScramServer *scram, const char *nonce)
{
        snprintf(scram->nonce, sizeof(scram->nonce), "%s", nonce);
}

int scram_server_error_code(const ScramServer *scram)
{
        return scram->error_code;
}

static Status refuse(ScramServer *scram, int code, const char *message)
{
        scram->error_code = code;
        scram->state = SERVER_DONE;
        return status_new(ERR_AUTH, "%s", message);
}

static Status decode_user(ScramServer *scram, Bytes name)
{
        for (size_t i = 0; i < name.size; i++) {
                uint8_t c = name.data[i];
                if (c == '=') {
                        if (name.size - i >= 3 && memcmp(name.data + i, "=2C", 3) == 0)
                                c = ',';
                        else if (name.size - i >= 3 && memcmp(name.data + i, "=3D", 3) == 0)
                                c = '=';
                        else
                                return refuse(scram, CODE_USERNAME, "Invalid username encoding");
                        i += 2;
                }
                TRY(buf_append_byte(&scram->user, c));
        }
        return ST_OK;
}

Status scram_server_first(ScramServer *scram, Bytes message, Buf *ret_user)
{
        if (scram->state != SERVER_FIRST)
                return refuse(scram, CODE_OTHER, "A previous error occured, no more messages expected.");
        if (message.size < 2 || memcmp(message.data, "n,", 2) != 0)
                return refuse(scram, CODE_BINDING, "Channel binding is not supported");
        const uint8_t *comma = memchr(message.data + 2, ',', message.size - 2);
        if (!comma)
                return refuse(scram, CODE_ENCODING, "Invalid encoding");
        Bytes bare = BYTES(comma + 1, message.size - (size_t)(comma + 1 - message.data));
        Attributes attributes;
        if (!split_attributes(bare, &attributes))
                return refuse(scram, CODE_ENCODING, "Invalid encoding");
        for (int key = 0; key < 256; key++) { /* RethinkDB looks at them in the order of the letters */
                Bytes value = attributes.of[key];
                if (!value.data)
                        continue;
                if (key == 'm')
                        return refuse(scram, CODE_EXTENSIONS, "Extensions not supported");
                if (key == 'n')
                        TRY(decode_user(scram, value));
                else if (key != 'r')
                        return refuse(scram, CODE_ENCODING, "Invalid encoding");
        }
        if (!attributes.of['n'].data || !attributes.of['r'].data)
                return refuse(scram, CODE_ENCODING, "Invalid encoding");
        TRY(buf_append(&scram->bare, bare.data, bare.size));
        TRY(buf_append(&scram->full_nonce, attributes.of['r'].data, attributes.of['r'].size));
        TRY(buf_append_str(&scram->full_nonce, scram->nonce));
        TRY(buf_append(ret_user, scram->user.data, scram->user.size));
        scram->state = SERVER_CHALLENGE;
        return ST_OK;
}

Status scram_server_challenge(ScramServer *scram, const ScramCredential *credential, Buf *out)
{
        if (scram->state != SERVER_CHALLENGE)
                return refuse(scram, CODE_OTHER, "A previous error occured, no more messages expected.");
        scram->known = credential != NULL;
        if (credential)
                scram->credential = *credential;
        else
                TRY(unknown_credential(scram->os, BYTES(scram->user.data, scram->user.size), &scram->credential));
        Buf *first = &scram->server_first;
        TRY(buf_append_str(first, "r="));
        TRY(buf_append(first, scram->full_nonce.data, scram->full_nonce.size));
        TRY(buf_append_str(first, ",s="));
        TRY(append_base64(first, scram->credential.salt, sizeof(scram->credential.salt)));
        TRY(buf_printf(first, ",i=%u", scram->credential.iterations));
        TRY(buf_append(out, first->data, first->size));
        scram->state = SERVER_FINAL;
        return ST_OK;
}

static Status auth_message(Bytes bare, Bytes server_first, Bytes without_proof, Buf *out)
{
        TRY(buf_append(out, bare.data, bare.size));
        TRY(buf_append_byte(out, ','));
        TRY(buf_append(out, server_first.data, server_first.size));
        TRY(buf_append_byte(out, ','));
        return buf_append(out, without_proof.data, without_proof.size);
}

/* ClientKey = proof XOR HMAC(StoredKey, message) must hash to StoredKey. */
static Status proof_is_right(const ScramCredential *credential, Bytes proof_text, Bytes message, bool *ret_right)
{
        uint8_t proof[KEY_BYTES], key[KEY_BYTES], stored[KEY_BYTES];
        size_t size;
        *ret_right = false;
        if (!base64_read(BASE64_PLAIN, proof_text, sizeof(proof), proof, &size) || size != KEY_BYTES)
                return ST_OK;
        Status st = hmac(credential->stored_key, message, key);
        for (size_t i = 0; i < KEY_BYTES; i++)
                key[i] ^= proof[i];
        if (!st)
                st = hash(key, stored);
        if (!st)
                *ret_right = CRYPTO_memcmp(stored, credential->stored_key, KEY_BYTES) == 0;
        OPENSSL_cleanse(proof, sizeof(proof));
        OPENSSL_cleanse(key, sizeof(key));
        OPENSSL_cleanse(stored, sizeof(stored));
        return st;
}

static Bytes before_proof(Bytes message)
{
        for (size_t i = 0; i + 3 <= message.size; i++)
                if (memcmp(message.data + i, ",p=", 3) == 0)
                        return BYTES(message.data, i);
        return message;
}

static Status check_final(ScramServer *scram, Bytes message, Bytes signed_text)
{
        Attributes attributes;
        if (!split_attributes(message, &attributes))
                return refuse(scram, CODE_ENCODING, "Invalid encoding");
        Bytes nonce = BYTES(scram->full_nonce.data, scram->full_nonce.size);
        for (int key = 0; key < 256; key++) {
                Bytes value = attributes.of[key];
                if (!value.data)
                        continue;
                bool right = true;
                switch (key) {
                case 'c':
                        if (!bytes_equal(value, BYTES_STR("biws")))
                                return refuse(scram, CODE_ENCODING, "Invalid encoding");
                        break;
                case 'm': return refuse(scram, CODE_EXTENSIONS, "Extensions not supported");
                case 'p':
                        TRY(proof_is_right(&scram->credential, value, signed_text, &right));
                        if (!right)
                                return refuse(scram, CODE_PASSWORD, "Wrong password");
                        break;
                case 'r':
                        if (!bytes_equal(value, nonce))
                                return refuse(scram, CODE_OTHER, "Other error");
                        break;
                default: return refuse(scram, CODE_ENCODING, "Invalid encoding");
                }
        }
        if (!attributes.of['c'].data || !attributes.of['r'].data || !attributes.of['p'].data)
                return refuse(scram, CODE_ENCODING, "Invalid encoding");
        return ST_OK;
}

Status scram_server_final(ScramServer *scram, Bytes message, Buf *out)
{
        if (scram->state != SERVER_FINAL)
                return refuse(scram, CODE_OTHER, "A previous error occured, no more messages expected.");
        if (!scram->known)
                return refuse(scram, CODE_UNKNOWN_USER, "Unknown user");
        Buf signed_text;
        buf_init(&signed_text, 8 * SCRAM_MESSAGE_MAX_BYTES);
        uint8_t signature[KEY_BYTES];
        Status st = auth_message(BYTES(scram->bare.data, scram->bare.size),
                                 BYTES(scram->server_first.data, scram->server_first.size), before_proof(message),
                                 &signed_text);
        if (!st)
                st = check_final(scram, message, BYTES(signed_text.data, signed_text.size));
        if (!st)
                st = hmac(scram->credential.server_key, BYTES(signed_text.data, signed_text.size), signature);
        if (!st)
                st = buf_append_str(out, "v=");
        if (!st)
                st = append_base64(out, signature, sizeof(signature));
        scram->state = SERVER_DONE;
        buf_wipe(&signed_text);
        OPENSSL_cleanse(&scram->credential, sizeof(scram->credential));
        return st;
}

/* --- client --- */
Status scram_client_new(Os *os, const char *user, const char *password, ScramClient **ret_scram)
{
        ScramClient *scram = mem_zalloc(sizeof(*scram));
        if (!scram)
                return status_nomem();
        buf_init(&scram->bare, SCRAM_MESSAGE_MAX_BYTES);
        scram->user = mem_strdup(user);
        scram->password = mem_strdup(password ? password : "");
        Status st = scram->user && scram->password ? make_nonce(os, scram->nonce) : status_nomem();
        if (st) {
                scram_client_free(scram);
                return st;
        }
        *ret_scram = scram;
        return ST_OK;
}

ScramClient *scram_client_free(ScramClient *scram)
{
        if (!scram)
                return NULL;
        if (scram->password)
                OPENSSL_cleanse(scram->password, strlen(scram->password));
        mem_free(scram->password);
        mem_free(scram->user);
        buf_wipe(&scram->bare);
        OPENSSL_cleanse(scram, sizeof(*scram));
        mem_free(scram);
        return NULL;
}

void scram_client_set_nonce(ScramClient *scram, const char *nonce)
{
        snprintf(scram->nonce, sizeof(scram->nonce), "%s", nonce);
}

Status scram_client_first(ScramClient *scram, Buf *out)
{
        Buf *bare = &scram->bare;
        buf_clear(bare);
        TRY(buf_append_str(bare, "n="));
        for (const char *p = scram->user; *p; p++) {
                if (*p == ',')
                        TRY(buf_append_str(bare, "=2C"));
                else if (*p == '=')
                        TRY(buf_append_str(bare, "=3D"));
                else
                        TRY(buf_append_byte(bare, (uint8_t)*p));
        }
        TRY(buf_printf(bare, ",r=%s", scram->nonce));
        TRY(buf_append_str(out, "n,,"));
        return buf_append(out, bare->data, bare->size);
}

static Status bad_server(const char *what)
{
        return status_new(ERR_AUTH, "the server's answer during the login is not valid SCRAM: %s", what);
}

static Status client_keys(ScramClient *scram, Bytes salt, uint32_t iterations, Bytes message, uint8_t proof[KEY_BYTES])
{
        uint8_t salted[KEY_BYTES], client_key[KEY_BYTES], signature[KEY_BYTES];
        ScramCredential credential;
        Status st = salted_password(BYTES_STR(scram->password), salt, iterations, salted);
        if (!st)
                st = credential_keys(salted, &credential, client_key);
        if (!st)
                st = hmac(credential.stored_key, message, signature);
        if (!st)
                st = hmac(credential.server_key, message, scram->server_signature);
        for (size_t i = 0; !st && i < KEY_BYTES; i++)
                proof[i] = client_key[i] ^ signature[i];
        OPENSSL_cleanse(salted, sizeof(salted));
        OPENSSL_cleanse(client_key, sizeof(client_key));
        OPENSSL_cleanse(signature, sizeof(signature));
        OPENSSL_cleanse(&credential, sizeof(credential));
        return st;
}

static Status make_proof(ScramClient *scram, Bytes server_first, Buf *message, Buf *out)
{
        Attributes attributes;
        if (server_first.size > SCRAM_MESSAGE_MAX_BYTES || !split_attributes(server_first, &attributes))
                return bad_server("its first message");
        Bytes nonce = attributes.of['r'], count = attributes.of['i'];
        size_t own = strlen(scram->nonce), salt_size;
        if (nonce.size <= own || memcmp(nonce.data, scram->nonce, own) != 0)
                return bad_server("the nonce is not ours");
        uint8_t salt[3 * NONCE_CAPACITY];
        if (!base64_read(BASE64_PLAIN, attributes.of['s'], sizeof(salt), salt, &salt_size) || !salt_size)
                return bad_server("the salt");
        char digits[16] = {0}, *end;
        if (count.size == 0 || count.size >= sizeof(digits))
                return bad_server("the iteration count");
        memcpy(digits, count.data, count.size);
        unsigned long iterations = strtoul(digits, &end, 10);
        if (*end || digits[0] == '-' || iterations < 1 || iterations > SCRAM_ITERATIONS_MAX)
                return bad_server("the iteration count");

        size_t start = out->size;
        TRY(buf_append_str(out, "c=biws,r="));
        TRY(buf_append(out, nonce.data, nonce.size));
        TRY(auth_message(BYTES(scram->bare.data, scram->bare.size), server_first,
                         BYTES(out->data + start, out->size - start), message));
        uint8_t proof[KEY_BYTES];
        Status st = client_keys(scram, BYTES(salt, salt_size), (uint32_t)iterations,
                                BYTES(message->data, message->size), proof);
        if (!st)
                st = buf_append_str(out, ",p=");
        if (!st)
                st = append_base64(out, proof, sizeof(proof));
        OPENSSL_cleanse(proof, sizeof(proof));
        scram->proved = !st;
        return st;
}

Status scram_client_proof(ScramClient *scram, Bytes server_first, Buf *out)
{
        Buf message;
        buf_init(&message, 4 * SCRAM_MESSAGE_MAX_BYTES);
        Status st = make_proof(scram, server_first, &message, out);
        buf_wipe(&message);
        return st;
}

Status scram_client_verify(ScramClient *scram, Bytes server_final)
{
        Attributes attributes;
        uint8_t signature[KEY_BYTES];
        size_t size;
        if (!scram->proved || !split_attributes(server_final, &attributes))
                return bad_server("its last message");
        if (!base64_read(BASE64_PLAIN, attributes.of['v'], sizeof(signature), signature, &size) || size != KEY_BYTES ||
            CRYPTO_memcmp(signature, scram->server_signature, KEY_BYTES) != 0)
                return status_new(ERR_AUTH, "the server does not know the password: its signature is wrong");
        return ST_OK;
}
