#include "tiled.h"

#include <stdlib.h>
#include <string.h>

bool tiled_is_supported(struct gpu *gpu, const struct shape *shape) {
    if (!image_is_supported(gpu, shape))
        return false;
    if (!(shape->flags & VK_IMAGE_CREATE_SPARSE_RESIDENCY_BIT))
        return true;
    uint32_t count = 0;
    vkGetPhysicalDeviceSparseImageFormatProperties(
        gpu->physical, shape->format->format, shape->type, VK_SAMPLE_COUNT_1_BIT,
        VK_IMAGE_USAGE_TRANSFER_SRC_BIT | VK_IMAGE_USAGE_TRANSFER_DST_BIT, shape->tiling, &count,
        NULL);
    return count > 0;
}

void image_bind(struct gpu *gpu, const VkBindSparseInfo *info) {
    VkFence fence = fence_create(gpu);
    pthread_mutex_lock(&gpu->binder->lock);
    const VkResult result = vkQueueBindSparse(gpu->binder->handle, 1, info, fence);
    pthread_mutex_unlock(&gpu->binder->lock);
    VK(result);
    fence_wait(gpu, fence);
    vkDestroyFence(gpu->device, fence, NULL);
}

static void make_tiles(struct tiled *tiled) {
    const struct shape *shape = &tiled->image.shape;
    const VkExtent3D grain = tiled->sparse.formatProperties.imageGranularity;
    const uint32_t block = shape->format->block;
    const uint32_t levels = (uint32_t)minimum(tiled->sparse.imageMipTailFirstLod, shape->levels);
    for (unsigned pass = 0; pass < 2; pass++) {
        uint32_t count = 0;
        for (uint32_t layer = 0; layer < shape->layers; layer++)
            for (uint32_t level = 0; level < levels; level++) {
                const uint32_t width = (uint32_t)maximum(shape->extent.width >> level, 1);
                const uint32_t height = (uint32_t)maximum(shape->extent.height >> level, 1);
                const uint32_t depth = (uint32_t)maximum(shape->extent.depth >> level, 1);
                for (uint32_t z = 0; z < depth; z += grain.depth)
                    for (uint32_t y = 0; y < height; y += grain.height)
                        for (uint32_t x = 0; x < width; x += grain.width) {
                            if (pass == 0) {
                                count++;
                                continue;
                            }
                            struct tile *tile = &tiled->tiles[count++];
                            tile->slot = -1;
                            tile->offset = (VkOffset3D){(int32_t)x, (int32_t)y, (int32_t)z};
                            tile->extent =
                                (VkExtent3D){(uint32_t)minimum(grain.width, width - x),
                                             (uint32_t)minimum(grain.height, height - y),
                                             (uint32_t)minimum(grain.depth, depth - z)};
                            tile->box = (struct box){
                                .level = level,
                                .layer = layer,
                                .layers = 1,
                                .x = x / block,
                                .y = y / block,
                                .z = z,
                                .width = (tile->extent.width + block - 1) / block,
                                .height = (tile->extent.height + block - 1) / block,
                                .depth = tile->extent.depth,
                            };
                        }
            }
        if (pass == 0) {
            tiled->tile_count = count;
            tiled->tiles = allocate(count * sizeof *tiled->tiles);
        }
    }
}

// Binds the levels too small for tiles, layer by layer or once for all layers.
static void bind_tails(struct gpu *gpu, struct tiled *tiled, uint32_t type) {
    const struct shape *shape = &tiled->image.shape;
    const VkSparseImageMemoryRequirements *sparse = &tiled->sparse;
    if (sparse->imageMipTailFirstLod >= shape->levels || sparse->imageMipTailSize == 0)
        return;
    const bool single =
        sparse->formatProperties.flags & VK_SPARSE_IMAGE_FORMAT_SINGLE_MIPTAIL_BIT;
    const uint32_t count = single ? 1 : shape->layers;
    tiled->tail = memory_allocate(gpu, sparse->imageMipTailSize * count, type);
    VkSparseMemoryBind *binds = allocate(count * sizeof *binds);
    for (uint32_t i = 0; i < count; i++)
        // The memory in the other order, so that no tail lies where it would by itself.
        binds[i] = (VkSparseMemoryBind){
            .resourceOffset = sparse->imageMipTailOffset + i * sparse->imageMipTailStride,
            .size = sparse->imageMipTailSize,
            .memory = tiled->tail,
            .memoryOffset = (count - 1 - i) * sparse->imageMipTailSize,
        };
    const VkSparseImageOpaqueMemoryBindInfo image = {tiled->image.handle, count, binds};
    image_bind(gpu, &(VkBindSparseInfo){.sType = VK_STRUCTURE_TYPE_BIND_SPARSE_INFO,
                                  .imageOpaqueBindCount = 1,
                                  .pImageOpaqueBinds = &image});
    free(binds);
}

struct tiled tiled_create(struct gpu *gpu, const struct shape *shape) {
    struct tiled tiled = {.image = image_create(gpu, shape)};
    vkGetImageMemoryRequirements(gpu->device, tiled.image.handle, &tiled.needs);
    VkSparseImageMemoryRequirements all[4];
    uint32_t count = 4;
    vkGetImageSparseMemoryRequirements(gpu->device, tiled.image.handle, &count, all);
    REQUIRE(count == 1 &&
                all[0].formatProperties.aspectMask == (VkImageAspectFlags)shape->format->aspect,
            "%s has %u sparse aspects", shape->format->name, count);
    tiled.sparse = all[0];
    make_tiles(&tiled);
    const uint32_t type = memory_type(gpu, tiled.needs.memoryTypeBits, LOCAL);
    const uint32_t each = (tiled.tile_count + TILE_MEMORIES - 1) / TILE_MEMORIES;
    for (unsigned i = 0; i < TILE_MEMORIES && each > 0; i++)
        tiled.memories[i] = memory_allocate(gpu, each * tiled.needs.alignment, type);
    tiled.slots = allocate((tiled.tile_count + 1) * sizeof *tiled.slots);
    for (uint32_t i = 0; i < tiled.tile_count; i++)
        tiled.slots[i] = allocate(tiled.needs.alignment);
    bind_tails(gpu, &tiled, type);
    return tiled;
}

void tiled_destroy(struct gpu *gpu, struct tiled *tiled) {
    image_destroy(gpu, &tiled->image);
    for (unsigned i = 0; i < TILE_MEMORIES; i++)
        vkFreeMemory(gpu->device, tiled->memories[i], NULL);
    vkFreeMemory(gpu->device, tiled->tail, NULL);
    for (uint32_t i = 0; i < tiled->tile_count; i++)
        free(tiled->slots[i]);
    free(tiled->slots);
    free(tiled->tiles);
}

// Exchanges a tile's bytes between the image's model and a slot's.
static void tile_move(struct tiled *tiled, const struct tile *tile, uint8_t *slot, bool out) {
    const struct shape *shape = &tiled->image.shape;
    const struct box *box = &tile->box;
    const VkExtent3D blocks = image_blocks(shape, box->level);
    const VkExtent3D grain = tiled->sparse.formatProperties.imageGranularity;
    const size_t bytes = shape->format->bytes, row = box->width * bytes;
    const size_t slot_row = grain.width / shape->format->block * bytes;
    const size_t slot_rows = grain.height / shape->format->block;
    uint8_t *plane = tiled->image.planes[box->level * shape->layers + box->layer];
    for (uint32_t z = 0; z < box->depth; z++)
        for (uint32_t y = 0; y < box->height; y++) {
            const size_t line = (size_t)(box->z + z) * blocks.height + box->y + y;
            uint8_t *model = plane + (line * blocks.width + box->x) * bytes;
            uint8_t *kept = slot + (z * slot_rows + y) * slot_row;
            if (out)
                memcpy(kept, model, row);
            else if (tile->slot < 0)
                memset(model, 0, row);
            else
                memcpy(model, kept, row);
        }
}

// What was written to unbound tiles is lost.
static void forget_unbound(struct tiled *tiled) {
    for (uint32_t i = 0; i < tiled->tile_count; i++)
        if (tiled->tiles[i].slot < 0)
            tile_move(tiled, &tiled->tiles[i], tiled->slots[0], false);
}

void tiled_bind(struct gpu *gpu, struct tiled *tiled, const uint32_t *tiles,
                       const int *slots, uint32_t count) {
    if (count == 0)
        return;
    VkSparseImageMemoryBind *binds = allocate(count * sizeof *binds);
    for (uint32_t i = 0; i < count; i++) {
        struct tile *tile = &tiled->tiles[tiles[i]];
        if (tile->slot >= 0)
            tile_move(tiled, tile, tiled->slots[tile->slot], true);
    }
    for (uint32_t i = 0; i < count; i++) {
        struct tile *tile = &tiled->tiles[tiles[i]];
        const int slot = slots[i];
        tile->slot = slot;
        tile_move(tiled, tile, tiled->slots[slot < 0 ? 0 : slot], false);
        binds[i] = (VkSparseImageMemoryBind){
            .subresource = {tiled->image.shape.format->aspect, tile->box.level, tile->box.layer},
            .offset = tile->offset,
            .extent = tile->extent,
            .memory = slot < 0 ? VK_NULL_HANDLE : tiled->memories[slot % TILE_MEMORIES],
            .memoryOffset =
                slot < 0 ? 0 : (VkDeviceSize)(slot / TILE_MEMORIES) * tiled->needs.alignment,
        };
    }
    const VkSparseImageMemoryBindInfo image = {tiled->image.handle, count, binds};
    image_bind(gpu, &(VkBindSparseInfo){.sType = VK_STRUCTURE_TYPE_BIND_SPARSE_INFO,
                                  .imageBindCount = 1,
                                  .pImageBinds = &image});
    free(binds);
}

void identity(uint32_t *values, uint32_t count) {
    for (uint32_t i = 0; i < count; i++)
        values[i] = i;
}

void tiled_bind_all(struct gpu *gpu, struct tiled *tiled, struct random *random) {
    const uint32_t count = tiled->tile_count;
    uint32_t *tiles = allocate(count * sizeof *tiles), *order = allocate(count * sizeof *order);
    int *slots = allocate(count * sizeof *slots);
    identity(tiles, count);
    identity(order, count);
    random_shuffle(random, tiles, count);
    random_shuffle(random, order, count);
    for (uint32_t i = 0; i < count; i++)
        slots[i] = (int)order[i];
    tiled_bind(gpu, tiled, tiles, slots, count);
    free(tiles), free(order), free(slots);
}

void tiled_load(struct gpu *gpu, struct tiled *tiled, bool first, unsigned boxes,
                 struct random *random) {
    const struct shape *shape = &tiled->image.shape;
    const struct box biggest = image_whole(shape, 0);
    const struct layout padded = {1024, biggest.width + 9, biggest.height + 5};
    struct buffer source = buffer_create(gpu, layout_bytes(shape, &biggest, &padded), HOST);
    random_fill(random, source.bytes, source.size);
    struct commands commands = commands_begin(gpu, gpu->mover);
    if (first)
        image_prepare(commands.buffer, &tiled->image);
    barrier(commands.buffer);
    for (uint32_t level = 0; level < shape->levels && boxes == 0; level++) {
        const struct box box = image_whole(shape, level);
        const struct layout layout = {.offset = 16 * level};
        image_upload(commands.buffer, &tiled->image, &box, &source, source.bytes, &layout);
        barrier(commands.buffer);
    }
    for (unsigned i = 0; i < boxes; i++) {
        const struct box box = image_random_box(gpu, shape, random);
        const struct layout layout = layout_random(gpu, shape, &box, random);
        image_upload(commands.buffer, &tiled->image, &box, &source, source.bytes, &layout);
        barrier(commands.buffer);
    }
    commands_run(&commands);
    buffer_destroy(gpu, &source);
    forget_unbound(tiled);
}
