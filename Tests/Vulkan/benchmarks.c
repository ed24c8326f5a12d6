// How fast a driver copies and binds; ratios and rates are remarks on the PASS line.
#include <stdlib.h>
#include <string.h>

#include "sparse.h"

static int compare(const void *a, const void *b) {
    const uint64_t left = *(const uint64_t *)a, right = *(const uint64_t *)b;
    return left < right ? -1 : left > right;
}

static double median(uint64_t *times, unsigned count) {
    qsort(times, count, sizeof *times, compare);
    return (double)times[count / 2];
}

// Gives each page a content that it had in no round before.
static void mark_pages(uint8_t *bytes, VkDeviceSize size, uint64_t round) {
    for (VkDeviceSize offset = 0; offset < size; offset += 4096)
        memcpy(bytes + offset, &round, sizeof round);
}

// By turns with a memcpy of as many bytes. Both find their pages there: the first round counts for
// nothing.
static void copy_benchmark(struct gpu *gpu) {
    enum { ROUNDS = 7 };
    const VkDeviceSize size = 256 << 20;
    struct buffer from = buffer_create(gpu, size, HOST), to = buffer_create(gpu, size, HOST);
    uint8_t *here = allocate(size), *there = allocate(size);
    struct random random = random_stream("bench-copy", 0);
    random_fill(&random, here, size);
    memcpy(from.bytes, here, size);
    uint64_t device[ROUNDS], host[ROUNDS];
    for (unsigned i = 0; i <= ROUNDS; i++) {
        mark_pages(here, size, i);
        mark_pages(from.bytes, size, i);
        struct commands commands = commands_begin(gpu, gpu->mover);
        copy(commands.buffer, from.handle, 0, to.handle, 0, size);
        barrier_to_host(commands.buffer);
        const uint64_t start = now();
        commands_run(&commands);
        const uint64_t middle = now();
        memcpy(there, here, size);
        const uint64_t end = now();
        expect_bytes(to.bytes, here, size, "256 MiB, round %u", i);
        // The compiler may not drop a copy that nobody reads.
        expect_bytes(there, here, size, "memcpy, round %u", i);
        if (i > 0) {
            device[i - 1] = middle - start;
            host[i - 1] = end - middle;
        }
    }
    const double device_time = median(device, ROUNDS), host_time = median(host, ROUNDS);
    note("%.2f GB/s, memcpy %.2f GB/s, ratio %.2f", (double)size / device_time,
         (double)size / host_time, host_time / device_time);
    buffer_destroy(gpu, &from);
    buffer_destroy(gpu, &to);
    free(here);
    free(there);
}

enum { THREADS = 4, PAGES = 256, CALLS = 200 };

struct binder {
    struct gpu *gpu;
    unsigned index;
    pthread_t thread;
    pthread_barrier_t *start;
    struct sparse sparse;
    struct backing backing;
    struct random random;
};

// Each call binds every page anew, one by one in a random order; no two meet.
static void *bind_thread(void *argument) {
    struct binder *binder = argument;
    struct gpu *gpu = binder->gpu;
    struct binds binds = {0};
    uint32_t order[PAGES];
    for (uint32_t i = 0; i < PAGES; i++)
        order[i] = i;
    VkFence fence = fence_create(gpu);
    pthread_barrier_wait(binder->start);
    for (unsigned call = 0; call < CALLS; call++) {
        random_shuffle(&binder->random, order, PAGES);
        for (uint32_t i = 0; i < PAGES; i++)
            sparse_bind(&binder->sparse, &binder->backing, &binds, i, 1,
                        (struct place){(int)(order[i] % MEMORIES), order[i] / MEMORIES});
        binds_submit(gpu->binder, &binds, binder->sparse.buffer, NULL, NULL, fence);
        fence_wait(gpu, fence);
        VK(vkResetFences(gpu->device, 1, &fence));
    }
    pthread_barrier_wait(binder->start);
    vkDestroyFence(gpu->device, fence, NULL);
    binds_destroy(&binds);
    return NULL;
}

static void bind_benchmark(struct gpu *gpu) {
    sparse_require(gpu);
    struct binder binders[THREADS];
    pthread_barrier_t start;
    pthread_barrier_init(&start, NULL, THREADS + 1);
    for (unsigned i = 0; i < THREADS; i++) {
        struct binder *binder = &binders[i];
        *binder = (struct binder){.gpu = gpu, .index = i, .start = &start};
        binder->random = random_stream("bench-bind", i);
        binder->sparse = sparse_create(gpu, PAGES, SPARSE_RESIDENCY);
        binder->backing = backing_create(gpu, gpu->mover, PAGES / MEMORIES, &binder->random);
        REQUIRE(pthread_create(&binder->thread, NULL, bind_thread, binder) == 0, "no thread");
    }
    pthread_barrier_wait(&start);
    const uint64_t begin = now();
    pthread_barrier_wait(&start);
    const uint64_t spent = now() - begin;
    for (unsigned i = 0; i < THREADS; i++) {
        pthread_join(binders[i].thread, NULL);
        sparse_expect(gpu, gpu->mover, &binders[i].sparse, &binders[i].backing, "at the end");
        sparse_destroy(gpu, &binders[i].sparse);
        backing_destroy(gpu, &binders[i].backing);
    }
    pthread_barrier_destroy(&start);
    note("%.0f binds/s", (double)THREADS * PAGES * CALLS / ((double)spent / 1e9));
}

const struct test_case benchmark_cases[] = {
    {"bench-copy", "vkCmdCopyBuffer of 256 MiB against memcpy", copy_benchmark, true},
    {"bench-bind", "four threads bind shuffled pages", bind_benchmark, true},
    {0},
};
