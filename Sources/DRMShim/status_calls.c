// The stat family: nodes of the tree are character devices, and so are open files.
#include "shim.h"

#include <linux/magic.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>

static void describe(struct stat *status, const struct shim_node *node) {
    status->st_mode = node->mode;
    status->st_rdev = node->rdev;
    status->st_size = 0;
    status->st_blocks = 0;
}

static void describe_extended(struct statx *status, const struct shim_node *node) {
    status->stx_mode = (uint16_t)node->mode;
    status->stx_rdev_major = major(node->rdev);
    status->stx_rdev_minor = minor(node->rdev);
    status->stx_size = 0;
    status->stx_blocks = 0;
}

// An open file is a socket; only what the kernel says to be one is looked at.
static SLOW void describe_socket(int fd, struct stat *status) {
    struct shim_node node = {0, S_IFCHR | 0666};
    if (!shim_identify(fd, &node.rdev))
        return;
    describe(status, &node);
    shim_debug("fstat(%d): device %u:%u", fd, major(node.rdev), minor(node.rdev));
}

static inline int checked(int result, int fd, struct stat *status) {
    if (UNLIKELY(result == 0 && S_ISSOCK(status->st_mode)))
        describe_socket(fd, status);
    return result;
}

EXPORT int fstat(int fd, struct stat *status) {
    return checked(REAL(fstat)(fd, status), fd, status);
}

EXPORT int fstat64(int fd, struct stat64 *status) {
    return checked(REAL(fstat64)(fd, status), fd, (struct stat *)status);
}

static SLOW int slow_stat(int directory, const char *path, struct stat *status, int flags) {
    struct shim_location location;
    if (!shim_locate(directory, path, !(flags & AT_SYMLINK_NOFOLLOW), &location))
        return REAL(fstatat)(directory, path, status, flags);
    if (location.place == SHIM_NOWHERE) {
        shim_debug("stat(\"%s\") = -1 %s", path, strerrorname_np(location.error));
        errno = location.error;
        return -1;
    }
    int result = REAL(fstatat)(AT_FDCWD, location.path, status, flags);
    if (location.place == SHIM_ELSEWHERE || result < 0)
        return result;
    struct shim_node node;
    if (location.node) {
        result = shim_read_node(location.path, &node);
        if (result == 0)
            describe(status, &node);
    } else {
        status->st_mode &= ~(mode_t)S_ISVTX;  // a mark of the tree's
    }
    shim_debug("stat(\"%s\"): mode 0%o", path, result < 0 ? 0 : status->st_mode);
    return shim_result(result);
}

EXPORT int stat(const char *path, struct stat *status) {
    int saved = errno;
    int result = REAL(stat)(path, status);
    if (UNLIKELY(shim_knows_better(AT_FDCWD, path, result, saved)))
        return slow_stat(AT_FDCWD, path, status, 0);
    return result;
}

EXPORT int stat64(const char *path, struct stat64 *status) {
    int saved = errno;
    int result = REAL(stat64)(path, status);
    if (UNLIKELY(shim_knows_better(AT_FDCWD, path, result, saved)))
        return slow_stat(AT_FDCWD, path, (struct stat *)status, 0);
    return result;
}

EXPORT int lstat(const char *path, struct stat *status) {
    int saved = errno;
    int result = REAL(lstat)(path, status);
    if (UNLIKELY(shim_knows_better(AT_FDCWD, path, result, saved)))
        return slow_stat(AT_FDCWD, path, status, AT_SYMLINK_NOFOLLOW);
    return result;
}

EXPORT int lstat64(const char *path, struct stat64 *status) {
    int saved = errno;
    int result = REAL(lstat64)(path, status);
    if (UNLIKELY(shim_knows_better(AT_FDCWD, path, result, saved)))
        return slow_stat(AT_FDCWD, path, (struct stat *)status, AT_SYMLINK_NOFOLLOW);
    return result;
}

// A null path is the kernel's matter as well: newer ones take it for an empty one.
static inline bool is_empty(const char *path, int flags) {
    return flags & AT_EMPTY_PATH && (!shim_readable(path) || path[0] == 0);
}

EXPORT int fstatat(int directory, const char *path, struct stat *status, int flags) {
    if (UNLIKELY(is_empty(path, flags)))
        return checked(REAL(fstatat)(directory, path, status, flags), directory, status);
    int saved = errno;
    int result = REAL(fstatat)(directory, path, status, flags);
    if (UNLIKELY(shim_knows_better(directory, path, result, saved)))
        return slow_stat(directory, path, status, flags);
    return result;
}

EXPORT int fstatat64(int directory, const char *path, struct stat64 *status, int flags) {
    if (UNLIKELY(is_empty(path, flags)))
        return checked(
            REAL(fstatat64)(directory, path, status, flags), directory, (struct stat *)status);
    int saved = errno;
    int result = REAL(fstatat64)(directory, path, status, flags);
    if (UNLIKELY(shim_knows_better(directory, path, result, saved)))
        return slow_stat(directory, path, (struct stat *)status, flags);
    return result;
}

static SLOW int slow_statx(
    int directory, const char *path, int flags, unsigned mask, struct statx *status) {
    struct shim_location location;
    if (!shim_locate(directory, path, !(flags & AT_SYMLINK_NOFOLLOW), &location))
        return REAL(statx)(directory, path, flags, mask, status);
    if (location.place == SHIM_NOWHERE) {
        shim_debug("statx(\"%s\") = -1 %s", path, strerrorname_np(location.error));
        errno = location.error;
        return -1;
    }
    int result = REAL(statx)(AT_FDCWD, location.path, flags, mask, status);
    if (location.place == SHIM_ELSEWHERE || result < 0)
        return result;
    struct shim_node node;
    if (location.node) {
        result = shim_read_node(location.path, &node);
        if (result == 0)
            describe_extended(status, &node);
    } else {
        status->stx_mode &= (uint16_t)~S_ISVTX;
    }
    shim_debug("statx(\"%s\"): mode 0%o", path, result < 0 ? 0 : status->stx_mode);
    return shim_result(result);
}

EXPORT int statx(int directory, const char *path, int flags, unsigned mask, struct statx *status) {
    if (UNLIKELY(is_empty(path, flags))) {
        int result = REAL(statx)(directory, path, flags, mask, status);
        struct shim_node node = {0, S_IFCHR | 0666};
        if (UNLIKELY(result == 0 && S_ISSOCK(status->stx_mode))
            && shim_identify(directory, &node.rdev))
            describe_extended(status, &node);
        return result;
    }
    int saved = errno;
    int result = REAL(statx)(directory, path, flags, mask, status);
    if (UNLIKELY(shim_knows_better(directory, path, result, saved)))
        return slow_statx(directory, path, flags, mask, status);
    return result;
}

// MARK: File systems: the tree's part of /sys is sysfs, by which libudev knows its devices

_Static_assert(sizeof(struct statfs) == sizeof(struct statfs64), "statfs and statfs64 are one");

static bool is_sysfs(const char *name) {
    return strcmp(name, "/sys") == 0 || strncmp(name, "/sys/", 5) == 0;
}

static SLOW void describe_directory(int fd, struct statfs *status) {
    char name[PATH_MAX];
    int saved = errno;
    if (shim_directory_name(fd, name) && is_sysfs(name))
        status->f_type = SYSFS_MAGIC;
    errno = saved;
}

static SLOW int slow_statfs(const char *path, struct statfs *status) {
    struct shim_location location;
    if (!shim_locate(AT_FDCWD, path, true, &location))
        return REAL(statfs)(path, status);
    if (location.place == SHIM_NOWHERE)
        return shim_result(-location.error);
    int result = REAL(statfs)(location.path, status);
    if (result == 0 && location.place == SHIM_IN_TREE && is_sysfs(location.name))
        status->f_type = SYSFS_MAGIC;
    return result;
}

#define FILE_SYSTEM_CALLS(by_path, by_descriptor, type)                                            \
    EXPORT int by_path(const char *path, struct type *status) {                                    \
        if (UNLIKELY(shim_candidate(AT_FDCWD, path)))                                              \
            return slow_statfs(path, (struct statfs *)status);                                     \
        return REAL(by_path)(path, status);                                                        \
    }                                                                                              \
    EXPORT int by_descriptor(int fd, struct type *status) {                                        \
        int result = REAL(by_descriptor)(fd, status);                                              \
        if (UNLIKELY(result == 0                                                                   \
                     && atomic_load_explicit(&shim_tree_directory_seen, memory_order_relaxed)))    \
            describe_directory(fd, (struct statfs *)status);                                       \
        return result;                                                                             \
    }
FILE_SYSTEM_CALLS(statfs, fstatfs, statfs)
FILE_SYSTEM_CALLS(statfs64, fstatfs64, statfs64)

// MARK: Extended attributes, which ls(1) asks for

static SLOW const char *attribute_path(
    const char *path, bool follow, struct shim_location *location) {
    if (!shim_locate(AT_FDCWD, path, follow, location))
        return path;
    if (location->place != SHIM_NOWHERE)
        return location->path;
    errno = location->error;
    return NULL;
}

#define ATTRIBUTE_CALL(name, follow, parameters, ...)                                              \
    ssize_t name parameters;                                                                       \
    static SLOW ssize_t slow_##name parameters {                                                   \
        struct shim_location location;                                                             \
        path = attribute_path(path, follow, &location);                                            \
        return path ? REAL(name)(path, __VA_ARGS__) : -1;                                          \
    }                                                                                              \
    EXPORT ssize_t name parameters {                                                               \
        if (UNLIKELY(shim_candidate(AT_FDCWD, path)))                                              \
            return slow_##name(path, __VA_ARGS__);                                                 \
        return REAL(name)(path, __VA_ARGS__);                                                      \
    }

ATTRIBUTE_CALL(
    getxattr, true, (const char *path, const char *name, void *value, size_t size), name, value,
    size)
ATTRIBUTE_CALL(
    lgetxattr, false, (const char *path, const char *name, void *value, size_t size), name, value,
    size)
ATTRIBUTE_CALL(listxattr, true, (const char *path, char *list, size_t size), list, size)
ATTRIBUTE_CALL(llistxattr, false, (const char *path, char *list, size_t size), list, size)

// MARK: Programs that were linked before glibc 2.33

int __xstat(int version, const char *path, struct stat *status);
int __xstat64(int version, const char *path, struct stat64 *status);
int __lxstat(int version, const char *path, struct stat *status);
int __lxstat64(int version, const char *path, struct stat64 *status);
int __fxstat(int version, int fd, struct stat *status);
int __fxstat64(int version, int fd, struct stat64 *status);
int __fxstatat(int version, int directory, const char *path, struct stat *status, int flags);
int __fxstatat64(int version, int directory, const char *path, struct stat64 *status, int flags);

// 0 is the kernel's struct and 1 libc's; on machines of 64 bits they are the same one.
static inline bool is_known(int version) {
    if (version == 0 || version == 1)
        return true;
    errno = EINVAL;
    return false;
}

EXPORT int __xstat(int version, const char *path, struct stat *status) {
    return is_known(version) ? stat(path, status) : -1;
}
EXPORT int __xstat64(int version, const char *path, struct stat64 *status) {
    return is_known(version) ? stat64(path, status) : -1;
}
EXPORT int __lxstat(int version, const char *path, struct stat *status) {
    return is_known(version) ? lstat(path, status) : -1;
}
EXPORT int __lxstat64(int version, const char *path, struct stat64 *status) {
    return is_known(version) ? lstat64(path, status) : -1;
}
EXPORT int __fxstat(int version, int fd, struct stat *status) {
    return is_known(version) ? fstat(fd, status) : -1;
}
EXPORT int __fxstat64(int version, int fd, struct stat64 *status) {
    return is_known(version) ? fstat64(fd, status) : -1;
}
EXPORT int __fxstatat(
    int version, int directory, const char *path, struct stat *status, int flags) {
    return is_known(version) ? fstatat(directory, path, status, flags) : -1;
}
EXPORT int __fxstatat64(
    int version, int directory, const char *path, struct stat64 *status, int flags) {
    return is_known(version) ? fstatat64(directory, path, status, flags) : -1;
}
