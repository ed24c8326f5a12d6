// Sparse buffers over several memories, and a model of both: which page shows which memory.
#pragma once

#include "gpu.h"

enum { MEMORIES = 4 };

// Memories to bind from, each also visible through an ordinary buffer over all of it.
struct backing {
    VkDeviceSize page;
    // Pages of each memory.
    uint32_t pages;
    VkDeviceMemory memories[MEMORIES];
    VkBuffer windows[MEMORIES];
    // What each memory holds.
    uint8_t *models[MEMORIES];
};

// A page of a memory; no memory if unbound.
struct place {
    int memory;
    uint32_t page;
};

#define UNBOUND ((struct place){-1, 0})

struct sparse {
    VkBuffer buffer;
    VkDeviceSize page, size;
    uint32_t pages;
    struct place *places;
};

// The binds of one batch; their ranges must not meet.
struct binds {
    VkSparseMemoryBind *items;
    uint32_t count, room;
};

// All are aliased: the windows show the same memory.
#define SPARSE_BINDING \
    (VK_BUFFER_CREATE_SPARSE_BINDING_BIT | VK_BUFFER_CREATE_SPARSE_ALIASED_BIT)
#define SPARSE_RESIDENCY (SPARSE_BINDING | VK_BUFFER_CREATE_SPARSE_RESIDENCY_BIT)

// Skips the case if no queue binds sparse buffers with residency and aliases.
void sparse_require(const struct gpu *gpu);

// The size of a page that this device binds.
VkDeviceSize sparse_page(const struct gpu *gpu);
struct sparse sparse_create(const struct gpu *gpu, uint32_t pages, VkBufferCreateFlags flags);
void sparse_destroy(const struct gpu *gpu, struct sparse *sparse);

// Memories filled with random bytes, each other than all others.
struct backing backing_create(const struct gpu *gpu, struct queue *queue, uint32_t pages,
                              struct random *random);
void backing_destroy(const struct gpu *gpu, struct backing *backing);
// Reads the memories through their windows and compares.
void backing_expect(const struct gpu *gpu, struct queue *queue, const struct backing *backing,
                    const char *what);

// Adds a bind of consecutive pages to a batch, and does it to the model.
void sparse_bind(struct sparse *sparse, const struct backing *backing, struct binds *binds,
                 uint32_t first, uint32_t count, struct place place);
// The batch goes to the queue and is empty again.
void binds_submit(struct queue *queue, struct binds *binds, VkBuffer buffer,
                  const struct point *wait, const struct point *signal, VkFence fence);
// The same, and waits for it.
void binds_run(const struct gpu *gpu, struct queue *queue, struct binds *binds, VkBuffer buffer);
void binds_destroy(struct binds *binds);

// What the device reads and writes there, by the model. Unbound memory reads zero, and what is
// written to it is lost.
void sparse_read(const struct sparse *sparse, const struct backing *backing, VkDeviceSize offset,
                 uint8_t *bytes, VkDeviceSize size);
void sparse_write(const struct sparse *sparse, struct backing *backing, VkDeviceSize offset,
                  const uint8_t *bytes, VkDeviceSize size);
// Reads it through the device and compares; unbound pages only if the device is strict.
void sparse_expect(const struct gpu *gpu, struct queue *queue, const struct sparse *sparse,
                   const struct backing *backing, const char *what);
// All of it is copied into by the device from random bytes.
void sparse_load(const struct gpu *gpu, struct queue *queue, const struct sparse *sparse,
                 struct backing *backing, struct random *random);
