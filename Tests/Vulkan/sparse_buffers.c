// Sparse buffers: any page of them shows any page of any memory, or nothing.
#include <stdlib.h>
#include <string.h>

#include "sparse.h"

// So many pages that tens of MiB are moved, whatever a page is.
static uint32_t page_count(const struct gpu *gpu) {
    return (uint32_t)minimum(2048, (32u << 20) / sparse_page(gpu));
}

// Each page to a place of its own, in a random order.
static void bind_shuffled(struct sparse *sparse, const struct backing *backing,
                          struct binds *binds, struct random *random) {
    uint32_t *order = allocate(sparse->pages * sizeof *order);
    uint32_t *places = allocate(sparse->pages * sizeof *places);
    for (uint32_t i = 0; i < sparse->pages; i++)
        order[i] = places[i] = i;
    random_shuffle(random, order, sparse->pages);
    random_shuffle(random, places, sparse->pages);
    for (uint32_t i = 0; i < sparse->pages; i++)
        sparse_bind(sparse, backing, binds, order[i], 1,
                    (struct place){(int)(places[i] % MEMORIES), places[i] / MEMORIES});
    free(order);
    free(places);
}

static void bind_case(struct gpu *gpu) {
    sparse_require(gpu);
    struct random random = random_stream("sparse-buffer", 0);
    struct sparse sparse = sparse_create(gpu, 16, SPARSE_RESIDENCY);
    struct backing backing = backing_create(gpu, gpu->mover, 4, &random);
    struct binds binds = {0};
    for (uint32_t i = 0; i < MEMORIES; i++)
        sparse_bind(&sparse, &backing, &binds, i * 4, 4, (struct place){(int)(3 - i), 0});
    binds_run(gpu, gpu->binder, &binds, sparse.buffer);
    sparse_expect(gpu, gpu->mover, &sparse, &backing, "bound");
    sparse_load(gpu, gpu->mover, &sparse, &backing, &random);
    sparse_expect(gpu, gpu->mover, &sparse, &backing, "written");
    backing_expect(gpu, gpu->mover, &backing, "written");
    sparse_destroy(gpu, &sparse);
    backing_destroy(gpu, &backing);
    binds_destroy(&binds);
    note("pages of %llu bytes%s", (unsigned long long)sparse_page(gpu),
         gpu->strict ? ", strict" : "");
}

static void shuffle_case(struct gpu *gpu) {
    sparse_require(gpu);
    struct random random = random_stream("sparse-buffer-shuffle", 0);
    const uint32_t pages = page_count(gpu);
    struct sparse sparse = sparse_create(gpu, pages, SPARSE_RESIDENCY);
    struct backing backing = backing_create(gpu, gpu->mover, pages / MEMORIES, &random);
    struct binds binds = {0};
    unsigned count = 0;
    for (unsigned round = 0; round < 4; round++) {
        bind_shuffled(&sparse, &backing, &binds, &random);
        count += binds.count;
        binds_run(gpu, gpu->binder, &binds, sparse.buffer);
        sparse_expect(gpu, gpu->mover, &sparse, &backing, "shuffled");
        if (round % 2)
            sparse_load(gpu, gpu->mover, &sparse, &backing, &random);
    }
    backing_expect(gpu, gpu->mover, &backing, "at the end");
    sparse_destroy(gpu, &sparse);
    backing_destroy(gpu, &backing);
    binds_destroy(&binds);
    note("%u binds", count);
}

// One call with more binds than a driver passes on in one ioctl. Each page gets a word of its own.
static void many_case(struct gpu *gpu) {
    sparse_require(gpu);
    enum { PAGES = 5000, WORD = 16 };
    struct random random = random_stream("sparse-buffer-many", 0);
    const VkDeviceSize page = sparse_page(gpu);
    struct sparse sparse = sparse_create(gpu, PAGES, SPARSE_RESIDENCY);
    VkMemoryRequirements needs;
    vkGetBufferMemoryRequirements(gpu->device, sparse.buffer, &needs);
    VkDeviceMemory memory = memory_allocate(gpu, page * PAGES,
                                            memory_type(gpu, needs.memoryTypeBits, LOCAL));
    const struct backing backing = {.page = page, .pages = PAGES, .memories = {memory}};
    struct buffer words = buffer_create(gpu, PAGES * WORD, HOST);
    struct buffer seen = buffer_create(gpu, PAGES * WORD, HOST);
    random_fill(&random, words.bytes, words.size);
    memset(seen.bytes, 0, seen.size);
    uint32_t *order = allocate(PAGES * sizeof *order);
    for (uint32_t i = 0; i < PAGES; i++)
        order[i] = i;
    struct binds binds = {0};
    VkBufferCopy *in = allocate(PAGES * sizeof *in), *out = allocate(PAGES * sizeof *out);
    uint8_t *expected = allocate(PAGES * WORD);
    uint32_t *memory_word = allocate(PAGES * sizeof *memory_word);

    for (unsigned round = 0; round < 2; round++) {
        random_shuffle(&random, order, PAGES);
        for (uint32_t i = 0; i < PAGES; i++)
            sparse_bind(&sparse, &backing, &binds, i, 1, (struct place){0, order[i]});
        binds_run(gpu, gpu->binder, &binds, sparse.buffer);
        struct commands commands = commands_begin(gpu, gpu->mover);
        barrier(commands.buffer);
        for (uint32_t i = 0; i < PAGES; i++) {
            const VkDeviceSize there = i * page + order[i] % (page / WORD) * WORD;
            in[i] = (VkBufferCopy){i * WORD, there, WORD};
            out[i] = (VkBufferCopy){there, i * WORD, WORD};
            if (round == 0)
                memory_word[order[i]] = i;
        }
        // The first round writes through the buffer, the second finds the words where they are now.
        if (round == 0) {
            vkCmdCopyBuffer(commands.buffer, words.handle, sparse.buffer, PAGES, in);
            barrier(commands.buffer);
        }
        vkCmdCopyBuffer(commands.buffer, sparse.buffer, seen.handle, PAGES, out);
        moved(PAGES * WORD);
        barrier_to_host(commands.buffer);
        commands_run(&commands);
        for (uint32_t i = 0; i < PAGES; i++)
            memcpy(expected + i * WORD, words.bytes + memory_word[order[i]] * WORD, WORD);
        expect_bytes(seen.bytes, expected, PAGES * WORD, "round %u", round);
    }
    free(order), free(in), free(out), free(expected), free(memory_word);
    sparse_destroy(gpu, &sparse);
    vkFreeMemory(gpu->device, memory, NULL);
    buffer_destroy(gpu, &words);
    buffer_destroy(gpu, &seen);
    binds_destroy(&binds);
    note("%d binds a call", PAGES);
}

// New binds over parts of old ones: in front, in the middle, behind, around.
static void rebind_case(struct gpu *gpu) {
    sparse_require(gpu);
    enum { PAGES = 64 };
    struct random random = random_stream("sparse-buffer-rebind", 0);
    struct sparse sparse = sparse_create(gpu, PAGES, SPARSE_RESIDENCY);
    struct backing backing = backing_create(gpu, gpu->mover, PAGES, &random);
    struct binds binds = {0};
    static const struct {
        uint32_t first, count;
    } parts[] = {{0, 64}, {8, 8}, {0, 4}, {60, 4}, {10, 4}, {4, 16}, {31, 2}, {15, 17}, {0, 63}};
    for (unsigned i = 0; i < sizeof parts / sizeof parts[0]; i++) {
        const uint32_t start = (uint32_t)random_below(&random, PAGES - parts[i].count + 1);
        // Places that other pages still show: the buffer is an aliased one.
        sparse_bind(&sparse, &backing, &binds, parts[i].first, parts[i].count,
                    (struct place){(int)(i % MEMORIES), start});
        binds_run(gpu, gpu->binder, &binds, sparse.buffer);
        sparse_expect(gpu, gpu->mover, &sparse, &backing, "bound over");
    }
    // The same place in two calls, and onto itself at an offset of one page.
    for (uint32_t shift = 0; shift < 3; shift++) {
        sparse_bind(&sparse, &backing, &binds, 8, 40, (struct place){2, 5 + shift / 2});
        binds_run(gpu, gpu->binder, &binds, sparse.buffer);
        sparse_expect(gpu, gpu->mover, &sparse, &backing, "bound again");
    }
    backing_expect(gpu, gpu->mover, &backing, "binds write nothing");
    sparse_destroy(gpu, &sparse);
    backing_destroy(gpu, &backing);
    binds_destroy(&binds);
}

// Ranges are unbound and come back as they were. In between they read zero, and lose what is
// written to them if `writes` says to write.
static void exercise_holes(struct gpu *gpu, const char *tag, bool writes) {
    sparse_require(gpu);
    enum { PAGES = 96 };
    struct random random = random_stream(tag, 0);
    struct sparse sparse = sparse_create(gpu, PAGES, SPARSE_RESIDENCY);
    struct backing backing = backing_create(gpu, gpu->mover, PAGES / MEMORIES, &random);
    struct binds binds = {0};
    sparse_expect(gpu, gpu->mover, &sparse, &backing, "never bound");
    if (writes) {
        sparse_load(gpu, gpu->mover, &sparse, &backing, &random);
        sparse_expect(gpu, gpu->mover, &sparse, &backing, "never bound, written");
    }
    bind_shuffled(&sparse, &backing, &binds, &random);
    struct place *places = allocate(PAGES * sizeof *places);
    memcpy(places, sparse.places, PAGES * sizeof *places);
    binds_run(gpu, gpu->binder, &binds, sparse.buffer);
    sparse_expect(gpu, gpu->mover, &sparse, &backing, "bound");
    for (unsigned round = 0; round < 24; round++) {
        const uint32_t count = 1 + (uint32_t)random_below(&random, PAGES / 2);
        const uint32_t first = (uint32_t)random_below(&random, PAGES - count + 1);
        sparse_bind(&sparse, &backing, &binds, first, count, UNBOUND);
        binds_run(gpu, gpu->binder, &binds, sparse.buffer);
        sparse_expect(gpu, gpu->mover, &sparse, &backing, "unbound");
        if (writes) {
            sparse_load(gpu, gpu->mover, &sparse, &backing, &random);
            sparse_expect(gpu, gpu->mover, &sparse, &backing, "unbound, written");
        }
        if (round % 3 == 2) {
            for (uint32_t i = first; i < first + count; i++)
                sparse_bind(&sparse, &backing, &binds, i, 1, places[i]);
            binds_run(gpu, gpu->binder, &binds, sparse.buffer);
            sparse_expect(gpu, gpu->mover, &sparse, &backing, "bound again");
        }
    }
    backing_expect(gpu, gpu->mover, &backing, "at the end");
    free(places);
    sparse_destroy(gpu, &sparse);
    backing_destroy(gpu, &backing);
    binds_destroy(&binds);
}

static void unbind_case(struct gpu *gpu) {
    exercise_holes(gpu, "sparse-buffer-unbind", false);
    if (!gpu->strict)
        note("holes were not read: the device is not strict");
}

static void lost_case(struct gpu *gpu) {
    if (!gpu->loses_writes)
        skip("the device is not strict: what is written to unbound pages may stay");
    exercise_holes(gpu, "sparse-buffer-lost-writes", true);
}

// A page in two places of one buffer, and in two buffers.
static void alias_case(struct gpu *gpu) {
    sparse_require(gpu);
    enum { PAGES = 32 };
    struct random random = random_stream("sparse-buffer-alias", 0);
    struct sparse one = sparse_create(gpu, 2 * PAGES, SPARSE_RESIDENCY);
    struct sparse two = sparse_create(gpu, PAGES, SPARSE_RESIDENCY);
    struct backing backing = backing_create(gpu, gpu->mover, PAGES, &random);
    struct binds binds = {0};
    for (uint32_t i = 0; i < PAGES; i++) {
        const struct place place = {(int)(i % MEMORIES), (uint32_t)random_below(&random, PAGES)};
        // Upside down in its second half.
        sparse_bind(&one, &backing, &binds, i, 1, place);
        sparse_bind(&one, &backing, &binds, 2 * PAGES - 1 - i, 1, place);
    }
    binds_run(gpu, gpu->binder, &binds, one.buffer);
    for (uint32_t i = 0; i < PAGES; i++)
        sparse_bind(&two, &backing, &binds, i, 1, one.places[(i + 7) % PAGES]);
    binds_run(gpu, gpu->binder, &binds, two.buffer);
    sparse_expect(gpu, gpu->mover, &one, &backing, "one, as bound");
    sparse_expect(gpu, gpu->mover, &two, &backing, "two, as bound");

    enum { ROUNDS = 60, SIZE = 3001 };
    struct buffer source = buffer_create(gpu, ROUNDS * SIZE, HOST);
    uint8_t *bytes = allocate(source.size);
    random_fill(&random, bytes, source.size);
    memcpy(source.bytes, bytes, source.size);
    struct commands commands = commands_begin(gpu, gpu->mover);
    barrier(commands.buffer);
    for (unsigned round = 0; round < ROUNDS; round++) {
        const struct sparse *to = round % 2 ? &two : &one;
        // Within a page, so that no byte is written twice by one copy.
        const VkDeviceSize size = 1 + random_below(&random, SIZE);
        const VkDeviceSize page = random_below(&random, to->pages);
        const VkDeviceSize there = page * to->page + random_below(&random, to->page - size + 1);
        copy(commands.buffer, source.handle, round * SIZE, to->buffer, there, size);
        sparse_write(to, &backing, there, bytes + round * SIZE, size);
        barrier(commands.buffer);
    }
    commands_run(&commands);
    sparse_expect(gpu, gpu->mover, &one, &backing, "one, written through both");
    sparse_expect(gpu, gpu->mover, &two, &backing, "two, written through both");
    backing_expect(gpu, gpu->mover, &backing, "written through both");
    // A memory's page goes away in one buffer and stays in the other.
    sparse_bind(&one, &backing, &binds, 0, PAGES, UNBOUND);
    binds_run(gpu, gpu->binder, &binds, one.buffer);
    sparse_expect(gpu, gpu->mover, &one, &backing, "one, half unbound");
    sparse_expect(gpu, gpu->mover, &two, &backing, "two, after one's unbind");
    sparse_destroy(gpu, &one);
    sparse_expect(gpu, gpu->mover, &two, &backing, "two, after one's end");
    sparse_destroy(gpu, &two);
    backing_destroy(gpu, &backing);
    buffer_destroy(gpu, &source);
    free(bytes);
    binds_destroy(&binds);
}

// Without residency: wholly bound before its use, out of pieces.
static void opaque_case(struct gpu *gpu) {
    sparse_require(gpu);
    struct random random = random_stream("sparse-buffer-opaque", 0);
    struct sparse sparse = sparse_create(gpu, 40, SPARSE_BINDING);
    struct backing backing = backing_create(gpu, gpu->mover, 10, &random);
    struct binds binds = {0};
    for (unsigned round = 0; round < 3; round++) {
        bind_shuffled(&sparse, &backing, &binds, &random);
        binds_run(gpu, gpu->binder, &binds, sparse.buffer);
        sparse_load(gpu, gpu->mover, &sparse, &backing, &random);
        sparse_expect(gpu, gpu->mover, &sparse, &backing, "bound and written");
    }
    backing_expect(gpu, gpu->mover, &backing, "at the end");
    sparse_destroy(gpu, &sparse);
    backing_destroy(gpu, &backing);
    binds_destroy(&binds);
}

// Sparse buffers come and go with binds in them; others and the memories stay what they are.
static void churn_case(struct gpu *gpu) {
    sparse_require(gpu);
    struct random random = random_stream("sparse-buffer-churn", 0);
    struct backing backing = backing_create(gpu, gpu->mover, 16, &random);
    struct sparse stays = sparse_create(gpu, 64, SPARSE_RESIDENCY);
    struct binds binds = {0};
    bind_shuffled(&stays, &backing, &binds, &random);
    binds_run(gpu, gpu->binder, &binds, stays.buffer);
    for (unsigned round = 0; round < 24; round++) {
        const uint32_t pages = 1 + (uint32_t)random_below(&random, 64);
        struct sparse goes = sparse_create(gpu, pages, SPARSE_RESIDENCY);
        sparse_expect(gpu, gpu->mover, &goes, &backing, "new");
        for (uint32_t i = 0; i < MEMORIES && i < pages; i++)
            sparse_bind(&goes, &backing, &binds, i, 1, (struct place){(int)i, round % 16});
        binds_run(gpu, gpu->binder, &binds, goes.buffer);
        sparse_expect(gpu, gpu->mover, &goes, &backing, "bound");
        sparse_destroy(gpu, &goes);
    }
    sparse_expect(gpu, gpu->mover, &stays, &backing, "the one that stays");
    sparse_destroy(gpu, &stays);
    backing_destroy(gpu, &backing);
    binds_destroy(&binds);
}

const struct test_case sparse_buffer_cases[] = {
    {"sparse-buffer", "a sparse buffer over four memories", bind_case, false},
    {"sparse-buffer-shuffle", "thousands of shuffled binds", shuffle_case, false},
    {"sparse-buffer-many", "5000 binds in one call", many_case, false},
    {"sparse-buffer-rebind", "binds over parts of binds", rebind_case, false},
    {"sparse-buffer-unbind", "unbound pages read zero and come back", unbind_case, false},
    {"sparse-buffer-lost-writes", "unbound pages lose what is written", lost_case, false},
    {"sparse-buffer-alias", "a page in several places and buffers", alias_case, false},
    {"sparse-buffer-opaque", "a sparse buffer without residency", opaque_case, false},
    {"sparse-buffer-churn", "sparse buffers come and go", churn_case, false},
    {0},
};
