/* print: results of the console as text. Knows nothing of what they mean. */
#include "print.h"

#include <stdlib.h>
#include <string.h>

enum { INT8 = 20, INT2 = 21, INT4 = 23, NUMERIC = 1700 };

static bool is_numeric(const PGresult *rows, int column)
{
    Oid type = PQftype(rows, column);
    return type == INT8 || type == INT2 || type == INT4 || type == NUMERIC;
}

/* In characters; the console speaks UTF-8 or ASCII. */
static size_t width_of(const char *text)
{
    size_t width = 0;
    for (; *text != '\0'; text++)
        width += ((unsigned char)*text & 0xC0) != 0x80;
    return width;
}

static void pad(struct buf *out, size_t count)
{
    while (count-- > 0)
        buf_append_u8(out, ' ');
}

/* No line ends with blanks. */
static void put_cell(struct buf *out, const char *text, size_t width, bool is_right, bool is_last)
{
    size_t own = width_of(text), missing = width > own ? width - own : 0;
    if (is_right)
        pad(out, missing);
    buf_append_str(out, text);
    if (is_last) {
        while (out->len > 0 && out->data[out->len - 1] == ' ')
            out->len--;
        buf_append_u8(out, '\n');
        return;
    }
    pad(out, (is_right ? 0 : missing) + 2);
}

void print_table(const PGresult *rows, struct buf *out)
{
    int columns = PQnfields(rows), count = PQntuples(rows);
    size_t *widths = calloc((size_t)columns + 1, sizeof(*widths));
    if (widths == NULL) {
        out->failed = true;
        return;
    }
    for (int c = 0; c < columns; c++) {
        widths[c] = width_of(PQfname(rows, c));
        for (int r = 0; r < count; r++) {
            size_t width = width_of(PQgetvalue(rows, r, c));
            widths[c] = width > widths[c] ? width : widths[c];
        }
    }
    for (int r = -1; r < count; r++)
        for (int c = 0; c < columns; c++)
            put_cell(out, r < 0 ? PQfname(rows, c) : PQgetvalue(rows, r, c), widths[c], is_numeric(rows, c),
                     c == columns - 1);
    free(widths);
}

void print_row(const PGresult *rows, int row, struct buf *out)
{
    int columns = PQnfields(rows);
    size_t width = 0;
    for (int c = 0; c < columns; c++)
        if (width_of(PQfname(rows, c)) > width)
            width = width_of(PQfname(rows, c));
    for (int c = 0; c < columns; c++) {
        const char *value = PQgetvalue(rows, row, c);
        if (value[0] == '\0')
            continue;
        buf_printf(out, "%s:", PQfname(rows, c));
        pad(out, width - width_of(PQfname(rows, c)) + 2);
        buf_printf(out, "%s\n", value);
    }
}

static void put_string(struct buf *out, const char *text)
{
    buf_append_u8(out, '"');
    for (const unsigned char *c = (const unsigned char *)text; *c != '\0'; c++) {
        if (*c == '"' || *c == '\\')
            buf_printf(out, "\\%c", *c);
        else if (*c == '\n')
            buf_append_str(out, "\\n");
        else if (*c < ' ' || *c == 127)
            buf_printf(out, "\\u%04x", *c);
        else
            buf_append_u8(out, *c);
    }
    buf_append_u8(out, '"');
}

static void put_object(const PGresult *rows, int row, struct buf *out)
{
    for (int c = 0; c < PQnfields(rows); c++) {
        const char *value = PQgetvalue(rows, row, c);
        buf_append_str(out, c == 0 ? "{" : ", ");
        put_string(out, PQfname(rows, c));
        buf_append_str(out, ": ");
        if (PQgetisnull(rows, row, c) || (is_numeric(rows, c) && value[0] == '\0'))
            buf_append_str(out, "null");
        else if (is_numeric(rows, c))
            buf_append_str(out, value);
        else
            put_string(out, value);
    }
    buf_append_str(out, "}");
}

void print_json(const PGresult *rows, bool is_single, struct buf *out)
{
    if (is_single && PQntuples(rows) > 0) {
        put_object(rows, 0, out);
        buf_append_u8(out, '\n');
        return;
    }
    buf_append_u8(out, '[');
    for (int r = 0; r < PQntuples(rows); r++) {
        buf_append_str(out, r == 0 ? "\n  " : ",\n  ");
        put_object(rows, r, out);
    }
    buf_append_str(out, PQntuples(rows) > 0 ? "\n]\n" : "]\n");
}
