#include <stdlib.h>

#include "gpu.h"

struct commands commands_begin(const struct gpu *gpu, struct queue *queue) {
    struct commands commands = {.gpu = gpu, .queue = queue};
    const VkCommandPoolCreateInfo pool = {
        .sType = VK_STRUCTURE_TYPE_COMMAND_POOL_CREATE_INFO,
        .queueFamilyIndex = queue->family,
    };
    VK(vkCreateCommandPool(gpu->device, &pool, NULL, &commands.pool));
    const VkCommandBufferAllocateInfo buffer = {
        .sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_ALLOCATE_INFO,
        .commandPool = commands.pool,
        .level = VK_COMMAND_BUFFER_LEVEL_PRIMARY,
        .commandBufferCount = 1,
    };
    VK(vkAllocateCommandBuffers(gpu->device, &buffer, &commands.buffer));
    const VkCommandBufferBeginInfo begin = {
        .sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_BEGIN_INFO,
    };
    VK(vkBeginCommandBuffer(commands.buffer, &begin));
    return commands;
}

void commands_end(struct commands *commands) { VK(vkEndCommandBuffer(commands->buffer)); }

void commands_destroy(struct commands *commands) {
    vkDestroyCommandPool(commands->gpu->device, commands->pool, NULL);
    *commands = (struct commands){0};
}

void commands_run(struct commands *commands) {
    const struct gpu *gpu = commands->gpu;
    commands_end(commands);
    VkFence fence = fence_create(gpu);
    queue_submit(commands->queue, commands->buffer, NULL, NULL, fence);
    fence_wait(gpu, fence);
    vkDestroyFence(gpu->device, fence, NULL);
    commands_destroy(commands);
}

static VkSemaphoreSubmitInfo submit_info(const struct point *point) {
    return (VkSemaphoreSubmitInfo){
        .sType = VK_STRUCTURE_TYPE_SEMAPHORE_SUBMIT_INFO,
        .semaphore = point ? point->semaphore : VK_NULL_HANDLE,
        .value = point ? point->value : 0,
        .stageMask = VK_PIPELINE_STAGE_2_ALL_COMMANDS_BIT,
    };
}

void queue_submit(struct queue *queue, VkCommandBuffer buffer, const struct point *wait,
                  const struct point *signal, VkFence fence) {
    const VkSemaphoreSubmitInfo waits = submit_info(wait), signals = submit_info(signal);
    const VkCommandBufferSubmitInfo commands = {
        .sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_SUBMIT_INFO,
        .commandBuffer = buffer,
    };
    const VkSubmitInfo2 info = {
        .sType = VK_STRUCTURE_TYPE_SUBMIT_INFO_2,
        .waitSemaphoreInfoCount = wait != NULL,
        .pWaitSemaphoreInfos = &waits,
        .commandBufferInfoCount = buffer != VK_NULL_HANDLE,
        .pCommandBufferInfos = &commands,
        .signalSemaphoreInfoCount = signal != NULL,
        .pSignalSemaphoreInfos = &signals,
    };
    pthread_mutex_lock(&queue->lock);
    VkResult result = vkQueueSubmit2(queue->handle, 1, &info, fence);
    pthread_mutex_unlock(&queue->lock);
    VK(result);
}

VkSemaphore semaphore_create(const struct gpu *gpu, VkSemaphoreType type, uint64_t value) {
    const VkSemaphoreTypeCreateInfo kind = {
        .sType = VK_STRUCTURE_TYPE_SEMAPHORE_TYPE_CREATE_INFO,
        .semaphoreType = type,
        .initialValue = value,
    };
    const VkSemaphoreCreateInfo info = {
        .sType = VK_STRUCTURE_TYPE_SEMAPHORE_CREATE_INFO,
        .pNext = &kind,
    };
    VkSemaphore semaphore;
    VK(vkCreateSemaphore(gpu->device, &info, NULL, &semaphore));
    return semaphore;
}

void semaphore_destroy(struct gpu *gpu, VkSemaphore semaphore) {
    for (unsigned i = 0; i < gpu->queue_count; i++) {
        pthread_mutex_lock(&gpu->queues[i].lock);
        const VkResult result = vkQueueWaitIdle(gpu->queues[i].handle);
        pthread_mutex_unlock(&gpu->queues[i].lock);
        VK(result);
    }
    vkDestroySemaphore(gpu->device, semaphore, NULL);
}

void semaphore_wait(const struct gpu *gpu, VkSemaphore semaphore, uint64_t value) {
    const VkSemaphoreWaitInfo info = {
        .sType = VK_STRUCTURE_TYPE_SEMAPHORE_WAIT_INFO,
        .semaphoreCount = 1,
        .pSemaphores = &semaphore,
        .pValues = &value,
    };
    VkResult result = vkWaitSemaphores(gpu->device, &info, PATIENCE);
    REQUIRE(result == VK_SUCCESS, "waiting for point %llu: %s", (unsigned long long)value,
            result_name(result));
}

void semaphore_signal(const struct gpu *gpu, VkSemaphore semaphore, uint64_t value) {
    const VkSemaphoreSignalInfo info = {
        .sType = VK_STRUCTURE_TYPE_SEMAPHORE_SIGNAL_INFO,
        .semaphore = semaphore,
        .value = value,
    };
    VK(vkSignalSemaphore(gpu->device, &info));
}

VkFence fence_create(const struct gpu *gpu) {
    const VkFenceCreateInfo info = {.sType = VK_STRUCTURE_TYPE_FENCE_CREATE_INFO};
    VkFence fence;
    VK(vkCreateFence(gpu->device, &info, NULL, &fence));
    return fence;
}

void fence_wait(const struct gpu *gpu, VkFence fence) {
    VkResult result = vkWaitForFences(gpu->device, 1, &fence, VK_TRUE, PATIENCE);
    REQUIRE(result == VK_SUCCESS, "waiting for a fence: %s", result_name(result));
}

static void memory_barrier(VkCommandBuffer buffer, VkPipelineStageFlags2 stage,
                           VkAccessFlags2 access) {
    const VkMemoryBarrier2 memory = {
        .sType = VK_STRUCTURE_TYPE_MEMORY_BARRIER_2,
        .srcStageMask = VK_PIPELINE_STAGE_2_ALL_TRANSFER_BIT,
        .srcAccessMask = VK_ACCESS_2_TRANSFER_WRITE_BIT,
        .dstStageMask = stage,
        .dstAccessMask = access,
    };
    const VkDependencyInfo info = {
        .sType = VK_STRUCTURE_TYPE_DEPENDENCY_INFO,
        .memoryBarrierCount = 1,
        .pMemoryBarriers = &memory,
    };
    vkCmdPipelineBarrier2(buffer, &info);
}

void barrier(VkCommandBuffer buffer) {
    if (options.unordered)
        return;
    memory_barrier(buffer, VK_PIPELINE_STAGE_2_ALL_TRANSFER_BIT,
                   VK_ACCESS_2_TRANSFER_READ_BIT | VK_ACCESS_2_TRANSFER_WRITE_BIT);
}

void barrier_to_host(VkCommandBuffer buffer) {
    memory_barrier(buffer, VK_PIPELINE_STAGE_2_HOST_BIT, VK_ACCESS_2_HOST_READ_BIT);
}

void copy(VkCommandBuffer buffer, VkBuffer from, VkDeviceSize from_offset, VkBuffer to,
          VkDeviceSize to_offset, VkDeviceSize size) {
    copy_record(buffer, from, from_offset, to, to_offset, size);
    moved(size);
}

void copy_record(VkCommandBuffer buffer, VkBuffer from, VkDeviceSize from_offset, VkBuffer to,
                 VkDeviceSize to_offset, VkDeviceSize size) {
    const VkBufferCopy region = {from_offset, to_offset, size};
    vkCmdCopyBuffer(buffer, from, to, 1, &region);
}

void expect_buffer(const struct gpu *gpu, VkBuffer buffer, const uint8_t *expected,
                   VkDeviceSize size, const char *what) {
    struct buffer seen = buffer_create(gpu, size, HOST);
    struct commands commands = commands_begin(gpu, gpu->mover);
    barrier(commands.buffer);
    copy(commands.buffer, buffer, 0, seen.handle, 0, size);
    barrier_to_host(commands.buffer);
    commands_run(&commands);
    expect_bytes(seen.bytes, expected, size, "%s", what);
    buffer_destroy(gpu, &seen);
}
