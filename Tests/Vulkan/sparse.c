#include "sparse.h"

#include <stdlib.h>
#include <string.h>

void sparse_require(const struct gpu *gpu) {
    if (gpu->binder == NULL || !gpu->features.sparseBinding)
        skip("no queue binds sparse memory");
    if (!gpu->features.sparseResidencyBuffer)
        skip("the device has no sparseResidencyBuffer");
    if (!gpu->features.sparseResidencyAliased)
        skip("the device has no sparseResidencyAliased");
}

VkDeviceSize sparse_page(const struct gpu *gpu) {
    VkBuffer buffer = buffer_handle(gpu, 1, SPARSE_RESIDENCY);
    VkMemoryRequirements needs;
    vkGetBufferMemoryRequirements(gpu->device, buffer, &needs);
    vkDestroyBuffer(gpu->device, buffer, NULL);
    return needs.alignment;
}

struct sparse sparse_create(const struct gpu *gpu, uint32_t pages, VkBufferCreateFlags flags) {
    struct sparse sparse = {.page = sparse_page(gpu), .pages = pages};
    sparse.size = sparse.page * pages;
    sparse.buffer = buffer_handle(gpu, sparse.size, flags);
    sparse.places = allocate(pages * sizeof *sparse.places);
    for (uint32_t i = 0; i < pages; i++)
        sparse.places[i] = UNBOUND;
    return sparse;
}

void sparse_destroy(const struct gpu *gpu, struct sparse *sparse) {
    vkDestroyBuffer(gpu->device, sparse->buffer, NULL);
    free(sparse->places);
    *sparse = (struct sparse){0};
}

struct backing backing_create(const struct gpu *gpu, struct queue *queue, uint32_t pages,
                              struct random *random) {
    struct backing backing = {.page = sparse_page(gpu), .pages = pages};
    const VkDeviceSize size = backing.page * pages;
    VkBuffer sparse = buffer_handle(gpu, size, SPARSE_RESIDENCY);
    VkMemoryRequirements needs, window_needs;
    vkGetBufferMemoryRequirements(gpu->device, sparse, &needs);
    vkDestroyBuffer(gpu->device, sparse, NULL);
    struct buffer source = buffer_create(gpu, size, HOST);
    for (unsigned i = 0; i < MEMORIES; i++) {
        backing.windows[i] = buffer_handle(gpu, size, 0);
        vkGetBufferMemoryRequirements(gpu->device, backing.windows[i], &window_needs);
        const uint32_t allowed = needs.memoryTypeBits & window_needs.memoryTypeBits;
        REQUIRE(allowed != 0, "no memory type is good for sparse and ordinary buffers");
        backing.memories[i] = memory_allocate(gpu, maximum(size, window_needs.size),
                                              memory_type(gpu, allowed, LOCAL));
        VK(vkBindBufferMemory(gpu->device, backing.windows[i], backing.memories[i], 0));
        backing.models[i] = allocate(size);
        random_fill(random, backing.models[i], size);
        memcpy(source.bytes, backing.models[i], size);
        struct commands commands = commands_begin(gpu, queue);
        copy(commands.buffer, source.handle, 0, backing.windows[i], 0, size);
        barrier(commands.buffer);
        commands_run(&commands);
    }
    buffer_destroy(gpu, &source);
    return backing;
}

void backing_destroy(const struct gpu *gpu, struct backing *backing) {
    for (unsigned i = 0; i < MEMORIES; i++) {
        vkDestroyBuffer(gpu->device, backing->windows[i], NULL);
        vkFreeMemory(gpu->device, backing->memories[i], NULL);
        free(backing->models[i]);
    }
    *backing = (struct backing){0};
}

void backing_expect(const struct gpu *gpu, struct queue *queue, const struct backing *backing,
                    const char *what) {
    const VkDeviceSize size = backing->page * backing->pages;
    struct buffer seen = buffer_create(gpu, size, HOST);
    for (unsigned i = 0; i < MEMORIES; i++) {
        struct commands commands = commands_begin(gpu, queue);
        barrier(commands.buffer);
        copy(commands.buffer, backing->windows[i], 0, seen.handle, 0, size);
        barrier_to_host(commands.buffer);
        commands_run(&commands);
        expect_bytes(seen.bytes, backing->models[i], size, "%s: memory %u", what, i);
    }
    buffer_destroy(gpu, &seen);
}

static void binds_add(struct binds *binds, VkSparseMemoryBind bind) {
    if (binds->count == binds->room) {
        binds->room = binds->room ? 2 * binds->room : 64;
        binds->items = realloc(binds->items, binds->room * sizeof *binds->items);
        REQUIRE(binds->items != NULL, "the host is out of memory");
    }
    binds->items[binds->count++] = bind;
}

void sparse_bind(struct sparse *sparse, const struct backing *backing, struct binds *binds,
                 uint32_t first, uint32_t count, struct place place) {
    const bool bound = place.memory >= 0;
    binds_add(binds, (VkSparseMemoryBind){
                         .resourceOffset = first * sparse->page,
                         .size = count * sparse->page,
                         .memory = bound ? backing->memories[place.memory] : VK_NULL_HANDLE,
                         .memoryOffset = bound ? place.page * sparse->page : 0,
                     });
    for (uint32_t i = 0; i < count; i++)
        sparse->places[first + i] =
            bound ? (struct place){place.memory, place.page + i} : UNBOUND;
}

void binds_submit(struct queue *queue, struct binds *binds, VkBuffer buffer,
                  const struct point *wait, const struct point *signal, VkFence fence) {
    const VkSparseBufferMemoryBindInfo buffers = {buffer, binds->count, binds->items};
    const VkTimelineSemaphoreSubmitInfo values = {
        .sType = VK_STRUCTURE_TYPE_TIMELINE_SEMAPHORE_SUBMIT_INFO,
        .waitSemaphoreValueCount = wait != NULL,
        .pWaitSemaphoreValues = wait ? &wait->value : NULL,
        .signalSemaphoreValueCount = signal != NULL,
        .pSignalSemaphoreValues = signal ? &signal->value : NULL,
    };
    const VkBindSparseInfo info = {
        .sType = VK_STRUCTURE_TYPE_BIND_SPARSE_INFO,
        .pNext = &values,
        .waitSemaphoreCount = wait != NULL,
        .pWaitSemaphores = wait ? &wait->semaphore : NULL,
        .bufferBindCount = binds->count > 0,
        .pBufferBinds = &buffers,
        .signalSemaphoreCount = signal != NULL,
        .pSignalSemaphores = signal ? &signal->semaphore : NULL,
    };
    pthread_mutex_lock(&queue->lock);
    const VkResult result = vkQueueBindSparse(queue->handle, 1, &info, fence);
    pthread_mutex_unlock(&queue->lock);
    VK(result);
    binds->count = 0;
}

void binds_run(const struct gpu *gpu, struct queue *queue, struct binds *binds, VkBuffer buffer) {
    VkFence fence = fence_create(gpu);
    binds_submit(queue, binds, buffer, NULL, NULL, fence);
    fence_wait(gpu, fence);
    vkDestroyFence(gpu->device, fence, NULL);
}

void binds_destroy(struct binds *binds) {
    free(binds->items);
    *binds = (struct binds){0};
}

// Calls for each part of a range that lies in one page; stops at the range's end.
#define FOR_PAGES(sparse, offset, size, done, part, place)                                 \
    for (VkDeviceSize done = 0, part; done < (size); done += part)                         \
        if (part = minimum((sparse)->page - ((offset) + done) % (sparse)->page, (size)-done), \
            place = (sparse)->places[((offset) + done) / (sparse)->page], true)

void sparse_read(const struct sparse *sparse, const struct backing *backing, VkDeviceSize offset,
                 uint8_t *bytes, VkDeviceSize size) {
    struct place place;
    FOR_PAGES(sparse, offset, size, done, part, place) {
        const VkDeviceSize within = (offset + done) % sparse->page;
        if (place.memory < 0)
            memset(bytes + done, 0, part);
        else
            memcpy(bytes + done,
                   backing->models[place.memory] + place.page * sparse->page + within, part);
    }
}

void sparse_write(const struct sparse *sparse, struct backing *backing, VkDeviceSize offset,
                  const uint8_t *bytes, VkDeviceSize size) {
    struct place place;
    FOR_PAGES(sparse, offset, size, done, part, place) {
        const VkDeviceSize within = (offset + done) % sparse->page;
        if (place.memory >= 0)
            memcpy(backing->models[place.memory] + place.page * sparse->page + within,
                   bytes + done, part);
    }
}

void sparse_expect(const struct gpu *gpu, struct queue *queue, const struct sparse *sparse,
                   const struct backing *backing, const char *what) {
    struct buffer seen = buffer_create(gpu, sparse->size, HOST);
    uint8_t *expected = allocate(sparse->size);
    memset(seen.bytes, 0, sparse->size);
    sparse_read(sparse, backing, 0, expected, sparse->size);
    struct commands commands = commands_begin(gpu, queue);
    barrier(commands.buffer);
    // Reading what is not bound has a defined result on strict devices alone.
    for (uint32_t first = 0, end; first < sparse->pages; first = end) {
        const bool bound = sparse->places[first].memory >= 0;
        for (end = first + 1; end < sparse->pages; end++)
            if (!gpu->strict && (sparse->places[end].memory >= 0) != bound)
                break;
        if (bound || gpu->strict)
            copy(commands.buffer, sparse->buffer, first * sparse->page, seen.handle,
                 first * sparse->page, (end - first) * sparse->page);
    }
    barrier_to_host(commands.buffer);
    commands_run(&commands);
    for (uint32_t i = 0; i < sparse->pages; i++)
        expect_bytes(seen.bytes + i * sparse->page, expected + i * sparse->page, sparse->page,
                     "%s: page %u, %s memory %d page %u", what, i,
                     sparse->places[i].memory < 0 ? "unbound," : "bound to",
                     sparse->places[i].memory, sparse->places[i].page);
    free(expected);
    buffer_destroy(gpu, &seen);
}

void sparse_load(const struct gpu *gpu, struct queue *queue, const struct sparse *sparse,
                 struct backing *backing, struct random *random) {
    struct buffer source = buffer_create(gpu, sparse->size, HOST);
    uint8_t *bytes = allocate(sparse->size);
    random_fill(random, bytes, sparse->size);
    memcpy(source.bytes, bytes, sparse->size);
    struct commands commands = commands_begin(gpu, queue);
    barrier(commands.buffer);
    copy(commands.buffer, source.handle, 0, sparse->buffer, 0, sparse->size);
    commands_run(&commands);
    sparse_write(sparse, backing, 0, bytes, sparse->size);
    free(bytes);
    buffer_destroy(gpu, &source);
}
