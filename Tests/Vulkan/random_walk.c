// Random binds, unbinds, fills, updates, copies and reads, chained on one timeline without the
// host, which keeps a model of every byte and looks every now and then.
#include "random_walk.h"

#include <stdlib.h>
#include <string.h>

#include "sparse.h"

enum {
    BUFFERS = 3,
    PAGES = 48,
    MEMORY_PAGES = 24,
    // Steps between two looks, and the longest range of a step.
    STRIDE = 24,
    LONGEST = 5,
};

struct walk {
    struct gpu *gpu;
    struct queue *mover, *binder;
    struct random random;
    struct sparse sparse[BUFFERS];
    struct backing backing;
    struct binds binds;
    struct buffer source, seen;
    uint8_t *expected, *scratch;
    VkDeviceSize seen_size;
    VkSemaphore timeline;
    uint64_t point;
    struct commands pending[STRIDE];
    unsigned pending_count;
};

struct range {
    struct sparse *sparse;
    VkDeviceSize offset, size;
};

static struct range random_range(struct walk *walk, VkDeviceSize unit) {
    struct sparse *sparse = &walk->sparse[random_below(&walk->random, BUFFERS)];
    const VkDeviceSize longest = random_below(&walk->random, 2) ? LONGEST * sparse->page : 300;
    const VkDeviceSize size = (1 + random_below(&walk->random, longest / unit)) * unit;
    const VkDeviceSize offset =
        random_below(&walk->random, (sparse->size - size) / unit + 1) * unit;
    return (struct range){sparse, offset, size};
}

static uint32_t first_page(const struct range *range) {
    return (uint32_t)(range->offset / range->sparse->page);
}

static uint32_t last_page(const struct range *range) {
    return (uint32_t)((range->offset + range->size - 1) / range->sparse->page);
}

static bool same_place(struct place a, struct place b) {
    return a.memory >= 0 && a.memory == b.memory && a.page == b.page;
}

// No byte of memory appears in both ranges, or twice in one if they are the same range.
static bool are_apart(const struct range *a, const struct range *b) {
    const bool same = a == b;
    for (uint32_t i = first_page(a); i <= last_page(a); i++)
        for (uint32_t j = same ? i + 1 : first_page(b); j <= last_page(b); j++)
            if (same_place(a->sparse->places[i], b->sparse->places[j]))
                return false;
    return same || a->sparse != b->sparse || last_page(a) < first_page(b) ||
           last_page(b) < first_page(a);
}

static bool is_bound(const struct range *range) {
    for (uint32_t i = first_page(range); i <= last_page(range); i++)
        if (range->sparse->places[i].memory < 0)
            return false;
    return true;
}

static bool may_be_read(const struct walk *walk, const struct range *range) {
    return walk->gpu->strict || is_bound(range);
}

// A range whose bytes lie in different places; and what is written to holes must not be seen again.
static bool may_be_written(const struct walk *walk, const struct range *range) {
    const bool holes = walk->gpu->loses_writes || !walk->gpu->strict;
    return are_apart(range, range) && (holes || is_bound(range));
}

static void step_bind(struct walk *walk) {
    struct random *random = &walk->random;
    struct sparse *sparse = &walk->sparse[random_below(random, BUFFERS)];
    // The batch's ranges follow each other, with holes: they never meet.
    for (uint32_t page = (uint32_t)random_below(random, 8); page < PAGES;) {
        const uint32_t longest = (uint32_t)minimum(random_below(random, 4) ? 6 : 20, PAGES - page);
        const uint32_t count = 1 + (uint32_t)random_below(random, longest);
        const uint32_t start = (uint32_t)random_below(random, MEMORY_PAGES - count + 1);
        const struct place place = {(int)random_below(random, MEMORIES), start};
        if (random_below(random, 4) > 0)
            sparse_bind(sparse, &walk->backing, &walk->binds, page, count,
                        random_below(random, 4) ? place : UNBOUND);
        page += count;
        if (random_below(random, 6) == 0)
            break;
    }
    binds_submit(walk->binder, &walk->binds, sparse->buffer,
                 &(struct point){walk->timeline, walk->point},
                 &(struct point){walk->timeline, walk->point + 1}, VK_NULL_HANDLE);
    walk->point++;
}

// Returns whether the command is one that the rules allow in this state.
static bool record(struct walk *walk, VkCommandBuffer buffer) {
    struct random *random = &walk->random;
    const uint64_t kind = random_below(random, 7);
    const struct range range = random_range(walk, kind == 1 || kind == 2 ? 4 : 1);
    struct sparse *sparse = range.sparse;
    switch (kind) {
    case 0: { // From the host's bytes.
        if (!may_be_written(walk, &range))
            return false;
        const VkDeviceSize from = random_below(random, walk->source.size - range.size + 1);
        copy(buffer, walk->source.handle, from, sparse->buffer, range.offset, range.size);
        sparse_write(sparse, &walk->backing, range.offset, walk->source.bytes + from, range.size);
        return true;
    }
    case 1: { // A word, over and over.
        const uint32_t word = (uint32_t)random_next(random);
        if (!may_be_written(walk, &range))
            return false;
        vkCmdFillBuffer(buffer, sparse->buffer, range.offset, range.size, word);
        for (VkDeviceSize i = 0; i < range.size; i += 4)
            memcpy(walk->scratch + i, &word, 4);
        sparse_write(sparse, &walk->backing, range.offset, walk->scratch, range.size);
        moved(range.size);
        return true;
    }
    case 2: {
        const VkDeviceSize size = minimum(range.size, 65536);
        const struct range part = {sparse, range.offset, size};
        if (!may_be_written(walk, &part))
            return false;
        random_fill(random, walk->scratch, size);
        vkCmdUpdateBuffer(buffer, sparse->buffer, part.offset, size, walk->scratch);
        sparse_write(sparse, &walk->backing, part.offset, walk->scratch, size);
        moved(size);
        return true;
    }
    case 3: { // From one sparse range to another.
        struct range to = random_range(walk, 1);
        to.size = minimum(to.size, range.size);
        const struct range from = {sparse, range.offset, to.size};
        if (!may_be_written(walk, &to) || !are_apart(&from, &to) || !may_be_read(walk, &from))
            return false;
        copy(buffer, sparse->buffer, from.offset, to.sparse->buffer, to.offset, to.size);
        sparse_read(sparse, &walk->backing, from.offset, walk->scratch, to.size);
        sparse_write(to.sparse, &walk->backing, to.offset, walk->scratch, to.size);
        return true;
    }
    case 4: { // Into the memory itself, past the sparse buffers.
        const unsigned memory = (unsigned)random_below(random, MEMORIES);
        const VkDeviceSize size = minimum(range.size, walk->backing.page);
        const VkDeviceSize to =
            random_below(random, walk->backing.page * MEMORY_PAGES - size + 1);
        const VkDeviceSize from = random_below(random, walk->source.size - size + 1);
        copy(buffer, walk->source.handle, from, walk->backing.windows[memory], to, size);
        memcpy(walk->backing.models[memory] + to, walk->source.bytes + from, size);
        return true;
    }
    default: { // Back to the host.
        if (!may_be_read(walk, &range))
            return false;
        copy(buffer, sparse->buffer, range.offset, walk->seen.handle, walk->seen_size, range.size);
        sparse_read(sparse, &walk->backing, range.offset, walk->expected + walk->seen_size,
                    range.size);
        walk->seen_size += range.size;
        return true;
    }
    }
}

static void step_move(struct walk *walk) {
    struct commands commands = commands_begin(walk->gpu, walk->mover);
    barrier(commands.buffer);
    for (unsigned tries = 0; tries < 20 && !record(walk, commands.buffer); tries++)
        continue;
    barrier_to_host(commands.buffer);
    commands_end(&commands);
    queue_submit(walk->mover, commands.buffer, &(struct point){walk->timeline, walk->point},
                 &(struct point){walk->timeline, walk->point + 1}, VK_NULL_HANDLE);
    walk->point++;
    walk->pending[walk->pending_count++] = commands;
}

static void look(struct walk *walk, unsigned step) {
    semaphore_wait(walk->gpu, walk->timeline, walk->point);
    expect_bytes(walk->seen.bytes, walk->expected, walk->seen_size, "read before step %u", step);
    walk->seen_size = 0;
    for (unsigned i = 0; i < walk->pending_count; i++)
        commands_destroy(&walk->pending[i]);
    walk->pending_count = 0;
}

void random_walk(struct gpu *gpu, struct queue *mover, struct queue *binder, const char *tag,
                 unsigned index, unsigned steps) {
    struct walk *walk = allocate(sizeof *walk);
    walk->gpu = gpu;
    walk->mover = mover;
    walk->binder = binder;
    walk->random = random_stream(tag, index);
    for (unsigned i = 0; i < BUFFERS; i++)
        walk->sparse[i] = sparse_create(gpu, PAGES, SPARSE_RESIDENCY);
    walk->backing = backing_create(gpu, mover, MEMORY_PAGES, &walk->random);
    const VkDeviceSize longest = maximum(LONGEST * walk->backing.page, 65536);
    walk->source = buffer_create(gpu, 2 * longest, HOST);
    random_fill(&walk->random, walk->source.bytes, walk->source.size);
    walk->seen = buffer_create(gpu, STRIDE * longest, HOST);
    walk->expected = allocate(STRIDE * longest);
    walk->scratch = allocate(longest);
    walk->timeline = semaphore_create(gpu, VK_SEMAPHORE_TYPE_TIMELINE, 0);
    for (unsigned step = 0; step < steps; step++) {
        // The first steps bind, so that the rest has something to move.
        if (step < 2 * BUFFERS || random_below(&walk->random, 3) == 0)
            step_bind(walk);
        else
            step_move(walk);
        if (step % STRIDE == STRIDE - 1)
            look(walk, step);
        if (step % (8 * STRIDE) == 8 * STRIDE - 1)
            backing_expect(gpu, mover, &walk->backing, tag);
    }
    look(walk, steps);
    backing_expect(gpu, mover, &walk->backing, tag);
    for (unsigned i = 0; i < BUFFERS; i++) {
        sparse_expect(gpu, mover, &walk->sparse[i], &walk->backing, tag);
        sparse_destroy(gpu, &walk->sparse[i]);
    }
    semaphore_destroy(gpu, walk->timeline);
    backing_destroy(gpu, &walk->backing);
    buffer_destroy(gpu, &walk->source);
    buffer_destroy(gpu, &walk->seen);
    binds_destroy(&walk->binds);
    free(walk->expected);
    free(walk->scratch);
    free(walk);
}

static void walk_case(struct gpu *gpu) {
    sparse_require(gpu);
    const unsigned steps = 5000 * options.rounds;
    random_walk(gpu, gpu->mover, gpu->binder, "random-buffers", 0, steps);
    note("%u steps", steps);
}

const struct test_case random_cases[] = {
    {"random-buffers", "random binds, moves and reads against a model", walk_case, false},
    {0},
};
