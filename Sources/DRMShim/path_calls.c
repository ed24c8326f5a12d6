// Calls that open or resolve a path.
#include "shim.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

static int nowhere(const struct shim_location *location, const char *call, const char *path) {
    shim_debug("%s(\"%s\") = -1 %s", call, path, strerrorname_np(location->error));
    errno = location->error;
    return -1;
}

// MARK: open

static int open_in_tree(const struct shim_location *location, int flags) {
    if (location->node && !(flags & O_PATH)) {
        struct shim_node node;
        int result = shim_read_node(location->path, &node);
        return result < 0 ? result : shim_open_node(&node, flags);
    }
    if ((flags & (O_CREAT | O_EXCL)) == (O_CREAT | O_EXCL))
        return -EEXIST;
    // sysfs attributes of a GPU that programs write are not there; the files are the daemon's.
    if ((flags & O_ACCMODE) != O_RDONLY || flags & O_TRUNC)
        return S_ISDIR(location->type) ? -EISDIR : -EACCES;
    int fd = REAL(openat)(AT_FDCWD, location->path, flags & ~O_CREAT);
    if (fd >= 0 && S_ISDIR(location->type))
        shim_note_directory();
    return fd < 0 ? -errno : fd;
}

static SLOW int slow_open(int directory, const char *path, int flags, mode_t mode) {
    struct shim_location location;
    if (!shim_locate(directory, path, !(flags & O_NOFOLLOW), &location))
        return REAL(openat)(directory, path, flags, mode);
    if (location.place == SHIM_NOWHERE)
        return nowhere(&location, "open", path);
    if (location.place == SHIM_ELSEWHERE)
        return REAL(openat)(AT_FDCWD, location.path, flags, mode);
    int saved = errno;
    int result = open_in_tree(&location, flags);
    shim_debug(
        "open(\"%s\", 0x%x) = %d%s%s", path, (unsigned)flags, result < 0 ? -1 : result,
        result < 0 ? " " : "", result < 0 ? strerrorname_np(-result) : "");
    errno = saved;
    return shim_result(result);
}

#define MODE(flags_)                                                                               \
    mode_t mode = 0;                                                                               \
    if (flags_ & O_CREAT || (flags_ & O_TMPFILE) == O_TMPFILE) {                                   \
        va_list arguments;                                                                         \
        va_start(arguments, flags_);                                                               \
        mode = va_arg(arguments, mode_t);                                                          \
        va_end(arguments);                                                                         \
    }

EXPORT int open(const char *path, int flags, ...) {
    MODE(flags)
    if (UNLIKELY(shim_candidate(AT_FDCWD, path)))
        return slow_open(AT_FDCWD, path, flags, mode);
    return REAL(open)(path, flags, mode);
}

EXPORT int open64(const char *path, int flags, ...) {
    MODE(flags)
    if (UNLIKELY(shim_candidate(AT_FDCWD, path)))
        return slow_open(AT_FDCWD, path, flags, mode);
    return REAL(open64)(path, flags, mode);
}

EXPORT int openat(int directory, const char *path, int flags, ...) {
    MODE(flags)
    if (UNLIKELY(shim_candidate(directory, path)))
        return slow_open(directory, path, flags, mode);
    return REAL(openat)(directory, path, flags, mode);
}

EXPORT int openat64(int directory, const char *path, int flags, ...) {
    MODE(flags)
    if (UNLIKELY(shim_candidate(directory, path)))
        return slow_open(directory, path, flags, mode);
    return REAL(openat64)(directory, path, flags, mode);
}

// What a fortified program calls if it gives no mode.
int __open_2(const char *path, int flags);
int __open64_2(const char *path, int flags);
int __openat_2(int directory, const char *path, int flags);
int __openat64_2(int directory, const char *path, int flags);

EXPORT int __open_2(const char *path, int flags) {
    if (UNLIKELY(shim_candidate(AT_FDCWD, path)))
        return slow_open(AT_FDCWD, path, flags, 0);
    return REAL(__open_2)(path, flags);
}

EXPORT int __open64_2(const char *path, int flags) {
    if (UNLIKELY(shim_candidate(AT_FDCWD, path)))
        return slow_open(AT_FDCWD, path, flags, 0);
    return REAL(__open64_2)(path, flags);
}

EXPORT int __openat_2(int directory, const char *path, int flags) {
    if (UNLIKELY(shim_candidate(directory, path)))
        return slow_open(directory, path, flags, 0);
    return REAL(__openat_2)(directory, path, flags);
}

EXPORT int __openat64_2(int directory, const char *path, int flags) {
    if (UNLIKELY(shim_candidate(directory, path)))
        return slow_open(directory, path, flags, 0);
    return REAL(__openat64_2)(directory, path, flags);
}

// MARK: fopen

static SLOW FILE *slow_fopen(const char *path, const char *mode) {
    int flags = strchr(mode, '+') ? O_RDWR : mode[0] == 'r' ? O_RDONLY : O_WRONLY;
    flags |= mode[0] == 'w' ? O_CREAT | O_TRUNC : mode[0] == 'a' ? O_CREAT | O_APPEND : 0;
    flags |= strchr(mode, 'x') ? O_EXCL : 0;
    flags |= strchr(mode, 'e') ? O_CLOEXEC : 0;
    int fd = slow_open(AT_FDCWD, path, flags, 0666);
    if (fd < 0)
        return NULL;
    FILE *stream = fdopen(fd, mode);
    if (!stream)
        close(fd);
    return stream;
}

EXPORT FILE *fopen(const char *path, const char *mode) {
    if (UNLIKELY(shim_candidate(AT_FDCWD, path)))
        return slow_fopen(path, mode);
    return REAL(fopen)(path, mode);
}

EXPORT FILE *fopen64(const char *path, const char *mode) {
    if (UNLIKELY(shim_candidate(AT_FDCWD, path)))
        return slow_fopen(path, mode);
    return REAL(fopen64)(path, mode);
}

// MARK: access

static SLOW int slow_access(int directory, const char *path, int mode, int flags) {
    struct shim_location location;
    if (!shim_locate(directory, path, !(flags & AT_SYMLINK_NOFOLLOW), &location))
        return REAL(faccessat)(directory, path, mode, flags);
    if (location.place == SHIM_NOWHERE)
        return nowhere(&location, "access", path);
    int saved = errno;
    int result = 0;
    struct shim_node node;
    if (location.place == SHIM_ELSEWHERE || (!location.node && !(mode & W_OK)))
        return REAL(faccessat)(AT_FDCWD, location.path, mode, flags);
    if (mode & ~(R_OK | W_OK | X_OK))
        result = -EINVAL;
    else if (!location.node)
        result = -EACCES;
    else if ((result = shim_read_node(location.path, &node)) == 0
             && ((mode & R_OK && !(node.mode & 0444)) || (mode & W_OK && !(node.mode & 0222))
                 || (mode & X_OK && !(node.mode & 0111))))
        result = -EACCES;
    shim_debug("access(\"%s\", %d) = %d", path, mode, result < 0 ? -1 : 0);
    errno = saved;
    return shim_result(result);
}

EXPORT int access(const char *path, int mode) {
    int saved = errno;
    int result = REAL(access)(path, mode);
    if (UNLIKELY(shim_knows_better(AT_FDCWD, path, result, saved)))
        return slow_access(AT_FDCWD, path, mode, 0);
    return result;
}

EXPORT int faccessat(int directory, const char *path, int mode, int flags) {
    int saved = errno;
    int result = REAL(faccessat)(directory, path, mode, flags);
    if (UNLIKELY(shim_knows_better(directory, path, result, saved)))
        return slow_access(directory, path, mode, flags);
    return result;
}

EXPORT int eaccess(const char *path, int mode) {
    int saved = errno;
    int result = REAL(eaccess)(path, mode);
    if (UNLIKELY(shim_knows_better(AT_FDCWD, path, result, saved)))
        return slow_access(AT_FDCWD, path, mode, AT_EACCESS);
    return result;
}

EXPORT int euidaccess(const char *path, int mode) {
    int saved = errno;
    int result = REAL(euidaccess)(path, mode);
    if (UNLIKELY(shim_knows_better(AT_FDCWD, path, result, saved)))
        return slow_access(AT_FDCWD, path, mode, AT_EACCESS);
    return result;
}

// MARK: readlink

static SLOW ssize_t slow_readlink(int directory, const char *path, char *target, size_t size) {
    struct shim_location location;
    char given[PATH_MAX], name[PATH_MAX];
    if (shim_copy_string(given, path, sizeof given) > 0 && shim_descriptor_link(given, name)) {
        size_t length = strlen(name) < size ? strlen(name) : size;
        shim_debug("readlink(\"%s\") = %s", given, name);
        int result = length == 0 ? -EINVAL : shim_copy_out((uintptr_t)target, name, length);
        return result < 0 ? shim_result(result) : (ssize_t)length;
    }
    if (!shim_locate(directory, path, false, &location))
        return REAL(readlinkat)(directory, path, target, size);
    if (location.place == SHIM_NOWHERE)
        return nowhere(&location, "readlink", path);
    ssize_t length = REAL(readlinkat)(AT_FDCWD, location.path, target, size);
    shim_debug(
        "readlink(\"%s\") = %zd %.*s", path, length, length < 0 ? 0 : (int)length, target);
    return length;
}

// These ask first: what the kernel wrote must not show behind a shorter answer.
EXPORT ssize_t readlink(const char *path, char *target, size_t size) {
    if (UNLIKELY(shim_candidate(AT_FDCWD, path)))
        return slow_readlink(AT_FDCWD, path, target, size);
    return REAL(readlink)(path, target, size);
}

EXPORT ssize_t readlinkat(int directory, const char *path, char *target, size_t size) {
    if (UNLIKELY(shim_candidate(directory, path)))
        return slow_readlink(directory, path, target, size);
    return REAL(readlinkat)(directory, path, target, size);
}

ssize_t __readlink_chk(const char *path, char *target, size_t size, size_t room);
ssize_t __readlinkat_chk(int directory, const char *path, char *target, size_t size, size_t room);

// The fortified ones stop the program if the size is more than the room: so do the next ones.
EXPORT ssize_t __readlink_chk(const char *path, char *target, size_t size, size_t room) {
    if (UNLIKELY(shim_candidate(AT_FDCWD, path)) && size <= room)
        return slow_readlink(AT_FDCWD, path, target, size);
    return REAL(__readlink_chk)(path, target, size, room);
}

EXPORT ssize_t __readlinkat_chk(
    int directory, const char *path, char *target, size_t size, size_t room) {
    if (UNLIKELY(shim_candidate(directory, path)) && size <= room)
        return slow_readlink(directory, path, target, size);
    return REAL(__readlinkat_chk)(directory, path, target, size, room);
}

// MARK: realpath

static SLOW char *slow_realpath(const char *path, char *resolved) {
    struct shim_location location;
    if (!shim_locate(AT_FDCWD, path, true, &location))
        return REAL(realpath)(path, resolved);
    if (location.place == SHIM_ELSEWHERE)
        return REAL(realpath)(location.path, resolved);
    if (location.place == SHIM_NOWHERE) {
        nowhere(&location, "realpath", path);
        return NULL;
    }
    shim_debug("realpath(\"%s\") = %s", path, location.name);
    return resolved ? strcpy(resolved, location.name) : strdup(location.name);
}

EXPORT char *realpath(const char *path, char *resolved) {
    if (UNLIKELY(shim_candidate(AT_FDCWD, path)))
        return slow_realpath(path, resolved);
    return REAL(realpath)(path, resolved);
}

EXPORT char *canonicalize_file_name(const char *path) {
    if (UNLIKELY(shim_candidate(AT_FDCWD, path)))
        return slow_realpath(path, NULL);
    return REAL(canonicalize_file_name)(path);
}

char *__realpath_chk(const char *path, char *resolved, size_t room);

EXPORT char *__realpath_chk(const char *path, char *resolved, size_t room) {
    if (UNLIKELY(shim_candidate(AT_FDCWD, path)) && room >= PATH_MAX)
        return slow_realpath(path, resolved);
    return REAL(__realpath_chk)(path, resolved, room);
}
