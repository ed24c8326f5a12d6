// Writes the device tree of one TU104 at 0000:01:00.0, renderD128, as the shim's format wants it;
// renderD129 is a node whose open the fake daemon refuses.
#include "probe.h"

#include <sys/stat.h>

#define DEVICE "sys/devices/pci0000:00/0000:00:1f.7/0000:01:00.0"

static void path_of(char path[4096], const char *root, const char *name) {
    snprintf(path, 4096, "%s/%s", root, name);
}

static void directory(const char *root, const char *name, mode_t mode) {
    char path[4096];
    path_of(path, root, name);
    for (char *slash = path + 1; (slash = strchr(slash, '/')); slash++) {
        *slash = 0;
        mkdir(path, 0755);
        *slash = '/';
    }
    mkdir(path, 0755);
    CHECK(chmod(path, mode) == 0);
}

static void file(const char *root, const char *name, const char *text) {
    char path[4096];
    path_of(path, root, name);
    FILE *stream = fopen(path, "w");
    CHECK(stream && fputs(text, stream) >= 0 && fclose(stream) == 0);
}

static void link_to(const char *root, const char *name, const char *target) {
    char path[4096];
    path_of(path, root, name);
    CHECK(symlink(target, path) == 0);
}

void write_tree(const char *root) {
    directory(root, "dev/dri", 0755);
    directory(root, "sys/dev/char", 0755);
    directory(root, "sys/class/drm", 0755);
    directory(root, "sys/bus/pci/devices", 0755);
    directory(root, DEVICE "/drm/renderD128", 0755);
    directory(root, DEVICE, 01755);
    file(root, "dev/dri/renderD128", "char 226:128 0666\n");
    file(root, "dev/dri/renderD129", "char 226:129 0666\n");
    file(root, DEVICE "/vendor", "0x10de\n");
    file(root, DEVICE "/device", "0x1e82\n");
    file(root, DEVICE "/subsystem_vendor", "0x1458\n");
    file(root, DEVICE "/subsystem_device", "0x37c1\n");
    file(root, DEVICE "/revision", "0xa1\n");
    file(root, DEVICE "/class", "0x030000\n");
    file(root, DEVICE "/uevent", "DRIVER=nouveau\nPCI_CLASS=30000\nPCI_ID=10DE:1E82\n"
         "PCI_SUBSYS_ID=1458:37C1\nPCI_SLOT_NAME=0000:01:00.0\n");
    link_to(root, DEVICE "/subsystem", "../../../../bus/pci");
    file(root, DEVICE "/drm/renderD128/dev", "226:128\n");
    file(root, DEVICE "/drm/renderD128/uevent",
         "MAJOR=226\nMINOR=128\nDEVNAME=dri/renderD128\nDEVTYPE=drm_minor\n");
    link_to(root, DEVICE "/drm/renderD128/device", "../..");
    link_to(root, DEVICE "/drm/renderD128/subsystem", "../../../../../../class/drm");
    link_to(root, "sys/dev/char/226:128",
            "../../devices/pci0000:00/0000:00:1f.7/0000:01:00.0/drm/renderD128");
    link_to(root, "sys/class/drm/renderD128",
            "../../devices/pci0000:00/0000:00:1f.7/0000:01:00.0/drm/renderD128");
    link_to(root, "sys/bus/pci/devices/0000:01:00.0",
            "../../../devices/pci0000:00/0000:00:1f.7/0000:01:00.0");
}
