// Several threads at once, each with command pools and memory of its own.
#include <stdlib.h>
#include <string.h>

#include "random_walk.h"
#include "sparse.h"

enum { THREADS = 4 };

struct worker {
    struct gpu *gpu;
    struct queue *mover, *binder;
    unsigned index;
    // What the workers of the shared buffer case have in common.
    struct shared *shared;
    pthread_t thread;
};

// Workers take the device's moving queues in turn, if it has several of them.
static void run_threads(struct gpu *gpu, struct shared *shared, void *(*body)(void *)) {
    struct queue *movers[QUEUES], *binders[QUEUES];
    unsigned mover_count = 0, binder_count = 0;
    for (unsigned i = 0; i < gpu->queue_count; i++) {
        if (gpu->queues[i].family == gpu->mover->family)
            movers[mover_count++] = &gpu->queues[i];
        if (gpu->queues[i].flags & VK_QUEUE_SPARSE_BINDING_BIT)
            binders[binder_count++] = &gpu->queues[i];
    }
    struct worker workers[THREADS];
    for (unsigned i = 0; i < THREADS; i++) {
        workers[i] = (struct worker){
            .gpu = gpu,
            .mover = movers[i % mover_count],
            .binder = binder_count > 0 ? binders[i % binder_count] : NULL,
            .index = i,
            .shared = shared,
        };
        REQUIRE(pthread_create(&workers[i].thread, NULL, body, &workers[i]) == 0, "no thread");
    }
    for (unsigned i = 0; i < THREADS; i++)
        pthread_join(workers[i].thread, NULL);
    note("%d threads, %u queues", THREADS, mover_count);
}

static void copy_rounds(struct gpu *gpu, struct queue *queue, unsigned index, unsigned rounds) {
    enum { SIZE = 60001 };
    struct random random = random_stream("threads-copy", index);
    struct buffer from = buffer_create(gpu, SIZE, HOST), middle = buffer_create(gpu, SIZE, LOCAL),
                  to = buffer_create(gpu, SIZE, HOST);
    for (unsigned round = 0; round < rounds; round++) {
        random_fill(&random, from.bytes, SIZE);
        memset(to.bytes, 0, SIZE);
        struct commands commands = commands_begin(gpu, queue);
        barrier(commands.buffer);
        copy(commands.buffer, from.handle, 0, middle.handle, 0, SIZE);
        barrier(commands.buffer);
        copy(commands.buffer, middle.handle, 0, to.handle, 0, SIZE);
        barrier_to_host(commands.buffer);
        commands_run(&commands);
        expect_bytes(to.bytes, from.bytes, SIZE, "thread %u, round %u", index, round);
    }
    buffer_destroy(gpu, &from);
    buffer_destroy(gpu, &middle);
    buffer_destroy(gpu, &to);
}

static void *copy_worker(void *argument) {
    struct worker *worker = argument;
    copy_rounds(worker->gpu, worker->mover, worker->index, 60);
    return NULL;
}

static void copy_case(struct gpu *gpu) { run_threads(gpu, NULL, copy_worker); }

static void sparse_rounds(struct gpu *gpu, struct queue *mover, struct queue *binder,
                          unsigned index, unsigned rounds) {
    enum { PAGES = 64 };
    struct random random = random_stream("threads-sparse", index);
    struct sparse sparse = sparse_create(gpu, PAGES, SPARSE_RESIDENCY);
    struct backing backing = backing_create(gpu, mover, PAGES / MEMORIES, &random);
    struct binds binds = {0};
    uint32_t order[PAGES];
    for (uint32_t i = 0; i < PAGES; i++)
        order[i] = i;
    for (unsigned round = 0; round < rounds; round++) {
        random_shuffle(&random, order, PAGES);
        for (uint32_t i = 0; i < PAGES; i++)
            sparse_bind(&sparse, &backing, &binds, i, 1,
                        (struct place){(int)(order[i] % MEMORIES), order[i] / MEMORIES});
        binds_run(gpu, binder, &binds, sparse.buffer);
        if (round % 4 == 0)
            sparse_load(gpu, mover, &sparse, &backing, &random);
        sparse_expect(gpu, mover, &sparse, &backing, "a thread's own buffer");
    }
    backing_expect(gpu, mover, &backing, "a thread's own memory");
    sparse_destroy(gpu, &sparse);
    backing_destroy(gpu, &backing);
    binds_destroy(&binds);
}

static void *sparse_worker(void *argument) {
    struct worker *worker = argument;
    sparse_rounds(worker->gpu, worker->mover, worker->binder, worker->index, 16);
    return NULL;
}

static void sparse_case(struct gpu *gpu) {
    sparse_require(gpu);
    run_threads(gpu, NULL, sparse_worker);
}

// One buffer, of which each worker binds, writes and reads its own quarter.
struct shared {
    pthread_mutex_t lock;
    struct sparse sparse;
};

static void *shared_worker(void *argument) {
    struct worker *worker = argument;
    struct gpu *gpu = worker->gpu;
    struct random random = random_stream("threads-one-buffer", worker->index);
    struct sparse *whole = &worker->shared->sparse;
    const uint32_t pages = whole->pages / THREADS, first = worker->index * pages;
    struct backing backing = backing_create(gpu, worker->mover, pages, &random);
    struct binds binds = {0};
    const VkDeviceSize size = pages * whole->page, start = first * whole->page;
    struct buffer seen = buffer_create(gpu, size, HOST);
    uint8_t *expected = allocate(size);
    VkFence fence = fence_create(gpu);
    for (unsigned round = 0; round < 30; round++) {
        for (uint32_t page = 0; page < pages;) {
            const uint32_t count = 1 + (uint32_t)random_below(&random, minimum(4, pages - page));
            sparse_bind(whole, &backing, &binds, first + page, count,
                        (struct place){(int)random_below(&random, MEMORIES),
                                       (uint32_t)random_below(&random, pages - count + 1)});
            page += count;
        }
        // A buffer may be bound by one thread at a time.
        pthread_mutex_lock(&worker->shared->lock);
        binds_submit(worker->binder, &binds, whole->buffer, NULL, NULL, fence);
        pthread_mutex_unlock(&worker->shared->lock);
        fence_wait(gpu, fence);
        VK(vkResetFences(gpu->device, 1, &fence));
        const VkDeviceSize fill = start + random_below(&random, size / 4 - 64) * 4;
        const uint32_t word = (uint32_t)random_next(&random);
        uint32_t words[64];
        for (unsigned i = 0; i < 64; i++)
            words[i] = word;
        struct commands commands = commands_begin(gpu, worker->mover);
        barrier(commands.buffer);
        vkCmdFillBuffer(commands.buffer, whole->buffer, fill, sizeof words, word);
        moved(sizeof words);
        sparse_write(whole, &backing, fill, (const uint8_t *)words, sizeof words);
        barrier(commands.buffer);
        copy(commands.buffer, whole->buffer, start, seen.handle, 0, size);
        barrier_to_host(commands.buffer);
        commands_run(&commands);
        sparse_read(whole, &backing, start, expected, size);
        expect_bytes(seen.bytes, expected, size, "quarter %u, round %u", worker->index, round);
    }
    // The memory goes, so nothing may be bound to it any more.
    sparse_bind(whole, &backing, &binds, first, pages, UNBOUND);
    pthread_mutex_lock(&worker->shared->lock);
    binds_submit(worker->binder, &binds, whole->buffer, NULL, NULL, fence);
    pthread_mutex_unlock(&worker->shared->lock);
    fence_wait(gpu, fence);
    vkDestroyFence(gpu->device, fence, NULL);
    backing_destroy(gpu, &backing);
    buffer_destroy(gpu, &seen);
    free(expected);
    binds_destroy(&binds);
    return NULL;
}

static void shared_case(struct gpu *gpu) {
    sparse_require(gpu);
    struct shared shared = {.sparse = sparse_create(gpu, 16 * THREADS, SPARSE_RESIDENCY)};
    pthread_mutex_init(&shared.lock, NULL);
    run_threads(gpu, &shared, shared_worker);
    pthread_mutex_destroy(&shared.lock);
    sparse_destroy(gpu, &shared.sparse);
}

static void *device_worker(void *argument) {
    struct worker *worker = argument;
    struct gpu gpu;
    gpu_open(&gpu);
    copy_rounds(&gpu, gpu.mover, worker->index, 20);
    if (gpu.binder != NULL && gpu.features.sparseResidencyBuffer &&
        gpu.features.sparseResidencyAliased)
        sparse_rounds(&gpu, gpu.mover, gpu.binder, worker->index, 4);
    gpu_close(&gpu);
    return NULL;
}

static void device_case(struct gpu *gpu) { run_threads(gpu, NULL, device_worker); }

static void *walk_worker(void *argument) {
    struct worker *worker = argument;
    random_walk(worker->gpu, worker->mover, worker->binder, "threads-random", worker->index,
                600 * options.rounds);
    return NULL;
}

static void walk_case(struct gpu *gpu) {
    sparse_require(gpu);
    run_threads(gpu, NULL, walk_worker);
}

const struct test_case thread_cases[] = {
    {"threads-copy", "four threads copy", copy_case, false},
    {"threads-sparse", "four threads bind and copy", sparse_case, false},
    {"threads-one-buffer", "four threads bind one buffer's quarters", shared_case, false},
    {"threads-devices", "four threads, each with a device", device_case, false},
    {"threads-random", "four random runs at once", walk_case, false},
    {0},
};
