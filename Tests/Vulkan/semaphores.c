// Fences, binary semaphores and timelines: who waits for whom, and what a time-out says.
#include <stdlib.h>
#include <string.h>

#include "gpu.h"

enum { STEPS = 48, SIZE = 3000 };

// A row of buffers; step i copies buffer i into buffer i + 1.
struct row {
    struct buffer buffers[STEPS + 1];
    struct commands commands[STEPS];
    uint8_t expected[SIZE];
};

static struct row *row_create(struct gpu *gpu, struct queue *const *queues, unsigned queue_count,
                              const char *tag) {
    struct row *row = allocate(sizeof *row);
    struct random random = random_stream(tag, 0);
    for (unsigned i = 0; i <= STEPS; i++) {
        row->buffers[i] = buffer_create(gpu, SIZE, HOST);
        memset(row->buffers[i].bytes, 0xee, SIZE);
    }
    random_fill(&random, row->expected, SIZE);
    memcpy(row->buffers[0].bytes, row->expected, SIZE);
    for (unsigned i = 0; i < STEPS; i++) {
        row->commands[i] = commands_begin(gpu, queues[i % queue_count]);
        barrier(row->commands[i].buffer);
        copy_record(row->commands[i].buffer, row->buffers[i].handle, 0,
                    row->buffers[i + 1].handle, 0, SIZE);
        barrier_to_host(row->commands[i].buffer);
        commands_end(&row->commands[i]);
    }
    return row;
}

static void row_submit(struct row *row, unsigned step, const struct point *wait,
                       const struct point *signal, VkFence fence) {
    queue_submit(row->commands[step].queue, row->commands[step].buffer, wait, signal, fence);
    moved(SIZE);
}

// The first `done` steps have run and no other.
static void row_expect(const struct row *row, unsigned done) {
    uint8_t untouched[SIZE];
    memset(untouched, 0xee, SIZE);
    for (unsigned i = 1; i <= STEPS; i++)
        expect_bytes(row->buffers[i].bytes, i <= done ? row->expected : untouched, SIZE,
                     "buffer %u after %u steps", i, done);
}

static void row_destroy(struct gpu *gpu, struct row *row) {
    for (unsigned i = 0; i < STEPS; i++)
        commands_destroy(&row->commands[i]);
    for (unsigned i = 0; i <= STEPS; i++)
        buffer_destroy(gpu, &row->buffers[i]);
    free(row);
}

static void expect_value(struct gpu *gpu, VkSemaphore semaphore, uint64_t expected) {
    uint64_t value;
    VK(vkGetSemaphoreCounterValue(gpu->device, semaphore, &value));
    REQUIRE(value == expected, "the timeline is at %llu, not at %llu", (unsigned long long)value,
            (unsigned long long)expected);
}

// The wait gives up, and not before its time.
static void expect_timeout(VkResult result, uint64_t start, uint64_t timeout) {
    const uint64_t waited = now() - start;
    REQUIRE(result == VK_TIMEOUT, "a wait for nothing returned %s", result_name(result));
    REQUIRE(waited >= timeout, "a wait of %llu ns ended after %llu ns",
            (unsigned long long)timeout, (unsigned long long)waited);
    REQUIRE(waited < timeout + 5000000000, "a wait of %llu ns took %llu ns",
            (unsigned long long)timeout, (unsigned long long)waited);
}

static void fence_case(struct gpu *gpu) {
    struct row *row = row_create(gpu, &gpu->mover, 1, "fence");
    VkSemaphore gate = semaphore_create(gpu, VK_SEMAPHORE_TYPE_TIMELINE, 0);
    VkFence fences[3] = {fence_create(gpu), fence_create(gpu), fence_create(gpu)};
    for (unsigned i = 0; i < 3; i++)
        REQUIRE(vkGetFenceStatus(gpu->device, fences[i]) == VK_NOT_READY, "born signalled");
    row_submit(row, 0, NULL, NULL, fences[0]);
    fence_wait(gpu, fences[0]);
    row_submit(row, 1, &(struct point){gate, 1}, NULL, fences[1]);
    row_submit(row, 2, NULL, NULL, fences[2]);

    static const uint64_t timeouts[] = {0, 1, 1000000, 30000000};
    for (unsigned i = 0; i < 4; i++) {
        uint64_t start = now();
        VkResult result = vkWaitForFences(gpu->device, 1, &fences[1], VK_TRUE, timeouts[i]);
        expect_timeout(result, start, timeouts[i]);
        start = now();
        result = vkWaitForFences(gpu->device, 3, fences, VK_TRUE, timeouts[i]);
        expect_timeout(result, start, timeouts[i]);
    }
    // One of them is enough.
    VkResult result = vkWaitForFences(gpu->device, 3, fences, VK_FALSE, UINT64_MAX);
    REQUIRE(result == VK_SUCCESS, "a wait for any: %s", result_name(result));
    REQUIRE(vkGetFenceStatus(gpu->device, fences[0]) == VK_SUCCESS, "a fence forgot");
    REQUIRE(vkGetFenceStatus(gpu->device, fences[1]) == VK_NOT_READY, "ran before its semaphore");
    row_expect(row, 1);

    semaphore_signal(gpu, gate, 1);
    result = vkWaitForFences(gpu->device, 3, fences, VK_TRUE, UINT64_MAX);
    REQUIRE(result == VK_SUCCESS, "a wait for all: %s", result_name(result));
    row_expect(row, 3);

    // Reset fences are as new.
    VK(vkResetFences(gpu->device, 3, fences));
    result = vkWaitForFences(gpu->device, 3, fences, VK_FALSE, 1000000);
    REQUIRE(result == VK_TIMEOUT, "reset fences: %s", result_name(result));
    row_submit(row, 3, NULL, NULL, fences[1]);
    fence_wait(gpu, fences[1]);
    row_expect(row, 4);
    for (unsigned i = 0; i < 3; i++)
        vkDestroyFence(gpu->device, fences[i], NULL);
    semaphore_destroy(gpu, gate);
    row_destroy(gpu, row);
}

// All steps are submitted behind one point that the host signals last.
static void gate_case(struct gpu *gpu) {
    struct row *row = row_create(gpu, &gpu->mover, 1, "timeline-gate");
    VkSemaphore timeline = semaphore_create(gpu, VK_SEMAPHORE_TYPE_TIMELINE, 7);
    for (uint64_t i = 0; i < STEPS; i++)
        row_submit(row, (unsigned)i, &(struct point){timeline, 100 + i},
                   &(struct point){timeline, 101 + i}, VK_NULL_HANDLE);
    expect_value(gpu, timeline, 7);
    row_expect(row, 0);
    const uint64_t value = 100 + STEPS;
    const VkSemaphoreWaitInfo wait = {
        .sType = VK_STRUCTURE_TYPE_SEMAPHORE_WAIT_INFO,
        .semaphoreCount = 1,
        .pSemaphores = &timeline,
        .pValues = &value,
    };
    static const uint64_t timeouts[] = {0, 20000000};
    for (unsigned i = 0; i < 2; i++) {
        const uint64_t start = now();
        expect_timeout(vkWaitSemaphores(gpu->device, &wait, timeouts[i]), start, timeouts[i]);
    }
    row_expect(row, 0);
    semaphore_signal(gpu, timeline, 100);
    semaphore_wait(gpu, timeline, value);
    expect_value(gpu, timeline, value);
    row_expect(row, STEPS);
    semaphore_destroy(gpu, timeline);
    row_destroy(gpu, row);
}

// The host lets the steps through one by one, and sees exactly one more done each time.
static void step_case(struct gpu *gpu) {
    struct row *row = row_create(gpu, &gpu->mover, 1, "timeline-step");
    VkSemaphore gate = semaphore_create(gpu, VK_SEMAPHORE_TYPE_TIMELINE, 0);
    VkSemaphore done = semaphore_create(gpu, VK_SEMAPHORE_TYPE_TIMELINE, 0);
    for (uint64_t i = 0; i < STEPS; i++)
        row_submit(row, (unsigned)i, &(struct point){gate, i + 1}, &(struct point){done, i + 1},
                   VK_NULL_HANDLE);
    for (uint64_t i = 0; i < STEPS; i++) {
        row_expect(row, (unsigned)i);
        semaphore_signal(gpu, gate, i + 1);
        semaphore_wait(gpu, done, i + 1);
        expect_value(gpu, done, i + 1);
    }
    row_expect(row, STEPS);
    semaphore_destroy(gpu, gate);
    semaphore_destroy(gpu, done);
    row_destroy(gpu, row);
}

static void wait_any_case(struct gpu *gpu) {
    struct row *row = row_create(gpu, &gpu->mover, 1, "timeline-wait-any");
    VkSemaphore semaphores[2] = {semaphore_create(gpu, VK_SEMAPHORE_TYPE_TIMELINE, 0),
                                 semaphore_create(gpu, VK_SEMAPHORE_TYPE_TIMELINE, 0)};
    static const uint64_t values[2] = {5, 5};
    const VkSemaphoreWaitInfo any = {
        .sType = VK_STRUCTURE_TYPE_SEMAPHORE_WAIT_INFO,
        .flags = VK_SEMAPHORE_WAIT_ANY_BIT,
        .semaphoreCount = 2,
        .pSemaphores = semaphores,
        .pValues = values,
    };
    VkSemaphoreWaitInfo all = any;
    all.flags = 0;
    uint64_t start = now();
    expect_timeout(vkWaitSemaphores(gpu->device, &any, 10000000), start, 10000000);
    row_submit(row, 0, NULL, &(struct point){semaphores[1], 6}, VK_NULL_HANDLE);
    VkResult result = vkWaitSemaphores(gpu->device, &any, PATIENCE);
    REQUIRE(result == VK_SUCCESS, "a wait for any: %s", result_name(result));
    row_expect(row, 1);
    start = now();
    expect_timeout(vkWaitSemaphores(gpu->device, &all, 10000000), start, 10000000);
    row_submit(row, 1, NULL, &(struct point){semaphores[0], 5}, VK_NULL_HANDLE);
    result = vkWaitSemaphores(gpu->device, &all, PATIENCE);
    REQUIRE(result == VK_SUCCESS, "a wait for all: %s", result_name(result));
    row_expect(row, 2);
    semaphore_destroy(gpu, semaphores[0]);
    semaphore_destroy(gpu, semaphores[1]);
    row_destroy(gpu, row);
}

// Each step waits for the binary semaphore of the one before.
static void binary_case(struct gpu *gpu) {
    struct row *row = row_create(gpu, &gpu->mover, 1, "binary");
    VkSemaphore binary[2] = {semaphore_create(gpu, VK_SEMAPHORE_TYPE_BINARY, 0),
                             semaphore_create(gpu, VK_SEMAPHORE_TYPE_BINARY, 0)};
    VkFence fence = fence_create(gpu);
    // Two semaphores take turns: each is unsignalled again once its wait is done.
    for (unsigned i = 0; i < STEPS; i++) {
        const struct point wait = {binary[(i + 1) % 2], 0}, signal = {binary[i % 2], 0};
        row_submit(row, i, i > 0 ? &wait : NULL, i + 1 < STEPS ? &signal : NULL,
                   i + 1 < STEPS ? VK_NULL_HANDLE : fence);
    }
    fence_wait(gpu, fence);
    row_expect(row, STEPS);
    vkDestroyFence(gpu->device, fence, NULL);
    semaphore_destroy(gpu, binary[0]);
    semaphore_destroy(gpu, binary[1]);
    row_destroy(gpu, row);
}

// Steps alternate between two queues that can move memory.
static void queues_case(struct gpu *gpu) {
    struct queue *queues[QUEUES];
    unsigned count = 0;
    for (unsigned i = 0; i < gpu->queue_count; i++)
        // A universal queue beside one for transfers may move memory by dispatches.
        if (gpu->queues[i].family == gpu->mover->family)
            queues[count++] = &gpu->queues[i];
    if (count < 2)
        skip("the device has one queue that moves memory");
    struct row *row = row_create(gpu, queues, count, "timeline-queues");
    VkSemaphore timeline = semaphore_create(gpu, VK_SEMAPHORE_TYPE_TIMELINE, 0);
    // The last queue first: most waits are before their signals.
    for (unsigned queue = count; queue-- > 0;)
        for (uint64_t i = queue; i < STEPS; i += count)
            row_submit(row, (unsigned)i, &(struct point){timeline, i},
                       &(struct point){timeline, i + 1}, VK_NULL_HANDLE);
    semaphore_wait(gpu, timeline, STEPS);
    row_expect(row, STEPS);
    semaphore_destroy(gpu, timeline);
    row_destroy(gpu, row);
}

// Several waits and several signals in one submission, binary and timeline mixed.
static void fan_case(struct gpu *gpu) {
    enum { FAN = 12 };
    struct row *row = row_create(gpu, &gpu->mover, 1, "semaphore-fan");
    VkSemaphoreSubmitInfo infos[FAN];
    VkSemaphore semaphores[FAN];
    for (unsigned i = 0; i < FAN; i++) {
        semaphores[i] = semaphore_create(
            gpu, i % 3 == 0 ? VK_SEMAPHORE_TYPE_BINARY : VK_SEMAPHORE_TYPE_TIMELINE, 0);
        infos[i] = (VkSemaphoreSubmitInfo){
            .sType = VK_STRUCTURE_TYPE_SEMAPHORE_SUBMIT_INFO,
            .semaphore = semaphores[i],
            .value = i % 3 == 0 ? 0 : i,
            .stageMask = VK_PIPELINE_STAGE_2_ALL_TRANSFER_BIT,
        };
    }
    VkFence fence = fence_create(gpu);
    VkCommandBufferSubmitInfo commands[2] = {
        {.sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_SUBMIT_INFO,
         .commandBuffer = row->commands[0].buffer},
        {.sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_SUBMIT_INFO,
         .commandBuffer = row->commands[1].buffer},
    };
    const VkSubmitInfo2 submits[2] = {
        {.sType = VK_STRUCTURE_TYPE_SUBMIT_INFO_2,
         .commandBufferInfoCount = 1,
         .pCommandBufferInfos = &commands[0],
         .signalSemaphoreInfoCount = FAN,
         .pSignalSemaphoreInfos = infos},
        {.sType = VK_STRUCTURE_TYPE_SUBMIT_INFO_2,
         .waitSemaphoreInfoCount = FAN,
         .pWaitSemaphoreInfos = infos,
         .commandBufferInfoCount = 1,
         .pCommandBufferInfos = &commands[1]},
    };
    VK(vkQueueSubmit2(gpu->mover->handle, 2, submits, fence));
    moved(2 * SIZE);
    fence_wait(gpu, fence);
    row_expect(row, 2);
    for (unsigned i = 0; i < FAN; i++)
        if (i % 3 != 0)
            expect_value(gpu, semaphores[i], i);
    vkDestroyFence(gpu->device, fence, NULL);
    for (unsigned i = 0; i < FAN; i++)
        semaphore_destroy(gpu, semaphores[i]);
    row_destroy(gpu, row);
}

// One command buffer submitted again and again, without a wait in between.
static void resubmit_case(struct gpu *gpu) {
    enum { COUNT = 4000, TIMES = 250 };
    struct random random = random_stream("submit-many", 0);
    struct buffer one = buffer_create(gpu, COUNT, HOST), two = buffer_create(gpu, COUNT, HOST);
    uint8_t expected[COUNT];
    random_fill(&random, expected, COUNT);
    memcpy(one.bytes, expected, COUNT);
    memset(two.bytes, 0, COUNT);
    struct commands forth = commands_begin(gpu, gpu->mover);
    vkEndCommandBuffer(forth.buffer);
    const VkCommandBufferBeginInfo begin = {
        .sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_BEGIN_INFO,
        .flags = VK_COMMAND_BUFFER_USAGE_SIMULTANEOUS_USE_BIT,
    };
    VK(vkResetCommandPool(gpu->device, forth.pool, 0));
    VK(vkBeginCommandBuffer(forth.buffer, &begin));
    // Rotates the buffer by one byte through the other one.
    barrier(forth.buffer);
    copy(forth.buffer, one.handle, 0, two.handle, 1, COUNT - 1);
    copy(forth.buffer, one.handle, COUNT - 1, two.handle, 0, 1);
    barrier(forth.buffer);
    copy(forth.buffer, two.handle, 0, one.handle, 0, COUNT);
    barrier_to_host(forth.buffer);
    commands_end(&forth);
    VkFence fence = fence_create(gpu);
    for (unsigned i = 0; i < TIMES; i++)
        queue_submit(gpu->mover, forth.buffer, NULL, NULL, i + 1 < TIMES ? VK_NULL_HANDLE : fence);
    fence_wait(gpu, fence);
    uint8_t rotated[COUNT];
    for (unsigned i = 0; i < COUNT; i++)
        rotated[(i + TIMES) % COUNT] = expected[i];
    expect_bytes(one.bytes, rotated, COUNT, "rotated %d times", TIMES);
    vkDestroyFence(gpu->device, fence, NULL);
    commands_destroy(&forth);
    buffer_destroy(gpu, &one);
    buffer_destroy(gpu, &two);
}

const struct test_case semaphore_cases[] = {
    {"fence", "fences, and waits that time out", fence_case, false},
    {"timeline-gate", "a chain of submissions behind the host's signal", gate_case, false},
    {"timeline-step", "the host lets a chain through step by step", step_case, false},
    {"timeline-wait-any", "host waits for any and all of several timelines", wait_any_case, false},
    {"timeline-queues", "a chain that alternates between queues", queues_case, false},
    {"semaphore-binary", "a chain of binary semaphores", binary_case, false},
    {"semaphore-fan", "12 signals, then 12 waits", fan_case, false},
    {"submit-many", "one command buffer, 250 submissions", resubmit_case, false},
    {0},
};
