/* thread_int.h - the arithmetic of thread_core_count(), for its test. */
#ifndef OS_THREAD_INT_H
#define OS_THREAD_INT_H

#include "base/macros.h"

/* How many whole cores a CPU quota comes to, rounded up; 0 = no limit or not understood.
 * `text` is the content of cgroup v2's cpu.max: "max 100000" or "150000 100000". */
unsigned cores_of_cpu_max(const char *text);
/* cgroup v1: cpu.cfs_quota_us (-1 = none) and cpu.cfs_period_us. */
unsigned cores_of_quota(const char *quota_text, const char *period_text);
/* From the content of /proc/self/cgroup the path of this process: of the v2 hierarchy ("0::/path"), or, with `v1`, of
 * the one that holds the cpu controller ("4:cpu,cpuacct:/path"). False if there is none or it is longer than `size`. */
int cgroup_path(const char *text, int v1, char *out, size_t size);

#endif
