/* Preloaded into a program: counts its sync calls and their latency into a file that all its processes map.
 *
 * The file is a row of 64-bit words: processes that loaded this library, then for each kind of call the calls, those
 * that failed, and the buckets of their latency, laid out as in latency_counts.rs. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define HIGHEST 3600000000000ULL
#define SUB_BUCKETS 2048
#define HALF_BITS 10

enum kind { FSYNC, FDATASYNC, MSYNC, SYNC_FILE_RANGE, SYNCFS, KINDS };

static uint64_t *words;
static size_t buckets;

static size_t bucket_of(uint64_t value) {
    if (value > HIGHEST) value = HIGHEST;
    if (value < SUB_BUCKETS) return (size_t)value;
    unsigned shift = 63 - __builtin_clzll(value) - HALF_BITS;
    return ((size_t)shift << HALF_BITS) + (size_t)(value >> shift);
}

static void attach(const char *path) {
    buckets = bucket_of(HIGHEST) + 1;
    size_t length = (1 + KINDS * (2 + buckets)) * sizeof *words;
    int fd = open(path, O_RDWR | O_CLOEXEC);
    if (fd < 0) return;
    struct stat found;
    if (fstat(fd, &found) == 0 && (size_t)found.st_size >= length) {
        void *map = mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        if (map != MAP_FAILED) words = map;
    }
    close(fd);
    if (words) __atomic_fetch_add(&words[0], 1, __ATOMIC_RELAXED);
}

/* For whoever loads the library by hand, to measure what a call costs. */
void uplift_sync_attach(const char *path) { attach(path); }

__attribute__((constructor)) static void load(void) {
    int before = errno;
    const char *path = getenv("UPLIFT_SYNC_COUNTS");
    if (path) attach(path);
    errno = before;
}

static uint64_t now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (uint64_t)time.tv_sec * 1000000000ULL + (uint64_t)time.tv_nsec;
}

static int count(enum kind kind, uint64_t start, long result) {
    if (words) {
        int before = errno;
        uint64_t *own = words + 1 + (size_t)kind * (2 + buckets);
        __atomic_fetch_add(&own[2 + bucket_of(now() - start)], 1, __ATOMIC_RELAXED);
        if (result != 0) __atomic_fetch_add(&own[1], 1, __ATOMIC_RELAXED);
        __atomic_fetch_add(&own[0], 1, __ATOMIC_RELEASE);
        errno = before;
    }
    return (int)result;
}

int fsync(int fd) {
    uint64_t start = now();
    return count(FSYNC, start, syscall(SYS_fsync, fd));
}

int fdatasync(int fd) {
    uint64_t start = now();
    return count(FDATASYNC, start, syscall(SYS_fdatasync, fd));
}

int msync(void *address, size_t length, int flags) {
    uint64_t start = now();
    long result = syscall(SYS_msync, address, length, flags);
    /* Only MS_SYNC waits for the device. */
    return flags & MS_SYNC ? count(MSYNC, start, result) : (int)result;
}

int sync_file_range(int fd, off64_t offset, off64_t length, unsigned flags) {
    uint64_t start = now();
    return count(SYNC_FILE_RANGE, start, syscall(SYS_sync_file_range, fd, offset, length, flags));
}

int syncfs(int fd) {
    uint64_t start = now();
    return count(SYNCFS, start, syscall(SYS_syncfs, fd));
}
