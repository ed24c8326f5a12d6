// What no program may do, and lavapipe lets pass or dies of: a driver with an MMU behind it loses
// the device, or is told of it. They run only if they are named.
#include <stdlib.h>
#include <string.h>

#include "sparse.h"

// What the device says of itself when it is asked.
static VkResult look(struct gpu *gpu) {
    const VkResult result = vkQueueSubmit(gpu->mover->handle, 0, NULL, VK_NULL_HANDLE);
    return result == VK_SUCCESS ? vkDeviceWaitIdle(gpu->device) : result;
}

// The device is lost at the submission, at the wait for it, or at the next look.
static void expect_lost(struct gpu *gpu, VkResult submitted, VkFence fence, const char *what) {
    VkResult result = submitted;
    if (result == VK_SUCCESS)
        result = vkWaitForFences(gpu->device, 1, &fence, VK_TRUE, PATIENCE);
    if (result == VK_SUCCESS)
        result = look(gpu);
    REQUIRE(result == VK_ERROR_DEVICE_LOST, "%s: %s instead of a lost device", what,
            result_name(result));
}

static VkResult submit(struct gpu *gpu, struct commands *commands, VkFence fence) {
    commands_end(commands);
    const VkSubmitInfo info = {
        .sType = VK_STRUCTURE_TYPE_SUBMIT_INFO,
        .commandBufferCount = 1,
        .pCommandBuffers = &commands->buffer,
    };
    return vkQueueSubmit(gpu->mover->handle, 1, &info, fence);
}

static void freed_case(struct gpu *gpu) {
    struct buffer from = buffer_create(gpu, 1 << 20, LOCAL), to = buffer_create(gpu, 4096, HOST);
    expect_buffer(gpu, to.handle, to.bytes, to.size, "before");
    vkFreeMemory(gpu->device, from.memory, NULL);
    struct commands commands = commands_begin(gpu, gpu->mover);
    copy(commands.buffer, from.handle, 0, to.handle, 0, to.size);
    VkFence fence = fence_create(gpu);
    expect_lost(gpu, submit(gpu, &commands, fence), fence, "a copy from freed memory");
    // A lost device is not closed in order: the end of the process takes it.
    pass();
}

// A bind of more memory than there is.
static void bind_case(struct gpu *gpu) {
    sparse_require(gpu);
    struct random random = random_stream("fault-bind", 0);
    struct sparse sparse = sparse_create(gpu, 16, SPARSE_RESIDENCY);
    struct backing backing = backing_create(gpu, gpu->mover, 4, &random);
    const VkSparseMemoryBind bind = {
        .resourceOffset = 0,
        .size = sparse.size,
        .memory = backing.memories[0],
        // All of the range lies behind the memory's end, however much the driver rounds it up.
        .memoryOffset = (VkDeviceSize)1 << 30,
    };
    const VkSparseBufferMemoryBindInfo buffer = {sparse.buffer, 1, &bind};
    const VkBindSparseInfo info = {
        .sType = VK_STRUCTURE_TYPE_BIND_SPARSE_INFO,
        .bufferBindCount = 1,
        .pBufferBinds = &buffer,
    };
    VkFence fence = fence_create(gpu);
    const VkResult result = vkQueueBindSparse(gpu->binder->handle, 1, &info, fence);
    expect_lost(gpu, result, fence, "a bind behind the end of its memory");
    // A lost device is not closed in order: the end of the process takes it.
    pass();
}

// A copy of what another copy may still be writing. Its bytes are undefined and not looked at; hardware
// and simulations that copy in order go on, and what they say about it is for the caller to see.
static void barrier_case(struct gpu *gpu) {
    enum { SIZE = 4096 };
    struct buffer from = buffer_create(gpu, SIZE, HOST), middle = buffer_create(gpu, SIZE, LOCAL),
                  to = buffer_create(gpu, SIZE, HOST);
    struct commands commands = commands_begin(gpu, gpu->mover);
    copy(commands.buffer, from.handle, 0, middle.handle, 0, SIZE);
    copy(commands.buffer, middle.handle, SIZE / 4, to.handle, 0, SIZE / 2);
    barrier_to_host(commands.buffer);
    commands_run(&commands);
    buffer_destroy(gpu, &from);
    buffer_destroy(gpu, &middle);
    buffer_destroy(gpu, &to);
    pass();
}

// The rest is run with rules of `gpuvmctl run --inject`, which the first submissions and allocations do
// not meet: a driver makes some of its own before.

// Goes on until the device is lost, which has to be soon; everything before is whole.
static void lost_case(struct gpu *gpu) {
    enum { SIZE = 4096, SUBMISSIONS = 200 };
    struct random random = random_stream("inject-lost", 0);
    struct buffer from = buffer_create(gpu, SIZE, HOST), to = buffer_create(gpu, SIZE, HOST);
    for (unsigned round = 0; round < SUBMISSIONS; round++) {
        random_fill(&random, from.bytes, SIZE);
        struct commands commands = commands_begin(gpu, gpu->mover);
        copy_record(commands.buffer, from.handle, 0, to.handle, 0, SIZE);
        barrier_to_host(commands.buffer);
        VkFence fence = fence_create(gpu);
        VkResult result = submit(gpu, &commands, fence);
        if (result == VK_SUCCESS)
            result = vkWaitForFences(gpu->device, 1, &fence, VK_TRUE, PATIENCE);
        if (result == VK_SUCCESS && memcmp(from.bytes, to.bytes, SIZE) != 0)
            // The wait does not tell of the job's error on every driver; the next look does.
            result = look(gpu);
        if (result == VK_SUCCESS) {
            expect_bytes(to.bytes, from.bytes, SIZE, "round %u", round);
            moved(SIZE);
            vkDestroyFence(gpu->device, fence, NULL);
            commands_destroy(&commands);
            continue;
        }
        REQUIRE(result == VK_ERROR_DEVICE_LOST, "%s instead of a lost device", result_name(result));
        REQUIRE(round > 0, "lost at the first submission");
        const VkResult later = look(gpu);
        REQUIRE(later == VK_ERROR_DEVICE_LOST, "%s behind a lost device", result_name(later));
        note("lost at submission %u", round + 1);
        // A lost device is not closed in order: the end of the process takes it.
        pass();
    }
    fail("%u submissions, and no lost device", SUBMISSIONS);
}

// Allocates until one allocation fails; the next one succeeds, and all goes on.
static void out_of_memory_case(struct gpu *gpu) {
    enum { SIZE = 64 << 10, ALLOCATIONS = 200 };
    VkDeviceMemory memories[ALLOCATIONS];
    unsigned count = 0, failed = 0;
    const uint32_t type = memory_type(gpu, UINT32_MAX, HOST);
    while (count + failed < ALLOCATIONS) {
        const VkMemoryAllocateInfo info = {
            .sType = VK_STRUCTURE_TYPE_MEMORY_ALLOCATE_INFO,
            .allocationSize = SIZE,
            .memoryTypeIndex = type,
        };
        const VkResult result = vkAllocateMemory(gpu->device, &info, NULL, &memories[count]);
        if (result == VK_SUCCESS) {
            count++;
            continue;
        }
        REQUIRE(result == VK_ERROR_OUT_OF_DEVICE_MEMORY, "%s instead of a lack of memory",
                result_name(result));
        if (failed++ == 0)
            note("out of memory at allocation %u", count + 1);
    }
    REQUIRE(failed == 2 && count > 2, "%u allocations failed, and not two", failed);
    for (unsigned i = 0; i < count; i++) vkFreeMemory(gpu->device, memories[i], NULL);
    struct buffer from = buffer_create(gpu, SIZE, HOST), to = buffer_create(gpu, SIZE, HOST);
    struct random random = random_stream("inject-oom", 0);
    random_fill(&random, from.bytes, SIZE);
    struct commands commands = commands_begin(gpu, gpu->mover);
    copy(commands.buffer, from.handle, 0, to.handle, 0, SIZE);
    barrier_to_host(commands.buffer);
    commands_run(&commands);
    expect_bytes(to.bytes, from.bytes, SIZE, "after the lack of memory");
    buffer_destroy(gpu, &from);
    buffer_destroy(gpu, &to);
}

const struct test_case fault_cases[] = {
    {"fault-barrier", "a copy reads what another one writes, without a barrier", barrier_case, true},
    {"fault-freed-memory", "a copy from freed memory loses the device", freed_case, true},
    {"fault-bind", "a bind behind its memory's end loses the device", bind_case, true},
    {"inject-lost", "a device that is lost on purpose", lost_case, true},
    {"inject-oom", "allocations that fail on purpose", out_of_memory_case, true},
    {0},
};
