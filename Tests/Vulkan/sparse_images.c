// Sparse images: tiles bound one by one out of several memories, mip tails, holes.
#include <stdlib.h>
#include <string.h>

#include "tiled.h"

// Bound, loaded, written in boxes, read back.
static void exercise_bound(struct gpu *gpu, const struct shape *shape, struct random *random) {
    struct tiled tiled = tiled_create(gpu, shape);
    tiled_bind_all(gpu, &tiled, random);
    tiled_load(gpu, &tiled, true, 0, random);
    image_expect(gpu, &tiled.image, "loaded");
    tiled_load(gpu, &tiled, false, 30, random);
    image_expect(gpu, &tiled.image, "written in boxes");
    tiled_destroy(gpu, &tiled);
}

// Tiles go and come back; what they held stays in their memory. In between they read zero, and lose
// what is written to them if `writes` says to write.
static void make_holes(struct gpu *gpu, const struct shape *shape, struct random *random,
                       bool writes) {
    struct tiled tiled = tiled_create(gpu, shape);
    const uint32_t count = tiled.tile_count;
    uint32_t *tiles = allocate(count * sizeof *tiles);
    int *none = allocate(count * sizeof *none), *back = allocate(count * sizeof *back);
    identity(tiles, count);
    for (uint32_t i = 0; i < count; i++)
        none[i] = -1;
    tiled_bind_all(gpu, &tiled, random);
    tiled_load(gpu, &tiled, true, 0, random);
    for (unsigned round = 0; round < 6; round++) {
        random_shuffle(random, tiles, count);
        const uint32_t some = count / 8 + 1;
        for (uint32_t i = 0; i < some; i++)
            back[i] = tiled.tiles[tiles[i]].slot;
        tiled_bind(gpu, &tiled, tiles, none, some);
        if (gpu->strict)
            image_expect(gpu, &tiled.image, "with holes");
        if (writes) {
            tiled_load(gpu, &tiled, false, round % 2 ? 10 : 0, random);
            image_expect(gpu, &tiled.image, "with holes, written");
        }
        tiled_bind(gpu, &tiled, tiles, back, some);
        image_expect(gpu, &tiled.image, "bound again");
    }
    free(tiles), free(none), free(back);
    tiled_destroy(gpu, &tiled);
}

static void exercise_holes(struct gpu *gpu, const struct shape *shape, struct random *random) {
    make_holes(gpu, shape, random, false);
}

static void exercise_lost_writes(struct gpu *gpu, const struct shape *shape,
                                 struct random *random) {
    make_holes(gpu, shape, random, true);
}

// Whole tiles change places by binds alone: the texels go with the memory.
static void exercise_moves(struct gpu *gpu, const struct shape *shape, struct random *random) {
    struct tiled tiled = tiled_create(gpu, shape);
    const VkExtent3D grain = tiled.sparse.formatProperties.imageGranularity;
    uint32_t *tiles = allocate(tiled.tile_count * sizeof *tiles), count = 0;
    uint32_t *order = allocate(tiled.tile_count * sizeof *order);
    int *slots = allocate(tiled.tile_count * sizeof *slots);
    // Tiles that an edge cuts stay where they are.
    for (uint32_t i = 0; i < tiled.tile_count; i++)
        if (memcmp(&tiled.tiles[i].extent, &grain, sizeof grain) == 0)
            tiles[count++] = i;
    tiled_bind_all(gpu, &tiled, random);
    tiled_load(gpu, &tiled, true, 0, random);
    for (unsigned round = 0; round < 5; round++) {
        identity(order, count);
        random_shuffle(random, order, count);
        for (uint32_t i = 0; i < count; i++)
            slots[i] = tiled.tiles[tiles[order[i]]].slot;
        tiled_bind(gpu, &tiled, tiles, slots, count);
        image_expect(gpu, &tiled.image, "with its tiles exchanged");
        tiled_load(gpu, &tiled, false, 6, random);
    }
    image_expect(gpu, &tiled.image, "at the end");
    free(tiles), free(order), free(slots);
    tiled_destroy(gpu, &tiled);
}

static struct shape sparse_shape(VkImageType type, uint32_t layers) {
    const bool is_3d = type == VK_IMAGE_TYPE_3D;
    return (struct shape){
        .type = type,
        .tiling = VK_IMAGE_TILING_OPTIMAL,
        .flags = VK_IMAGE_CREATE_SPARSE_BINDING_BIT | VK_IMAGE_CREATE_SPARSE_RESIDENCY_BIT,
        .extent = is_3d ? (VkExtent3D){140, 90, 50} : (VkExtent3D){700, 523, 1},
        .levels = is_3d ? 5 : 10,
        .layers = layers,
    };
}

static void require_images(struct gpu *gpu, VkImageType type) {
    if (gpu->binder == NULL || !gpu->features.sparseBinding)
        skip("no queue binds sparse memory");
    if (type == VK_IMAGE_TYPE_2D && !gpu->features.sparseResidencyImage2D)
        skip("the device has no sparseResidencyImage2D");
    if (type == VK_IMAGE_TYPE_3D && !gpu->features.sparseResidencyImage3D)
        skip("the device has no sparseResidencyImage3D");
}

static void for_formats(struct gpu *gpu, struct shape shape, const char *tag,
                        const char *const *names,
                        void (*body)(struct gpu *, const struct shape *, struct random *)) {
    unsigned count = 0;
    for (unsigned i = 0; names[i] != NULL; i++) {
        shape.format = format_named(names[i]);
        if (!tiled_is_supported(gpu, &shape))
            continue;
        struct random random = random_stream(tag, i);
        body(gpu, &shape, &random);
        count++;
    }
    if (count == 0)
        skip("the device has no such sparse images");
    note("%u formats", count);
}

static const char *const all_formats[] = {"r8",    "rg8",    "rgba8", "r32", "rg32",
                                          "rgba16", "rgba32", "bc1",   "bc7", NULL};
static const char *const some_formats[] = {"r8", "rgba8", "rgba32", NULL};

static void case_2d(struct gpu *gpu) {
    require_images(gpu, VK_IMAGE_TYPE_2D);
    for_formats(gpu, sparse_shape(VK_IMAGE_TYPE_2D, 1), "sparse-image-2d", all_formats,
                exercise_bound);
}

static void case_layers(struct gpu *gpu) {
    require_images(gpu, VK_IMAGE_TYPE_2D);
    for_formats(gpu, sparse_shape(VK_IMAGE_TYPE_2D, 3), "sparse-image-layers", some_formats,
                exercise_bound);
}

static void case_3d(struct gpu *gpu) {
    require_images(gpu, VK_IMAGE_TYPE_3D);
    for_formats(gpu, sparse_shape(VK_IMAGE_TYPE_3D, 1), "sparse-image-3d", some_formats,
                exercise_bound);
}

static void case_holes(struct gpu *gpu) {
    require_images(gpu, VK_IMAGE_TYPE_2D);
    for_formats(gpu, sparse_shape(VK_IMAGE_TYPE_2D, 2), "sparse-image-holes", some_formats,
                exercise_holes);
    if (!gpu->strict)
        note("holes were not read: the device is not strict");
}

static void case_holes_3d(struct gpu *gpu) {
    require_images(gpu, VK_IMAGE_TYPE_3D);
    for_formats(gpu, sparse_shape(VK_IMAGE_TYPE_3D, 1), "sparse-image-holes-3d", some_formats,
                exercise_holes);
}

static void case_lost_writes(struct gpu *gpu) {
    if (!gpu->loses_writes)
        skip("the device is not strict: what is written to unbound tiles may stay");
    require_images(gpu, VK_IMAGE_TYPE_2D);
    for_formats(gpu, sparse_shape(VK_IMAGE_TYPE_2D, 2), "sparse-image-lost-writes", some_formats,
                exercise_lost_writes);
}

static void case_moves(struct gpu *gpu) {
    require_images(gpu, VK_IMAGE_TYPE_2D);
    if (!gpu->features.sparseResidencyAliased)
        skip("the device has no sparseResidencyAliased");
    struct shape shape = sparse_shape(VK_IMAGE_TYPE_2D, 2);
    shape.flags |= VK_IMAGE_CREATE_SPARSE_ALIASED_BIT;
    for_formats(gpu, shape, "sparse-image-moves", some_formats, exercise_moves);
}

// Without residency: bound in pieces of one alignment each, shuffled, before its use.
static void exercise_opaque(struct gpu *gpu, const struct shape *shape, struct random *random) {
    struct tiled tiled = {.image = image_create(gpu, shape)};
    vkGetImageMemoryRequirements(gpu->device, tiled.image.handle, &tiled.needs);
    const VkDeviceSize piece = tiled.needs.alignment;
    const uint32_t count = (uint32_t)((tiled.needs.size + piece - 1) / piece);
    const uint32_t type = memory_type(gpu, tiled.needs.memoryTypeBits, LOCAL);
    for (unsigned i = 0; i < TILE_MEMORIES; i++)
        tiled.memories[i] = memory_allocate(gpu, (count / TILE_MEMORIES + 1) * piece, type);
    uint32_t *order = allocate(count * sizeof *order);
    VkSparseMemoryBind *binds = allocate(count * sizeof *binds);
    identity(order, count);
    random_shuffle(random, order, count);
    for (uint32_t i = 0; i < count; i++)
        binds[i] = (VkSparseMemoryBind){
            .resourceOffset = i * piece,
            .size = minimum(piece, tiled.needs.size - i * piece),
            .memory = tiled.memories[order[i] % TILE_MEMORIES],
            .memoryOffset = order[i] / TILE_MEMORIES * piece,
        };
    const VkSparseImageOpaqueMemoryBindInfo image = {tiled.image.handle, count, binds};
    image_bind(gpu, &(VkBindSparseInfo){.sType = VK_STRUCTURE_TYPE_BIND_SPARSE_INFO,
                                  .imageOpaqueBindCount = 1,
                                  .pImageOpaqueBinds = &image});
    tiled_load(gpu, &tiled, true, 0, random);
    tiled_load(gpu, &tiled, false, 20, random);
    image_expect(gpu, &tiled.image, "loaded");
    free(order), free(binds);
    tiled_destroy(gpu, &tiled);
}

static void case_opaque(struct gpu *gpu) {
    if (gpu->binder == NULL || !gpu->features.sparseBinding)
        skip("no queue binds sparse memory");
    struct shape shape = sparse_shape(VK_IMAGE_TYPE_2D, 2);
    shape.flags = VK_IMAGE_CREATE_SPARSE_BINDING_BIT;
    for_formats(gpu, shape, "sparse-image-opaque", all_formats, exercise_opaque);
}

const struct test_case sparse_image_cases[] = {
    {"sparse-image-2d", "tiles of 2D images, and mip tails", case_2d, false},
    {"sparse-image-layers", "tiles of layered images", case_layers, false},
    {"sparse-image-3d", "tiles of 3D images", case_3d, false},
    {"sparse-image-holes", "tiles unbound and bound again", case_holes, false},
    {"sparse-image-holes-3d", "the same in 3D", case_holes_3d, false},
    {"sparse-image-lost-writes", "unbound tiles lose what is written", case_lost_writes, false},
    {"sparse-image-moves", "tiles that change places by binds alone", case_moves, false},
    {"sparse-image-opaque", "a sparse image without residency", case_opaque, false},
    {0},
};
