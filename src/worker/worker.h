/* worker.h - the worker process itself: `photondb worker KIND PARENT OPTION...`, not for people.
 *
 *   start -> attach to the parent -> load what needs files -> lock in -> HELLO -> { question -> answer }* -> end
 *
 * It ends when its socket does, or after an answer that says so (much CPU time used, much memory). */
#ifndef WORKER_WORKER_H
#define WORKER_WORKER_H

/* The arguments after the word `worker`. Never returns before the end of the process; the exit status. */
int worker_main(int argc, char **argv);

#endif
