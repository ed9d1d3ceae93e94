/* Lets the n-th change of the disk below a folder, or the n-th read there, fail, or kills there.
 *
 * Preloaded into a process (LD_PRELOAD), it counts the calls of the C library that change something
 * below a folder: opening for writing, writing, truncating, flushing, moving, making and removing.
 * `io_begin` starts the count anew; until then nothing is looked at.
 *
 *     mode 0  count only
 *     mode 1  the n-th call fails with `error`, those after it do not
 *     mode 2  the n-th call fails, and all after it that need space
 *     mode 3  the process is killed instead of the n-th call; half of what is written is there
 *     mode 4  the n-th read fails, or the n-th opening for reading; changes are not counted
 *     mode 5  and so does whatever reads the same file afterwards, as where a sector is bad
 *
 * What is read through a memory map cannot be disturbed in this way.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

#define NEEDS_SPACE 1
#define REMOVES 2
#define ONE_READ 4
#define BAD_FILE 5

static char root[PATH_MAX];
static size_t root_length;
static int mode = -1, error_number;
static long wanted;
static dev_t bad_device;
static ino_t bad_file;
static atomic_long count;
static char what[PATH_MAX + 16];

void io_begin(const char *folder, long n, int how, int error)
{
    snprintf(root, sizeof root, "%s", folder);
    root_length = strlen(root);
    wanted = n;
    error_number = error;
    what[0] = 0;
    atomic_store(&count, 0);
    mode = how;
}

void io_end(void) { mode = -1; }
long io_count(void) { return atomic_load(&count); }
const char *io_what(void) { return what; }

static int is_below(const char *path)
{
    return strncmp(path, root, root_length) == 0 && (path[root_length] == '/' || !path[root_length]);
}

static int path_is_below(int folder, const char *path)
{
    char whole[PATH_MAX], base[64];
    if (mode < 0 || path == NULL)
        return 0;
    if (path[0] == '/')
        return is_below(path);
    if (folder == AT_FDCWD)
        strcpy(base, "/proc/self/cwd");
    else
        snprintf(base, sizeof base, "/proc/self/fd/%d", folder);
    ssize_t length = syscall(SYS_readlinkat, AT_FDCWD, base, whole, sizeof whole - 1);
    if (length < 0)
        return 0;
    whole[length] = 0;
    return is_below(whole);
}

static int file_is_below(int file)
{
    char base[64], whole[PATH_MAX];
    if (mode < 0)
        return 0;
    snprintf(base, sizeof base, "/proc/self/fd/%d", file);
    ssize_t length = syscall(SYS_readlinkat, AT_FDCWD, base, whole, sizeof whole - 1);
    if (length < 0)
        return 0;
    whole[length] = 0;
    return is_below(whole);
}

/* Whether this call is to fail; kills where that is asked for and `half` is not to be done first. */
static int is_hit(const char *name, int kind)
{
    if (mode >= ONE_READ)
        return 0;
    long mine = atomic_fetch_add(&count, 1) + 1;
    if (mode == 0 || mine < wanted)
        return 0;
    if (mine > wanted && !(mode == 2 && (kind & NEEDS_SPACE)))
        return 0;
    if (mine == wanted)
        snprintf(what, sizeof what, "%s", name);
    if (mode != 3)
        errno = error_number;
    return 1;
}

/* Whether this read of a file, by its descriptor or its path, is to fail. */
static int read_is_hit(const char *name, int file, const char *path)
{
    struct stat found;
    if (mode < ONE_READ || (path ? fstatat(file, path, &found, 0) : fstat(file, &found)) != 0)
        return 0;
    if (!S_ISREG(found.st_mode))
        return 0;
    long mine = atomic_fetch_add(&count, 1) + 1;
    if (mine == wanted) {
        char base[64], whole[PATH_MAX] = "";
        snprintf(base, sizeof base, "/proc/self/fd/%d", file);
        if (!path && syscall(SYS_readlinkat, AT_FDCWD, base, whole, sizeof whole - 1) > 0)
            path = whole;
        snprintf(what, sizeof what, "%s %s", name, path ? path : "?");
        /* while it is open, no other file gets its number */
        syscall(SYS_openat, AT_FDCWD, path ? path : "?", O_RDONLY | O_CLOEXEC, 0);
        bad_device = found.st_dev;
        bad_file = found.st_ino;
    } else if (mode == ONE_READ || !what[0] || found.st_ino != bad_file
               || found.st_dev != bad_device)
        return 0;
    errno = error_number;
    return 1;
}

static void die(void)
{
    syscall(SYS_kill, syscall(SYS_getpid), SIGKILL);
    for (;;)
        pause();
}

#define NEXT(name) ((typeof(name) *)next(#name))
static void *next(const char *name)
{
    return dlsym(RTLD_NEXT, name);
}

#define GUARD(inside, name, kind, failure)         \
    if ((inside) && is_hit(name, kind)) {          \
        if (mode == 3)                             \
            die();                                 \
        return failure;                            \
    }

#define READ_GUARD(inside, name, file, path, failure)     \
    if (mode >= ONE_READ && (inside) && read_is_hit(name, file, path)) \
        return failure;

static int writes(int flags)
{
    return (flags & O_ACCMODE) != O_RDONLY || (flags & (O_CREAT | O_TRUNC));
}

#define MODE                                       \
    mode_t permissions = 0;                        \
    if (flags & (O_CREAT | __O_TMPFILE)) {         \
        va_list rest;                              \
        va_start(rest, flags);                     \
        permissions = va_arg(rest, mode_t);        \
        va_end(rest);                              \
    }

#define OPEN(name)                                                                        \
    int name(const char *path, int flags, ...)                                            \
    {                                                                                     \
        MODE GUARD(writes(flags) && path_is_below(AT_FDCWD, path), "open", NEEDS_SPACE, -1) \
        READ_GUARD(!writes(flags) && path_is_below(AT_FDCWD, path), "open", AT_FDCWD, path, -1) \
        return NEXT(name)(path, flags, permissions);                                      \
    }
OPEN(open)
OPEN(open64)

#define OPENAT(name)                                                                     \
    int name(int folder, const char *path, int flags, ...)                               \
    {                                                                                    \
        MODE GUARD(writes(flags) && path_is_below(folder, path), "open", NEEDS_SPACE, -1) \
        READ_GUARD(!writes(flags) && path_is_below(folder, path), "open", folder, path, -1) \
        return NEXT(name)(folder, path, flags, permissions);                             \
    }
OPENAT(openat)
OPENAT(openat64)

#define CREAT(name)                                                             \
    int name(const char *path, mode_t permissions)                              \
    {                                                                           \
        GUARD(path_is_below(AT_FDCWD, path), "open", NEEDS_SPACE, -1)           \
        return NEXT(name)(path, permissions);                                   \
    }
CREAT(creat)
CREAT(creat64)

#define FOPEN(name)                                                                       \
    FILE *name(const char *path, const char *how)                                         \
    {                                                                                     \
        GUARD(strpbrk(how, "wa+") && path_is_below(AT_FDCWD, path), "open", NEEDS_SPACE, NULL) \
        READ_GUARD(!strpbrk(how, "wa+") && path_is_below(AT_FDCWD, path), "open", AT_FDCWD, \
                   path, NULL)                                                            \
        return NEXT(name)(path, how);                                                     \
    }
FOPEN(fopen)
FOPEN(fopen64)

/* Half of what is written reaches the disk before a kill. */
#define WRITE(name, arguments, call, half)                          \
    ssize_t name arguments                                          \
    {                                                               \
        if (file_is_below(file) && is_hit("write", NEEDS_SPACE)) {  \
            if (mode == 3) {                                        \
                half;                                               \
                die();                                              \
            }                                                       \
            return -1;                                              \
        }                                                           \
        return NEXT(name) call;                                     \
    }
WRITE(write, (int file, const void *bytes, size_t length), (file, bytes, length),
      syscall(SYS_write, file, bytes, length / 2))
WRITE(pwrite, (int file, const void *bytes, size_t length, off_t at), (file, bytes, length, at),
      syscall(SYS_pwrite64, file, bytes, length / 2, at))
WRITE(pwrite64, (int file, const void *bytes, size_t length, off64_t at), (file, bytes, length, at),
      syscall(SYS_pwrite64, file, bytes, length / 2, at))
WRITE(writev, (int file, const struct iovec *parts, int number), (file, parts, number),
      syscall(SYS_writev, file, parts, number / 2))
WRITE(pwritev, (int file, const struct iovec *parts, int number, off_t at),
      (file, parts, number, at), (void)0)
WRITE(pwritev64, (int file, const struct iovec *parts, int number, off64_t at),
      (file, parts, number, at), (void)0)
#define SENDFILE(name, offset)                                                  \
    ssize_t name(int file, int from, offset *at, size_t length)                 \
    {                                                                           \
        READ_GUARD(file_is_below(from), "read", from, NULL, -1)                 \
        if (file_is_below(file) && is_hit("write", NEEDS_SPACE)) {              \
            if (mode == 3) {                                                    \
                syscall(SYS_sendfile, file, from, at, length / 2);              \
                die();                                                          \
            }                                                                   \
            return -1;                                                          \
        }                                                                       \
        return NEXT(name)(file, from, at, length);                              \
    }
SENDFILE(sendfile, off_t)
SENDFILE(sendfile64, off64_t)

ssize_t copy_file_range(int from, off64_t *at, int file, off64_t *to, size_t length, unsigned flags)
{
    READ_GUARD(file_is_below(from), "read", from, NULL, -1)
    GUARD(file_is_below(file), "write", NEEDS_SPACE, -1)
    return NEXT(copy_file_range)(from, at, file, to, length, flags);
}

size_t fwrite(const void *bytes, size_t size, size_t number, FILE *stream)
{
    GUARD(file_is_below(fileno(stream)), "write", NEEDS_SPACE, 0)
    return NEXT(fwrite)(bytes, size, number, stream);
}

#define READ(name, arguments, call)                               \
    ssize_t name arguments                                          \
    {                                                               \
        READ_GUARD(file_is_below(file), "read", file, NULL, -1)     \
        return NEXT(name) call;                                     \
    }
READ(read, (int file, void *bytes, size_t length), (file, bytes, length))
READ(pread, (int file, void *bytes, size_t length, off_t at), (file, bytes, length, at))
READ(pread64, (int file, void *bytes, size_t length, off64_t at), (file, bytes, length, at))
READ(readv, (int file, const struct iovec *parts, int number), (file, parts, number))
READ(preadv, (int file, const struct iovec *parts, int number, off_t at), (file, parts, number, at))
READ(preadv64, (int file, const struct iovec *parts, int number, off64_t at),
     (file, parts, number, at))

size_t fread(void *bytes, size_t size, size_t number, FILE *stream)
{
    if (mode >= ONE_READ && file_is_below(fileno(stream))
        && read_is_hit("read", fileno(stream), NULL)) {
        stream->_flags |= 0x20; /* for ferror */
        return 0;
    }
    return NEXT(fread)(bytes, size, number, stream);
}

#define ON_FILE(name, label, arguments, call, kind)                 \
    int name arguments                                              \
    {                                                               \
        GUARD(file_is_below(file), label, kind, -1)                 \
        return NEXT(name) call;                                     \
    }
ON_FILE(ftruncate, "truncate", (int file, off_t length), (file, length), NEEDS_SPACE)
ON_FILE(ftruncate64, "truncate", (int file, off64_t length), (file, length), NEEDS_SPACE)
ON_FILE(fallocate, "truncate", (int file, int how, off_t at, off_t length),
        (file, how, at, length), NEEDS_SPACE)
ON_FILE(fsync, "fsync", (int file), (file), NEEDS_SPACE)
ON_FILE(fdatasync, "fsync", (int file), (file), NEEDS_SPACE)

#define ON_PATH(name, label, arguments, call, folder, path, kind)   \
    int name arguments                                              \
    {                                                               \
        GUARD(path_is_below(folder, path), label, kind, -1)         \
        return NEXT(name) call;                                     \
    }
ON_PATH(rename, "rename", (const char *from, const char *to), (from, to), AT_FDCWD, to, NEEDS_SPACE)
ON_PATH(renameat, "rename", (int here, const char *from, int there, const char *to),
        (here, from, there, to), there, to, NEEDS_SPACE)
ON_PATH(renameat2, "rename", (int here, const char *from, int there, const char *to, unsigned flags),
        (here, from, there, to, flags), there, to, NEEDS_SPACE)
ON_PATH(link, "link", (const char *from, const char *to), (from, to), AT_FDCWD, to, NEEDS_SPACE)
ON_PATH(linkat, "link", (int here, const char *from, int there, const char *to, int flags),
        (here, from, there, to, flags), there, to, NEEDS_SPACE)
ON_PATH(symlink, "link", (const char *from, const char *to), (from, to), AT_FDCWD, to, NEEDS_SPACE)
ON_PATH(mkdir, "mkdir", (const char *path, mode_t how), (path, how), AT_FDCWD, path, NEEDS_SPACE)
ON_PATH(mkdirat, "mkdir", (int folder, const char *path, mode_t how), (folder, path, how), folder,
        path, NEEDS_SPACE)
ON_PATH(unlink, "unlink", (const char *path), (path), AT_FDCWD, path, REMOVES)
ON_PATH(unlinkat, "unlink", (int folder, const char *path, int flags), (folder, path, flags), folder,
        path, REMOVES)
ON_PATH(rmdir, "rmdir", (const char *path), (path), AT_FDCWD, path, REMOVES)
ON_PATH(remove, "unlink", (const char *path), (path), AT_FDCWD, path, REMOVES)
ON_PATH(truncate, "truncate", (const char *path, off_t length), (path, length), AT_FDCWD, path,
        NEEDS_SPACE)
