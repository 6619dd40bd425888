/*
 * ini: text of configuration files -> entries (section, key, value) that remember file and line.
 *
 *   ; comment        # comment
 *   [databases]
 *   "odd ""name""" = host=10.0.0.1
 *   %include other.ini
 *
 * Knows nothing about what keys mean and opens no file: the caller lends a read callback. A comment is a
 * whole line; what follows '=' belongs to the value to the end of the line. Any thread; an ini is immutable
 * once parsed.
 */
#ifndef WEIR_CONFIG_INI_H
#define WEIR_CONFIG_INI_H

#include <stdbool.h>
#include <stddef.h>

#include "weir/util/buf.h"
#include "weir/util/error.h"

#define INI_MAX_DEPTH 10   /* files that include files */
#define INI_MAX_FILES 1000 /* included in all, repetitions counted */

/* Appends the whole of `path` to `out`; false with a reason (without the path, which the caller adds). */
typedef bool ini_read_fn(void *arg, const char *path, struct buf *out, struct error *error);

/* Called once for each thing that is wrong. `problem` is "file:line: what", valid during the call only. */
typedef void ini_report_fn(void *arg, const struct error *problem);

struct ini_entry {
    const char *file;    /* as it was named on the command line or after %include */
    int line;            /* from 1 */
    const char *section; /* lower case; "" before the first [section] */
    const char *key;     /* unquoted */
    const char *value;   /* without blanks at either end; "" when empty */
};

struct ini;

/*
 * Reads `path` and what it includes. Every problem is reported and the rest still read. Returns NULL when
 * there was a problem or memory is out. The caller owns the result.
 */
struct ini *ini_parse(const char *path, ini_read_fn *read, void *read_arg, ini_report_fn *report,
                      void *report_arg);
struct ini *ini_ref(struct ini *ini);
void ini_unref(struct ini *ini); /* NULL is allowed */

size_t ini_count(const struct ini *ini);
/* In the order of the files; valid as long as the ini. */
const struct ini_entry *ini_entry(const struct ini *ini, size_t index);

#endif
