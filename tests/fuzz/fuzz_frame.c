/* Any bytes as a stream of messages: walked in one go, and in pieces, it is the same stream. */
#include <stddef.h>
#include <stdint.h>

#include "weir/wire/frame.h"

static void check(enum frame_result result, struct slice in, const struct frame *f)
{
    if (result != FRAME_COMPLETE && result != FRAME_PARTIAL)
        return;
    size_t here = in.len < f->total ? in.len : f->total;
    if (f->total < FRAME_HEADER_BYTES || f->total > FRAME_MAX_BYTES || f->type != in.data[0] ||
        f->body.data != in.data + FRAME_HEADER_BYTES || f->body.len != here - FRAME_HEADER_BYTES ||
        (result == FRAME_COMPLETE) != (in.len >= f->total))
        __builtin_trap();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice in = slice_make(data, size);
    struct frame whole, cut;
    for (;;) {
        enum frame_result result = frame_next(in, &whole);
        check(result, in, &whole);
        for (size_t len = 0; len < in.len && len < 16; len++) {
            enum frame_result early = frame_next(slice_make(in.data, len), &cut);
            check(early, slice_make(in.data, len), &cut);
            if (len >= FRAME_HEADER_BYTES && (early == FRAME_BAD) != (result == FRAME_BAD))
                __builtin_trap();
        }
        if (result != FRAME_COMPLETE)
            return 0;
        in = slice_from(in, whole.total);
    }
}
