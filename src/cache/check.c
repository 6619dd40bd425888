/* check: rows compared as a set, since PostgreSQL promises no order but where it is asked for one, and ties
 * are free. */
#include "weir/cache/check.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "weir/cache/entry.h"
#include "weir/sql/template.h"
#include "weir/wire/frame.h"

struct check {
    struct entry *entry;
    size_t text_len;
    uint8_t text[];
};

struct check *check_new(struct entry *entry, struct slice text)
{
    struct check *check = malloc(sizeof(*check) + text.len);
    if (check == NULL)
        return NULL;
    check->entry = entry_ref(entry);
    check->text_len = text.len;
    memcpy(check->text, text.data, text.len);
    return check;
}

void check_free(struct check *check)
{
    if (check == NULL)
        return;
    entry_unref(check->entry);
    free(check);
}

struct slice check_text(const struct check *check)
{
    return slice_make(check->text, check->text_len);
}

/* --- where PostgreSQL is free --- */

static bool is_word_byte(uint8_t c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c > 127;
}

static bool is_word(struct slice word, const char *wanted)
{
    return word.len == strlen(wanted) && strncasecmp((const char *)word.data, wanted, word.len) == 0;
}

/* Takes the next word off the text; empty at its end. */
static struct slice take_word(struct slice *text)
{
    size_t begin = 0;
    while (begin < text->len && !is_word_byte(text->data[begin]))
        begin++;
    size_t end = begin;
    while (end < text->len && is_word_byte(text->data[end]))
        end++;
    struct slice word = slice_make(text->data + begin, end - begin);
    *text = slice_from(*text, end);
    return word;
}

/* Which rows, or in which order they are taken together, is PostgreSQL's choice. Words in literals count as
 * well: then less is found out, and nothing wrongly. */
static bool is_free(struct slice text)
{
    static const char *const words[] = {"limit", "offset", "fetch", "over", "mode"};
    struct slice word, before = SLICE_EMPTY;
    while ((word = take_word(&text)).len > 0) {
        for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
            if (is_word(word, words[i]))
                return true;
        if (word.len > 4 && is_word(slice_from(word, word.len - 4), "_agg"))
            return true;
        if (is_word(before, "distinct") && is_word(word, "on"))
            return true;
        before = word;
    }
    return false;
}

static uint32_t get_u32(const uint8_t *at)
{
    return (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | at[3];
}

/* Sums of floating-point numbers depend on the order in which they are added. */
static bool has_floats(struct slice description)
{
    enum { FLOAT4 = 700, FLOAT8 = 701, AFTER_NAME = 18, TYPE_AT = 6 };
    struct frame frame;
    if (frame_next(description, &frame) != FRAME_COMPLETE || frame.body.len < 2)
        return false;
    struct slice rest = slice_from(frame.body, 2);
    for (;;) {
        const uint8_t *name_end = rest.len > 0 ? memchr(rest.data, 0, rest.len) : NULL;
        if (name_end == NULL)
            return false;
        struct slice field = slice_from(rest, (size_t)(name_end - rest.data) + 1);
        if (field.len < AFTER_NAME)
            return false;
        uint32_t type = get_u32(field.data + TYPE_AT);
        if (type == FLOAT4 || type == FLOAT8)
            return true;
        rest = slice_from(field, AFTER_NAME);
    }
}

/* --- rows --- */

static int compare_slices(const void *a, const void *b)
{
    const struct slice *left = a, *right = b;
    size_t len = left->len < right->len ? left->len : right->len;
    int order = len > 0 ? memcmp(left->data, right->data, len) : 0;
    return order != 0 ? order : (left->len > right->len) - (left->len < right->len);
}

static size_t count_messages(struct slice messages)
{
    struct frame frame;
    size_t count = 0;
    for (; frame_next(messages, &frame) == FRAME_COMPLETE; messages = slice_from(messages, frame.total))
        count++;
    return count;
}

static void sort_messages(struct slice messages, struct slice *out, size_t count)
{
    struct frame frame;
    for (size_t i = 0; i < count && frame_next(messages, &frame) == FRAME_COMPLETE; i++) {
        out[i] = slice_make(messages.data, frame.total);
        messages = slice_from(messages, frame.total);
    }
    qsort(out, count, sizeof(*out), compare_slices);
}

/* False, too, when memory is out: `is_known` tells. */
static bool same_rows(struct slice a, struct slice b, bool *is_known)
{
    *is_known = true;
    if (slice_equal(a, b))
        return true;
    size_t count = count_messages(a);
    if (a.len != b.len || count == 0 || count_messages(b) != count)
        return false;
    struct slice *rows = calloc(2 * count, sizeof(*rows));
    *is_known = rows != NULL;
    if (rows == NULL)
        return false;
    sort_messages(a, rows, count);
    sort_messages(b, rows + count, count);
    bool is_same = true;
    for (size_t i = 0; i < count && is_same; i++)
        is_same = slice_equal(rows[i], rows[count + i]);
    free(rows);
    return is_same;
}

/* The hit may depend on the first of them alone; see generations.h. */
static bool is_same_vector(const struct entry *entry, const struct vector_item *vector, size_t count)
{
    size_t have;
    const struct vector_item *items = entry_vector(entry, &have);
    bool is_same = have <= count;
    for (size_t i = 0; i < have && is_same; i++)
        is_same = items[i].slot == vector[i].slot && items[i].value == vector[i].value;
    return is_same;
}

enum check_outcome check_compare(const struct check *check, const struct vector_item *vector, size_t count,
                                 struct slice description, struct slice rows)
{
    bool is_known;
    if (!is_same_vector(check->entry, vector, count))
        return CHECK_UNDECIDED;
    struct slice stored = entry_part(check->entry, ENTRY_ROW_DESCRIPTION);
    bool is_described_alike = stored.len == 0 || description.len == 0 || slice_equal(stored, description);
    if (is_described_alike && same_rows(entry_part(check->entry, ENTRY_ROWS), rows, &is_known))
        return CHECK_RIGHT;
    if (is_described_alike && !is_known)
        return CHECK_UNDECIDED;
    bool may_differ = is_free(check_text(check)) || has_floats(stored.len > 0 ? stored : description);
    return is_described_alike && may_differ ? CHECK_UNDECIDED : CHECK_WRONG;
}

void check_describe(const struct check *check, uint64_t now_us, struct slice rows, char *text, size_t size)
{
    enum { SHOWN = 1000 };
    uint64_t stored_us = entry_stored_us(check->entry);
    struct slice had = entry_part(check->entry, ENTRY_ROWS);
    size_t shown = check->text_len < SHOWN ? check->text_len : SHOWN;
    snprintf(
        text, size,
        "stored %.3f s ago with %zu messages of %zu bytes, where PostgreSQL now answers with %zu of %zu: "
        "%.*s%s",
        now_us > stored_us ? (double)(now_us - stored_us) / 1e6 : 0.0, count_messages(had), had.len,
        count_messages(rows), rows.len, (int)shown, (const char *)check->text,
        shown < check->text_len ? "..." : "");
}

/* --- templates that are not trusted --- */

enum { DISTRUST_MAX = 1024 };

struct distrust {
    pthread_mutex_t mutex;
    _Atomic size_t count; /* DISTRUST_MAX + 1: all of them */
    struct {
        uint64_t database;
        uint64_t hash[2];
    } list[DISTRUST_MAX];
};

struct distrust *distrust_new(void)
{
    struct distrust *d = calloc(1, sizeof(*d));
    if (d != NULL)
        pthread_mutex_init(&d->mutex, NULL);
    return d;
}

void distrust_free(struct distrust *d)
{
    if (d == NULL)
        return;
    pthread_mutex_destroy(&d->mutex);
    free(d);
}

/* With the mutex. */
static bool is_listed(const struct distrust *d, uint64_t database, const struct template *template)
{
    size_t count = atomic_load(&d->count);
    for (size_t i = 0; i < count && i < DISTRUST_MAX; i++)
        if (d->list[i].database == database &&
            memcmp(d->list[i].hash, template->hash, sizeof(template->hash)) == 0)
            return true;
    return count > DISTRUST_MAX;
}

void distrust_add(struct distrust *d, uint64_t database, struct slice text)
{
    struct buf scratch = BUF_INIT;
    struct template template;
    pthread_mutex_lock(&d->mutex);
    size_t count = atomic_load(&d->count);
    if (!template_make(text, &scratch, &template)) {
        atomic_store(&d->count, DISTRUST_MAX + 1);
    } else if (!is_listed(d, database, &template)) {
        if (count < DISTRUST_MAX) {
            d->list[count].database = database;
            memcpy(d->list[count].hash, template.hash, sizeof(template.hash));
        }
        atomic_store(&d->count, count + 1);
    }
    pthread_mutex_unlock(&d->mutex);
    buf_free(&scratch);
}

bool distrust_has(struct distrust *d, uint64_t database, struct slice text)
{
    if (atomic_load_explicit(&d->count, memory_order_acquire) == 0)
        return false;
    struct buf scratch = BUF_INIT;
    struct template template;
    bool is_known = template_make(text, &scratch, &template);
    pthread_mutex_lock(&d->mutex);
    bool has = !is_known || is_listed(d, database, &template);
    pthread_mutex_unlock(&d->mutex);
    buf_free(&scratch);
    return has;
}

void distrust_clear(struct distrust *d)
{
    pthread_mutex_lock(&d->mutex);
    atomic_store(&d->count, 0);
    pthread_mutex_unlock(&d->mutex);
}

void distrust_forgive(struct distrust *d, uint64_t database)
{
    pthread_mutex_lock(&d->mutex);
    size_t count = atomic_load(&d->count), kept = 0;
    for (size_t i = 0; count <= DISTRUST_MAX && i < count; i++)
        if (d->list[i].database != database)
            d->list[kept++] = d->list[i];
    if (count <= DISTRUST_MAX)
        atomic_store(&d->count, kept);
    pthread_mutex_unlock(&d->mutex);
}
