/* scram.h - SCRAM-SHA-256 (RFC 5802, RFC 7677), both sides. No I/O.
 * Secrets are wiped after use and never appear in an error. Threads: one exchange belongs to one thread. */
#ifndef NETWORK_SCRAM_H
#define NETWORK_SCRAM_H

#include "base/bytes.h"
#include "base/credential.h"
#include "os/os.h"

#define SCRAM_ITERATIONS        4096     /* as RethinkDB: what a password costs to guess */
#define SCRAM_ITERATIONS_EMPTY  1        /* an empty password needs no protection */
#define SCRAM_ITERATIONS_MAX    10000000 /* a client refuses more: the server chooses the number */
#define SCRAM_MESSAGE_MAX_BYTES 4096

/* What a server keeps of a password. */
MUST_USE Status scram_credential(Os *os, Bytes password, uint32_t iterations, ScramCredential *ret_credential);

/* --- server --- */
typedef struct ScramServer ScramServer;
MUST_USE Status scram_server_new(Os *os, ScramServer **ret_scram);
ScramServer *scram_server_free(ScramServer *scram);
/* "n,,n=user,r=nonce": gives the user; ERR_AUTH with RethinkDB's message if malformed. */
MUST_USE Status scram_server_first(ScramServer *scram, Bytes message, Buf *ret_user);
/* The reply to the first message. An unknown user gets a made-up credential of 4096 iterations and fails at the proof.
 */
MUST_USE Status scram_server_challenge(ScramServer *scram, const ScramCredential *credential, Buf *out);
/* Checks the proof (constant time) and appends the server's final message; ERR_AUTH "Wrong password", "Unknown user".
 */
MUST_USE Status scram_server_final(ScramServer *scram, Bytes message, Buf *out);
/* RethinkDB's number for the last ERR_AUTH of this exchange (12: wrong password, 17: unknown user ...); 0 if there was
 * none. */
int scram_server_error_code(const ScramServer *scram);

/* True if `password` is the one of the credential (constant time in the comparison). Costs `iterations` hashes: not for
 * a loop thread. */
MUST_USE Status scram_check_password(const ScramCredential *credential, Bytes password, bool *ret_right);

/* --- client --- */
typedef struct ScramClient ScramClient;
MUST_USE Status scram_client_new(Os *os, const char *user, const char *password, ScramClient **ret_scram);
ScramClient *scram_client_free(ScramClient *scram);
MUST_USE Status scram_client_first(ScramClient *scram, Buf *out);
MUST_USE Status scram_client_proof(ScramClient *scram, Bytes server_first, Buf *out);
MUST_USE Status scram_client_verify(ScramClient *scram, Bytes server_final);

#endif
