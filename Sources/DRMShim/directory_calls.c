// Directories of the tree, with the machine's own entries behind the tree's.
#include "shim.h"

#include <stdlib.h>

_Static_assert(sizeof(struct dirent) == sizeof(struct dirent64), "dirent and dirent64 are one");

// An open directory of the tree. Entries are used again and never given back, so that looking one
// up takes no lock; libc forbids closing a stream while another thread reads it.
struct listing {
    DIR *_Atomic stream;      // the tree's; null: free
    DIR *machine;             // the machine's own, or null
    bool at_machine;          // the tree's entries are read
    bool nodes;               // files in it are device nodes
    struct listing *_Atomic next;
};
static struct listing *_Atomic listings;

static struct listing *listing_of(DIR *stream) {
    for (struct listing *entry = atomic_load(&listings); entry; entry = atomic_load(&entry->next))
        if (atomic_load(&entry->stream) == stream)
            return entry;
    return NULL;
}

// A free entry, claimed for the stream.
static struct listing *new_listing(DIR *stream) {
    for (struct listing *entry = atomic_load(&listings); entry; entry = atomic_load(&entry->next)) {
        DIR *none = NULL;
        if (atomic_compare_exchange_strong(&entry->stream, &none, stream))
            return entry;
    }
    struct listing *entry = calloc(1, sizeof *entry);
    if (!entry)
        return NULL;
    atomic_store(&entry->stream, stream);
    struct listing *head = atomic_load(&listings);
    do {
        atomic_store(&entry->next, head);
    } while (!atomic_compare_exchange_weak(&listings, &head, entry));
    return entry;
}

static bool is_drm_directory(const char *name) {
    return strcmp(name, "/dev/dri") == 0 || strncmp(name, "/dev/dri/", 9) == 0
        || strcmp(name, "/sys/class/drm") == 0;
}

// Takes over a stream of a directory of the tree.
static DIR *adopt(DIR *stream, const struct shim_location *location) {
    if (!stream)
        return NULL;
    int saved = errno;
    struct listing *entry = new_listing(stream);
    if (!entry) {
        REAL(closedir)(stream);
        errno = ENOMEM;
        return NULL;
    }
    entry->at_machine = false;
    entry->nodes = strncmp(location->name, "/dev/", 5) == 0;
    entry->machine = NULL;
    if (location->merged && !(shim_config().mask && is_drm_directory(location->name)))
        entry->machine = REAL(opendir)(location->name);
    shim_note_directory();
    errno = saved;
    return stream;
}

static SLOW DIR *slow_opendir(const char *path) {
    struct shim_location location;
    if (!shim_locate(AT_FDCWD, path, true, &location))
        return REAL(opendir)(path);
    if (location.place == SHIM_NOWHERE) {
        shim_debug("opendir(\"%s\") = 0 %s", path, strerrorname_np(location.error));
        errno = location.error;
        return NULL;
    }
    DIR *stream = REAL(opendir)(location.path);
    if (location.place == SHIM_ELSEWHERE)
        return stream;
    shim_debug("opendir(\"%s\") = %p", path, (void *)stream);
    return adopt(stream, &location);
}

EXPORT DIR *opendir(const char *path) {
    if (UNLIKELY(shim_candidate(AT_FDCWD, path)))
        return slow_opendir(path);
    return REAL(opendir)(path);
}

static SLOW DIR *slow_fdopendir(int fd) {
    struct shim_location location;
    char name[PATH_MAX];
    if (!shim_directory_name(fd, name) || !name[0]
        || !shim_locate(AT_FDCWD, name, false, &location) || location.place != SHIM_IN_TREE)
        return REAL(fdopendir)(fd);
    return adopt(REAL(fdopendir)(fd), &location);
}

EXPORT DIR *fdopendir(int fd) {
    if (UNLIKELY(atomic_load_explicit(&shim_tree_directory_seen, memory_order_relaxed)))
        return slow_fdopendir(fd);
    return REAL(fdopendir)(fd);
}

static SLOW struct dirent *read_listing(struct listing *entry) {
    DIR *stream = atomic_load(&entry->stream);
    struct dirent *found;
    if (!entry->at_machine) {
        found = REAL(readdir)(stream);
        if (found) {
            if (entry->nodes && found->d_type == DT_REG)
                found->d_type = DT_CHR;
            return found;
        }
        entry->at_machine = true;
    }
    if (!entry->machine)
        return NULL;
    // What the tree has was listed.
    while ((found = REAL(readdir)(entry->machine))) {
        struct stat status;
        int saved = errno;
        long there = syscall(
            SYS_newfstatat, dirfd(stream), found->d_name, &status, AT_SYMLINK_NOFOLLOW);
        errno = saved;
        if (there < 0)
            return found;
    }
    return NULL;
}

static inline struct listing *opened(DIR *stream) {
    return UNLIKELY(atomic_load_explicit(&listings, memory_order_acquire) != NULL)
        ? listing_of(stream)
        : NULL;
}

EXPORT struct dirent *readdir(DIR *stream) {
    struct listing *entry = opened(stream);
    return entry ? read_listing(entry) : REAL(readdir)(stream);
}

EXPORT struct dirent64 *readdir64(DIR *stream) {
    struct listing *entry = opened(stream);
    return entry ? (struct dirent64 *)read_listing(entry) : REAL(readdir64)(stream);
}

static int read_into(struct listing *entry, void *buffer, void **result) {
    int saved = errno;
    errno = 0;
    struct dirent *found = read_listing(entry);
    int error = errno;
    errno = saved;
    *result = found ? memcpy(buffer, found, found->d_reclen) : NULL;
    return found ? 0 : error;
}

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wdeprecated-declarations"
EXPORT int readdir_r(DIR *stream, struct dirent *buffer, struct dirent **result) {
    struct listing *entry = opened(stream);
    return entry ? read_into(entry, buffer, (void **)result)
                 : REAL(readdir_r)(stream, buffer, result);
}

EXPORT int readdir64_r(DIR *stream, struct dirent64 *buffer, struct dirent64 **result) {
    struct listing *entry = opened(stream);
    return entry ? read_into(entry, buffer, (void **)result)
                 : REAL(readdir64_r)(stream, buffer, result);
}
#pragma GCC diagnostic pop

EXPORT void rewinddir(DIR *stream) {
    struct listing *entry = opened(stream);
    if (entry) {
        entry->at_machine = false;
        if (entry->machine)
            REAL(rewinddir)(entry->machine);
    }
    REAL(rewinddir)(stream);
}

EXPORT int closedir(DIR *stream) {
    struct listing *entry = opened(stream);
    if (entry) {
        if (entry->machine)
            REAL(closedir)(entry->machine);
        entry->machine = NULL;
        atomic_store(&entry->stream, NULL);
    }
    return REAL(closedir)(stream);
}

// MARK: scandir, whose calls of readdir do not leave libc

static SLOW int scan(
    const char *path, struct dirent ***list, int (*filter)(const struct dirent *),
    int (*compare)(const struct dirent **, const struct dirent **)) {
    DIR *stream = opendir(path);
    if (!stream)
        return -1;
    struct dirent **entries = NULL, *found;
    size_t count = 0, room = 0;
    int saved = errno;
    while (errno = 0, (found = readdir(stream))) {
        if (filter && !filter(found))
            continue;
        if (count == room) {
            struct dirent **more = realloc(entries, sizeof *entries * (room = room * 2 + 16));
            if (!more)
                break;
            entries = more;
        }
        entries[count] = malloc(found->d_reclen);
        if (!entries[count])
            break;
        memcpy(entries[count++], found, found->d_reclen);
    }
    int error = errno;
    closedir(stream);
    if (error != 0) {
        while (count > 0)
            free(entries[--count]);
        free(entries);
        errno = error;
        return -1;
    }
    errno = saved;
    if (compare && count > 1)
        qsort(entries, count, sizeof *entries, (int (*)(const void *, const void *))compare);
    *list = entries;
    return (int)count;
}

EXPORT int scandir(
    const char *path, struct dirent ***list, int (*filter)(const struct dirent *),
    int (*compare)(const struct dirent **, const struct dirent **)) {
    if (UNLIKELY(shim_candidate(AT_FDCWD, path)))
        return scan(path, list, filter, compare);
    return REAL(scandir)(path, list, filter, compare);
}

EXPORT int scandir64(
    const char *path, struct dirent64 ***list, int (*filter)(const struct dirent64 *),
    int (*compare)(const struct dirent64 **, const struct dirent64 **)) {
    if (UNLIKELY(shim_candidate(AT_FDCWD, path)))
        return scan(
            path, (struct dirent ***)list, (int (*)(const struct dirent *))filter,
            (int (*)(const struct dirent **, const struct dirent **))compare);
    return REAL(scandir64)(path, list, filter, compare);
}
