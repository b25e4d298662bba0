/* credential.h - what is kept of a password: enough to check a login by SCRAM-SHA-256 (RFC 5802, section 3), not enough
 * to make one. network/ derives and checks it, table/ stores it. */
#ifndef BASE_CREDENTIAL_H
#define BASE_CREDENTIAL_H

#include <stdint.h>

#define CREDENTIAL_SALT_BYTES 16
#define CREDENTIAL_KEY_BYTES  32

typedef struct ScramCredential {
        uint8_t salt[CREDENTIAL_SALT_BYTES];
        uint32_t iterations;
        uint8_t stored_key[CREDENTIAL_KEY_BYTES], server_key[CREDENTIAL_KEY_BYTES];
} ScramCredential;

#endif
