/* frame: reads the five bytes in front of a message. Knows no message type. */
#include "weir/wire/frame.h"

enum frame_result frame_next(struct slice in, struct frame *out)
{
    if (in.len < FRAME_HEADER_BYTES)
        return FRAME_INCOMPLETE;
    uint32_t length =
        (uint32_t)in.data[1] << 24 | (uint32_t)in.data[2] << 16 | (uint32_t)in.data[3] << 8 | in.data[4];
    if (length < 4 || length >= FRAME_MAX_BYTES)
        return FRAME_BAD;
    out->type = in.data[0];
    out->total = (size_t)length + 1;
    bool is_complete = in.len >= out->total;
    out->body =
        slice_make(in.data + FRAME_HEADER_BYTES, (is_complete ? out->total : in.len) - FRAME_HEADER_BYTES);
    return is_complete ? FRAME_COMPLETE : FRAME_PARTIAL;
}
