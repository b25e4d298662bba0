/* profile.h - what the option `profile` answers, for people. */
#ifndef CLI_PROFILE_H
#define CLI_PROFILE_H

#include "cli/sink.h"

/* Writes the tasks of a profile (JSON as the server sent it) as an indented list with their times. */
MUST_USE Status profile_show(Bytes json, Sink *sink);

#endif
