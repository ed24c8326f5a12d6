// What the test of the service does beside the programs that are tested: clients that hold a
// connection, a thread that is stuck, and attempts that the sandbox must stop. Linked statically.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

// Connects, writes a line, and writes another one when the other side ends the connection.
static int hold_connection(const char *path) {
    struct sockaddr_un name = {.sun_family = AF_UNIX};
    snprintf(name.sun_path, sizeof name.sun_path, "%s", path);
    int fd = socket(AF_UNIX, SOCK_SEQPACKET, 0);
    if (fd < 0 || connect(fd, (struct sockaddr *)&name, sizeof name) < 0) {
        printf("refused: %s\n", strerror(errno));
        return 1;
    }
    printf("connected\n");
    fflush(stdout);
    char byte;
    ssize_t count = recv(fd, &byte, 1, 0);
    printf(count <= 0 ? "ended\n" : "answered\n");
    return count > 0;
}

// Stops one thread of another process, until that process ends: a loop that is stuck.
static int hold_thread(pid_t thread) {
    if (ptrace(PTRACE_SEIZE, thread, 0, 0) < 0 || ptrace(PTRACE_INTERRUPT, thread, 0, 0) < 0) {
        printf("ptrace: %s\n", strerror(errno));
        return 1;
    }
    int status;
    if (waitpid(thread, &status, __WALL) != thread || !WIFSTOPPED(status)) {
        printf("not stopped\n");
        return 1;
    }
    printf("held\n");
    fflush(stdout);
    while (waitpid(thread, &status, __WALL) == thread && WIFSTOPPED(status))
        ;
    printf("gone\n");
    return 0;
}

static int bad;

static void report(const char *what, int failed) {
    printf("%s: %s\n", what, failed ? strerror(errno) : "POSSIBLE");
    bad += !failed;
}

static int writable(const char *path) {
    int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0)
        return 0;
    close(fd);
    unlink(path);
    return 1;
}

// Runs within the service's sandbox: tries what it must not be able to do.
static int escape(void) {
    report("write /usr", !writable("/usr/gpuvmd-was-here"));
    report("write /etc", !writable("/etc/gpuvmd-was-here"));
    report("write /var", !writable("/var/gpuvmd-was-here"));
    report("inet socket", socket(AF_INET, SOCK_STREAM, 0) < 0);
    report("inet6 socket", socket(AF_INET6, SOCK_DGRAM, 0) < 0);
    report("netlink socket", socket(AF_NETLINK, SOCK_RAW, 0) < 0);
    report("packet socket", socket(AF_PACKET, SOCK_RAW, 0) < 0);
    report("user namespace", unshare(CLONE_NEWUSER) < 0);
    report("mount", mount("tmpfs", "/tmp", "tmpfs", 0, 0) < 0);
    report("become root", setuid(0) < 0);
    report("trace init", ptrace(PTRACE_SEIZE, 1, 0, 0) < 0);
    report("signal init", kill(1, 0) < 0);
    report("see init", access("/proc/1", F_OK) < 0);
    report("set-user-ID file", ({
               int fd = open("/tmp/s", O_CREAT | O_WRONLY, 0600);
               int failed = fchmod(fd, 04700) < 0;
               close(fd);
               failed;
           }));
    void *page = mmap(0, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    report("writable code", page == MAP_FAILED);
    report("real-time priority", sched_setscheduler(0, SCHED_FIFO, &(struct sched_param){1}) < 0);
    report("read /dev/kmsg", open("/dev/kmsg", O_RDONLY) < 0);
    report("read /etc/shadow", open("/etc/shadow", O_RDONLY) < 0);
    report("home directories", open("/home/insider/.", O_RDONLY | O_DIRECTORY) < 0);
    report("change kernel settings", open("/proc/sys/kernel/hostname", O_WRONLY) < 0);
    // What it needs is there.
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair) < 0 || memfd_create("m", MFD_CLOEXEC) < 0 ||
        !writable("/run/gpuvmd/probe")) {
        printf("what the daemon needs: %s\n", strerror(errno));
        bad++;
    }
    printf("escapes: %d\n", bad);
    return bad != 0;
}

int main(int count, char **words) {
    if (count == 3 && !strcmp(words[1], "hold-connection"))
        return hold_connection(words[2]);
    if (count == 3 && !strcmp(words[1], "hold-thread"))
        return hold_thread(atoi(words[2]));
    if (count == 2 && !strcmp(words[1], "escape"))
        return escape();
    fprintf(stderr, "usage: probe hold-connection PATH | hold-thread TID | escape\n");
    return 64;
}
