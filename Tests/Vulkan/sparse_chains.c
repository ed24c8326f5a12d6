// Binds among submissions: each waits for the one before through semaphores alone.
#include <stdlib.h>
#include <string.h>

#include "sparse.h"

enum { STEPS = 80, PAGES = 4 };

// Step i binds the whole buffer to a place of its own, fills it, and reads a part of it back.
struct chain {
    struct sparse sparse;
    struct backing backing;
    struct binds binds;
    struct buffer source, seen;
    uint8_t *expected;
    struct commands commands[STEPS];
};

enum { READ = 5000 };

static struct chain *chain_create(struct gpu *gpu, const char *tag) {
    sparse_require(gpu);
    struct random random = random_stream(tag, 0);
    struct chain *chain = allocate(sizeof *chain);
    chain->sparse = sparse_create(gpu, PAGES, SPARSE_RESIDENCY);
    chain->backing = backing_create(gpu, gpu->mover, STEPS / MEMORIES * PAGES, &random);
    chain->source = buffer_create(gpu, STEPS + chain->sparse.size, HOST);
    random_fill(&random, chain->source.bytes, chain->source.size);
    chain->seen = buffer_create(gpu, STEPS * READ, HOST);
    chain->expected = allocate(STEPS * READ);
    memset(chain->seen.bytes, 0, STEPS * READ);
    return chain;
}

static void chain_bind(struct chain *chain, struct queue *queue, unsigned step,
                       const struct point *wait, const struct point *signal, VkFence fence) {
    sparse_bind(&chain->sparse, &chain->backing, &chain->binds, 0, PAGES,
                (struct place){(int)(step % MEMORIES), step / MEMORIES * PAGES});
    binds_submit(queue, &chain->binds, chain->sparse.buffer, wait, signal, fence);
}

static void chain_move(struct gpu *gpu, struct chain *chain, unsigned step,
                       const struct point *wait, const struct point *signal, VkFence fence) {
    struct sparse *sparse = &chain->sparse;
    chain->commands[step] = commands_begin(gpu, gpu->mover);
    VkCommandBuffer buffer = chain->commands[step].buffer;
    barrier(buffer);
    // The first bytes stay what the memory held: the read finds them only in the right place.
    const VkDeviceSize kept = 100;
    copy(buffer, chain->source.handle, step, sparse->buffer, kept, sparse->size - kept);
    barrier(buffer);
    copy(buffer, sparse->buffer, 0, chain->seen.handle, step * READ, READ);
    barrier_to_host(buffer);
    commands_end(&chain->commands[step]);
    sparse_write(sparse, &chain->backing, kept, chain->source.bytes + step, sparse->size - kept);
    sparse_read(sparse, &chain->backing, 0, chain->expected + step * READ, READ);
    queue_submit(gpu->mover, buffer, wait, signal, fence);
}

static void chain_expect(struct gpu *gpu, const struct chain *chain) {
    for (unsigned i = 0; i < STEPS; i++)
        expect_bytes(chain->seen.bytes + i * READ, chain->expected + i * READ, READ,
                     "read in step %u", i);
    backing_expect(gpu, gpu->mover, &chain->backing, "after the chain");
}

static void chain_destroy(struct gpu *gpu, struct chain *chain) {
    for (unsigned i = 0; i < STEPS; i++)
        commands_destroy(&chain->commands[i]);
    sparse_destroy(gpu, &chain->sparse);
    backing_destroy(gpu, &chain->backing);
    buffer_destroy(gpu, &chain->source);
    buffer_destroy(gpu, &chain->seen);
    binds_destroy(&chain->binds);
    free(chain->expected);
    free(chain);
}

// Binds and copies take turns on one timeline; all are submitted before the host lets them go.
static void timeline_case(struct gpu *gpu) {
    struct chain *chain = chain_create(gpu, "sparse-chain");
    VkSemaphore timeline = semaphore_create(gpu, VK_SEMAPHORE_TYPE_TIMELINE, 0);
    VkFence fence = fence_create(gpu);
    uint64_t point = 1;
    for (unsigned i = 0; i < STEPS; i++) {
        chain_bind(chain, gpu->binder, i, &(struct point){timeline, point},
                   &(struct point){timeline, point + 1}, i == 0 ? fence : VK_NULL_HANDLE);
        chain_move(gpu, chain, i, &(struct point){timeline, point + 1},
                   &(struct point){timeline, point + 2}, VK_NULL_HANDLE);
        point += 2;
    }
    const VkResult result = vkWaitForFences(gpu->device, 1, &fence, VK_TRUE, 20000000);
    REQUIRE(result == VK_TIMEOUT, "the first bind did not wait: %s", result_name(result));
    uint64_t value;
    VK(vkGetSemaphoreCounterValue(gpu->device, timeline, &value));
    REQUIRE(value == 0, "the timeline went on to %llu by itself", (unsigned long long)value);
    semaphore_signal(gpu, timeline, 1);
    semaphore_wait(gpu, timeline, point);
    fence_wait(gpu, fence);
    chain_expect(gpu, chain);
    vkDestroyFence(gpu->device, fence, NULL);
    semaphore_destroy(gpu, timeline);
    chain_destroy(gpu, chain);
}

static void binary_case(struct gpu *gpu) {
    struct chain *chain = chain_create(gpu, "sparse-chain-binary");
    VkSemaphore bound = semaphore_create(gpu, VK_SEMAPHORE_TYPE_BINARY, 0);
    VkSemaphore free_again = semaphore_create(gpu, VK_SEMAPHORE_TYPE_BINARY, 0);
    VkFence fence = fence_create(gpu);
    for (unsigned i = 0; i < STEPS; i++) {
        const bool last = i + 1 == STEPS;
        chain_bind(chain, gpu->binder, i, i > 0 ? &(struct point){free_again, 0} : NULL,
                   &(struct point){bound, 0}, VK_NULL_HANDLE);
        chain_move(gpu, chain, i, &(struct point){bound, 0},
                   last ? NULL : &(struct point){free_again, 0}, last ? fence : VK_NULL_HANDLE);
    }
    fence_wait(gpu, fence);
    chain_expect(gpu, chain);
    vkDestroyFence(gpu->device, fence, NULL);
    semaphore_destroy(gpu, bound);
    semaphore_destroy(gpu, free_again);
    chain_destroy(gpu, chain);
}

// The host waits for each bind's fence; an empty bind is legal, and signals.
static void fence_case(struct gpu *gpu) {
    struct chain *chain = chain_create(gpu, "sparse-fence");
    VkFence fence = fence_create(gpu);
    for (unsigned i = 0; i < STEPS; i++) {
        chain_bind(chain, gpu->binder, i, NULL, NULL, fence);
        fence_wait(gpu, fence);
        VK(vkResetFences(gpu->device, 1, &fence));
        chain_move(gpu, chain, i, NULL, NULL, fence);
        fence_wait(gpu, fence);
        VK(vkResetFences(gpu->device, 1, &fence));
        if (i % 8 == 0) {
            VK(vkQueueBindSparse(gpu->binder->handle, 0, NULL, fence));
            fence_wait(gpu, fence);
            VK(vkResetFences(gpu->device, 1, &fence));
        }
    }
    VkSemaphore timeline = semaphore_create(gpu, VK_SEMAPHORE_TYPE_TIMELINE, 0);
    binds_submit(gpu->binder, &chain->binds, VK_NULL_HANDLE, &(struct point){timeline, 1},
                 &(struct point){timeline, 2}, fence);
    REQUIRE(vkWaitForFences(gpu->device, 1, &fence, VK_TRUE, 1000000) == VK_TIMEOUT,
            "an empty bind did not wait");
    semaphore_signal(gpu, timeline, 1);
    fence_wait(gpu, fence);
    semaphore_wait(gpu, timeline, 2);
    chain_expect(gpu, chain);
    semaphore_destroy(gpu, timeline);
    vkDestroyFence(gpu->device, fence, NULL);
    chain_destroy(gpu, chain);
}

// One call with several batches, each of which waits for the one before, over several buffers.
static void batches_case(struct gpu *gpu) {
    sparse_require(gpu);
    enum { BATCHES = 24, BUFFERS = 3, BUFFER_PAGES = 24 };
    struct random random = random_stream("sparse-batches", 0);
    struct sparse sparse[BUFFERS];
    for (unsigned i = 0; i < BUFFERS; i++)
        sparse[i] = sparse_create(gpu, BUFFER_PAGES, SPARSE_RESIDENCY);
    struct backing backing = backing_create(gpu, gpu->mover, BUFFER_PAGES, &random);
    VkSemaphore timeline = semaphore_create(gpu, VK_SEMAPHORE_TYPE_TIMELINE, 0);
    struct binds binds[BATCHES][BUFFERS] = {0};
    VkSparseBufferMemoryBindInfo buffers[BATCHES][BUFFERS];
    VkTimelineSemaphoreSubmitInfo values[BATCHES];
    uint64_t points[BATCHES + 1];
    VkBindSparseInfo infos[BATCHES];
    points[0] = 1;
    for (unsigned i = 0; i < BATCHES; i++) {
        points[i + 1] = i + 2;
        for (unsigned j = 0; j < BUFFERS; j++) {
            // The ranges of a batch do not meet; those of the next lie over them.
            for (uint32_t page = 0; page < BUFFER_PAGES;) {
                const uint32_t count =
                    1 + (uint32_t)random_below(&random, minimum(6, BUFFER_PAGES - page));
                // Batches leave holes where the ones before stay.
                if (random_below(&random, 3) > 0 || i == 0)
                    sparse_bind(&sparse[j], &backing, &binds[i][j], page, count,
                                (struct place){(int)random_below(&random, MEMORIES),
                                               (uint32_t)random_below(&random,
                                                                      BUFFER_PAGES - count + 1)});
                page += count;
            }
            buffers[i][j] = (VkSparseBufferMemoryBindInfo){sparse[j].buffer, binds[i][j].count,
                                                           binds[i][j].items};
        }
        uint32_t used = 0;
        for (unsigned j = 0; j < BUFFERS; j++)
            if (binds[i][j].count > 0)
                buffers[i][used++] = buffers[i][j];
        values[i] = (VkTimelineSemaphoreSubmitInfo){
            .sType = VK_STRUCTURE_TYPE_TIMELINE_SEMAPHORE_SUBMIT_INFO,
            .waitSemaphoreValueCount = 1,
            .pWaitSemaphoreValues = &points[i],
            .signalSemaphoreValueCount = 1,
            .pSignalSemaphoreValues = &points[i + 1],
        };
        infos[i] = (VkBindSparseInfo){
            .sType = VK_STRUCTURE_TYPE_BIND_SPARSE_INFO,
            .pNext = &values[i],
            .waitSemaphoreCount = 1,
            .pWaitSemaphores = &timeline,
            .bufferBindCount = used,
            .pBufferBinds = buffers[i],
            .signalSemaphoreCount = 1,
            .pSignalSemaphores = &timeline,
        };
    }
    VK(vkQueueBindSparse(gpu->binder->handle, BATCHES, infos, VK_NULL_HANDLE));
    semaphore_signal(gpu, timeline, 1);
    semaphore_wait(gpu, timeline, BATCHES + 1);
    for (unsigned j = 0; j < BUFFERS; j++)
        sparse_expect(gpu, gpu->mover, &sparse[j], &backing, "after all batches");
    semaphore_destroy(gpu, timeline);
    for (unsigned j = 0; j < BUFFERS; j++) {
        sparse_destroy(gpu, &sparse[j]);
        for (unsigned i = 0; i < BATCHES; i++)
            binds_destroy(&binds[i][j]);
    }
    backing_destroy(gpu, &backing);
}

const struct test_case sparse_chain_cases[] = {
    {"sparse-chain", "binds and copies take turns on a timeline", timeline_case, false},
    {"sparse-chain-binary", "binds and copies take turns on binary semaphores", binary_case, false},
    {"sparse-fence", "the host waits for each bind; empty binds", fence_case, false},
    {"sparse-batches", "one call of 24 batches that wait for each other", batches_case, false},
    {0},
};
