/*
 * decode: typed views of message bodies.
 *
 * Each function reads a complete body (struct frame.body) and returns false when PostgreSQL would call it
 * malformed. Views point into the body. Strings are given without their NUL. Pure; any thread. Source:
 * PostgreSQL manual, "Message Formats".
 */
#ifndef WEIR_WIRE_DECODE_H
#define WEIR_WIRE_DECODE_H

#include "weir/util/slice.h"

/* Types of frontend messages. */
enum {
    MSG_BIND = 'B',
    MSG_CLOSE = 'C',
    MSG_COPY_DATA = 'd',
    MSG_COPY_DONE = 'c',
    MSG_COPY_FAIL = 'f',
    MSG_DESCRIBE = 'D',
    MSG_EXECUTE = 'E',
    MSG_FLUSH = 'H',
    MSG_FUNCTION_CALL = 'F',
    MSG_PARSE = 'P',
    MSG_PASSWORD = 'p', /* also SASL responses */
    MSG_QUERY = 'Q',
    MSG_SYNC = 'S',
    MSG_TERMINATE = 'X',
};

/* Types of backend messages; COPY_DATA and COPY_DONE are the same bytes as above. */
enum {
    MSG_AUTHENTICATION = 'R',
    MSG_BACKEND_KEY_DATA = 'K',
    MSG_BIND_COMPLETE = '2',
    MSG_CLOSE_COMPLETE = '3',
    MSG_COMMAND_COMPLETE = 'C',
    MSG_COPY_IN_RESPONSE = 'G',
    MSG_COPY_OUT_RESPONSE = 'H',
    MSG_COPY_BOTH_RESPONSE = 'W',
    MSG_DATA_ROW = 'D',
    MSG_EMPTY_QUERY = 'I',
    MSG_ERROR = 'E',
    MSG_FUNCTION_RESULT = 'V',
    MSG_NEGOTIATE_VERSION = 'v',
    MSG_NO_DATA = 'n',
    MSG_NOTICE = 'N',
    MSG_NOTIFICATION = 'A',
    MSG_PARAMETER_DESCRIPTION = 't',
    MSG_PARAMETER_STATUS = 'S',
    MSG_PARSE_COMPLETE = '1',
    MSG_PORTAL_SUSPENDED = 's',
    MSG_READY = 'Z',
    MSG_ROW_DESCRIPTION = 'T',
};

enum {
    AUTH_CODE_OK = 0,
    AUTH_CODE_CLEARTEXT = 3,
    AUTH_CODE_MD5 = 5,
    AUTH_CODE_SASL = 10,
    AUTH_CODE_SASL_CONTINUE = 11,
    AUTH_CODE_SASL_FINAL = 12,
};

/* Big-endian integers at `at`; the caller knows that the bytes are there. */
static inline uint16_t decode_u16(const uint8_t *at)
{
    return (uint16_t)(at[0] << 8 | at[1]);
}

static inline uint32_t decode_u32(const uint8_t *at)
{
    return (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | at[3];
}

/* Takes a NUL-terminated string, or an integer, from the front of `cursor`; false when it is not there. */
bool decode_text(struct slice *cursor, struct slice *out);
bool decode_take_u16(struct slice *cursor, uint16_t *out);
bool decode_take_u32(struct slice *cursor, uint32_t *out);
bool decode_take_bytes(struct slice *cursor, size_t len, struct slice *out);

/* Query: the text. */
bool decode_query(struct slice body, struct slice *text);

struct parse_view {
    struct slice name;
    struct slice text;
    struct slice types; /* type_count OIDs of four bytes, as sent */
    uint16_t type_count;
};
bool decode_parse(struct slice body, struct parse_view *out);

struct bind_view {
    struct slice portal;
    struct slice statement;
    size_t tail_offset;    /* where in the body the part after the two names begins */
    struct slice formats;  /* format_count codes of two bytes */
    uint16_t format_count; /* 0: all text; 1: for all; else one for each */
    struct slice values;   /* parameter_count times: length (or -1 for NULL), bytes */
    uint16_t parameter_count;
    struct slice result_formats;
    uint16_t result_format_count;
};
bool decode_bind(struct slice body, struct bind_view *out);
/* Only the two names and tail_offset; the body may be cut off behind them. */
bool decode_bind_names(struct slice body, struct bind_view *out);
/* All but these three, of the part that begins at tail_offset. */
bool decode_bind_tail(struct slice tail, struct bind_view *out);
/* The value of $number and its format code, where there is such a parameter; NULL is empty and `*is_null`. */
bool decode_bind_value(const struct bind_view *bind, uint16_t number, struct slice *value, bool *is_null,
                       uint16_t *format);

/* Describe and Close: kind 'S' (statement) or 'P' (portal), and the name. */
struct target_view {
    uint8_t kind;
    struct slice name;
};
bool decode_target(struct slice body, struct target_view *out);

struct execute_view {
    struct slice portal;
    uint32_t max_rows; /* 0: all */
};
bool decode_execute(struct slice body, struct execute_view *out);

/* Authentication request: the code, and what follows it. */
bool decode_authentication(struct slice body, uint32_t *code, struct slice *rest);

struct parameter_view {
    struct slice name;
    struct slice value;
};
bool decode_parameter_status(struct slice body, struct parameter_view *out);

/* ReadyForQuery: 'I', 'T' or 'E'. */
bool decode_ready(struct slice body, uint8_t *status);

bool decode_command_tag(struct slice body, struct slice *tag);

/* ErrorResponse and NoticeResponse. Missing fields are empty. */
struct error_view {
    struct slice severity; /* the untranslated one where it is sent ('V') */
    struct slice sqlstate;
    struct slice message;
    bool has_position; /* in the text that the client sent */
    bool has_context;  /* it came from inside something: a function, an internal query, ... */
};
bool decode_error(struct slice body, struct error_view *out);

/* The columns of a DataRow, in order: false at the end or when malformed. NULL gives data == NULL and true.
 */
bool decode_row_start(struct slice body, struct slice *cursor, uint16_t *columns);
bool decode_row_column(struct slice *cursor, struct slice *value);

#endif
