// The device tree: how the paths of a device that does not exist are answered.
//
// GPUVM_SHIM_TREE names a directory that mirrors /dev/dri and the parts of /sys that describe DRM
// devices. It is an overlay: what it has wins, the rest is the machine's.
//
//   dev/dri/renderD128      A regular file below dev is a device node. Its first line is
//                               char MAJOR:MINOR MODE
//                           in decimal, decimal and octal: `char 226:128 0666`.
//   sys/…                   Regular files are attributes; they can be read and not written.
//   any symbolic link       Stays one. A relative target is relative to where the link is, an
//                           absolute one starts at the program's root; both may lead out of the
//                           tree to the machine's own files.
//   any directory           Its entries come before the machine's own of that path. With the sticky
//                           bit set (mode 1755) the machine adds nothing, there and below: so are
//                           the directories of the device itself, which a real device of the same
//                           number must not shine through.
//
// The paths that can be in it are those of shim_candidate. Whoever writes the tree chooses a minor
// number and a PCI slot that the machine does not use, and writes it completely before the program
// starts; it is not expected to change. A tree for one device:
//
//   dev/dri/renderD128                                    char 226:128 0666
//   sys/dev/char/226:128 -> ../../devices/pci0000:00/0000:01:00.0/drm/renderD128
//   sys/class/drm/renderD128 -> ../../devices/pci0000:00/0000:01:00.0/drm/renderD128
//   sys/bus/pci/devices/0000:01:00.0 -> ../../../devices/pci0000:00/0000:01:00.0
//   sys/devices/pci0000:00/0000:01:00.0/                  mode 1755
//       vendor device subsystem_vendor subsystem_device revision class uevent config, and for
//       programs that list devices modalias boot_vga enable irq numa_node resource
//       subsystem -> ../../../bus/pci
//       drm/renderD128/dev                                226:128
//       drm/renderD128/uevent                             DEVNAME=dri/renderD128 and so on
//       drm/renderD128/device -> ../..
//       drm/renderD128/subsystem -> ../../../../../class/drm
#include "shim.h"

#include <stdio.h>
#include <sys/sysmacros.h>

#define MAX_LINKS 40  // as in the kernel

_Atomic bool shim_tree_directory_seen;

void shim_note_directory(void) {
    atomic_store_explicit(&shim_tree_directory_seen, true, memory_order_relaxed);
}

// /sys/class and /sys/bus themselves and what is below in the tree, /sys/class/net not.
static bool is_step(const char *path, const char *directory, const char *below) {
    if (!shim_begins(path, directory))
        return false;
    path += strlen(directory);
    int next = shim_next(path);
    return next == 0 || (next == '/' && (shim_next(path + 1) == 0 || shim_begins(path, below)));
}

bool shim_absolute_candidate(const char *path) {
    if (shim_begins(path, "/sys/")) {
        path += 5;
        return is_step(path, "class", "/drm") || is_step(path, "bus", "/pci")
            || shim_begins(path, "dev/char") || shim_begins(path, "devices");
    }
    return shim_begins(path, "/dev/dri") || shim_begins(path, "/dev/fd/")
        || shim_begins(path, "/proc/self/fd/");
}

bool shim_relative_candidate(const char *path) {
    if (atomic_load_explicit(&shim_tree_directory_seen, memory_order_relaxed))
        return true;
    // Programs that go down from / or from /sys step by step (libudev) come into the tree by one of
    // these names; those that do not are spared a look at what the directory is.
    static const char *const names[] = {"dev/dri", "dri", "sys/", "drm", "226:", "pci", "0000:",
                                        "renderD", "card"};
    for (unsigned index = 0; index < sizeof names / sizeof *names; index++)
        if (shim_begins(path, names[index]))
            return true;
    return false;
}

static bool is_drm(const char *name) {
    return strncmp(name, "/dev/dri/", 9) == 0 || strncmp(name, "/sys/class/drm/", 15) == 0
        || strncmp(name, "/sys/dev/char/226:", 18) == 0;
}

static bool nowhere(struct shim_location *location, int error) {
    location->place = SHIM_NOWHERE;
    location->error = error;
    return true;
}

// Appends a component to a path.
static bool push(char path[PATH_MAX], size_t *length, const char *component, size_t bytes) {
    if (*length + 1 + bytes >= PATH_MAX)
        return false;
    path[*length] = '/';
    memcpy(path + *length + 1, component, bytes);
    *length += 1 + bytes;
    path[*length] = 0;
    return true;
}

static void pop(char path[PATH_MAX], size_t *length) {
    while (*length > 0 && path[--*length] != '/') {
    }
    path[*length] = 0;
}

static bool walk(const char *path, bool follow, struct shim_location *location) {
    const struct shim_config config = shim_config();
    size_t tree = config.tree_length;
    if (!config.tree)
        return config.mask && is_drm(path) ? nowhere(location, ENOENT) : false;
    char *name = location->name, *host = location->path;
    char rest[PATH_MAX], target[PATH_MAX];
    size_t length = strlen(path), depth = 0, opaque = 0;  // opaque: length of the name, 0: none
    unsigned links = 0;
    bool outside = false;  // nothing of the name is in the tree any more
    if (length >= sizeof rest || tree >= PATH_MAX)
        return nowhere(location, ENAMETOOLONG);
    memcpy(rest, path, length + 1);
    if (length > 1 && path[length - 1] == '/')
        follow = true;
    memcpy(host, config.tree, tree);
    name[0] = 0;
    location->type = S_IFDIR;
    const char *next = rest;
    while (*(next += strspn(next, "/"))) {
        size_t bytes = strcspn(next, "/");
        bool last = next[bytes + strspn(next + bytes, "/")] == 0;
        if (!S_ISDIR(location->type) && !outside)
            return nowhere(location, ENOTDIR);
        if (bytes == 1 && next[0] == '.') {
            next += bytes;
            continue;
        }
        if (bytes == 2 && next[0] == '.' && next[1] == '.') {
            pop(name, &depth);
            opaque = opaque > depth ? 0 : opaque;
            next += bytes;
            continue;
        }
        if (!push(name, &depth, next, bytes) || tree + depth >= PATH_MAX)
            return nowhere(location, ENAMETOOLONG);
        memcpy(host + tree, name, depth + 1);
        next += bytes;
        struct stat status;
        if (syscall(SYS_newfstatat, AT_FDCWD, host, &status, AT_SYMLINK_NOFOLLOW) < 0) {
            if (opaque || (config.mask && is_drm(name)))
                return nowhere(location, ENOENT);
            outside = true;
            location->type = 0;
            continue;
        }
        outside = false;
        location->type = status.st_mode & S_IFMT;
        if (S_ISDIR(location->type) && status.st_mode & S_ISVTX && !opaque)
            opaque = depth;
        if (!S_ISLNK(location->type) || (last && !follow))
            continue;
        ssize_t size = syscall(SYS_readlinkat, AT_FDCWD, host, target, sizeof target);
        size_t left = strlen(next);
        if (size <= 0 || (size_t)size + 1 + left >= sizeof rest)
            return nowhere(location, size <= 0 ? ENOENT : ENAMETOOLONG);
        if (++links > MAX_LINKS)
            return nowhere(location, ELOOP);
        memmove(rest + size + 1, next, left + 1);
        memcpy(rest, target, (size_t)size);
        rest[size] = '/';
        next = rest;
        if (target[0] == '/')
            name[depth = 0] = 0;
        else
            pop(name, &depth);
        opaque = opaque > depth ? 0 : opaque;
        location->type = S_IFDIR;
    }
    if (outside) {
        // Without a link of the tree on the way it is the path that the program gave.
        location->place = SHIM_ELSEWHERE;
        memcpy(host, name, depth + 1);
        return links > 0;
    }
    memcpy(host + tree, name, depth + 1);
    if (depth == 0)
        memcpy(name, "/", 2);
    location->place = SHIM_IN_TREE;
    location->node = S_ISREG(location->type) && strncmp(name, "/dev/", 5) == 0;
    location->merged = !opaque;
    return true;
}

// What /proc says that a descriptor is; the length, or -1.
static ssize_t descriptor_path(int fd, char path[PATH_MAX]) {
    char link[32];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t size = syscall(SYS_readlinkat, AT_FDCWD, link, path, PATH_MAX - 1);
    path[size > 0 ? size : 0] = 0;
    return size;
}

bool shim_directory_name(int fd, char name[PATH_MAX]) {
    const struct shim_config config = shim_config();
    char host[PATH_MAX];
    if (!config.tree)
        return false;
    ssize_t size = descriptor_path(fd, host);
    if (size < (ssize_t)config.tree_length
        || memcmp(host, config.tree, config.tree_length) != 0)
        return false;
    if (host[config.tree_length] != '/' && host[config.tree_length] != 0)
        return false;
    memcpy(name, host + config.tree_length, (size_t)size - config.tree_length + 1);
    return true;
}

// One of the machine's directories from which a step leads into the tree.
static bool machine_directory_name(int fd, char name[PATH_MAX]) {
    ssize_t size = descriptor_path(fd, name);
    if (size == 1 && name[0] == '/') {
        name[0] = 0;
        return true;
    }
    return strcmp(name, "/dev") == 0 || strcmp(name, "/sys") == 0
        || strncmp(name, "/sys/", 5) == 0;
}

static bool locate_below(
    int directory, const char *path, bool follow, struct shim_location *location) {
    char whole[PATH_MAX];
    bool ours = shim_directory_name(directory, whole);
    if (!ours && !machine_directory_name(directory, whole))
        return false;
    size_t length = strlen(whole);
    if (!push(whole, &length, path, strlen(path)))
        return ours && nowhere(location, ENAMETOOLONG);
    if (!ours)
        return shim_absolute_candidate(whole) && walk(whole, follow, location);
    if (!walk(whole, follow, location)) {
        // What the merged directory has from the machine.
        location->place = SHIM_ELSEWHERE;
        memcpy(location->path, whole, length + 1);
    }
    return true;
}

bool shim_locate(int directory, const char *path, bool follow, struct shim_location *location) {
    char given[PATH_MAX], name[PATH_MAX];
    // The kernel finds the same fault again.
    if (shim_copy_string(given, path, sizeof given) < 0)
        return false;
    int saved = errno;
    bool found = given[0] != '/' ? locate_below(directory, given, follow, location)
               : follow && shim_descriptor_link(given, name) ? walk(name, follow, location)
                                                             : walk(given, follow, location);
    errno = saved;
    return found;
}

static bool number(const char **text, unsigned base, unsigned limit, unsigned *value) {
    const char *start = *text;
    *value = 0;
    for (; **text >= '0' && **text < (char)('0' + base); (*text)++) {
        *value = *value * base + (unsigned)(**text - '0');
        if (*value > limit)
            return false;
    }
    return *text > start;
}

int shim_read_node(const char *path, struct shim_node *node) {
    char line[64];
    int saved = errno;
    int fd = (int)syscall(SYS_openat, AT_FDCWD, path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    ssize_t size = syscall(SYS_read, fd, line, sizeof line - 1);
    syscall(SYS_close, fd);
    errno = saved;
    line[size > 0 ? size : 0] = 0;
    unsigned major, minor, mode;
    const char *next = line + 5;
    if (strncmp(line, "char ", 5) != 0 || !number(&next, 10, 4095, &major) || *next++ != ':'
        || !number(&next, 10, 0xfffff, &minor) || *next++ != ' ' || !number(&next, 8, 07777, &mode)
        || (*next != 0 && *next != '\n')) {
        shim_debug("%s does not describe a device: char MAJOR:MINOR MODE is expected", path);
        return -EIO;
    }
    *node = (struct shim_node){makedev(major, minor), S_IFCHR | mode};
    return 0;
}

bool shim_descriptor_link(const char *path, char name[PATH_MAX]) {
    const struct shim_config config = shim_config();
    const char *digits = strncmp(path, "/proc/self/fd/", 14) == 0 ? path + 14
                       : strncmp(path, "/dev/fd/", 8) == 0        ? path + 8
                                                                  : "";
    unsigned fd;
    dev_t rdev;
    if (!number(&digits, 10, INT_MAX / 10 - 1, &fd) || *digits || !config.tree
        || !shim_identify((int)fd, &rdev))
        return false;
    // Its link in sysfs ends with the node's name.
    char link[PATH_MAX + 64], target[PATH_MAX];
    snprintf(
        link, sizeof link, "%s/sys/dev/char/%u:%u", config.tree, major(rdev), minor(rdev));
    ssize_t size = syscall(SYS_readlinkat, AT_FDCWD, link, target, sizeof target - 1);
    if (size <= 0)
        return false;
    target[size] = 0;
    const char *last = strrchr(target, '/');
    snprintf(name, PATH_MAX, "/dev/dri/%.*s", NAME_MAX, last ? last + 1 : target);
    return true;
}
