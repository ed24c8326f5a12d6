// Images and a model of them in host memory, block by block.
#pragma once

#include "gpu.h"

struct format {
    const char *name;
    VkFormat format;
    VkImageAspectFlags aspect;
    // Bytes of a block, and its width and height in texels (1 x 1 if not compressed).
    uint32_t bytes, block;
};

extern const struct format formats[];
extern const unsigned format_count;
const struct format *format_named(const char *name);

struct shape {
    const struct format *format;
    VkImageType type;
    VkImageTiling tiling;
    VkImageCreateFlags flags;
    VkExtent3D extent;
    uint32_t levels, layers;
};

struct image {
    struct shape shape;
    VkImage handle;
    VkDeviceMemory memory;
    // The model: for each level and layer its blocks, row by row, slice by slice, without padding.
    uint8_t **planes;
};

// A box of blocks in some layers of one level.
struct box {
    uint32_t level, layer, layers;
    uint32_t x, y, z, width, height, depth;
};

// Whether the device makes such images and copies them.
bool image_is_supported(const struct gpu *gpu, const struct shape *shape);
// Without memory if its flags ask for sparse binding; the model is zero.
struct image image_create(const struct gpu *gpu, const struct shape *shape);
void image_destroy(const struct gpu *gpu, struct image *image);

// The level's extent in blocks.
VkExtent3D image_blocks(const struct shape *shape, uint32_t level);
struct box image_whole(const struct shape *shape, uint32_t level);
// Any box of any level; its edges need not be the level's.
struct box image_random_box(const struct gpu *gpu, const struct shape *shape,
                            struct random *random);
size_t box_bytes(const struct shape *shape, const struct box *box);

// Moves a new image to VK_IMAGE_LAYOUT_GENERAL, where it stays.
void image_prepare(VkCommandBuffer buffer, const struct image *image);

// How a box lies in a buffer, in bytes and blocks; a row or a height of 0 is the box's own.
struct layout {
    VkDeviceSize offset;
    uint32_t row, rows;
};
size_t layout_bytes(const struct shape *shape, const struct box *box, const struct layout *layout);
struct layout layout_random(const struct gpu *gpu, const struct shape *shape,
                            const struct box *box, struct random *random);

// Record a copy and do the same to the models.
void image_upload(VkCommandBuffer buffer, struct image *image, const struct box *box,
                  const struct buffer *from, const uint8_t *bytes, const struct layout *layout);
void image_download(VkCommandBuffer buffer, const struct image *image, const struct box *box,
                    const struct buffer *to, uint8_t *bytes, const struct layout *layout);
void image_copy(VkCommandBuffer buffer, const struct image *from, const struct box *box,
                struct image *to, const struct box *target);

// Reads all of it through the device and compares.
void image_expect(const struct gpu *gpu, const struct image *image, const char *what);
