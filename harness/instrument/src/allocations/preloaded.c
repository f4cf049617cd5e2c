/* Preloaded into a program: counts what it allocates, and samples the stacks with which it does, into a file that all its
 * processes map.
 *
 * The file begins with a page of 64-bit words (enum word). Records follow, each reserved by adding to TAKEN: a process's
 * mappings as text (a space), and samples with a copy of the stack, which whoever reads the file unwinds. Nothing here
 * allocates, writes to a descriptor that the program could have closed and opened again, or waits for another thread that
 * may wait for this one. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <link.h>
#include <sched.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

/* As in mod.rs. */
enum word { LOADED, FOREIGN, ACTIVE, CALLS, BYTES, PERIOD, TAKEN, SAMPLES, LOST, SPACES };
enum kind { NOTHING, SPACE, SAMPLE };
#define HEAD_BYTES 4096
#define STACK_BYTES (16 << 10)
/* After so many samples the period doubles: however much a program allocates, the samples stay few. */
#define SAMPLES_EACH_PERIOD 1024

struct record {
    uint32_t kind;
    uint32_t bytes;
    uint32_t pid;
    uint32_t tid;
    uint64_t space;
    uint64_t weight;
    uint64_t instruction;
    uint64_t stack;
    uint64_t frame;
    uint64_t payload;
    char thread[16];
};

static uint64_t *words;
static uint64_t mapped;

static void *(*real_malloc)(size_t);
static void *(*real_calloc)(size_t, size_t);
static void *(*real_realloc)(void *, size_t);
static void (*real_free)(void *);
static int (*real_posix_memalign)(void **, size_t, size_t);
static void *(*real_aligned_alloc)(size_t, size_t);
static void *(*real_memalign)(size_t, size_t);
static void *(*real_valloc)(size_t);
static void *(*real_pvalloc)(size_t);
static int resolving, resolved;

/* What is asked for while the functions above are looked up. */
static char arena[64 << 10] __attribute__((aligned(16)));
static size_t arena_used;

static void *from_arena(size_t size) {
    size_t whole = (size + 31) & ~(size_t)15;
    if (size > sizeof arena) return NULL;
    size_t at = __atomic_fetch_add(&arena_used, whole, __ATOMIC_RELAXED);
    if (at + whole > sizeof arena) return NULL;
    *(size_t *)(arena + at) = size;
    return arena + at + 16;
}

static int of_arena(const void *pointer) {
    return (const char *)pointer >= arena && (const char *)pointer < arena + sizeof arena;
}

static int ready(void) {
    if (__atomic_load_n(&resolved, __ATOMIC_ACQUIRE)) return 1;
    if (__atomic_exchange_n(&resolving, 1, __ATOMIC_ACQ_REL)) return 0;
    *(void **)&real_malloc = dlsym(RTLD_NEXT, "malloc");
    *(void **)&real_calloc = dlsym(RTLD_NEXT, "calloc");
    *(void **)&real_realloc = dlsym(RTLD_NEXT, "realloc");
    *(void **)&real_free = dlsym(RTLD_NEXT, "free");
    *(void **)&real_posix_memalign = dlsym(RTLD_NEXT, "posix_memalign");
    *(void **)&real_aligned_alloc = dlsym(RTLD_NEXT, "aligned_alloc");
    *(void **)&real_memalign = dlsym(RTLD_NEXT, "memalign");
    *(void **)&real_valloc = dlsym(RTLD_NEXT, "valloc");
    *(void **)&real_pvalloc = dlsym(RTLD_NEXT, "pvalloc");
    __atomic_store_n(&resolved, 1, __ATOMIC_RELEASE);
    return 1;
}

/* A record of so many bytes with its head; NULL where there is no room. */
static struct record *take(uint64_t bytes) {
    bytes = (bytes + 15) & ~(uint64_t)15;
    uint64_t at = __atomic_fetch_add(&words[TAKEN], bytes, __ATOMIC_RELAXED);
    if (at + bytes > mapped) return NULL;
    struct record *record = (struct record *)((char *)words + at);
    record->bytes = (uint32_t)bytes;
    record->pid = (uint32_t)getpid();
    record->tid = (uint32_t)syscall(SYS_gettid);
    return record;
}

/* The file is zero where nothing was written: a kind says that the rest is whole. */
static void done(struct record *record, enum kind kind) { __atomic_store_n(&record->kind, kind, __ATOMIC_RELEASE); }

static uint64_t read_whole(const char *path, char *into, uint64_t room) {
    char thrown_away[1024];
    uint64_t total = 0;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return 0;
    for (;;) {
        ssize_t got = into ? read(fd, into + total, room - total) : read(fd, thrown_away, sizeof thrown_away);
        if (got <= 0) break;
        total += (uint64_t)got;
    }
    close(fd);
    return total;
}

static int loads(struct dl_phdr_info *info, size_t size, void *sum) {
    (void)size;
    *(uint64_t *)sum = (uint64_t)info->dlpi_adds + (uint64_t)info->dlpi_subs;
    return 1;
}

/* The number of the space that holds this process as it is now. */
static uint64_t space(void) {
    static uint64_t number, known_loads;
    static int known_pid, lock;
    int pid = getpid(), nobody = 0;
    uint64_t now = 0;
    dl_iterate_phdr(loads, &now);
    if (__atomic_load_n(&known_pid, __ATOMIC_ACQUIRE) == pid && known_loads == now) return number;
    while (!__atomic_compare_exchange_n(&lock, &nobody, pid, 0, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED)) {
        /* Held by a thread of the process that this one is a copy of: it will never let go. */
        if (nobody != pid && __atomic_compare_exchange_n(&lock, &nobody, pid, 0, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED)) break;
        nobody = 0;
        sched_yield();
    }
    if (known_pid != pid || known_loads != now) {
        uint64_t room = read_whole("/proc/self/maps", NULL, 0) + (8 << 10);
        struct record *record = take(sizeof *record + room);
        if (record) {
            record->space = __atomic_add_fetch(&words[SPACES], 1, __ATOMIC_RELAXED);
            read_whole("/proc/self/comm", record->thread, sizeof record->thread - 1);
            record->payload = read_whole("/proc/self/maps", (char *)(record + 1), room);
            number = record->space;
            done(record, SPACE);
        }
        known_loads = now;
        __atomic_store_n(&known_pid, pid, __ATOMIC_RELEASE);
    }
    __atomic_store_n(&lock, 0, __ATOMIC_RELEASE);
    return number;
}

static void sample(uint64_t weight, uint64_t instruction, uint64_t stack, uint64_t frame) {
    uint64_t of_space = space();
    struct record *record = take(sizeof *record + STACK_BYTES);
    if (!record) {
        __atomic_fetch_add(&words[LOST], 1, __ATOMIC_RELAXED);
        return;
    }
    record->space = of_space;
    record->weight = weight;
    record->instruction = instruction;
    record->stack = stack;
    record->frame = frame;
    prctl(PR_GET_NAME, record->thread);
    /* The stack may end before so many bytes: the kernel copies as much as there is. */
    struct iovec here = { record + 1, STACK_BYTES }, there = { (void *)stack, STACK_BYTES };
    ssize_t copied = process_vm_readv(getpid(), &here, 1, &there, 1, 0);
    record->payload = copied > 0 ? (uint64_t)copied : 0;
    done(record, SAMPLE);
    if (__atomic_add_fetch(&words[SAMPLES], 1, __ATOMIC_RELAXED) % SAMPLES_EACH_PERIOD == 0)
        __atomic_fetch_add(&words[PERIOD], words[PERIOD], __ATOMIC_RELAXED);
}

#define OWN static __thread __attribute__((tls_model("initial-exec")))
OWN int inside;
OWN uint32_t chance;
/* The period that this thread counts down, and the bytes until its next sample. */
OWN uint64_t period;
OWN int64_t left;

static uint32_t draw(void) {
    chance ^= chance << 13;
    chance ^= chance >> 17;
    chance ^= chance << 5;
    return chance;
}

/* Between two samples lie as many bytes as the period on average, and never the same number: nothing is met in step. */
static void next_sample(void) { left += 1 + (int64_t)(((unsigned __int128)draw() * (2 * period)) >> 32); }

static void counted(size_t size, void *caller, void *stack, void *frame) {
    if (!__atomic_load_n(&words[ACTIVE], __ATOMIC_RELAXED)) return;
    __atomic_fetch_add(&words[CALLS], 1, __ATOMIC_RELAXED);
    __atomic_fetch_add(&words[BYTES], size, __ATOMIC_RELAXED);
    uint64_t current = __atomic_load_n(&words[PERIOD], __ATOMIC_RELAXED);
    if (inside || !current) return;
    int before = errno;
    inside = 1;
    if (!chance) chance = 2654435769u * (uint32_t)(syscall(SYS_gettid) + 1) | 1;
    if (period != current) {
        period = current;
        left = 0;
        next_sample();
    }
    uint64_t weight = 0;
    if (size >= period) {
        /* Larger than the period: taken for sure, and for what it is. */
        weight = size;
    } else {
        left -= (int64_t)size;
        for (; left < 0; next_sample()) weight += period;
    }
    if (weight) sample(weight, (uint64_t)caller - 1, (uint64_t)stack, (uint64_t)frame);
    inside = 0;
    errno = before;
}

/* Of the function that this is written in: where it returns to, where its caller's stack is and its caller's frame. */
#define COUNT(size, result)                                                                                            \
    do {                                                                                                               \
        if (__atomic_load_n(&words, __ATOMIC_ACQUIRE) && (result))                                                     \
            counted(size, __builtin_return_address(0), __builtin_dwarf_cfa(), *(void **)__builtin_frame_address(0));   \
    } while (0)

void *malloc(size_t size) {
    if (!ready()) return from_arena(size);
    void *result = real_malloc(size);
    COUNT(size, result);
    return result;
}

/* The name that no other library can take. */
static void *own_malloc(size_t size) __attribute__((alias("malloc"), copy(malloc)));

void *calloc(size_t count, size_t size) {
    size_t whole;
    if (!ready()) return __builtin_mul_overflow(count, size, &whole) ? NULL : from_arena(whole);
    void *result = real_calloc(count, size);
    COUNT(count * size, result);
    return result;
}

void *realloc(void *pointer, size_t size) {
    if (of_arena(pointer)) {
        size_t before = *(size_t *)((char *)pointer - 16);
        void *moved = malloc(size);
        if (moved) memcpy(moved, pointer, before < size ? before : size);
        return moved;
    }
    if (!ready()) return pointer ? NULL : from_arena(size);
    void *result = real_realloc(pointer, size);
    COUNT(size, result);
    return result;
}

void *reallocarray(void *pointer, size_t count, size_t size) {
    size_t whole;
    if (__builtin_mul_overflow(count, size, &whole)) {
        errno = ENOMEM;
        return NULL;
    }
    if (of_arena(pointer) || !ready()) return realloc(pointer, whole);
    void *result = real_realloc(pointer, whole);
    COUNT(whole, result);
    return result;
}

void free(void *pointer) {
    if (!pointer || of_arena(pointer)) return;
    /* What was allocated before the functions were known lies in the arena. */
    if (ready()) real_free(pointer);
}

int posix_memalign(void **result, size_t alignment, size_t size) {
    if (!ready() || !real_posix_memalign) return ENOMEM;
    int error = real_posix_memalign(result, alignment, size);
    COUNT(size, error == 0);
    return error;
}

#define ALIGNED(name)                                                                                                  \
    void *name(size_t alignment, size_t size) {                                                                        \
        if (!ready() || !real_##name) return NULL;                                                                     \
        void *result = real_##name(alignment, size);                                                                   \
        COUNT(size, result);                                                                                           \
        return result;                                                                                                 \
    }
ALIGNED(aligned_alloc)
ALIGNED(memalign)

#define OF_PAGES(name)                                                                                                 \
    void *name(size_t size) {                                                                                          \
        if (!ready() || !real_##name) return NULL;                                                                     \
        void *result = real_##name(size);                                                                              \
        COUNT(size, result);                                                                                           \
        return result;                                                                                                 \
    }
OF_PAGES(valloc)
OF_PAGES(pvalloc)

/* Counts into this file from now on; 0, or why not. Whoever reads the file says when counting is active. */
int uplift_allocations_attach(const char *path) {
    int fd = open(path, O_RDWR | O_CLOEXEC);
    if (fd < 0) return errno;
    struct stat found;
    int error = EINVAL;
    if (fstat(fd, &found) == 0 && found.st_size >= HEAD_BYTES) {
        uint64_t length = (uint64_t)found.st_size;
        int flags = MAP_SHARED | MAP_NORESERVE;
        void *map = mmap(NULL, length, PROT_READ | PROT_WRITE, flags, fd, 0);
        if (map == MAP_FAILED) {
            /* Where address space is limited, counts alone. */
            length = HEAD_BYTES;
            map = mmap(NULL, length, PROT_READ | PROT_WRITE, flags, fd, 0);
        }
        error = map == MAP_FAILED ? errno : 0;
        if (!error) {
            mapped = length;
            uint64_t *page = map;
            __atomic_fetch_add(&page[LOADED], 1, __ATOMIC_RELAXED);
            if (dlsym(RTLD_DEFAULT, "malloc") != (void *)own_malloc) __atomic_fetch_add(&page[FOREIGN], 1, __ATOMIC_RELAXED);
            __atomic_store_n(&words, page, __ATOMIC_RELEASE);
        }
    }
    close(fd);
    return error;
}

__attribute__((constructor)) static void load(void) {
    int before = errno;
    const char *path = getenv("UPLIFT_ALLOCATIONS");
    if (path && strcmp(path, "later") == 0) {
        /* An agent, which attaches itself: what it starts is not to be counted. */
        const char *preload = getenv("LD_PRELOAD");
        const char *rest = preload ? strchr(preload, ':') : NULL;
        const char *own = preload ? strstr(preload, "/fd/") : NULL;
        if (own) close(atoi(own + 4));
        if (rest) setenv("LD_PRELOAD", rest + 1, 1); else unsetenv("LD_PRELOAD");
        unsetenv("UPLIFT_ALLOCATIONS");
    } else if (path) {
        uplift_allocations_attach(path);
    }
    errno = before;
}
