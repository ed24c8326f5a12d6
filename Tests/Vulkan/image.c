#include "image.h"

#include <stdlib.h>
#include <string.h>

#define COLOR VK_IMAGE_ASPECT_COLOR_BIT
#define DEPTH VK_IMAGE_ASPECT_DEPTH_BIT
#define STENCIL VK_IMAGE_ASPECT_STENCIL_BIT

const struct format formats[] = {
    {"r8", VK_FORMAT_R8_UNORM, COLOR, 1, 1},
    {"rg8", VK_FORMAT_R8G8_UINT, COLOR, 2, 1},
    {"r16", VK_FORMAT_R16_UINT, COLOR, 2, 1},
    {"rgba8", VK_FORMAT_R8G8B8A8_UNORM, COLOR, 4, 1},
    {"bgra8", VK_FORMAT_B8G8R8A8_UNORM, COLOR, 4, 1},
    {"r32", VK_FORMAT_R32_UINT, COLOR, 4, 1},
    {"rgba16", VK_FORMAT_R16G16B16A16_UINT, COLOR, 8, 1},
    {"rg32", VK_FORMAT_R32G32_UINT, COLOR, 8, 1},
    {"rgba32", VK_FORMAT_R32G32B32A32_UINT, COLOR, 16, 1},
    {"bc1", VK_FORMAT_BC1_RGBA_UNORM_BLOCK, COLOR, 8, 4},
    {"bc7", VK_FORMAT_BC7_UNORM_BLOCK, COLOR, 16, 4},
    {"d16", VK_FORMAT_D16_UNORM, DEPTH, 2, 1},
    {"d32", VK_FORMAT_D32_SFLOAT, DEPTH, 4, 1},
    {"s8", VK_FORMAT_S8_UINT, STENCIL, 1, 1},
};
const unsigned format_count = sizeof formats / sizeof formats[0];

const struct format *format_named(const char *name) {
    for (unsigned i = 0; i < format_count; i++)
        if (strcmp(formats[i].name, name) == 0)
            return &formats[i];
    fail("no format is called %s", name);
}

static VkImageCreateInfo create_info(const struct shape *shape) {
    return (VkImageCreateInfo){
        .sType = VK_STRUCTURE_TYPE_IMAGE_CREATE_INFO,
        .flags = shape->flags,
        .imageType = shape->type,
        .format = shape->format->format,
        .extent = shape->extent,
        .mipLevels = shape->levels,
        .arrayLayers = shape->layers,
        .samples = VK_SAMPLE_COUNT_1_BIT,
        .tiling = shape->tiling,
        .usage = VK_IMAGE_USAGE_TRANSFER_SRC_BIT | VK_IMAGE_USAGE_TRANSFER_DST_BIT,
        .initialLayout = VK_IMAGE_LAYOUT_UNDEFINED,
    };
}

bool image_is_supported(const struct gpu *gpu, const struct shape *shape) {
    const VkImageCreateInfo info = create_info(shape);
    VkFormatProperties properties;
    vkGetPhysicalDeviceFormatProperties(gpu->physical, info.format, &properties);
    const VkFormatFeatureFlags needed =
        VK_FORMAT_FEATURE_TRANSFER_SRC_BIT | VK_FORMAT_FEATURE_TRANSFER_DST_BIT;
    const VkFormatFeatureFlags features = shape->tiling == VK_IMAGE_TILING_LINEAR
                                              ? properties.linearTilingFeatures
                                              : properties.optimalTilingFeatures;
    if ((features & needed) != needed)
        return false;
    VkImageFormatProperties limits;
    if (vkGetPhysicalDeviceImageFormatProperties(gpu->physical, info.format, info.imageType,
                                                 info.tiling, info.usage, info.flags,
                                                 &limits) != VK_SUCCESS)
        return false;
    return info.extent.width <= limits.maxExtent.width &&
           info.extent.height <= limits.maxExtent.height &&
           info.extent.depth <= limits.maxExtent.depth && info.mipLevels <= limits.maxMipLevels &&
           info.arrayLayers <= limits.maxArrayLayers;
}

static size_t plane_bytes(const struct shape *shape, uint32_t level) {
    const VkExtent3D blocks = image_blocks(shape, level);
    return (size_t)blocks.width * blocks.height * blocks.depth * shape->format->bytes;
}

struct image image_create(const struct gpu *gpu, const struct shape *shape) {
    struct image image = {.shape = *shape};
    const VkImageCreateInfo info = create_info(shape);
    VK(vkCreateImage(gpu->device, &info, NULL, &image.handle));
    if (!(shape->flags & VK_IMAGE_CREATE_SPARSE_BINDING_BIT)) {
        VkMemoryRequirements needs;
        vkGetImageMemoryRequirements(gpu->device, image.handle, &needs);
        const bool linear = shape->tiling == VK_IMAGE_TILING_LINEAR;
        image.memory = memory_allocate(
            gpu, needs.size, memory_type(gpu, needs.memoryTypeBits, linear ? HOST : LOCAL));
        VK(vkBindImageMemory(gpu->device, image.handle, image.memory, 0));
    }
    image.planes = allocate((size_t)shape->levels * shape->layers * sizeof *image.planes);
    for (uint32_t level = 0; level < shape->levels; level++)
        for (uint32_t layer = 0; layer < shape->layers; layer++)
            image.planes[level * shape->layers + layer] = allocate(plane_bytes(shape, level));
    return image;
}

void image_destroy(const struct gpu *gpu, struct image *image) {
    vkDestroyImage(gpu->device, image->handle, NULL);
    vkFreeMemory(gpu->device, image->memory, NULL);
    for (uint32_t i = 0; i < image->shape.levels * image->shape.layers; i++)
        free(image->planes[i]);
    free(image->planes);
    *image = (struct image){0};
}

static uint32_t mip(uint32_t extent, uint32_t level) {
    return (uint32_t)maximum(extent >> level, 1);
}

static VkExtent3D texels(const struct shape *shape, uint32_t level) {
    return (VkExtent3D){mip(shape->extent.width, level), mip(shape->extent.height, level),
                        mip(shape->extent.depth, level)};
}

VkExtent3D image_blocks(const struct shape *shape, uint32_t level) {
    const VkExtent3D extent = texels(shape, level);
    const uint32_t block = shape->format->block;
    return (VkExtent3D){(extent.width + block - 1) / block, (extent.height + block - 1) / block,
                        extent.depth};
}

struct box image_whole(const struct shape *shape, uint32_t level) {
    const VkExtent3D blocks = image_blocks(shape, level);
    return (struct box){.level = level,
                        .layers = shape->layers,
                        .width = blocks.width,
                        .height = blocks.height,
                        .depth = blocks.depth};
}

static void random_span(struct random *random, uint32_t limit, uint32_t *start, uint32_t *size) {
    *size = 1 + (uint32_t)random_below(random, limit);
    *start = (uint32_t)random_below(random, limit - *size + 1);
}

struct box image_random_box(const struct gpu *gpu, const struct shape *shape,
                            struct random *random) {
    const uint32_t level = (uint32_t)random_below(random, shape->levels);
    struct box box = image_whole(shape, level);
    random_span(random, shape->layers, &box.layer, &box.layers);
    const VkExtent3D step = gpu->mover->granularity;
    // A queue with a coarser grain takes whole levels, which is always allowed.
    if (step.width != 1 || step.height != 1 || step.depth != 1)
        return box;
    random_span(random, box.width, &box.x, &box.width);
    random_span(random, box.height, &box.y, &box.height);
    random_span(random, box.depth, &box.z, &box.depth);
    return box;
}

size_t box_bytes(const struct shape *shape, const struct box *box) {
    return (size_t)box->width * box->height * box->depth * box->layers * shape->format->bytes;
}

void image_prepare(VkCommandBuffer buffer, const struct image *image) {
    const VkImageMemoryBarrier2 change = {
        .sType = VK_STRUCTURE_TYPE_IMAGE_MEMORY_BARRIER_2,
        .srcStageMask = VK_PIPELINE_STAGE_2_ALL_TRANSFER_BIT,
        .srcAccessMask = VK_ACCESS_2_TRANSFER_WRITE_BIT,
        .dstStageMask = VK_PIPELINE_STAGE_2_ALL_TRANSFER_BIT,
        .dstAccessMask = VK_ACCESS_2_TRANSFER_READ_BIT | VK_ACCESS_2_TRANSFER_WRITE_BIT,
        .oldLayout = VK_IMAGE_LAYOUT_UNDEFINED,
        .newLayout = VK_IMAGE_LAYOUT_GENERAL,
        .srcQueueFamilyIndex = VK_QUEUE_FAMILY_IGNORED,
        .dstQueueFamilyIndex = VK_QUEUE_FAMILY_IGNORED,
        .image = image->handle,
        .subresourceRange = {image->shape.format->aspect, 0, VK_REMAINING_MIP_LEVELS, 0,
                             VK_REMAINING_ARRAY_LAYERS},
    };
    const VkDependencyInfo info = {
        .sType = VK_STRUCTURE_TYPE_DEPENDENCY_INFO,
        .imageMemoryBarrierCount = 1,
        .pImageMemoryBarriers = &change,
    };
    vkCmdPipelineBarrier2(buffer, &info);
}

static uint32_t row_of(const struct box *box, const struct layout *layout) {
    return layout->row ? layout->row : box->width;
}

static uint32_t rows_of(const struct box *box, const struct layout *layout) {
    return layout->rows ? layout->rows : box->height;
}

size_t layout_bytes(const struct shape *shape, const struct box *box,
                    const struct layout *layout) {
    const size_t slices = (size_t)box->layers * box->depth;
    const size_t lines = (slices - 1) * rows_of(box, layout) + box->height;
    return layout->offset +
           ((lines - 1) * row_of(box, layout) + box->width) * shape->format->bytes;
}

struct layout layout_random(const struct gpu *gpu, const struct shape *shape,
                            const struct box *box, struct random *random) {
    struct layout layout = {0};
    if (random_below(random, 2))
        layout.row = box->width + (uint32_t)random_below(random, 9);
    if (random_below(random, 2))
        layout.rows = box->height + (uint32_t)random_below(random, 5);
    // Queues for transfers alone, and depth and stencil, want multiples of four.
    const bool words = gpu->mover != gpu->general || shape->format->aspect != COLOR;
    const uint32_t unit = (uint32_t)maximum(shape->format->bytes, words ? 4 : 1);
    layout.offset = random_below(random, 50) * unit;
    return layout;
}

// The start of the box's row in the model.
static uint8_t *model_row(const struct image *image, const struct box *box, uint32_t slice,
                          uint32_t y) {
    const VkExtent3D blocks = image_blocks(&image->shape, box->level);
    const uint32_t layer = box->layer + slice / box->depth, z = box->z + slice % box->depth;
    const size_t block = ((size_t)z * blocks.height + box->y + y) * blocks.width + box->x;
    return image->planes[box->level * image->shape.layers + layer] +
           block * image->shape.format->bytes;
}

static size_t layout_row(const struct shape *shape, const struct box *box,
                         const struct layout *layout, uint32_t slice, uint32_t y) {
    const size_t line = (size_t)slice * rows_of(box, layout) + y;
    return layout->offset + line * row_of(box, layout) * shape->format->bytes;
}

// The box's extent in texels: a level's last block may be cut off by its edge.
static VkExtent3D extent_of(const struct shape *shape, const struct box *box) {
    const VkExtent3D level = texels(shape, box->level);
    const uint32_t block = shape->format->block;
    return (VkExtent3D){
        (uint32_t)minimum(box->width * block, level.width - box->x * block),
        (uint32_t)minimum(box->height * block, level.height - box->y * block), box->depth};
}

static VkOffset3D offset_of(const struct shape *shape, const struct box *box) {
    const int32_t block = (int32_t)shape->format->block;
    return (VkOffset3D){(int32_t)box->x * block, (int32_t)box->y * block, (int32_t)box->z};
}

static VkImageSubresourceLayers layers_of(const struct shape *shape, const struct box *box) {
    return (VkImageSubresourceLayers){shape->format->aspect, box->level, box->layer, box->layers};
}

static VkBufferImageCopy region_of(const struct shape *shape, const struct box *box,
                                   const struct layout *layout) {
    return (VkBufferImageCopy){
        .bufferOffset = layout->offset,
        .bufferRowLength = layout->row * shape->format->block,
        .bufferImageHeight = layout->rows * shape->format->block,
        .imageSubresource = layers_of(shape, box),
        .imageOffset = offset_of(shape, box),
        .imageExtent = extent_of(shape, box),
    };
}

void image_upload(VkCommandBuffer buffer, struct image *image, const struct box *box,
                  const struct buffer *from, const uint8_t *bytes, const struct layout *layout) {
    const struct shape *shape = &image->shape;
    const VkBufferImageCopy region = region_of(shape, box, layout);
    vkCmdCopyBufferToImage(buffer, from->handle, image->handle, VK_IMAGE_LAYOUT_GENERAL, 1,
                           &region);
    for (uint32_t slice = 0; slice < box->layers * box->depth; slice++)
        for (uint32_t y = 0; y < box->height; y++)
            memcpy(model_row(image, box, slice, y),
                   bytes + layout_row(shape, box, layout, slice, y),
                   (size_t)box->width * shape->format->bytes);
    moved(box_bytes(shape, box));
}

void image_download(VkCommandBuffer buffer, const struct image *image, const struct box *box,
                    const struct buffer *to, uint8_t *bytes, const struct layout *layout) {
    const struct shape *shape = &image->shape;
    const VkBufferImageCopy region = region_of(shape, box, layout);
    vkCmdCopyImageToBuffer(buffer, image->handle, VK_IMAGE_LAYOUT_GENERAL, to->handle, 1, &region);
    for (uint32_t slice = 0; slice < box->layers * box->depth; slice++)
        for (uint32_t y = 0; y < box->height; y++)
            memcpy(bytes + layout_row(shape, box, layout, slice, y),
                   model_row(image, box, slice, y), (size_t)box->width * shape->format->bytes);
    moved(box_bytes(shape, box));
}

void image_copy(VkCommandBuffer buffer, const struct image *from, const struct box *box,
                struct image *to, const struct box *target) {
    const VkImageCopy region = {
        .srcSubresource = layers_of(&from->shape, box),
        .srcOffset = offset_of(&from->shape, box),
        .dstSubresource = layers_of(&to->shape, target),
        .dstOffset = offset_of(&to->shape, target),
        .extent = extent_of(&from->shape, box),
    };
    vkCmdCopyImage(buffer, from->handle, VK_IMAGE_LAYOUT_GENERAL, to->handle,
                   VK_IMAGE_LAYOUT_GENERAL, 1, &region);
    for (uint32_t slice = 0; slice < box->layers * box->depth; slice++)
        for (uint32_t y = 0; y < box->height; y++)
            memcpy(model_row(to, target, slice, y), model_row(from, box, slice, y),
                   (size_t)box->width * from->shape.format->bytes);
    moved(box_bytes(&from->shape, box));
}

void image_expect(const struct gpu *gpu, const struct image *image, const char *what) {
    const struct shape *shape = &image->shape;
    VkDeviceSize size = 0;
    for (uint32_t level = 0; level < shape->levels; level++)
        size += round_up(plane_bytes(shape, level) * shape->layers, 16);
    struct buffer seen = buffer_create(gpu, size, HOST);
    uint8_t *expected = allocate(size);
    memset(seen.bytes, 0, size);
    struct commands commands = commands_begin(gpu, gpu->mover);
    barrier(commands.buffer);
    struct layout layout = {0};
    for (uint32_t level = 0; level < shape->levels; level++) {
        const struct box box = image_whole(shape, level);
        image_download(commands.buffer, image, &box, &seen, expected, &layout);
        layout.offset += round_up(plane_bytes(shape, level) * shape->layers, 16);
    }
    barrier_to_host(commands.buffer);
    commands_run(&commands);
    size_t offset = 0;
    for (uint32_t level = 0; level < shape->levels; level++) {
        const size_t plane = plane_bytes(shape, level);
        for (uint32_t layer = 0; layer < shape->layers; layer++)
            expect_bytes(seen.bytes + offset + layer * plane, expected + offset + layer * plane,
                         plane, "%s, %s, level %u, layer %u", shape->format->name, what, level,
                         layer);
        offset += round_up(plane * shape->layers, 16);
    }
    buffer_destroy(gpu, &seen);
    free(expected);
}
