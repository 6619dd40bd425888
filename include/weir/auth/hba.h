/*
 * hba: the rules of auth_hba_file: who may log in to what, from where, and how it has to be proven.
 *
 *   local                       DATABASE  USER           METHOD  [map=NAME]
 *   host | hostssl | hostnossl  DATABASE  USER  ADDRESS  METHOD  [map=NAME]
 *
 * The first rule that fits decides; none is a refusal. A line that cannot be read costs that line only, as in
 * PgBouncer; a line that asks for a method which is not built (ldap, pam) makes the whole file unusable. Pure
 * but for the reading of @files by the caller's function. Immutable once parsed, reference-counted; any
 * thread. Source: PostgreSQL manual, "The pg_hba.conf File".
 */
#ifndef WEIR_AUTH_HBA_H
#define WEIR_AUTH_HBA_H

#include <stdbool.h>
#include <stdint.h>

#include "weir/auth/ident.h"
#include "weir/util/buf.h"
#include "weir/util/error.h"
#include "weir/util/slice.h"

enum hba_method { HBA_TRUST, HBA_REJECT, HBA_MD5, HBA_PASSWORD, HBA_PEER, HBA_CERT, HBA_SCRAM_SHA_256 };

struct hba;

/* Appends the whole of `path` to `out`; false with a reason. */
typedef bool hba_read_fn(void *arg, const char *path, struct buf *out, struct error *error);
/* Called once for each line that is wrong: "file:line: what". */
typedef void hba_report_fn(void *arg, const struct error *problem);

struct hba_source {
    const char *path; /* named in messages; relative @files are looked for beside it */
    struct slice text;
    struct ident *ident; /* the maps that map= may name; a reference is kept; NULL: none */
    hba_read_fn *read;   /* for @files; called during hba_parse only */
    void *read_arg;
    hba_report_fn *report; /* NULL: nobody listens */
    void *report_arg;
};

/* NULL with the reason when memory is out or the file as a whole cannot be used. */
struct hba *hba_parse(const struct hba_source *source, struct error *error);
struct hba *hba_ref(struct hba *hba);
void hba_unref(struct hba *hba); /* NULL is allowed */

struct hba_client {
    int family;             /* AF_UNIX, AF_INET or AF_INET6 */
    const uint8_t *address; /* 4 or 16 bytes in network order; not looked at for AF_UNIX */
    bool is_tls;
    bool is_replication; /* physical replication, which belongs to no database */
    const char *database, *user;
};

struct hba_answer {
    enum hba_method method;
    int line;
    const struct ident_map *map; /* NULL: none; valid as long as the rules */
};

/* False when no rule fits. */
bool hba_find(const struct hba *hba, const struct hba_client *client, struct hba_answer *out);

#endif
