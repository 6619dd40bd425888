/*
 * startup: the packets with which a connection begins: SSLRequest, GSSENCRequest, CancelRequest,
 * StartupMessage.
 *
 * They have no type byte: a four-byte length that counts itself, a four-byte code, then the rest. Pure; any
 * thread.
 */
#ifndef WEIR_WIRE_STARTUP_H
#define WEIR_WIRE_STARTUP_H

#include "weir/util/error.h"
#include "weir/util/slice.h"

enum {
    /* PostgreSQL's MAX_STARTUP_PACKET_LENGTH, and the length itself, which PostgreSQL does not count there.
     */
    STARTUP_MAX_BYTES = 10000 + 4,
    STARTUP_CANCEL_KEY_MAX = 4 + 256,
};

enum startup_kind {
    STARTUP_INCOMPLETE, /* need more bytes */
    STARTUP_BAD,        /* not a packet PostgreSQL would read; see the error */
    STARTUP_SSL,
    STARTUP_GSS,
    STARTUP_CANCEL,
    STARTUP_MESSAGE,
};

struct startup {
    enum startup_kind kind;
    size_t total;            /* bytes of the packet */
    uint16_t major, minor;   /* STARTUP_MESSAGE: the protocol version asked for */
    struct slice parameters; /* STARTUP_MESSAGE: name\0value\0...\0, checked */
    struct slice cancel_key; /* STARTUP_CANCEL: process id (4 bytes) and secret (4 to 256 bytes), as sent */
};

enum startup_kind startup_parse(struct slice in, struct startup *out, struct error *error);

/* Walks the parameters: false at the end. `cursor` starts as a copy of startup.parameters. */
bool startup_next_parameter(struct slice *cursor, struct slice *name, struct slice *value);

/*
 * Walks the value of the startup parameter `options` as PostgreSQL splits it (blanks separate, a backslash
 * takes the next byte literally) and yields name and value of each `-c name=value`, `-cname=value` and
 * `--name=value`, dashes in the name turned into underscores. `scratch` receives the unescaped bytes and must
 * have room for options.len bytes; name and value point into it. Returns 1 for a setting, 0 at the end, -1
 * for anything else (`name` is then the word).
 */
int startup_next_option(struct slice *cursor, uint8_t *scratch, struct slice *name, struct slice *value);

#endif
