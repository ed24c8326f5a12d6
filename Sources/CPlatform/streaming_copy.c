// A copy past the caches.
#include "CPlatform.h"

#include <string.h>

#ifdef __SSE2__
#include <emmintrin.h>

enum { LINE = 64, PAGE = 4096, PAGES = 4, AHEAD = 2 * LINE };

static void copy_line(char *to, const char *from) {
    __m128i parts[LINE / sizeof(__m128i)];
    memcpy(parts, from, LINE);
    for (unsigned i = 0; i < LINE / sizeof(__m128i); i++)
        _mm_stream_si128((__m128i *)to + i, parts[i]);
}

void gpuvm_copy_streaming(void *to, const void *from, size_t bytes) {
    char *destination = to;
    const char *source = from;
    // Streaming stores want whole lines.
    size_t head = -(uintptr_t)destination % LINE;
    if (head > bytes)
        head = bytes;
    memcpy(destination, source, head);
    destination += head;
    source += head;
    bytes -= head;
    // Several pages side by side keep more of the memory's banks busy than one after the other.
    for (; bytes >= PAGES * PAGE; bytes -= PAGES * PAGE) {
        for (size_t line = 0; line < PAGE; line += LINE)
            for (size_t page = 0; page < PAGES * PAGE; page += PAGE) {
                _mm_prefetch(source + page + line + AHEAD, _MM_HINT_T0);
                copy_line(destination + page + line, source + page + line);
            }
        destination += PAGES * PAGE;
        source += PAGES * PAGE;
    }
    for (; bytes >= LINE; bytes -= LINE, destination += LINE, source += LINE)
        copy_line(destination, source);
    memcpy(destination, source, bytes);
    // Whoever sees a later store sees these.
    _mm_sfence();
}
#else
void gpuvm_copy_streaming(void *to, const void *from, size_t bytes) { memcpy(to, from, bytes); }
#endif
