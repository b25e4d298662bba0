/* handshake.h - from the first byte of a connection to an authenticated user: bytes in, bytes out, no I/O.
 *
 *   MAGIC --V0_3, V0_4--> KEY_SIZE -> KEY -> [CHECK] -> PROTOCOL -> DONE
 *     `-----V1_0--> FIRST (SCRAM) -> FINAL (proof) -> DONE                  any error: FAILED, the answer is in the
 * output
 *
 * The messages and their numbers are RethinkDB's. Threads: one at a time. */
#ifndef SERVER_HANDSHAKE_H
#define SERVER_HANDSHAKE_H

#include "base/bytes.h"
#include "network/scram.h"
#include "os/os.h"

/* What drivers are told; it begins with the RethinkDB version whose behaviour is promised. */
#define PHOTON_SERVER_VERSION "2.4.4-photondb-" PHOTONDB_VERSION

/* Who may log in; borrowed, any thread. */
typedef struct SessionUsers {
        void *ctx;
        Status (*find)(void *ctx, Bytes name, ScramCredential *ret_credential, bool *ret_found);
} SessionUsers;

typedef struct Handshake Handshake;
typedef enum HandshakeStep {
        HANDSHAKE_MORE,   /* needs more input */
        HANDSHAKE_CHECK,  /* a password is to be checked, which takes a millisecond: handshake_check on another thread,
                             then  handshake_checked; takes no input meanwhile */
        HANDSHAKE_DONE,   /* handshake_user() is logged in; what follows are frames */
        HANDSHAKE_FAILED, /* close after sending the output */
} HandshakeStep;

MUST_USE Status handshake_new(Os *os, const SessionUsers *users, Handshake **ret_handshake);
Handshake *handshake_free(Handshake *handshake); /* wipes; NULL is fine; returns NULL */
/* Takes bytes up to the end of what is expected now. ERR_NOMEM and the like: give up the connection. */
MUST_USE Status handshake_feed(Handshake *handshake, const uint8_t *data, size_t size, size_t *ret_used, Buf *out,
                               HandshakeStep *ret_step);
MUST_USE Status handshake_check(const Handshake *handshake, bool *ret_right);
MUST_USE Status handshake_checked(Handshake *handshake, bool right, Buf *out, HandshakeStep *ret_step);
Bytes handshake_user(const Handshake *handshake); /* holds no NUL */
/* 1024; V0_3 drivers expect the answers of a connection in order: 1. */
unsigned handshake_max_in_flight(const Handshake *handshake);
/* Why and for whom a login was refused, for the log: NULL if that was not the failure. The name is as sent. */
const char *handshake_refusal(const Handshake *handshake, Bytes *ret_user);

#endif
