// Memory itself: mappings, several resources in one allocation, life and death of allocations.
#include <stdlib.h>
#include <string.h>

#include "gpu.h"

// The host writes, the device copies, the host reads, over and over through the same mappings.
static void coherent_case(struct gpu *gpu) {
    enum { SIZE = 12345 };
    struct random random = random_stream("memory-coherent", 0);
    struct buffer from = buffer_create(gpu, SIZE, HOST), to = buffer_create(gpu, SIZE, HOST);
    uint8_t expected[SIZE] = {0};
    memset(to.bytes, 0, SIZE);
    for (unsigned round = 0; round < 40; round++) {
        random_fill(&random, from.bytes, SIZE);
        const VkDeviceSize size = 1 + random_below(&random, SIZE);
        const VkDeviceSize here = random_below(&random, SIZE - size + 1);
        const VkDeviceSize there = random_below(&random, SIZE - size + 1);
        memcpy(expected + there, from.bytes + here, size);
        struct commands commands = commands_begin(gpu, gpu->mover);
        copy(commands.buffer, from.handle, here, to.handle, there, size);
        barrier_to_host(commands.buffer);
        commands_run(&commands);
        expect_bytes(to.bytes, expected, SIZE, "round %u", round);
        // The host changes a byte between the device's writes; both must stay.
        const VkDeviceSize byte = random_below(&random, SIZE);
        to.bytes[byte] = expected[byte] = (uint8_t)round;
    }
    buffer_destroy(gpu, &from);
    buffer_destroy(gpu, &to);
}

// Buffers side by side in one allocation, mapped in parts, unmapped and mapped again.
static void suballocation_case(struct gpu *gpu) {
    enum { BUFFERS = 24 };
    struct random random = random_stream("memory-suballocation", 0);
    VkBuffer buffers[BUFFERS];
    VkDeviceSize offsets[BUFFERS], sizes[BUFFERS], total = 0;
    uint32_t allowed = UINT32_MAX;
    for (unsigned i = 0; i < BUFFERS; i++) {
        sizes[i] = 1 + random_below(&random, 30000);
        buffers[i] = buffer_handle(gpu, sizes[i], 0);
        VkMemoryRequirements needs;
        vkGetBufferMemoryRequirements(gpu->device, buffers[i], &needs);
        allowed &= needs.memoryTypeBits;
        offsets[i] = round_up(total, needs.alignment);
        total = offsets[i] + needs.size;
    }
    VkDeviceMemory memory = memory_allocate(gpu, total, memory_type(gpu, allowed, HOST));
    for (unsigned i = 0; i < BUFFERS; i++)
        VK(vkBindBufferMemory(gpu->device, buffers[i], memory, offsets[i]));

    uint8_t *expected = allocate(total);
    random_fill(&random, expected, total);
    void *bytes;
    VK(vkMapMemory(gpu->device, memory, 0, total, 0, &bytes));
    memcpy(bytes, expected, total);
    vkUnmapMemory(gpu->device, memory);

    struct commands commands = commands_begin(gpu, gpu->mover);
    for (unsigned i = 0; i < 100; i++) {
        const unsigned from = (unsigned)random_below(&random, BUFFERS);
        const unsigned to = (from + 1 + (unsigned)random_below(&random, BUFFERS - 1)) % BUFFERS;
        const VkDeviceSize size = 1 + random_below(&random, minimum(sizes[from], sizes[to]));
        const VkDeviceSize here = random_below(&random, sizes[from] - size + 1);
        const VkDeviceSize there = random_below(&random, sizes[to] - size + 1);
        copy(commands.buffer, buffers[from], here, buffers[to], there, size);
        memcpy(expected + offsets[to] + there, expected + offsets[from] + here, size);
        barrier(commands.buffer);
    }
    barrier_to_host(commands.buffer);
    commands_run(&commands);

    for (unsigned i = 0; i < BUFFERS; i++) {
        VK(vkMapMemory(gpu->device, memory, offsets[i], sizes[i], 0, &bytes));
        expect_bytes(bytes, expected + offsets[i], sizes[i], "buffer %u", i);
        vkUnmapMemory(gpu->device, memory);
    }
    for (unsigned i = 0; i < BUFFERS; i++)
        vkDestroyBuffer(gpu->device, buffers[i], NULL);
    vkFreeMemory(gpu->device, memory, NULL);
    free(expected);
}

// Two buffers over the same memory: what one writes the other shows.
static void alias_case(struct gpu *gpu) {
    const VkDeviceSize size = 1 << 20;
    struct random random = random_stream("memory-alias", 0);
    struct buffer one = buffer_create(gpu, size, LOCAL);
    VkBuffer two = buffer_handle(gpu, size, 0);
    VK(vkBindBufferMemory(gpu->device, two, one.memory, 0));
    struct buffer source = buffer_create(gpu, size, HOST);
    uint8_t *expected = allocate(size);
    random_fill(&random, expected, size);
    memcpy(source.bytes, expected, size);
    struct commands commands = commands_begin(gpu, gpu->mover);
    copy(commands.buffer, source.handle, 0, one.handle, 0, size);
    barrier(commands.buffer);
    for (unsigned i = 0; i < 50; i++) {
        const VkDeviceSize offset = random_below(&random, size / 4 - 1000) * 4;
        const VkDeviceSize count = 4 + random_below(&random, 999) * 4;
        const uint32_t word = (uint32_t)random_next(&random);
        vkCmdFillBuffer(commands.buffer, i % 2 ? one.handle : two, offset, count, word);
        for (VkDeviceSize j = 0; j < count; j += 4)
            memcpy(expected + offset + j, &word, 4);
        moved(count);
        barrier(commands.buffer);
    }
    commands_run(&commands);
    expect_buffer(gpu, one.handle, expected, size, "through the first");
    expect_buffer(gpu, two, expected, size, "through the second");
    vkDestroyBuffer(gpu->device, two, NULL);
    buffer_destroy(gpu, &one);
    buffer_destroy(gpu, &source);
    free(expected);
}

// Buffers come and go while others stay: no address may be handed out twice or kept too long.
static void churn_case(struct gpu *gpu) {
    enum { LIVE = 32, SIZE = 40000 };
    struct random random = random_stream("memory-churn", 0);
    struct buffer live[LIVE] = {0};
    uint8_t stamps[LIVE] = {0};
    struct buffer seen = buffer_create(gpu, SIZE * LIVE, HOST);
    for (unsigned round = 0; round < 30; round++) {
        struct commands commands = commands_begin(gpu, gpu->mover);
        for (unsigned i = 0; i < LIVE; i++) {
            if (live[i].handle != VK_NULL_HANDLE && random_below(&random, 2))
                continue;
            if (live[i].handle != VK_NULL_HANDLE)
                buffer_destroy(gpu, &live[i]);
            live[i] = buffer_create(gpu, 4 + random_below(&random, SIZE / 4) * 4,
                                    random_below(&random, 2) ? HOST : LOCAL);
            stamps[i] = (uint8_t)random_next(&random);
            vkCmdFillBuffer(commands.buffer, live[i].handle, 0, VK_WHOLE_SIZE,
                            stamps[i] * 0x01010101u);
            moved(live[i].size / 4 * 4);
        }
        barrier(commands.buffer);
        for (unsigned i = 0; i < LIVE; i++)
            copy(commands.buffer, live[i].handle, 0, seen.handle, (VkDeviceSize)i * SIZE,
                 minimum(live[i].size / 4 * 4, SIZE));
        barrier_to_host(commands.buffer);
        commands_run(&commands);
        for (unsigned i = 0; i < LIVE; i++)
            for (VkDeviceSize j = 0; j < minimum(live[i].size / 4 * 4, SIZE); j++)
                REQUIRE(seen.bytes[(VkDeviceSize)i * SIZE + j] == stamps[i],
                        "round %u: buffer %u holds 0x%02x at %llu, not 0x%02x", round, i,
                        seen.bytes[(VkDeviceSize)i * SIZE + j], (unsigned long long)j, stamps[i]);
    }
    for (unsigned i = 0; i < LIVE; i++)
        buffer_destroy(gpu, &live[i]);
    buffer_destroy(gpu, &seen);
}

const struct test_case memory_cases[] = {
    {"memory-coherent", "host and device take turns on coherent memory", coherent_case, false},
    {"memory-suballocation", "24 buffers in one allocation", suballocation_case, false},
    {"memory-alias", "two buffers over the same memory", alias_case, false},
    {"memory-churn", "allocations come and go", churn_case, false},
    {0},
};
