// Unusual ways to a device: paths that are not there, steps from the root, descriptors of /proc.
#include "probe.h"

#include <dirent.h>
#include <dlfcn.h>
#include <limits.h>
#include <linux/magic.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>
#include <sys/xattr.h>

static void refuse_path(const char *path, bool begins) {
    struct stat s;
    struct statx x;
    struct statfs f;
    char room[64];
    struct dirent **list;
    int (*fortified)(const char *, int) = dlsym(RTLD_DEFAULT, "__open64_2");
    FAILS(open(path, O_RDONLY), EFAULT);
    FAILS(open64(path, O_RDONLY), EFAULT);
    FAILS(openat(AT_FDCWD, path, O_RDONLY), EFAULT);
    FAILS(openat64(AT_FDCWD, path, O_RDONLY), EFAULT);
    FAILS(fortified(path, O_RDONLY), EFAULT);
    CHECK(!fopen(path, "r") && errno == EFAULT);
    FAILS(stat(path, &s), EFAULT);
    FAILS(lstat(path, &s), EFAULT);
    FAILS(fstatat(AT_FDCWD, path, &s, 0), EFAULT);
    FAILS(statx(AT_FDCWD, path, 0, STATX_ALL, &x), EFAULT);
    FAILS(access(path, F_OK), EFAULT);
    FAILS(faccessat(AT_FDCWD, path, F_OK, 0), EFAULT);
    FAILS(euidaccess(path, F_OK), EFAULT);
    FAILS(readlink(path, room, sizeof room), EFAULT);
    FAILS(readlinkat(AT_FDCWD, path, room, sizeof room), EFAULT);
    FAILS(statfs(path, &f), EFAULT);
    FAILS(getxattr(path, "user.x", room, sizeof room), EFAULT);
    FAILS(lgetxattr(path, "user.x", room, sizeof room), EFAULT);
    FAILS(listxattr(path, room, sizeof room), EFAULT);
    if (begins) {  // the C library itself reads the first byte here
        CHECK(!opendir(path) && errno == EFAULT);
        FAILS(scandir(path, &list, NULL, NULL), EFAULT);
    }
    int root = (int)syscall(SYS_openat, AT_FDCWD, "/", O_RDONLY | O_DIRECTORY);
    int tree = open("/sys/class/drm", O_RDONLY | O_DIRECTORY);
    CHECK(root >= 0 && tree >= 0);
    FAILS(openat(root, path, O_RDONLY), EFAULT);
    FAILS(openat(tree, path, O_RDONLY), EFAULT);
    FAILS(fstatat(tree, path, &s, 0), EFAULT);
    FAILS(readlinkat(tree, path, room, sizeof room), EFAULT);
    close(root);
    close(tree);
}

// A path that is not there, or not to its end, is the kernel's EFAULT and no signal.
static void bad_paths(void) {
    void *closed = mmap(NULL, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(closed != MAP_FAILED);
    uintptr_t bad[] = {0, 1, 8, 4095, 4096, (uintptr_t)edge(0), (uintptr_t)closed + 77,
                       ~(uintptr_t)0xfff, ~(uintptr_t)0, 0x8000000000000000u};
    for (unsigned n = 0; n < sizeof bad / sizeof *bad; n++)
        refuse_path((const char *)bad[n], false);
    static const char *const cut[] = {
        "/", "/d", "/dev", "/dev/", "/dev/dr", "/dev/dri", "/dev/dri/", "/dev/dri/renderD128", "/s",
        "/sys", "/sys/", "/sys/class", "/sys/class/drm", "/sys/dev/char/226:128", "/proc/self/fd/",
        "/p", "/dev/fd/3", "d", "dri", "sys", "x", "/x"};
    for (unsigned n = 0; n < sizeof cut / sizeof *cut; n++) {
        char *place = edge(strlen(cut[n]));
        memcpy(place, cut[n], strlen(cut[n]));
        refuse_path(place, true);
    }
    // What ends with the page is a path like any other.
    struct stat s;
    char *last = edge(sizeof NODE);
    memcpy(last, NODE, sizeof NODE);
    CHECK(stat(last, &s) == 0);
    check_node(s.st_mode, s.st_rdev);
    CHECK(close(open(last, O_RDWR)) == 0);
    // Across the end of a page, in the middle of what is compared.
    char *pages = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    for (unsigned before = 1; before < sizeof NODE; before++) {
        memcpy(pages + 4096 - before, NODE, sizeof NODE);
        CHECK(stat(pages + 4096 - before, &s) == 0 && S_ISCHR(s.st_mode));
    }
    // Answers without room for them.
    int fd = open_node();
    char target[8];
    FAILS(stat(NODE, (struct stat *)16), EFAULT);
    FAILS(fstat(fd, (struct stat *)16), EFAULT);
    FAILS(statx(AT_FDCWD, NODE, 0, STATX_ALL, (struct statx *)16), EFAULT);
    FAILS(readlink(CHAR, (char *)16, 8), EFAULT);
    CHECK(readlink(CHAR, target, 8) == 8);
    snprintf(pages, 64, "/proc/self/fd/%d", fd);
    FAILS(readlink(pages, (char *)16, 8), EFAULT);
    CHECK(readlink(pages, target, 8) == 8 && memcmp(target, "/dev/dri", 8) == 0);
    char *endless = malloc(9000);
    memset(endless, 'x', 9000);
    memcpy(endless, "/dev/dri/", 9);
    endless[8999] = 0;
    FAILS(open(endless, O_RDWR), ENAMETOOLONG);
    FAILS(access(endless, F_OK), ENAMETOOLONG);
    // A null path with AT_EMPTY_PATH: kernels differ, and the shim does as its own.
    struct statx x, raw;
    const char *volatile nothing = NULL;
    int plain = (int)syscall(SYS_openat, AT_FDCWD, "/", O_RDONLY);
    errno = 0;
    long expected = syscall(SYS_statx, plain, NULL, AT_EMPTY_PATH, STATX_ALL, &raw);
    int error = errno;
    errno = 0;
    CHECK(statx(plain, nothing, AT_EMPTY_PATH, STATX_ALL, &x) == expected && errno == error);
    errno = 0;
    CHECK(statx(fd, nothing, AT_EMPTY_PATH, STATX_ALL, &x) == expected && errno == error);
    if (expected == 0)
        check_node(x.stx_mode, makedev(x.stx_rdev_major, x.stx_rdev_minor));
    errno = 0;
    expected = syscall(SYS_newfstatat, plain, NULL, &s, AT_EMPTY_PATH);
    error = errno;
    errno = 0;
    CHECK(fstatat(plain, nothing, &s, AT_EMPTY_PATH) == expected && errno == error);
}

// Step by step from the root, as libudev goes, and through the descriptors of /proc.
static void steps(void) {
    int flags = O_PATH | O_NOFOLLOW | O_CLOEXEC;
    int fd = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
    static const char *const names[] = {"sys", "dev", "char", "226:128"};
    for (unsigned n = 0; n < 4; n++) {
        int next = openat(fd, names[n], flags);
        CHECK(next >= 0 && close(fd) == 0);
        fd = next;
    }
    struct stat s;
    char target[PATH_MAX] = "";
    CHECK(fstat(fd, &s) == 0 && S_ISLNK(s.st_mode));
    CHECK(readlinkat(fd, "", target, sizeof target) > 0);
    CHECK(strncmp(target, "../../devices/", 14) == 0);
    close(fd);
    int root = open("/", O_PATH | O_DIRECTORY);
    CHECK(fstatat(root, "dev/dri/renderD128", &s, 0) == 0);
    check_node(s.st_mode, s.st_rdev);
    CHECK(fstatat(root, "sys/class/drm/renderD128/dev", &s, 0) == 0 && S_ISREG(s.st_mode));
    CHECK(fstatat(root, "sys/devices/system/cpu", &s, 0) == 0 && S_ISDIR(s.st_mode));
    FAILS(fstatat(root, "dri", &s, 0), ENOENT);
    // The machine's classes are still there, below the directory that has one more.
    CHECK(has("/sys/class", "drm", DT_UNKNOWN) && has("/sys/class", "net", DT_UNKNOWN));
    fd = open("/sys/class", O_RDONLY | O_DIRECTORY);
    CHECK(fd >= 0 && fstatat(fd, "net", &s, 0) == 0 && fstatat(fd, "drm/renderD128", &s, 0) == 0);
    close(fd);
    // The tree's part of /sys is sysfs.
    struct statfs f;
    CHECK(statfs(CHAR "/device", &f) == 0 && f.f_type == SYSFS_MAGIC);
    CHECK(statfs("/sys/class/net", &f) == 0 && f.f_type == SYSFS_MAGIC);
    fd = open(CHAR "/device", O_PATH | O_DIRECTORY);
    CHECK(fd >= 0 && fstatfs(fd, &f) == 0 && f.f_type == SYSFS_MAGIC);
    close(fd);
    CHECK(statfs("/dev/dri", &f) == 0 && f.f_type != SYSFS_MAGIC);

    int file = open_node(), pipes[2];
    check_works(file);
    snprintf(target, sizeof target, "/proc/self/fd/%d", file);
    char name[PATH_MAX] = "";
    CHECK(readlink(target, name, sizeof name) == sizeof NODE - 1 && strcmp(name, NODE) == 0);
    memset(name, 0, sizeof name);
    CHECK(readlink(target, name, 4) == 4 && strcmp(name, "/dev") == 0);  // and nothing behind
    CHECK(stat(target, &s) == 0);
    check_node(s.st_mode, s.st_rdev);
    CHECK(lstat(target, &s) == 0 && S_ISLNK(s.st_mode));
    CHECK(access(target, R_OK | W_OK) == 0);
    CHECK(realpath(target, name) && strcmp(name, NODE) == 0);
    unsigned before = stats(file, 0).opened;
    int again = open(target, O_RDWR);
    CHECK(again >= 0 && stats(file, 0).opened == before + 1);  // another file
    check_works(again);
    snprintf(target, sizeof target, "/dev/fd/%d", again);
    CHECK(stat(target, &s) == 0);
    check_node(s.st_mode, s.st_rdev);
    CHECK(pipe(pipes) == 0);
    snprintf(target, sizeof target, "/proc/self/fd/%d", pipes[0]);
    CHECK(stat(target, &s) == 0 && S_ISFIFO(s.st_mode));
    CHECK(readlink(target, name, sizeof name) > 5 && memcmp(name, "pipe:", 5) == 0);
}

const struct test_case way_cases[] = {
    {"bad-paths", bad_paths}, {"steps", steps}, {NULL, NULL},
};
