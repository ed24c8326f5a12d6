// The device tree, as libdrm and others look at it.
#include "probe.h"

#include <dirent.h>
#include <dlfcn.h>
#include <limits.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>

#define REAL_DEVICE "/sys/devices/pci0000:00/0000:00:1f.7/0000:01:00.0"

void check_node(mode_t mode, dev_t rdev) {
    CHECK(S_ISCHR(mode) && (mode & 0777) == 0666);
    CHECK(major(rdev) == 226 && minor(rdev) == 128);
}

static void status(void) {
    struct stat s;
    struct stat64 s64;
    struct statx x;
    CHECK(stat(NODE, &s) == 0);
    check_node(s.st_mode, s.st_rdev);
    CHECK(s.st_size == 0);
    CHECK(stat64(NODE, &s64) == 0);
    check_node(s64.st_mode, s64.st_rdev);
    CHECK(lstat(NODE, &s) == 0);
    check_node(s.st_mode, s.st_rdev);
    CHECK(lstat64(NODE, &s64) == 0);
    check_node(s64.st_mode, s64.st_rdev);
    CHECK(fstatat(AT_FDCWD, NODE, &s, 0) == 0);
    check_node(s.st_mode, s.st_rdev);
    CHECK(statx(AT_FDCWD, NODE, 0, STATX_ALL, &x) == 0);
    check_node(x.stx_mode, makedev(x.stx_rdev_major, x.stx_rdev_minor));
    int (*old)(int, const char *, struct stat *) = dlsym(RTLD_DEFAULT, "__xstat");
    CHECK(old && old(1, NODE, &s) == 0);
    check_node(s.st_mode, s.st_rdev);
    FAILS(old(7, NODE, &s), EINVAL);

    CHECK(stat(CHAR "/device/drm", &s) == 0 && S_ISDIR(s.st_mode));
    CHECK(lstat(CHAR, &s) == 0 && S_ISLNK(s.st_mode));
    CHECK(stat(CHAR "/device", &s) == 0 && S_ISDIR(s.st_mode) && !(s.st_mode & S_ISVTX));
    FAILS(stat(CHAR "/device/vendor/x", &s), ENOTDIR);
    FAILS(stat("/dev/dri/renderD77", &s), ENOENT);
    // A real device of that slot does not shine through.
    FAILS(stat("/sys/bus/pci/devices/0000:01:00.0/boot_vga", &s), ENOENT);
    FAILS(stat(CHAR "/device/driver", &s), ENOENT);
    // The machine's own files are where they were.
    CHECK(stat("/sys/devices/system/cpu", &s) == 0 && S_ISDIR(s.st_mode));
    FAILS(stat((char *)16, &s), EFAULT);
    FAILS(access((char *)1, F_OK), EFAULT);

    int fd = open_node();
    CHECK(fstat(fd, &s) == 0);
    check_node(s.st_mode, s.st_rdev);
    CHECK(fstat64(fd, &s64) == 0);
    check_node(s64.st_mode, s64.st_rdev);
    CHECK(fstatat(fd, "", &s, AT_EMPTY_PATH) == 0);
    check_node(s.st_mode, s.st_rdev);
    CHECK(statx(fd, "", AT_EMPTY_PATH, STATX_ALL, &x) == 0);
    check_node(x.stx_mode, makedev(x.stx_rdev_major, x.stx_rdev_minor));
}

static void files(void) {
    char text[256] = "", target[PATH_MAX];
    FILE *stream = fopen("/sys/bus/pci/devices/0000:01:00.0/vendor", "r");
    CHECK(stream && fgets(text, sizeof text, stream) && strcmp(text, "0x10de\n") == 0);
    fclose(stream);
    stream = fopen64(CHAR "/device/uevent", "re");
    CHECK(stream && fread(text, 1, sizeof text - 1, stream) > 0);
    CHECK(strstr(text, "PCI_SLOT_NAME=0000:01:00.0"));
    CHECK(fcntl(fileno(stream), F_GETFD) == FD_CLOEXEC);
    fclose(stream);
    CHECK(!fopen(CHAR "/device/uevent", "w") && errno == EACCES);
    CHECK(!fopen(CHAR "/device/none", "r") && errno == ENOENT);
    FAILS(open(CHAR "/device/vendor", O_RDWR), EACCES);
    FAILS(open("/sys/class/drm", O_RDWR), EISDIR);
    int fd = open64(CHAR "/device/vendor", O_RDONLY | O_CLOEXEC);
    CHECK(fd >= 0 && read(fd, text, 4) == 4 && memcmp(text, "0x10", 4) == 0 && close(fd) == 0);

    CHECK(access(NODE, F_OK) == 0 && access(NODE, R_OK | W_OK) == 0);
    FAILS(access(NODE, X_OK), EACCES);
    CHECK(faccessat(AT_FDCWD, CHAR "/device/vendor", R_OK, 0) == 0);
    FAILS(access(CHAR "/device/vendor", W_OK), EACCES);
    FAILS(access(CHAR "/device/boot_vga", F_OK), ENOENT);

    ssize_t size = readlink(CHAR "/device/subsystem", target, sizeof target);
    CHECK(size > 4 && memcmp(target + size - 4, "/pci", 4) == 0);
    CHECK(readlinkat(AT_FDCWD, CHAR "/device/subsystem", target, sizeof target) == size);
    FAILS(readlink(NODE, target, sizeof target), EINVAL);
    CHECK(realpath(CHAR "/device", target) == target && strcmp(target, REAL_DEVICE) == 0);
    char *made = realpath("/sys/class/drm/renderD128/../../none", NULL);
    CHECK(!made && errno == ENOENT);
    made = realpath("/sys/class/drm/renderD128/device/drm/../vendor", NULL);
    CHECK(made && strcmp(made, REAL_DEVICE "/vendor") == 0);
    free(made);
    made = canonicalize_file_name("/sys/bus/pci/devices/0000:01:00.0/subsystem/");
    CHECK(made && strcmp(made, "/sys/bus/pci") == 0);
    free(made);
    char *(*checked)(const char *, char *, size_t) = dlsym(RTLD_DEFAULT, "__realpath_chk");
    CHECK(checked && checked(CHAR "/device", target, sizeof target) == target);
    CHECK(strcmp(target, REAL_DEVICE) == 0);
}

bool has(const char *path, const char *name, unsigned char type) {
    DIR *stream = opendir(path);
    CHECK(stream);
    bool found = false;
    for (struct dirent64 *entry; (entry = readdir64(stream));)
        if (strcmp(entry->d_name, name) == 0) {
            CHECK(!found);  // once
            found = true;
            CHECK(type == DT_UNKNOWN || entry->d_type == type);
        }
    CHECK(closedir(stream) == 0);
    return found;
}

static int not_dot(const struct dirent *entry) { return entry->d_name[0] != '.'; }

static void directories(void) {
    CHECK(has("/dev/dri", "renderD128", DT_CHR));
    CHECK(has("/sys/class/drm", "renderD128", DT_LNK));
    CHECK(has("/sys/dev/char", "226:128", DT_LNK));
    CHECK(has("/sys/bus/pci/devices", "0000:01:00.0", DT_LNK));
    CHECK(!opendir("/dev/dri/renderD128") && errno == ENOTDIR);
    CHECK(!opendir("/sys/class/drm/none") && errno == ENOENT);
    struct dirent **list;
    int count = scandir("/dev/dri", &list, not_dot, alphasort);
    CHECK(count >= 2 && strcmp(list[count - 2]->d_name, "renderD128") == 0);
    while (count > 0)
        free(list[--count]);
    free(list);
    // What the machine has itself is listed too: here asked for behind the shim's back.
    int raw = (int)syscall(SYS_openat, AT_FDCWD, "/sys/devices", O_RDONLY | O_DIRECTORY);
    CHECK(raw >= 0);
    char entries[32768];
    long size = syscall(SYS_getdents64, raw, entries, sizeof entries), seen = 0;
    for (long at = 0; at < size; seen++) {
        struct dirent64 *entry = (struct dirent64 *)(entries + at);
        CHECK(has("/sys/devices", entry->d_name, DT_UNKNOWN));
        at += entry->d_reclen;
    }
    CHECK(seen > 2);
    syscall(SYS_close, raw);
    // The device's own directory is whole as it is.
    DIR *stream = opendir(CHAR "/device");
    CHECK(stream);
    unsigned names = 0;
    while (readdir(stream))
        names++;
    CHECK(names == 11);
    rewinddir(stream);
    CHECK(readdir(stream));
    closedir(stream);
    // Relative to a descriptor of such a directory, as find(1) goes.
    int dri = open("/dev/dri", O_RDONLY | O_DIRECTORY);
    CHECK(dri >= 0);
    struct stat s;
    CHECK(fstatat(dri, "renderD128", &s, AT_SYMLINK_NOFOLLOW) == 0);
    check_node(s.st_mode, s.st_rdev);
    int fd = openat(dri, "renderD128", O_RDWR);
    CHECK(fd >= 0);
    check_works(fd);
    stream = fdopendir(dri);
    CHECK(stream);
    bool found = false;
    for (struct dirent *entry; (entry = readdir(stream));)
        found |= strcmp(entry->d_name, "renderD128") == 0 && entry->d_type == DT_CHR;
    CHECK(found && closedir(stream) == 0);
}

static void opening(void) {
    CHECK(close(0) == 0);
    int fd = open(NODE, O_RDWR | O_CLOEXEC);
    CHECK(fd == 0 && fcntl(fd, F_GETFD) == FD_CLOEXEC);  // the lowest number, as always
    int other = open64(NODE, O_RDWR | O_NONBLOCK);
    CHECK(other > 0 && fcntl(other, F_GETFD) == 0 && fcntl(other, F_GETFL) & O_NONBLOCK);
    check_works(fd);
    check_works(other);
    int (*fortified)(const char *, int) = dlsym(RTLD_DEFAULT, "__open64_2");
    CHECK(fortified && (fd = fortified(NODE, O_RDWR)) >= 0);
    check_works(fd);
    FAILS(open(NODE, O_RDONLY | O_DIRECTORY), ENOTDIR);
    FAILS(open(NODE, O_RDWR | O_CREAT | O_EXCL, 0600), EEXIST);
    FAILS(open("/dev/dri/renderD129", O_RDWR), EACCES);  // so says the fake daemon
    FAILS(open("/dev/dri/renderD130", O_RDWR), ENOENT);
    FAILS(open((char *)8, O_RDWR), EFAULT);
    FILE *stream = fopen(NODE, "r+");
    CHECK(stream);
    check_works(fileno(stream));
    fclose(stream);
}

static void no_daemon(void) { FAILS(open(NODE, O_RDWR), ENXIO); }

// GPUVM_SHIM_MASK=1 and no tree entry: the machine's DRM devices are not there.
static void masked(void) {
    struct stat s;
    CHECK(stat(NODE, &s) == 0);
    FAILS(stat("/dev/dri/card0", &s), ENOENT);
    FAILS(open("/dev/dri/card0", O_RDWR), ENOENT);
    FAILS(access("/sys/dev/char/226:0/device", F_OK), ENOENT);
    DIR *stream = opendir("/dev/dri");
    CHECK(stream);
    unsigned names = 0;
    while (readdir(stream))
        names++;
    CHECK(names == 4);
    closedir(stream);
    CHECK(stat("/sys/bus/pci/devices", &s) == 0);
}

// The system's libdrm, declared as its public header does.
struct pci_bus { uint16_t domain; uint8_t bus, dev, func; };
struct pci_info { uint16_t vendor, device, subvendor, subdevice; uint8_t revision; };
struct drm_device {
    char **nodes;
    int available, bustype;
    struct pci_bus *bus;
    struct pci_info *info;
};

static void libdrm(void) {
    void *library = dlopen("libdrm.so.2", RTLD_NOW);
    if (!library) {
        puts("skipped: this machine has no libdrm.so.2");
        return;
    }
    int (*get)(uint32_t, struct drm_device **, int) = dlsym(library, "drmGetDevices2");
    struct drm_device *devices[16];
    int count = get(0, NULL, 0);
    CHECK(count >= 1);
    count = get(0, devices, 16);
    bool found = false;
    for (int n = 0; n < count; n++) {
        struct drm_device *device = devices[n];
        if (!(device->available & 4) || strcmp(device->nodes[2], NODE) != 0)
            continue;
        found = true;
        CHECK(device->bustype == 0);
        CHECK(device->bus->domain == 0 && device->bus->bus == 1 && device->bus->dev == 0);
        CHECK(device->info->vendor == 0x10de && device->info->device == 0x1e82);
        CHECK(device->info->subvendor == 0x1458 && device->info->subdevice == 0x37c1);
    }
    CHECK(found);
    int fd = open_node();
    int (*type)(int) = dlsym(library, "drmGetNodeTypeFromFd");
    CHECK(type(fd) == 2);
    char *(*name)(int) = dlsym(library, "drmGetDeviceNameFromFd2");
    char *text = name(fd);
    CHECK(text && strcmp(text, NODE) == 0);
    struct { int major, minor, patch, name_len; char *name; } *version;
    void *(*get_version)(int) = dlsym(library, "drmGetVersion");
    version = get_version(fd);
    CHECK(version && version->major == 1 && version->minor == 4 && version->patch == 1);
    CHECK(strcmp(version->name, "nouveau") == 0);
}

const struct test_case path_cases[] = {
    {"status", status}, {"files", files}, {"directories", directories}, {"opening", opening},
    {"no-daemon", no_daemon}, {"masked", masked}, {"libdrm", libdrm}, {NULL, NULL},
};
