// Images of all kinds, copied to and from buffers and each other.
#include <stdlib.h>
#include <string.h>

#include "image.h"

// Random bytes that are valid in the format: a depth is a float between 0 and 1.
static void fill_valid(struct random *random, const struct format *format, uint8_t *bytes,
                       size_t size) {
    random_fill(random, bytes, size);
    if (format->format == VK_FORMAT_D32_SFLOAT)
        for (size_t i = 0; i + 4 <= size; i += 4)
            memcpy(bytes + i, &(float){(float)(random_next(random) >> 40) / (1 << 24)}, 4);
}

// What a run on one image needs: random bytes to load from, and a buffer to read back into.
struct bench {
    struct buffer from, to;
    uint8_t *expected;
};

static struct bench bench_create(const struct gpu *gpu, const struct format *format, size_t size,
                                 struct random *random) {
    struct bench bench = {buffer_create(gpu, size, HOST), buffer_create(gpu, size, HOST),
                          allocate(size)};
    fill_valid(random, format, bench.from.bytes, size);
    memset(bench.to.bytes, 0, size);
    return bench;
}

static void bench_destroy(const struct gpu *gpu, struct bench *bench) {
    buffer_destroy(gpu, &bench->from);
    buffer_destroy(gpu, &bench->to);
    free(bench->expected);
}

// The most that a box of the image can take in a buffer, with any padding.
static size_t bench_bytes(const struct shape *shape) {
    struct box box = image_whole(shape, 0);
    const struct layout layout = {1024, box.width + 9, box.height + 5};
    return layout_bytes(shape, &box, &layout) + 64;
}

static void load_all(VkCommandBuffer buffer, struct image *image, const struct bench *bench) {
    image_prepare(buffer, image);
    for (uint32_t level = 0; level < image->shape.levels; level++) {
        const struct box box = image_whole(&image->shape, level);
        // Each level has other bytes.
        const struct layout layout = {.offset = 16 * level};
        image_upload(buffer, image, &box, &bench->from, bench->from.bytes, &layout);
    }
    barrier(buffer);
}

// Random boxes of the image go to and fro; then every byte is read and compared.
static void exercise(struct gpu *gpu, const struct shape *shape, unsigned steps,
                     struct random *random) {
    struct bench bench = bench_create(gpu, shape->format, bench_bytes(shape), random);
    struct image image = image_create(gpu, shape);
    struct commands commands = commands_begin(gpu, gpu->mover);
    load_all(commands.buffer, &image, &bench);
    for (unsigned i = 0; i < steps; i++) {
        const struct box box = image_random_box(gpu, shape, random);
        const struct layout layout = layout_random(gpu, shape, &box, random);
        if (i % 2 == 0)
            image_upload(commands.buffer, &image, &box, &bench.from, bench.from.bytes, &layout);
        else
            image_download(commands.buffer, &image, &box, &bench.to, bench.expected, &layout);
        barrier(commands.buffer);
    }
    barrier_to_host(commands.buffer);
    commands_run(&commands);
    expect_bytes(bench.to.bytes, bench.expected, bench.to.size, "%s, read back in boxes",
                 shape->format->name);
    image_expect(gpu, &image, "read back whole");
    image_destroy(gpu, &image);
    bench_destroy(gpu, &bench);
}

// One image of each color format.
static void exercise_formats(struct gpu *gpu, struct shape shape, unsigned steps,
                             const char *tag) {
    unsigned count = 0;
    for (unsigned i = 0; i < format_count; i++) {
        if (formats[i].aspect != VK_IMAGE_ASPECT_COLOR_BIT)
            continue;
        shape.format = &formats[i];
        if (!image_is_supported(gpu, &shape))
            continue;
        struct random random = random_stream(tag, i);
        exercise(gpu, &shape, steps, &random);
        count++;
    }
    if (count == 0)
        skip("the device has no such images");
    note("%u formats", count);
}

static void case_1d(struct gpu *gpu) {
    exercise_formats(gpu,
                     (struct shape){.type = VK_IMAGE_TYPE_1D,
                                    .tiling = VK_IMAGE_TILING_OPTIMAL,
                                    .extent = {517, 1, 1},
                                    .levels = 6,
                                    .layers = 3},
                     40, "image-1d");
}

static void case_2d(struct gpu *gpu) {
    exercise_formats(gpu,
                     (struct shape){.type = VK_IMAGE_TYPE_2D,
                                    .tiling = VK_IMAGE_TILING_OPTIMAL,
                                    .extent = {301, 203, 1},
                                    .levels = 1,
                                    .layers = 1},
                     40, "image-2d");
}

static void case_mips(struct gpu *gpu) {
    exercise_formats(gpu,
                     (struct shape){.type = VK_IMAGE_TYPE_2D,
                                    .tiling = VK_IMAGE_TILING_OPTIMAL,
                                    .extent = {148, 92, 1},
                                    .levels = 8,
                                    .layers = 1},
                     60, "image-mips");
}

static void case_layers(struct gpu *gpu) {
    exercise_formats(gpu,
                     (struct shape){.type = VK_IMAGE_TYPE_2D,
                                    .tiling = VK_IMAGE_TILING_OPTIMAL,
                                    .extent = {68, 60, 1},
                                    .levels = 4,
                                    .layers = 7},
                     60, "image-layers");
}

static void case_3d(struct gpu *gpu) {
    exercise_formats(gpu,
                     (struct shape){.type = VK_IMAGE_TYPE_3D,
                                    .tiling = VK_IMAGE_TILING_OPTIMAL,
                                    .extent = {44, 36, 23},
                                    .levels = 5,
                                    .layers = 1},
                     40, "image-3d");
}

static void case_depth(struct gpu *gpu) {
    if (gpu->mover != gpu->general || !(gpu->mover->flags & VK_QUEUE_GRAPHICS_BIT))
        skip("the queue that moves memory does not copy depth and stencil");
    unsigned count = 0;
    for (unsigned i = 0; i < format_count; i++) {
        const struct shape shape = {.format = &formats[i],
                                    .type = VK_IMAGE_TYPE_2D,
                                    .tiling = VK_IMAGE_TILING_OPTIMAL,
                                    .extent = {130, 70, 1},
                                    .levels = 3,
                                    .layers = 2};
        if (formats[i].aspect == VK_IMAGE_ASPECT_COLOR_BIT || !image_is_supported(gpu, &shape))
            continue;
        struct random random = random_stream("image-depth-stencil", i);
        exercise(gpu, &shape, 40, &random);
        count++;
    }
    if (count == 0)
        skip("the device has no such images");
    note("%u formats", count);
}

// The host reads and writes the rows of linear images where the driver says that they are.
static void case_linear(struct gpu *gpu) {
    unsigned count = 0;
    for (unsigned i = 0; i < format_count; i++) {
        const struct format *format = &formats[i];
        const struct shape shape = {.format = format,
                                    .type = VK_IMAGE_TYPE_2D,
                                    .tiling = VK_IMAGE_TILING_LINEAR,
                                    .extent = {123, 77, 1},
                                    .levels = 1,
                                    .layers = 1};
        if (format->aspect != VK_IMAGE_ASPECT_COLOR_BIT || !image_is_supported(gpu, &shape))
            continue;
        struct random random = random_stream("image-linear", i);
        exercise(gpu, &shape, 20, &random);

        struct bench bench = bench_create(gpu, format, bench_bytes(&shape), &random);
        struct image image = image_create(gpu, &shape);
        struct commands commands = commands_begin(gpu, gpu->mover);
        load_all(commands.buffer, &image, &bench);
        barrier_to_host(commands.buffer);
        commands_run(&commands);
        const VkImageSubresource whole = {VK_IMAGE_ASPECT_COLOR_BIT, 0, 0};
        VkSubresourceLayout place;
        vkGetImageSubresourceLayout(gpu->device, image.handle, &whole, &place);
        void *bytes;
        VK(vkMapMemory(gpu->device, image.memory, 0, VK_WHOLE_SIZE, 0, &bytes));
        const VkExtent3D blocks = image_blocks(&shape, 0);
        const size_t row = (size_t)blocks.width * format->bytes;
        for (uint32_t y = 0; y < blocks.height; y++) {
            uint8_t *line = (uint8_t *)bytes + place.offset + y * place.rowPitch;
            uint8_t *model = image.planes[0] + y * row;
            expect_bytes(line, model, row, "%s, row %u as the host sees it", format->name, y);
            // The other way round: the device has to see what the host writes.
            random_fill(&random, model, row);
            memcpy(line, model, row);
        }
        vkUnmapMemory(gpu->device, image.memory);
        image_expect(gpu, &image, "written by the host");
        image_destroy(gpu, &image);
        bench_destroy(gpu, &bench);
        count++;
    }
    if (count == 0)
        skip("the device has no linear images");
    note("%u formats", count);
}

// Copies `from`'s blocks to `to`; both formats have blocks of the same size.
static void exercise_pair(struct gpu *gpu, const struct shape *one, const struct shape *two,
                          unsigned steps, struct random *random) {
    const size_t size = maximum(bench_bytes(one), bench_bytes(two));
    struct bench bench = bench_create(gpu, one->format, size, random);
    struct image images[2] = {image_create(gpu, one), image_create(gpu, two)};
    struct commands commands = commands_begin(gpu, gpu->mover);
    load_all(commands.buffer, &images[0], &bench);
    load_all(commands.buffer, &images[1], &bench);
    for (unsigned i = 0; i < steps; i++) {
        struct image *from = &images[i % 2], *to = &images[1 - i % 2];
        struct box box = image_random_box(gpu, &from->shape, random);
        struct box target = image_random_box(gpu, &to->shape, random);
        const VkExtent3D room = image_blocks(&to->shape, target.level);
        const VkExtent3D level = image_blocks(&from->shape, box.level);
        // Blocks that an edge cuts have other extents in the other image.
        const uint32_t cut = from->shape.format->block > 1 || to->shape.format->block > 1;
        if (room.width <= cut || room.height <= cut || level.width <= cut || level.height <= cut)
            continue;
        box.x -= box.x + 1 == level.width ? cut : 0;
        box.y -= box.y + 1 == level.height ? cut : 0;
        box.width =
            (uint32_t)minimum(minimum(box.width, level.width - cut - box.x), room.width - cut);
        box.height =
            (uint32_t)minimum(minimum(box.height, level.height - cut - box.y), room.height - cut);
        box.depth = (uint32_t)minimum(box.depth, room.depth);
        box.layers = (uint32_t)minimum(box.layers, to->shape.layers);
        target.x = (uint32_t)minimum(target.x, room.width - cut - box.width);
        target.y = (uint32_t)minimum(target.y, room.height - cut - box.height);
        target.z = (uint32_t)minimum(target.z, room.depth - box.depth);
        target.layer = (uint32_t)minimum(target.layer, to->shape.layers - box.layers);
        target.width = box.width;
        target.height = box.height;
        target.depth = box.depth;
        target.layers = box.layers;
        image_copy(commands.buffer, from, &box, to, &target);
        barrier(commands.buffer);
    }
    commands_run(&commands);
    image_expect(gpu, &images[0], "the first of a pair");
    image_expect(gpu, &images[1], "the second of a pair");
    image_destroy(gpu, &images[0]);
    image_destroy(gpu, &images[1]);
    bench_destroy(gpu, &bench);
}

static const struct shape pair_shape = {.type = VK_IMAGE_TYPE_2D,
                                        .tiling = VK_IMAGE_TILING_OPTIMAL,
                                        .extent = {172, 108, 1},
                                        .levels = 3,
                                        .layers = 3};

static void require_fine_grain(struct gpu *gpu) {
    const VkExtent3D step = gpu->mover->granularity;
    if (step.width != 1 || step.height != 1 || step.depth != 1)
        skip("the queue copies whole levels of images only");
}

static void case_pairs(struct gpu *gpu) {
    require_fine_grain(gpu);
    unsigned count = 0;
    for (unsigned i = 0; i < format_count; i++) {
        struct shape one = pair_shape, two = pair_shape;
        one.format = two.format = &formats[i];
        two.extent = (VkExtent3D){92, 140, 1};
        if (formats[i].aspect != VK_IMAGE_ASPECT_COLOR_BIT || !image_is_supported(gpu, &one))
            continue;
        struct random random = random_stream("image-to-image", i);
        exercise_pair(gpu, &one, &two, 60, &random);
        count++;
    }
    note("%u formats", count);
}

// Between formats whose blocks have the same size: the bytes stay what they are.
static void case_reinterpret(struct gpu *gpu) {
    require_fine_grain(gpu);
    static const char *const pairs[][2] = {
        {"rgba8", "r32"}, {"rg8", "r16"},  {"rgba16", "rg32"},
        {"bc1", "rg32"},  {"bc1", "rgba16"}, {"bc7", "rgba32"},
    };
    unsigned count = 0;
    for (unsigned i = 0; i < sizeof pairs / sizeof pairs[0]; i++) {
        struct shape one = pair_shape, two = pair_shape;
        one.format = format_named(pairs[i][0]);
        two.format = format_named(pairs[i][1]);
        if (!image_is_supported(gpu, &one) || !image_is_supported(gpu, &two))
            continue;
        struct random random = random_stream("image-reinterpret", i);
        exercise_pair(gpu, &one, &two, 60, &random);
        count++;
    }
    note("%u pairs", count);
}

static void case_tilings(struct gpu *gpu) {
    require_fine_grain(gpu);
    unsigned count = 0;
    for (unsigned i = 0; i < format_count; i++) {
        struct shape one = pair_shape, two = pair_shape;
        one.format = two.format = &formats[i];
        one.levels = one.layers = two.levels = two.layers = 1;
        two.tiling = VK_IMAGE_TILING_LINEAR;
        if (formats[i].aspect != VK_IMAGE_ASPECT_COLOR_BIT || !image_is_supported(gpu, &one) ||
            !image_is_supported(gpu, &two))
            continue;
        struct random random = random_stream("image-tilings", i);
        exercise_pair(gpu, &one, &two, 30, &random);
        count++;
    }
    if (count == 0)
        skip("no format has both tilings");
    note("%u formats", count);
}

static void case_pairs_3d(struct gpu *gpu) {
    require_fine_grain(gpu);
    static const char *const names[] = {"r8", "rgba8", "rgba32"};
    for (unsigned i = 0; i < 3; i++) {
        const struct shape shape = {.format = format_named(names[i]),
                                    .type = VK_IMAGE_TYPE_3D,
                                    .tiling = VK_IMAGE_TILING_OPTIMAL,
                                    .extent = {50, 41, 19},
                                    .levels = 3,
                                    .layers = 1};
        if (!image_is_supported(gpu, &shape))
            skip("the device has no 3D images");
        struct random random = random_stream("image-to-image-3d", i);
        exercise_pair(gpu, &shape, &shape, 40, &random);
    }
}

static void case_big(struct gpu *gpu) {
    const struct shape shape = {.format = format_named("rgba8"),
                                .type = VK_IMAGE_TYPE_2D,
                                .tiling = VK_IMAGE_TILING_OPTIMAL,
                                .extent = {2047, 1025, 1},
                                .levels = 11,
                                .layers = 1};
    struct random random = random_stream("image-big", 0);
    exercise(gpu, &shape, 12, &random);
}

const struct test_case image_cases[] = {
    {"image-1d", "1D images with levels and layers", case_1d, false},
    {"image-2d", "2D images of odd extents", case_2d, false},
    {"image-mips", "2D images with a full row of levels", case_mips, false},
    {"image-layers", "2D images with layers and levels", case_layers, false},
    {"image-3d", "3D images with levels", case_3d, false},
    {"image-big", "a 2D image of 2047 x 1025", case_big, false},
    {"image-depth-stencil", "depth and stencil images", case_depth, false},
    {"image-linear", "linear images that the host reads and writes", case_linear, false},
    {"image-to-image", "boxes copied between two images", case_pairs, false},
    {"image-to-image-3d", "boxes copied between two 3D images", case_pairs_3d, false},
    {"image-tilings", "boxes copied between optimal and linear", case_tilings, false},
    {"image-reinterpret", "copies between formats of the same size", case_reinterpret, false},
    {0},
};
