// Buffers: fill, update, copy, at every alignment that Vulkan allows.
#include <stdlib.h>
#include <string.h>

#include "gpu.h"

// Not a multiple of four, so that VK_WHOLE_SIZE has to round down.
static const VkDeviceSize odd_size = (1 << 20) + 3;

// A device-local buffer and what it must hold.
struct mirror {
    struct buffer buffer;
    uint8_t *bytes;
};

static struct mirror mirror_create(const struct gpu *gpu, VkDeviceSize size) {
    return (struct mirror){buffer_create(gpu, size, LOCAL), allocate(size)};
}

static void mirror_destroy(const struct gpu *gpu, struct mirror *mirror) {
    buffer_destroy(gpu, &mirror->buffer);
    free(mirror->bytes);
}

static void fill(VkCommandBuffer commands, struct mirror *mirror, VkDeviceSize offset,
                 VkDeviceSize size, uint32_t word) {
    vkCmdFillBuffer(commands, mirror->buffer.handle, offset, size, word);
    const VkDeviceSize whole = (mirror->buffer.size - offset) / 4 * 4;
    const VkDeviceSize count = size == VK_WHOLE_SIZE ? whole : size;
    for (VkDeviceSize i = 0; i < count; i += 4)
        memcpy(mirror->bytes + offset + i, &word, 4);
    moved(count);
}

// Fills the buffer with random bytes from a host buffer that has to live until the work is done.
static struct buffer upload(const struct gpu *gpu, VkCommandBuffer commands,
                            struct mirror *mirror, struct random *random) {
    struct buffer source = buffer_create(gpu, mirror->buffer.size, HOST);
    random_fill(random, mirror->bytes, mirror->buffer.size);
    memcpy(source.bytes, mirror->bytes, mirror->buffer.size);
    copy(commands, source.handle, 0, mirror->buffer.handle, 0, mirror->buffer.size);
    barrier(commands);
    return source;
}

static void device_case(struct gpu *gpu) {
    uint32_t count = 0;
    VK(vkEnumeratePhysicalDevices(gpu->instance, &count, NULL));
    REQUIRE(count > 0, "no devices");
    REQUIRE(gpu->memory.memoryHeapCount > 0, "no memory heaps");
    for (uint32_t i = 0; i < gpu->memory.memoryHeapCount; i++)
        REQUIRE(gpu->memory.memoryHeaps[i].size > 0, "heap %u is empty", i);
    for (uint32_t i = 0; i < gpu->memory.memoryTypeCount; i++)
        REQUIRE(gpu->memory.memoryTypes[i].heapIndex < gpu->memory.memoryHeapCount,
                "memory type %u has no heap", i);
    struct mirror mirror = mirror_create(gpu, 4);
    struct commands commands = commands_begin(gpu, gpu->mover);
    fill(commands.buffer, &mirror, 0, 4, 0x12345678);
    commands_run(&commands);
    expect_buffer(gpu, mirror.buffer.handle, mirror.bytes, 4, "one filled word");
    mirror_destroy(gpu, &mirror);
    note("%s, %u queues", gpu->properties.deviceName, gpu->queue_count);
}

static void fill_case(struct gpu *gpu) {
    struct random random = random_stream("buffer-fill", 0);
    struct mirror mirror = mirror_create(gpu, odd_size);
    struct commands commands = commands_begin(gpu, gpu->mover);
    struct buffer source = upload(gpu, commands.buffer, &mirror, &random);
    for (unsigned i = 0; i < 300; i++) {
        VkDeviceSize offset = random_below(&random, odd_size / 4) * 4, size;
        switch (random_below(&random, 4)) {
        case 0: size = 4; break;
        case 1: size = 4 + random_below(&random, 64) * 4; break;
        case 2: size = 4 + random_below(&random, odd_size / 64) * 4; break;
        default: size = i % 40 == 0 ? VK_WHOLE_SIZE : 4 + random_below(&random, 1024) * 4; break;
        }
        if (size != VK_WHOLE_SIZE)
            size = minimum(size, (odd_size - offset) / 4 * 4);
        fill(commands.buffer, &mirror, offset, size, (uint32_t)random_next(&random));
        barrier(commands.buffer);
    }
    commands_run(&commands);
    expect_buffer(gpu, mirror.buffer.handle, mirror.bytes, odd_size, "filled");
    mirror_destroy(gpu, &mirror);
    buffer_destroy(gpu, &source);
}

// One fill of 24 MiB and a bit: several lines of the copy engine's pitch.
static void big_fill_case(struct gpu *gpu) {
    const VkDeviceSize size = (24 << 20) + 12;
    struct mirror mirror = mirror_create(gpu, size);
    struct commands commands = commands_begin(gpu, gpu->mover);
    fill(commands.buffer, &mirror, 0, size, 0xa1b2c3d4);
    barrier(commands.buffer);
    fill(commands.buffer, &mirror, (3 << 20) + 4, (11 << 20) + 8, 0x01020304);
    commands_run(&commands);
    expect_buffer(gpu, mirror.buffer.handle, mirror.bytes, size, "filled");
    mirror_destroy(gpu, &mirror);
}

static void update_case(struct gpu *gpu) {
    struct random random = random_stream("buffer-update", 0);
    struct mirror mirror = mirror_create(gpu, odd_size);
    struct commands commands = commands_begin(gpu, gpu->mover);
    struct buffer source = upload(gpu, commands.buffer, &mirror, &random);
    static uint8_t data[65536];
    for (unsigned i = 0; i < 200; i++) {
        // Both ends of the legal sizes, and what lies between.
        VkDeviceSize size = i % 50 == 0   ? 65536
                            : i % 50 == 1 ? 4
                                          : 4 + random_below(&random, i % 3 ? 64 : 4096) * 4;
        VkDeviceSize offset = random_below(&random, (odd_size - size) / 4 + 1) * 4;
        random_fill(&random, data, size);
        vkCmdUpdateBuffer(commands.buffer, mirror.buffer.handle, offset, size, data);
        memcpy(mirror.bytes + offset, data, size);
        moved(size);
        barrier(commands.buffer);
    }
    commands_run(&commands);
    expect_buffer(gpu, mirror.buffer.handle, mirror.bytes, odd_size, "updated");
    mirror_destroy(gpu, &mirror);
    buffer_destroy(gpu, &source);
}

static void copy_case(struct gpu *gpu) {
    struct random random = random_stream("buffer-copy", 0);
    struct mirror from = mirror_create(gpu, odd_size), to = mirror_create(gpu, odd_size);
    struct commands commands = commands_begin(gpu, gpu->mover);
    struct buffer sources[] = {upload(gpu, commands.buffer, &from, &random),
                               upload(gpu, commands.buffer, &to, &random)};
    for (unsigned i = 0; i < 400; i++) {
        VkDeviceSize size = 1 + random_below(&random, i % 8 == 0   ? odd_size - 1
                                                      : i % 2 == 0 ? 17
                                                                   : 5000);
        VkDeviceSize here = random_below(&random, odd_size - size + 1);
        VkDeviceSize there = random_below(&random, odd_size - size + 1);
        copy(commands.buffer, from.buffer.handle, here, to.buffer.handle, there, size);
        memcpy(to.bytes + there, from.bytes + here, size);
        barrier(commands.buffer);
    }
    commands_run(&commands);
    expect_buffer(gpu, to.buffer.handle, to.bytes, odd_size, "destination");
    expect_buffer(gpu, from.buffer.handle, from.bytes, odd_size, "source");
    mirror_destroy(gpu, &from);
    mirror_destroy(gpu, &to);
    buffer_destroy(gpu, &sources[0]);
    buffer_destroy(gpu, &sources[1]);
}

// One command whose regions permute the pieces of a buffer; the pieces have odd sizes.
static void regions_case(struct gpu *gpu) {
    enum { PIECES = 512 };
    struct random random = random_stream("buffer-copy-regions", 0);
    VkDeviceSize sizes[PIECES], offsets[PIECES], size = 0;
    for (unsigned i = 0; i < PIECES; i++) {
        offsets[i] = size;
        size += sizes[i] = 1 + random_below(&random, 999);
    }
    struct mirror from = mirror_create(gpu, size), to = mirror_create(gpu, size);
    struct commands commands = commands_begin(gpu, gpu->mover);
    struct buffer source = upload(gpu, commands.buffer, &from, &random);
    uint32_t order[PIECES];
    for (uint32_t i = 0; i < PIECES; i++)
        order[i] = i;
    random_shuffle(&random, order, PIECES);
    VkBufferCopy regions[PIECES];
    VkDeviceSize next = 0;
    for (unsigned i = 0; i < PIECES; i++) {
        const uint32_t piece = order[i];
        regions[i] = (VkBufferCopy){offsets[piece], next, sizes[piece]};
        memcpy(to.bytes + next, from.bytes + offsets[piece], sizes[piece]);
        next += sizes[piece];
    }
    vkCmdCopyBuffer(commands.buffer, from.buffer.handle, to.buffer.handle, PIECES, regions);
    moved(size);
    commands_run(&commands);
    expect_buffer(gpu, to.buffer.handle, to.bytes, size, "permuted");
    mirror_destroy(gpu, &from);
    mirror_destroy(gpu, &to);
    buffer_destroy(gpu, &source);
}

static void big_copy_case(struct gpu *gpu) {
    const VkDeviceSize size = (48 << 20) + 13;
    struct random random = random_stream("buffer-copy-big", 0);
    struct mirror from = mirror_create(gpu, size), to = mirror_create(gpu, size);
    struct commands commands = commands_begin(gpu, gpu->mover);
    struct buffer source = upload(gpu, commands.buffer, &from, &random);
    copy(commands.buffer, from.buffer.handle, 1, to.buffer.handle, 0, size - 1);
    copy(commands.buffer, from.buffer.handle, 0, to.buffer.handle, size - 1, 1);
    memcpy(to.bytes, from.bytes + 1, size - 1);
    to.bytes[size - 1] = from.bytes[0];
    commands_run(&commands);
    expect_buffer(gpu, to.buffer.handle, to.bytes, size, "copied");
    mirror_destroy(gpu, &from);
    mirror_destroy(gpu, &to);
    buffer_destroy(gpu, &source);
}

// Copies within one buffer, between ranges that do not meet; often they touch.
static void self_copy_case(struct gpu *gpu) {
    struct random random = random_stream("buffer-copy-self", 0);
    struct mirror mirror = mirror_create(gpu, odd_size);
    struct commands commands = commands_begin(gpu, gpu->mover);
    struct buffer source = upload(gpu, commands.buffer, &mirror, &random);
    for (unsigned i = 0; i < 200; i++) {
        const VkDeviceSize size = 1 + random_below(&random, 9000);
        const VkDeviceSize low = random_below(&random, odd_size - 2 * size + 1);
        const VkDeviceSize room = odd_size - 2 * size - low;
        const VkDeviceSize high = low + size + (i % 2 ? 0 : random_below(&random, room + 1));
        const bool up = random_below(&random, 2);
        copy(commands.buffer, mirror.buffer.handle, up ? low : high, mirror.buffer.handle,
             up ? high : low, size);
        memcpy(mirror.bytes + (up ? high : low), mirror.bytes + (up ? low : high), size);
        barrier(commands.buffer);
    }
    commands_run(&commands);
    expect_buffer(gpu, mirror.buffer.handle, mirror.bytes, odd_size, "copied within");
    mirror_destroy(gpu, &mirror);
    buffer_destroy(gpu, &source);
}

const struct test_case buffer_cases[] = {
    {"device", "a device describes itself, and fills one word", device_case, false},
    {"buffer-fill", "fills of all sizes at all offsets", fill_case, false},
    {"buffer-fill-big", "fills of many MiB", big_fill_case, false},
    {"buffer-update", "vkCmdUpdateBuffer, 4 to 65536 bytes", update_case, false},
    {"buffer-copy", "copies of odd sizes between odd offsets", copy_case, false},
    {"buffer-copy-regions", "one copy of 512 shuffled regions", regions_case, false},
    {"buffer-copy-big", "one copy of 48 MiB, off by one byte", big_copy_case, false},
    {"buffer-copy-self", "copies within one buffer", self_copy_case, false},
    {0},
};
