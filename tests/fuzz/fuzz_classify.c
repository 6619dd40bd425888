/*
 * classify: any text, twice: directly, and through a small memo, which must agree; and a text that shares its
 * template with another has the same class. Nothing crashes, however deep or long.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "weir/sql/memo.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool same_relations(const struct sql_relation *a, const struct sql_relation *b, uint16_t n)
{
    for (uint16_t i = 0; i < n; i++) {
        if (strcmp(a[i].name, b[i].name) != 0 || (a[i].schema == NULL) != (b[i].schema == NULL) ||
            (a[i].schema != NULL && strcmp(a[i].schema, b[i].schema) != 0))
            return false;
    }
    return true;
}

static bool same_class(const struct sql_class *a, const struct sql_class *b)
{
    if (a->n_statements != b->n_statements ||
        ((a->flags ^ b->flags) & ~(uint32_t)SQL_CLASS_DATETIME_WORD) != 0)
        return false;
    for (uint32_t i = 0; i < a->n_statements; i++) {
        const struct sql_statement *x = &a->statements[i], *y = &b->statements[i];
        if (x->kind != y->kind || x->flags != y->flags || x->n_reads != y->n_reads ||
            x->n_writes != y->n_writes || x->n_functions != y->n_functions ||
            x->n_settings != y->n_settings || !same_relations(x->reads, y->reads, x->n_reads) ||
            !same_relations(x->writes, y->writes, x->n_writes))
            return false;
    }
    return true;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct memo *memo;
    if (memo == NULL && (memo = memo_new(64 * 1024)) == NULL)
        abort();
    struct slice text = slice_make(data, size);
    struct sql_class *fresh = sql_classify(text);
    struct memo_answer answer = memo_classify(memo, text, true);
    /* The display of a template is a text of the same template: other literals, same class. */
    if (!same_class(fresh, answer.class) && answer.class != sql_class_unparsable())
        abort();
    struct buf shown = BUF_INIT;
    template_display(memo_last_template(memo), &shown);
    if ((fresh->flags & SQL_CLASS_LITERALS) == 0 && !buf_failed(&shown)) {
        struct sql_class *other = sql_classify(buf_slice(&shown));
        /* The literals of a display are small: only a text that holds larger ones may be refused where it is
         * not. */
        if (other != sql_class_unparsable() && !same_class(fresh, other))
            abort();
        sql_class_unref(other);
    }
    buf_free(&shown);
    sql_class_unref(fresh);
    return 0;
}
