/* interrupt.c - signals to a pipe. */
#define _GNU_SOURCE /* pipe2 */
#include "cli/interrupt.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

static int pipe_fds[2] = {-1, -1};
static volatile sig_atomic_t came, ends;
static const int numbers[] = {SIGINT, SIGTERM, SIGHUP};
static struct sigaction before[ELEMENTS(numbers)];

static void on_signal(int number)
{
        int saved = errno;
        came = 1;
        if (number != SIGINT)
                ends = 1;
        ssize_t n = write(pipe_fds[1], "!", 1); /* a full pipe is readable, too */
        (void)n;
        errno = saved;
}

Status interrupt_begin(void)
{
        struct sigaction action = {.sa_handler = on_signal}; /* no SA_RESTART: what blocks returns */
        if (pipe_fds[0] >= 0)
                return ST_OK;
        if (pipe2(pipe_fds, O_CLOEXEC | O_NONBLOCK) != 0)
                return status_errno(errno, "cannot make a pipe");
        sigemptyset(&action.sa_mask);
        for (size_t i = 0; i < ELEMENTS(numbers); i++) {
                sigaction(numbers[i], &action, &before[i]);
                if (before[i].sa_handler == SIG_IGN) /* nohup, or a job in the background */
                        sigaction(numbers[i], &before[i], NULL);
        }
        return ST_OK;
}

void interrupt_end(void)
{
        if (pipe_fds[0] < 0)
                return;
        for (size_t i = 0; i < ELEMENTS(numbers); i++)
                sigaction(numbers[i], &before[i], NULL);
        close(pipe_fds[0]);
        close(pipe_fds[1]);
        pipe_fds[0] = pipe_fds[1] = -1;
}

int interrupt_fd(void)
{
        return pipe_fds[0];
}

bool interrupt_came(void)
{
        return came;
}

void interrupt_clear(void)
{
        char bytes[64];
        came = ends;
        if (ends)
                return; /* stays readable: everybody comes back at once */
        while (pipe_fds[0] >= 0 && read(pipe_fds[0], bytes, sizeof bytes) > 0)
                ;
}

bool interrupt_ends(void)
{
        return ends;
}
