/* version.h - the version of this build; CMake may say another. */
#ifndef CLI_VERSION_H
#define CLI_VERSION_H

#ifndef PHOTONDB_VERSION
#define PHOTONDB_VERSION "0.1.0"
#endif

#endif
