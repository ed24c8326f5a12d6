// A Vulkan device with its queues, and the few objects that the cases are made of.
#pragma once

#include <pthread.h>
#include <vulkan/vulkan.h>

#include "harness.h"

// How long the program waits for work that must end, in ns.
#define PATIENCE 20000000000ull

enum { QUEUES = 8 };

struct queue {
    VkQueue handle;
    uint32_t family;
    VkQueueFlags flags;
    uint32_t timestamp_bits;
    VkExtent3D granularity;
    // A VkQueue is to be used by one thread at a time.
    pthread_mutex_t lock;
};

struct gpu {
    VkInstance instance;
    VkPhysicalDevice physical;
    VkDevice device;
    VkDebugUtilsMessengerEXT messenger;
    VkPhysicalDeviceProperties properties;
    VkPhysicalDeviceFeatures features;
    VkPhysicalDeviceMemoryProperties memory;
    struct queue queues[QUEUES];
    unsigned queue_count;
    // Where copies go, where sparse binds go (NULL if nowhere), and where events may be set.
    struct queue *mover, *binder, *general;
    // Unbound sparse memory reads zero, and what is written to it is lost.
    bool strict, loses_writes;
};

void gpu_open(struct gpu *gpu);
void gpu_close(struct gpu *gpu);

const char *result_name(VkResult result);

// Fails the case if a call does not return VK_SUCCESS.
#define VK(call)                                                                       \
    do {                                                                               \
        VkResult vk_result = (call);                                                   \
        if (vk_result != VK_SUCCESS)                                                   \
            fail("%s:%d: %s: %s", __FILE__, __LINE__, #call, result_name(vk_result)); \
    } while (0)

// The kinds of memory that a case asks for.
enum placement {
    // Device-local, not mapped.
    LOCAL,
    // Host-visible and coherent, mapped for its whole life.
    HOST,
};

// The index of a memory type of that placement, or the first of those allowed.
uint32_t memory_type(const struct gpu *gpu, uint32_t allowed, enum placement placement);
VkDeviceMemory memory_allocate(const struct gpu *gpu, VkDeviceSize size, uint32_t type);

struct buffer {
    VkBuffer handle;
    VkDeviceMemory memory;
    VkDeviceSize size;
    // The mapping, or NULL.
    uint8_t *bytes;
};

VkBuffer buffer_handle(const struct gpu *gpu, VkDeviceSize size, VkBufferCreateFlags flags);
struct buffer buffer_create(const struct gpu *gpu, VkDeviceSize size, enum placement placement);
void buffer_destroy(const struct gpu *gpu, struct buffer *buffer);

// A command buffer with a pool of its own.
struct commands {
    const struct gpu *gpu;
    struct queue *queue;
    VkCommandPool pool;
    VkCommandBuffer buffer;
};

struct commands commands_begin(const struct gpu *gpu, struct queue *queue);
void commands_end(struct commands *commands);
void commands_destroy(struct commands *commands);
// Ends, submits, waits and destroys.
void commands_run(struct commands *commands);

// A point of a timeline, or a binary semaphore.
struct point {
    VkSemaphore semaphore;
    uint64_t value;
};

void queue_submit(struct queue *queue, VkCommandBuffer buffer, const struct point *wait,
                  const struct point *signal, VkFence fence);
VkSemaphore semaphore_create(const struct gpu *gpu, VkSemaphoreType type, uint64_t value);
// Destroys it once the queues are idle. Its last batch being complete ought to be enough, but
// Mesa's submit thread lets go of a timeline's points only after it has signalled that batch's
// fence.
void semaphore_destroy(struct gpu *gpu, VkSemaphore semaphore);
void semaphore_wait(const struct gpu *gpu, VkSemaphore semaphore, uint64_t value);
void semaphore_signal(const struct gpu *gpu, VkSemaphore semaphore, uint64_t value);
VkFence fence_create(const struct gpu *gpu);
void fence_wait(const struct gpu *gpu, VkFence fence);

// Orders transfers behind each other, and the host's reads behind transfers.
void barrier(VkCommandBuffer buffer);
void barrier_to_host(VkCommandBuffer buffer);

// vkCmdCopyBuffer of one region, counted.
void copy(VkCommandBuffer buffer, VkBuffer from, VkDeviceSize from_offset, VkBuffer to,
          VkDeviceSize to_offset, VkDeviceSize size);
// The same of a command that may never be submitted: it counts nothing.
void copy_record(VkCommandBuffer buffer, VkBuffer from, VkDeviceSize from_offset, VkBuffer to,
                 VkDeviceSize to_offset, VkDeviceSize size);
// Reads a buffer through the device and compares.
void expect_buffer(const struct gpu *gpu, VkBuffer buffer, const uint8_t *expected,
                   VkDeviceSize size, const char *what);
