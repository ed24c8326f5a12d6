// Events and timestamps. A queue for transfers alone may not set events.
#include <stdlib.h>
#include <string.h>

#include "gpu.h"

static VkEvent event_create(struct gpu *gpu) {
    const VkEventCreateInfo info = {.sType = VK_STRUCTURE_TYPE_EVENT_CREATE_INFO};
    VkEvent event;
    VK(vkCreateEvent(gpu->device, &info, NULL, &event));
    return event;
}

static void expect_event(struct gpu *gpu, VkEvent event, VkResult expected, const char *when) {
    const VkResult result = vkGetEventStatus(gpu->device, event);
    REQUIRE(result == expected, "%s: %s instead of %s", when, result_name(result),
            result_name(expected));
}

static void wait_event(VkCommandBuffer buffer, VkEvent event, VkPipelineStageFlags from) {
    const VkMemoryBarrier memory = {
        .sType = VK_STRUCTURE_TYPE_MEMORY_BARRIER,
        .srcAccessMask = from == VK_PIPELINE_STAGE_HOST_BIT ? VK_ACCESS_HOST_WRITE_BIT
                                                            : VK_ACCESS_TRANSFER_WRITE_BIT,
        .dstAccessMask = VK_ACCESS_TRANSFER_READ_BIT | VK_ACCESS_TRANSFER_WRITE_BIT,
    };
    vkCmdWaitEvents(buffer, 1, &event, from, VK_PIPELINE_STAGE_TRANSFER_BIT, 1, &memory, 0, NULL,
                    0, NULL);
}

// The device sets and resets; the host looks.
static void set_case(struct gpu *gpu) {
    if (gpu->general == NULL)
        skip("no queue may set events");
    VkEvent events[3] = {event_create(gpu), event_create(gpu), event_create(gpu)};
    for (unsigned i = 0; i < 3; i++)
        expect_event(gpu, events[i], VK_EVENT_RESET, "new");
    VK(vkSetEvent(gpu->device, events[1]));
    expect_event(gpu, events[1], VK_EVENT_SET, "set by the host");
    struct commands commands = commands_begin(gpu, gpu->general);
    vkCmdSetEvent(commands.buffer, events[0], VK_PIPELINE_STAGE_ALL_COMMANDS_BIT);
    vkCmdResetEvent(commands.buffer, events[1], VK_PIPELINE_STAGE_ALL_COMMANDS_BIT);
    commands_run(&commands);
    moved(8);
    expect_event(gpu, events[0], VK_EVENT_SET, "set by the device");
    expect_event(gpu, events[1], VK_EVENT_RESET, "reset by the device");
    expect_event(gpu, events[2], VK_EVENT_RESET, "left alone");
    VK(vkResetEvent(gpu->device, events[0]));
    expect_event(gpu, events[0], VK_EVENT_RESET, "reset by the host");
    for (unsigned i = 0; i < 3; i++)
        vkDestroyEvent(gpu->device, events[i], NULL);
}

struct gates {
    VkEvent gate, before, after;
    struct commands commands;
    VkFence fence;
};

// The device sets one event, waits for the gate, and sets another.
static struct gates gates_create(struct gpu *gpu) {
    if (gpu->general == NULL)
        skip("no queue may wait for events");
    struct gates gates = {event_create(gpu), event_create(gpu), event_create(gpu),
                          commands_begin(gpu, gpu->general), fence_create(gpu)};
    VkCommandBuffer buffer = gates.commands.buffer;
    vkCmdSetEvent(buffer, gates.before, VK_PIPELINE_STAGE_ALL_COMMANDS_BIT);
    const VkMemoryBarrier memory = {
        .sType = VK_STRUCTURE_TYPE_MEMORY_BARRIER,
        .srcAccessMask = VK_ACCESS_HOST_WRITE_BIT,
        .dstAccessMask = VK_ACCESS_MEMORY_READ_BIT | VK_ACCESS_MEMORY_WRITE_BIT,
    };
    vkCmdWaitEvents(buffer, 1, &gates.gate, VK_PIPELINE_STAGE_HOST_BIT,
                    VK_PIPELINE_STAGE_ALL_COMMANDS_BIT, 1, &memory, 0, NULL, 0, NULL);
    vkCmdSetEvent(buffer, gates.after, VK_PIPELINE_STAGE_ALL_COMMANDS_BIT);
    commands_end(&gates.commands);
    moved(8);
    return gates;
}

static void gates_destroy(struct gpu *gpu, struct gates *gates) {
    commands_destroy(&gates->commands);
    vkDestroyFence(gpu->device, gates->fence, NULL);
    vkDestroyEvent(gpu->device, gates->gate, NULL);
    vkDestroyEvent(gpu->device, gates->before, NULL);
    vkDestroyEvent(gpu->device, gates->after, NULL);
}

// The device passes an event that the host has set before.
static void host_set_case(struct gpu *gpu) {
    struct gates gates = gates_create(gpu);
    VK(vkSetEvent(gpu->device, gates.gate));
    queue_submit(gpu->general, gates.commands.buffer, NULL, NULL, gates.fence);
    fence_wait(gpu, gates.fence);
    expect_event(gpu, gates.before, VK_EVENT_SET, "ahead of the gate");
    expect_event(gpu, gates.after, VK_EVENT_SET, "past the gate");
    gates_destroy(gpu, &gates);
}

// The device stands still at an event until the host sets it. Newer editions of
// Vulkan forbid it (VUID-vkSetEvent-event-09543), so it runs only if it is named.
static void late_case(struct gpu *gpu) {
    struct gates gates = gates_create(gpu);
    queue_submit(gpu->general, gates.commands.buffer, NULL, NULL, gates.fence);
    const uint64_t deadline = now() + PATIENCE;
    while (vkGetEventStatus(gpu->device, gates.before) != VK_EVENT_SET)
        REQUIRE(now() < deadline, "the first event was not set");
    expect_event(gpu, gates.after, VK_EVENT_RESET, "behind the gate");
    const VkResult result = vkWaitForFences(gpu->device, 1, &gates.fence, VK_TRUE, 20000000);
    REQUIRE(result == VK_TIMEOUT, "the wait for an event did not wait: %s", result_name(result));
    VK(vkSetEvent(gpu->device, gates.gate));
    fence_wait(gpu, gates.fence);
    expect_event(gpu, gates.after, VK_EVENT_SET, "past the gate");
    gates_destroy(gpu, &gates);
}

// Copies ordered by events alone, within a submission and from one to the next.
static void copy_case(struct gpu *gpu) {
    if (gpu->mover != gpu->general)
        skip("the queue that moves memory may not set events");
    enum { STEPS = 40, SIZE = 2000 };
    struct random random = random_stream("event-copy", 0);
    struct buffer buffers[2] = {buffer_create(gpu, SIZE, HOST), buffer_create(gpu, SIZE, HOST)};
    uint8_t expected[2][SIZE];
    for (unsigned i = 0; i < 2; i++) {
        random_fill(&random, expected[i], SIZE);
        memcpy(buffers[i].bytes, expected[i], SIZE);
    }
    VkEvent events[STEPS];
    struct commands commands[2] = {commands_begin(gpu, gpu->mover),
                                   commands_begin(gpu, gpu->mover)};
    for (unsigned i = 0; i < STEPS; i++) {
        VkCommandBuffer buffer = commands[i >= STEPS / 2].buffer;
        events[i] = event_create(gpu);
        if (i > 0)
            wait_event(buffer, events[i - 1], VK_PIPELINE_STAGE_TRANSFER_BIT);
        // To and fro, one byte further each time: out of order the result is another one.
        copy(buffer, buffers[i % 2].handle, 0, buffers[1 - i % 2].handle, 1, SIZE - 1);
        memcpy(expected[1 - i % 2] + 1, expected[i % 2], SIZE - 1);
        vkCmdSetEvent(buffer, events[i], VK_PIPELINE_STAGE_TRANSFER_BIT);
    }
    barrier_to_host(commands[1].buffer);
    commands_end(&commands[0]);
    commands_end(&commands[1]);
    VkFence fence = fence_create(gpu);
    queue_submit(gpu->mover, commands[0].buffer, NULL, NULL, VK_NULL_HANDLE);
    queue_submit(gpu->mover, commands[1].buffer, NULL, NULL, fence);
    fence_wait(gpu, fence);
    expect_bytes(buffers[0].bytes, expected[0], SIZE, "the first buffer");
    expect_bytes(buffers[1].bytes, expected[1], SIZE, "the second buffer");
    vkDestroyFence(gpu->device, fence, NULL);
    for (unsigned i = 0; i < STEPS; i++)
        vkDestroyEvent(gpu->device, events[i], NULL);
    for (unsigned i = 0; i < 2; i++) {
        commands_destroy(&commands[i]);
        buffer_destroy(gpu, &buffers[i]);
    }
}

// Results without VK_QUERY_RESULT_WAIT_BIT: value, then whether it is there.
static void read_queries(struct gpu *gpu, VkQueryPool pool, uint32_t count, uint64_t (*values)[2],
                         VkResult expected) {
    const VkResult result = vkGetQueryPoolResults(
        gpu->device, pool, 0, count, count * sizeof *values, values, sizeof *values,
        VK_QUERY_RESULT_64_BIT | VK_QUERY_RESULT_WITH_AVAILABILITY_BIT);
    REQUIRE(result == expected || result == VK_SUCCESS, "reading queries: %s",
            result_name(result));
}

static void timestamp_case(struct gpu *gpu) {
    enum { STAMPS = 33, SIZE = 1 << 20 };
    const uint32_t bits = gpu->mover->timestamp_bits;
    if (bits == 0)
        skip("the queue has no timestamps");
    const VkQueryPoolCreateInfo info = {
        .sType = VK_STRUCTURE_TYPE_QUERY_POOL_CREATE_INFO,
        .queryType = VK_QUERY_TYPE_TIMESTAMP,
        .queryCount = STAMPS,
    };
    VkQueryPool pool;
    VK(vkCreateQueryPool(gpu->device, &info, NULL, &pool));
    vkResetQueryPool(gpu->device, pool, 0, STAMPS);
    uint64_t values[STAMPS][2];
    read_queries(gpu, pool, STAMPS, values, VK_NOT_READY);
    for (unsigned i = 0; i < STAMPS; i++)
        REQUIRE(values[i][1] == 0, "query %u is there before it was asked", i);

    struct random random = random_stream("timestamp", 0);
    struct buffer from = buffer_create(gpu, SIZE, HOST), to = buffer_create(gpu, SIZE, HOST);
    random_fill(&random, from.bytes, SIZE);
    memset(to.bytes, 0, SIZE);
    struct commands commands = commands_begin(gpu, gpu->mover);
    for (uint32_t i = 0; i < STAMPS; i++) {
        vkCmdWriteTimestamp(commands.buffer, VK_PIPELINE_STAGE_ALL_COMMANDS_BIT, pool, i);
        copy(commands.buffer, from.handle, i, to.handle, i, SIZE - i);
        barrier(commands.buffer);
    }
    barrier_to_host(commands.buffer);
    const uint64_t start = now();
    commands_run(&commands);
    const uint64_t spent = now() - start;
    expect_bytes(to.bytes, from.bytes, SIZE, "copied between timestamps");
    read_queries(gpu, pool, STAMPS, values, VK_SUCCESS);
    const uint64_t mask = bits == 64 ? UINT64_MAX : (1ull << bits) - 1;
    for (unsigned i = 0; i < STAMPS; i++) {
        REQUIRE(values[i][1] != 0, "query %u never came", i);
        REQUIRE((values[i][0] & ~mask) == 0, "query %u has more than %u bits", i, bits);
    }
    for (unsigned i = 1; i < STAMPS; i++) {
        const uint64_t ticks = (values[i][0] - values[i - 1][0]) & mask;
        REQUIRE(ticks < mask / 2, "timestamp %u is before the one ahead of it", i);
    }
    const double device = (double)((values[STAMPS - 1][0] - values[0][0]) & mask) *
                          (double)gpu->properties.limits.timestampPeriod;
    REQUIRE(device > 0, "%d copies of a MiB took no time", STAMPS - 1);
    // The device cannot have worked longer than the host waited.
    REQUIRE(device <= (double)spent * 1.05 + 1e6, "%.0f ns of copies in %llu ns", device,
            (unsigned long long)spent);
    vkResetQueryPool(gpu->device, pool, 0, STAMPS);
    read_queries(gpu, pool, STAMPS, values, VK_NOT_READY);
    for (unsigned i = 0; i < STAMPS; i++)
        REQUIRE(values[i][1] == 0, "query %u is there after its reset", i);
    note("%.0f of %.0f us", device / 1e3, (double)spent / 1e3);
    vkDestroyQueryPool(gpu->device, pool, NULL);
    buffer_destroy(gpu, &from);
    buffer_destroy(gpu, &to);
}

// The device resets queries itself, and writes them again.
static void reset_case(struct gpu *gpu) {
    if (gpu->general == NULL || gpu->general->timestamp_bits == 0)
        skip("no queue resets timestamps");
    enum { STAMPS = 16 };
    const VkQueryPoolCreateInfo info = {
        .sType = VK_STRUCTURE_TYPE_QUERY_POOL_CREATE_INFO,
        .queryType = VK_QUERY_TYPE_TIMESTAMP,
        .queryCount = STAMPS,
    };
    VkQueryPool pool;
    VK(vkCreateQueryPool(gpu->device, &info, NULL, &pool));
    uint64_t last = 0, values[STAMPS][2];
    for (unsigned round = 0; round < 3; round++) {
        struct commands commands = commands_begin(gpu, gpu->general);
        vkCmdResetQueryPool(commands.buffer, pool, 0, STAMPS);
        for (uint32_t i = 0; i < STAMPS; i += 2)
            vkCmdWriteTimestamp(commands.buffer, VK_PIPELINE_STAGE_BOTTOM_OF_PIPE_BIT, pool, i);
        commands_run(&commands);
        moved(STAMPS / 2 * 16);
        read_queries(gpu, pool, STAMPS, values, VK_NOT_READY);
        for (unsigned i = 0; i < STAMPS; i++)
            REQUIRE((values[i][1] != 0) == (i % 2 == 0), "round %u: query %u is%s there", round, i,
                    values[i][1] ? "" : " not");
        for (unsigned i = 0; i < STAMPS; i += 2) {
            REQUIRE(gpu->general->timestamp_bits < 64 || values[i][0] >= last,
                    "round %u: timestamp %u goes back", round, i);
            last = values[i][0];
        }
    }
    REQUIRE(last > 0, "all timestamps are zero");
    vkDestroyQueryPool(gpu->device, pool, NULL);
}

const struct test_case event_cases[] = {
    {"event-set", "the device sets and resets events", set_case, false},
    {"event-wait-host", "the device waits for an event that the host sets", host_set_case, false},
    {"event-wait-late", "the same, set while the device waits", late_case, true},
    {"event-copy", "copies ordered by events alone", copy_case, false},
    {"timestamp", "timestamps between copies", timestamp_case, false},
    {"timestamp-reset", "queries reset by the device", reset_case, false},
    {0},
};
