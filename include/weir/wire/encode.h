/*
 * encode: messages appended to a buf, which carries the sticky error. Pure; any thread.
 *
 * For bodies without a function of their own: encode_begin, buf_append_..., encode_end.
 */
#ifndef WEIR_WIRE_ENCODE_H
#define WEIR_WIRE_ENCODE_H

#include "weir/util/buf.h"

/* Opens a message; the result is handed to encode_end, which fills the length in. */
size_t encode_begin(struct buf *b, uint8_t type);
void encode_end(struct buf *b, size_t begun);
/* A string and its NUL. An embedded NUL cuts it. */
void encode_text(struct buf *b, struct slice text);

/* Without a body: Sync, Flush, Terminate, ParseComplete, BindComplete, CloseComplete, NoData,
 * EmptyQueryResponse, ... */
void encode_empty(struct buf *b, uint8_t type);

/* Backend messages. */
void encode_authentication(struct buf *b, uint32_t code, struct slice rest);
/* AuthenticationSASL offering `mechanisms`, NULL-terminated. */
void encode_sasl_mechanisms(struct buf *b, const char *const *mechanisms);
void encode_parameter_status(struct buf *b, struct slice name, struct slice value);
/* `key` is the process id and the secret, as sent in a cancel request. */
void encode_backend_key(struct buf *b, struct slice key);
void encode_ready(struct buf *b, char status);
void encode_command_complete(struct buf *b, const char *tag);
/* severity: "ERROR", "FATAL", "NOTICE", "WARNING"; notices have type MSG_NOTICE. `hint` may be NULL. */
void encode_error(struct buf *b, const char *severity, const char *sqlstate, const char *message,
                  const char *hint);
void encode_notice(struct buf *b, const char *severity, const char *sqlstate, const char *message);
/* NegotiateProtocolVersion: the newest minor version, and the protocol options (name, name, ...) not known.
 */
void encode_negotiate_version(struct buf *b, uint32_t minor, const struct slice *options, uint32_t count);

/* Result sets in text format: columns with a type OID and its size, then rows. */
struct encode_column {
    const char *name;
    uint32_t type; /* 25 text, 23 int4, 20 int8, 1700 numeric, ... */
    int16_t size;  /* bytes of the type, or -1 */
};
void encode_row_description(struct buf *b, const struct encode_column *columns, uint16_t count);
size_t encode_row_begin(struct buf *b, uint16_t columns);
/* data == NULL is NULL. */
void encode_row_value(struct buf *b, struct slice value);

/* Frontend messages. */
struct encode_parameter {
    const char *name;
    const char *value;
};
/* `encoded`: further parameters, each a name and a value with its NUL. */
void encode_startup(struct buf *b, const struct encode_parameter *parameters, size_t count,
                    struct slice encoded);
/* May the connection go on with TLS? Answered by one byte, S or N. */
void encode_ssl_request(struct buf *b);
void encode_cancel_request(struct buf *b, struct slice key);
void encode_query(struct buf *b, struct slice text);
/* `types` as in struct parse_view. */
void encode_parse(struct buf *b, struct slice name, struct slice text, struct slice types);
/* Close or Describe: kind 'S' or 'P'. */
void encode_target(struct buf *b, uint8_t message, uint8_t kind, struct slice name);
void encode_execute(struct buf *b, struct slice portal, uint32_t max_rows);
/* Bind with all parameters and results in text format; data == NULL is NULL. */
void encode_bind_text(struct buf *b, struct slice portal, struct slice statement, const struct slice *values,
                      uint16_t count);
/* A password or any other string in a PasswordMessage. */
void encode_password(struct buf *b, struct slice password);
void encode_sasl_initial(struct buf *b, const char *mechanism, struct slice data);
void encode_sasl_response(struct buf *b, struct slice data);

#endif
