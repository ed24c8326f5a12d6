// The environment, and the lines of GPUVM_SHIM_DEBUG.
#include "shim.h"

#include <dlfcn.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

void *shim_find(_Atomic(void *) *slot, const char *name) {
    int saved = errno;
    // Threads that come here together find the same address.
    void *function = dlsym(RTLD_NEXT, name);
    if (!function) {
        dprintf(STDERR_FILENO, "gpuvm-shim: the C library has no %s\n", name);
        abort();
    }
    atomic_store_explicit(slot, function, memory_order_release);
    errno = saved;
    return function;
}

static const char *value(const char *name) {
    const char *text = secure_getenv(name);
    return text && *text ? text : NULL;
}

static struct shim_config read_environment(void) {
    const char *tree = value(GPUVM_SHIM_ENV_TREE);
    const char *mask = value(GPUVM_SHIM_ENV_MASK), *debug = value(GPUVM_SHIM_ENV_DEBUG);
    struct shim_config config = {
        .socket = value(GPUVM_SHIM_ENV_SOCKET),
        .tree = tree,
        .tree_length = tree ? strlen(tree) : 0,
        .mask = mask && strcmp(mask, "0") != 0,
        .debug = debug && strcmp(debug, "0") != 0,
    };
    while (config.tree_length > 1 && tree[config.tree_length - 1] == '/')
        config.tree_length--;
    return config;
}

struct shim_config shim_config(void) {
    static struct shim_config kept;
    static _Atomic int state;  // 0: not read, 1: being kept, 2: kept
    if (atomic_load_explicit(&state, memory_order_acquire) == 2)
        return kept;
    // A library's constructor may come here before one of ours would run. A thread or a signal
    // handler that meets another one half way through uses its own reading.
    struct shim_config config = read_environment();
    int unread = 0;
    if (atomic_compare_exchange_strong(&state, &unread, 1)) {
        kept = config;
        atomic_store_explicit(&state, 2, memory_order_release);
    }
    return config;
}

void shim_debug(const char *format, ...) {
    if (!shim_config().debug)
        return;
    int saved = errno;
    char line[512];
    int used = snprintf(line, sizeof line, "gpuvm-shim[%d]: ", (int)getpid());
    va_list arguments;
    va_start(arguments, format);
    int more = vsnprintf(line + used, sizeof line - (size_t)used - 1, format, arguments);
    va_end(arguments);
    if (more < 0)
        more = 0;
    size_t length = (size_t)used + (size_t)more;
    if (length > sizeof line - 2)
        length = sizeof line - 2;
    line[length] = '\n';
    // One write, so that lines of several processes do not mix.
    syscall(SYS_write, STDERR_FILENO, line, length + 1);
    errno = saved;
}
