/* sandbox.c - see sandbox.h. */
#define _GNU_SOURCE
#include "worker/sandbox.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/landlock.h>
#include <sched.h>
#include <seccomp.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "os/process.h"

#define NOBODY 65534

#define JS_MEMORY_BYTES     ((rlim_t)1 << 30) /* the engine's own limit is far below: js.c */
#define HTTP_MEMORY_BYTES   ((rlim_t)2 << 30)
#define PROCESS_CPU_SECONDS 3600 /* against a runaway; a worker leaves long before: worker.c */

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define INSTRUMENTED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define INSTRUMENTED 1
#endif
#endif

bool sandbox_is_instrumented(void)
{
#ifdef INSTRUMENTED
        return true;
#else
        return false;
#endif
}

Status sandbox_attach(int64_t parent)
{
        if (geteuid() == 0) { /* refused in a container without these capabilities: then we stay who we are */
                if (setgroups(0, NULL) != 0 || setresgid(NOBODY, NOBODY, NOBODY) != 0 ||
                    setresuid(NOBODY, NOBODY, NOBODY) != 0)
                        errno = 0;
        }
        if (!os_process_follow_parent(parent))
                return status_new(ERR_CLOSED, "the server is gone");
        return ST_OK;
}

static Status limit(int resource, rlim_t value)
{
        struct rlimit limits = {value, value}, now;
        if (getrlimit(resource, &now) == 0 && now.rlim_max < value)
                limits.rlim_cur = limits.rlim_max = now.rlim_max;
        if (setrlimit(resource, &limits) != 0)
                return status_errno(errno, "cannot limit what the process may use");
        return ST_OK;
}

static Status set_limits(SandboxKind kind)
{
        TRY(limit(RLIMIT_CORE, 0));
        TRY(limit(RLIMIT_FSIZE, 0));
        TRY(limit(RLIMIT_MEMLOCK, 0));
        TRY(limit(RLIMIT_CPU, PROCESS_CPU_SECONDS));
        TRY(limit(RLIMIT_NOFILE, kind == SANDBOX_JS && !sandbox_is_instrumented() ? OS_PROCESS_SOCKET + 1 : 256));
        if (!sandbox_is_instrumented())
                TRY(limit(RLIMIT_AS, kind == SANDBOX_JS ? JS_MEMORY_BYTES : HTTP_MEMORY_BYTES));
        return ST_OK;
}

/* --- which files may be read: only where a resolver and TLS look. An older kernel cannot say; then file permissions
 * decide, and the filter below still refuses to write --- */
static void limit_reading(void)
{
        static const char *const readable[] = {"/etc", "/usr", "/lib", "/lib64", "/run/systemd/resolve", "/dev/null"};
        struct landlock_ruleset_attr handled = {.handled_access_fs =
                                                        LANDLOCK_ACCESS_FS_EXECUTE | LANDLOCK_ACCESS_FS_WRITE_FILE |
                                                        LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_READ_DIR};
        int rules = (int)syscall(SYS_landlock_create_ruleset, &handled, sizeof handled, 0);
        if (rules < 0)
                return;
        for (size_t i = 0; i < ELEMENTS(readable); i++) {
                int place = openat(AT_FDCWD, readable[i], O_PATH | O_CLOEXEC);
                struct landlock_path_beneath_attr below = {
                        .allowed_access = LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_READ_DIR,
                        .parent_fd = place,
                };
                if (i == ELEMENTS(readable) - 1)
                        below.allowed_access = LANDLOCK_ACCESS_FS_READ_FILE;
                if (place < 0)
                        continue;
                (void)syscall(SYS_landlock_add_rule, rules, LANDLOCK_RULE_PATH_BENEATH, &below, 0);
                close(place);
        }
        (void)syscall(SYS_landlock_restrict_self, rules, 0);
        close(rules);
}

/* --- system calls --- */

static int allow(scmp_filter_ctx filter, const int *calls, size_t count)
{
        for (size_t i = 0; i < count; i++) {
                int err = seccomp_rule_add(filter, SCMP_ACT_ALLOW, calls[i], 0);
                if (err)
                        return err;
        }
        return 0;
}

/* Memory, locks, the clock, an end: what any code needs. Memory is never executable. */
static int allow_basics(scmp_filter_ctx filter)
{
        static const int calls[] = {
                SCMP_SYS(munmap),         SCMP_SYS(mremap),
                SCMP_SYS(madvise),        SCMP_SYS(brk),
                SCMP_SYS(futex),          SCMP_SYS(exit),
                SCMP_SYS(exit_group),     SCMP_SYS(rt_sigreturn),
                SCMP_SYS(rt_sigprocmask), SCMP_SYS(restart_syscall),
                SCMP_SYS(clock_gettime),  SCMP_SYS(gettimeofday),
                SCMP_SYS(time),           SCMP_SYS(getrandom),
                SCMP_SYS(sched_yield),    SCMP_SYS(getpid),
                SCMP_SYS(gettid),         SCMP_SYS(sigaltstack),
                SCMP_SYS(getrusage),
        };
        int err = allow(filter, calls, ELEMENTS(calls));
        if (!err)
                err = seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(mmap), 1,
                                       SCMP_A2(SCMP_CMP_MASKED_EQ, PROT_EXEC, 0));
        if (!err)
                err = seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(mprotect), 1,
                                       SCMP_A2(SCMP_CMP_MASKED_EQ, PROT_EXEC, 0));
        return err;
}

static int allow_js(scmp_filter_ctx filter)
{
        int err = seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(read), 1, SCMP_A0(SCMP_CMP_EQ, OS_PROCESS_SOCKET));
        if (!err)
                err = seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(write), 1,
                                       SCMP_A0(SCMP_CMP_EQ, OS_PROCESS_SOCKET));
        /* A sanitizer finds out by a pipe whether memory can be read. */
        static const int for_sanitizers[] = {SCMP_SYS(pipe), SCMP_SYS(pipe2), SCMP_SYS(write), SCMP_SYS(close)};
        if (!err && sandbox_is_instrumented())
                err = allow(filter, for_sanitizers, ELEMENTS(for_sanitizers));
        return err;
}

/* Resolvers and TLS ask for this and that: what is not here is refused with EPERM, and what nobody has a reason to ask
 * for, by death. */
static int allow_http(scmp_filter_ctx filter)
{
        static const int calls[] = {
                SCMP_SYS(read),
                SCMP_SYS(write),
                SCMP_SYS(readv),
                SCMP_SYS(writev),
                SCMP_SYS(close),
                SCMP_SYS(lseek),
                SCMP_SYS(fstat),
                SCMP_SYS(newfstatat),
                SCMP_SYS(stat),
                SCMP_SYS(statx),
                SCMP_SYS(access),
                SCMP_SYS(faccessat),
                SCMP_SYS(fcntl),
                SCMP_SYS(ioctl),
                SCMP_SYS(poll),
                SCMP_SYS(ppoll),
                SCMP_SYS(select),
                SCMP_SYS(pselect6),
                SCMP_SYS(socketpair),
                SCMP_SYS(pipe2),
                SCMP_SYS(eventfd2),
                SCMP_SYS(connect),
                SCMP_SYS(bind),
                SCMP_SYS(shutdown),
                SCMP_SYS(getsockopt),
                SCMP_SYS(setsockopt),
                SCMP_SYS(getsockname),
                SCMP_SYS(getpeername),
                SCMP_SYS(sendto),
                SCMP_SYS(recvfrom),
                SCMP_SYS(sendmsg),
                SCMP_SYS(recvmsg),
                SCMP_SYS(sendmmsg),
                SCMP_SYS(recvmmsg),
                SCMP_SYS(uname),
                SCMP_SYS(sysinfo),
                SCMP_SYS(getuid),
                SCMP_SYS(geteuid),
                SCMP_SYS(getgid),
                SCMP_SYS(getegid),
                SCMP_SYS(getdents64),
                SCMP_SYS(readlink),
                SCMP_SYS(set_robust_list),
                SCMP_SYS(rseq),
                SCMP_SYS(rt_sigaction),
                SCMP_SYS(clock_nanosleep),
                SCMP_SYS(nanosleep),
                SCMP_SYS(sched_getaffinity),
        };
        static const int deadly[] = {
                SCMP_SYS(execve),
                SCMP_SYS(execveat),
                SCMP_SYS(fork),
                SCMP_SYS(vfork),
                SCMP_SYS(ptrace),
                SCMP_SYS(process_vm_readv),
                SCMP_SYS(process_vm_writev),
                SCMP_SYS(creat),
                SCMP_SYS(unlink),
                SCMP_SYS(unlinkat),
                SCMP_SYS(rename),
                SCMP_SYS(renameat),
                SCMP_SYS(renameat2),
                SCMP_SYS(mkdir),
                SCMP_SYS(mkdirat),
                SCMP_SYS(link),
                SCMP_SYS(linkat),
                SCMP_SYS(symlink),
                SCMP_SYS(symlinkat),
                SCMP_SYS(truncate),
                SCMP_SYS(ftruncate),
                SCMP_SYS(mount),
                SCMP_SYS(listen),
                SCMP_SYS(accept),
                SCMP_SYS(accept4),
                SCMP_SYS(bpf),
                SCMP_SYS(io_uring_setup),
                SCMP_SYS(userfaultfd),
                SCMP_SYS(kill),
                SCMP_SYS(setns),
                SCMP_SYS(unshare),
        };
        static const int families[] = {AF_INET, AF_INET6, AF_NETLINK};
        const unsigned thread = CLONE_VM | CLONE_THREAD | CLONE_SIGHAND;
        int err = allow(filter, calls, ELEMENTS(calls));
        for (size_t i = 0; !err && i < ELEMENTS(deadly); i++)
                err = seccomp_rule_add(filter, SCMP_ACT_KILL_PROCESS, deadly[i], 0);
        for (size_t i = 0; !err && i < ELEMENTS(families); i++)
                err = seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(socket), 1,
                                       SCMP_A0(SCMP_CMP_EQ, (scmp_datum_t)families[i]));
        /* A resolver works in a thread of its own. clone3 cannot be looked into; glibc then takes clone. */
        if (!err)
                err = seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(clone), 1,
                                       SCMP_A0(SCMP_CMP_MASKED_EQ, thread, thread));
        if (!err)
                err = seccomp_rule_add(filter, SCMP_ACT_ERRNO(ENOSYS), SCMP_SYS(clone3), 0);
        static const int opens[] = {SCMP_SYS(open), SCMP_SYS(openat)};
        for (unsigned i = 0; !err && i < ELEMENTS(opens); i++) {
                const unsigned writes[] = {O_WRONLY, O_RDWR, O_CREAT, O_TRUNC};
                err = seccomp_rule_add(filter, SCMP_ACT_ALLOW, opens[i], 1,
                                       SCMP_CMP(i + 1, SCMP_CMP_MASKED_EQ, O_ACCMODE | O_CREAT | O_TRUNC, O_RDONLY));
                for (size_t k = 0; !err && k < ELEMENTS(writes); k++)
                        err = seccomp_rule_add(filter, SCMP_ACT_KILL_PROCESS, opens[i], 1,
                                               SCMP_CMP(i + 1, SCMP_CMP_MASKED_EQ, writes[k], writes[k]));
        }
        return err;
}

static Status load_filter(SandboxKind kind)
{
        scmp_filter_ctx filter = seccomp_init(kind == SANDBOX_JS ? SCMP_ACT_KILL_PROCESS : SCMP_ACT_ERRNO(EPERM));
        if (!filter)
                return status_nomem();
        int err = allow_basics(filter);
        if (!err)
                err = kind == SANDBOX_JS ? allow_js(filter) : allow_http(filter);
        if (!err)
                err = seccomp_load(filter);
        seccomp_release(filter);
        if (err)
                return status_errno(-err, "the kernel does not let a process limit its own system calls (seccomp)");
        return ST_OK;
}

Status sandbox_enter(SandboxKind kind)
{
        tzset(); /* reads the time zone's file, which is out of reach later */
        if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 || prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) != 0)
                return status_errno(errno, "the kernel does not let a process give up its privileges");
        if (kind == SANDBOX_HTTP)
                limit_reading();
        TRY(set_limits(kind));
        return load_filter(kind);
}
