/* scram_int.h - for scram_test.c: the RFC's test vector has given nonces. */
#ifndef NETWORK_SCRAM_INT_H
#define NETWORK_SCRAM_INT_H

#include "network/scram.h"

/* Replaces the random part of this side's nonce; at most 63 characters, copied. */
void scram_server_set_nonce(ScramServer *scram, const char *nonce);
void scram_client_set_nonce(ScramClient *scram, const char *nonce);
/* The credential of a password under a given salt. */
MUST_USE Status scram_credential_salted(Bytes password, const uint8_t salt[16], uint32_t iterations,
                                        ScramCredential *ret_credential);

#endif
