// Sparse images: their tiles, the memories that the tiles show, and a model of both.
#pragma once

#include "image.h"

enum { TILE_MEMORIES = 3 };

// A tile of a level and layer; its slot is the piece of memory that it shows.
struct tile {
    struct box box;
    VkOffset3D offset;
    VkExtent3D extent;
    // -1 if unbound.
    int slot;
};

struct tiled {
    struct image image;
    VkMemoryRequirements needs;
    VkSparseImageMemoryRequirements sparse;
    struct tile *tiles;
    uint32_t tile_count;
    VkDeviceMemory memories[TILE_MEMORIES], tail;
    // What each slot holds, in the model; slot i lies in memory i % TILE_MEMORIES.
    uint8_t **slots;
};

// Whether the device makes such images and, if they ask for residency, binds their tiles.
bool tiled_is_supported(struct gpu *gpu, const struct shape *shape);
// An image whose tails are bound and whose tiles are not.
struct tiled tiled_create(struct gpu *gpu, const struct shape *shape);
void tiled_destroy(struct gpu *gpu, struct tiled *tiled);

// One call to vkQueueBindSparse, and a wait for it.
void image_bind(struct gpu *gpu, const VkBindSparseInfo *info);
// Gives some tiles other slots (-1 for none), in one call.
void tiled_bind(struct gpu *gpu, struct tiled *tiled, const uint32_t *tiles, const int *slots,
                uint32_t count);
// Every tile gets a slot of its own, the binds in a random order.
void tiled_bind_all(struct gpu *gpu, struct tiled *tiled, struct random *random);
// Random bytes into some boxes of the image, or into all of it if there are 0; `first` if the image
// is new.
void tiled_load(struct gpu *gpu, struct tiled *tiled, bool first, unsigned boxes,
                struct random *random);

void identity(uint32_t *values, uint32_t count);
