// probe daemon SOCKET | tree DIR | run CASE | list | real CASE | list-real | inherited FD
//     | received FD | descriptor-received FD | needed LIBRARY | startup LIBRARY | calls
//     | executed FD FD | exec PROGRAM ARGUMENTS
#include "probe.h"

#include <dirent.h>
#include <elf.h>
#include <signal.h>
#include <spawn.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>

extern char **environ;

// The libraries that a library needs, one a line.
int print_needed(const char *library) {
    int fd = open(library, O_RDONLY);
    struct stat s;
    CHECK(fd >= 0 && fstat(fd, &s) == 0);
    const char *image = mmap(NULL, (size_t)s.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
    CHECK(image != MAP_FAILED);
    const Elf64_Ehdr *header = (const void *)image;
    const Elf64_Shdr *sections = (const void *)(image + header->e_shoff);
    for (unsigned n = 0; n < header->e_shnum; n++) {
        if (sections[n].sh_type != SHT_DYNAMIC)
            continue;
        const char *strings = image + sections[sections[n].sh_link].sh_offset;
        const Elf64_Dyn *entry = (const void *)(image + sections[n].sh_offset);
        for (; entry->d_tag != DT_NULL; entry++)
            if (entry->d_tag == DT_NEEDED)
                puts(strings + entry->d_un.d_val);
    }
    return 0;
}

static int compare(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double start(char *preload) {
    char *environment[] = {"PATH=/usr/bin:/bin", preload, NULL};
    char *arguments[] = {"true", NULL};
    struct timespec before, after;
    clock_gettime(CLOCK_MONOTONIC, &before);
    pid_t child;
    CHECK(posix_spawn(&child, "/bin/true", NULL, NULL, arguments, environment) == 0);
    int status;
    CHECK(waitpid(child, &status, 0) == child && status == 0);
    clock_gettime(CLOCK_MONOTONIC, &after);
    return (double)(after.tv_sec - before.tv_sec) * 1e3
        + (double)(after.tv_nsec - before.tv_nsec) / 1e6;
}

int measure_startup(const char *library) {
    enum { ROUNDS = 201 };
    static double with[ROUNDS], without[ROUNDS];
    char preload[4096];
    snprintf(preload, sizeof preload, "LD_PRELOAD=%s", library);
    for (int n = 0; n < ROUNDS; n++) {
        without[n] = start(NULL);
        with[n] = start(preload);
    }
    qsort(with, ROUNDS, sizeof *with, compare);
    qsort(without, ROUNDS, sizeof *without, compare);
    printf("%.3f ms with the shim, %.3f ms without: %.3f ms more\n", with[ROUNDS / 2],
           without[ROUNDS / 2], with[ROUNDS / 2] - without[ROUNDS / 2]);
    return 0;
}

// The node that the real daemon's tree describes.
static void find_node(void) {
    static char path[300];
    snprintf(path, sizeof path, "%s/dev/dri", getenv("GPUVM_SHIM_TREE"));
    DIR *stream = opendir(path);
    CHECK(stream);
    for (struct dirent *entry; (entry = readdir(stream));)
        if (strncmp(entry->d_name, "renderD", 7) == 0)
            snprintf(path, sizeof path, "/dev/dri/%s", entry->d_name);
    closedir(stream);
    node = path;
}

int main(int count, char **arguments) {
    // Nothing stays behind, whatever signals the one that started it had blocked.
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    alarm(60);
    const struct test_case *groups[] = {path_cases, way_cases, ioctl_cases, process_cases};
    const char *mode = count > 1 ? arguments[1] : "", *value = count > 2 ? arguments[2] : "";
    if (strcmp(mode, "daemon") == 0)
        return fake_daemon(value);
    if (strcmp(mode, "exec") == 0 && count > 2) {
        execv(arguments[2], arguments + 2);
        return 127;
    }
    if (strcmp(mode, "tree") == 0)
        return write_tree(value), 0;
    if (strcmp(mode, "needed") == 0)
        return print_needed(value);
    if (strcmp(mode, "startup") == 0)
        return measure_startup(value);
    if (strcmp(mode, "inherited") == 0)
        return inherited(atoi(value));
    if (strcmp(mode, "received") == 0)
        return received(atoi(value));
    if (strcmp(mode, "calls") == 0)
        return measure_calls();
    if (strcmp(mode, "executed") == 0 && count > 3)
        return executed(atoi(value), atoi(arguments[3]));
    if (strcmp(mode, "descriptor-received") == 0)
        return descriptor_received(atoi(value));
    const struct test_case *real_groups[] = {descriptor_cases, core_cases, stress_cases};
    for (unsigned group = 0; group < sizeof real_groups / sizeof *real_groups; group++)
        for (const struct test_case *test = real_groups[group]; test->name; test++)
            if (strcmp(mode, "list-real") == 0)
                puts(test->name);
            else if (strcmp(mode, "real") == 0 && strcmp(value, test->name) == 0)
                return find_node(), test->run(), puts("ok"), 0;
    if (strcmp(mode, "list-real") == 0)
        return 0;
    for (unsigned group = 0; group < sizeof groups / sizeof *groups; group++)
        for (const struct test_case *test = groups[group]; test->name; test++)
            if (strcmp(mode, "list") == 0)
                puts(test->name);
            else if (strcmp(mode, "run") == 0 && strcmp(value, test->name) == 0)
                return test->run(), puts("ok"), 0;
    return strcmp(mode, "list") == 0 ? 0 : 64;
}
