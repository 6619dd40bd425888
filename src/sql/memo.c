/*
 * memo: an open-addressing table of entries, found by 64 bits of the template's hash, proven by its bytes.
 *
 * Entries hang in a ring for the clock: a hit sets `used`, the hand clears it and takes the first that has
 * none. An entry without a class says that its template's class depends on the literals: look under the exact
 * text. Kind (template or exact) is part of the identity.
 */
#include "weir/sql/memo.h"

#include <stdlib.h>
#include <string.h>

#include <xxhash.h>

#include "weir/util/buf.h"
#include "weir/util/list.h"

#define MIN_SLOTS 256u

/* What a text costs that is remembered, beside its bytes and its class. */
#define ENTRY_OVERHEAD (sizeof(struct entry) + 4 * sizeof(struct entry *))

struct entry {
    struct list_node node;
    struct sql_class *class; /* NULL: depends on the literals */
    uint64_t hash;
    uint32_t len;
    bool is_exact;
    bool used;
    uint8_t text[];
};

struct memo {
    struct entry **slots; /* power of two, linear probing, backward-shift deletion */
    size_t mask;
    struct list ring; /* the hand stands at the front */
    struct buf scratch;
    struct template last;
    struct sql_class *loose; /* the last answer, if it was not remembered */
    struct memo_counts counts;
};

struct memo *memo_new(size_t limit_bytes)
{
    struct memo *memo = calloc(1, sizeof(*memo));
    if (memo == NULL)
        return NULL;
    memo->slots = calloc(MIN_SLOTS, sizeof(struct entry *));
    if (memo->slots == NULL) {
        free(memo);
        return NULL;
    }
    memo->mask = MIN_SLOTS - 1;
    memo->counts.limit_bytes = limit_bytes;
    list_init(&memo->ring);
    return memo;
}

static size_t entry_bytes(const struct entry *e)
{
    return ENTRY_OVERHEAD + e->len + (e->class != NULL ? e->class->size_bytes : 0);
}

static void entry_free(struct entry *e)
{
    sql_class_unref(e->class);
    free(e);
}

void memo_free(struct memo *memo)
{
    if (memo == NULL)
        return;
    for (struct list_node *node; (node = list_pop_front(&memo->ring)) != NULL;)
        entry_free(list_entry(node, struct entry, node));
    sql_class_unref(memo->loose);
    buf_free(&memo->scratch);
    free(memo->slots);
    free(memo);
}

/* --- the table --- */

static struct entry **find_slot(const struct memo *memo, uint64_t hash, struct slice text, bool is_exact)
{
    for (size_t i = hash & memo->mask;; i = (i + 1) & memo->mask) {
        struct entry *e = memo->slots[i];
        if (e == NULL || (e->hash == hash && e->is_exact == is_exact && e->len == text.len &&
                          (text.len == 0 || memcmp(e->text, text.data, text.len) == 0)))
            return &memo->slots[i];
    }
}

static void remove_slot(struct memo *memo, struct entry **slot)
{
    size_t hole = (size_t)(slot - memo->slots);
    memo->slots[hole] = NULL;
    for (size_t i = (hole + 1) & memo->mask; memo->slots[i] != NULL; i = (i + 1) & memo->mask) {
        size_t home = memo->slots[i]->hash & memo->mask;
        /* It may move into the hole if its home is not between the hole and itself. */
        if (((i - home) & memo->mask) >= ((i - hole) & memo->mask)) {
            memo->slots[hole] = memo->slots[i];
            memo->slots[i] = NULL;
            hole = i;
        }
    }
}

/* At most half full, so that probing is short. */
static bool grow(struct memo *memo)
{
    if ((memo->ring.count + 1) * 2 <= memo->mask + 1)
        return true;
    size_t slots = (memo->mask + 1) * 2;
    struct entry **wider = calloc(slots, sizeof(struct entry *));
    if (wider == NULL)
        return false;
    free(memo->slots);
    memo->slots = wider;
    memo->mask = slots - 1;
    list_for_each(&memo->ring, node)
    {
        struct entry *e = list_entry(node, struct entry, node);
        size_t i = e->hash & memo->mask;
        while (memo->slots[i] != NULL)
            i = (i + 1) & memo->mask;
        memo->slots[i] = e;
    }
    return true;
}

static void evict_one(struct memo *memo)
{
    for (;;) {
        struct list_node *node = list_pop_front(&memo->ring);
        struct entry *e = list_entry(node, struct entry, node);
        if (e->used) {
            e->used = false;
            list_push_back(&memo->ring, node);
            continue;
        }
        remove_slot(memo, find_slot(memo, e->hash, slice_make(e->text, e->len), e->is_exact));
        memo->counts.used_bytes -= entry_bytes(e);
        memo->counts.evictions++;
        entry_free(e);
        return;
    }
}

/* Takes the reference to `class` (NULL: depends on the literals); false when it is not kept. */
static bool remember(struct memo *memo, uint64_t hash, struct slice text, bool is_exact,
                     struct sql_class *class)
{
    struct entry *e = NULL;
    size_t bytes = ENTRY_OVERHEAD + text.len + (class != NULL ? class->size_bytes : 0);
    /* What would push out an eighth of everything is not worth remembering. */
    if (bytes > memo->counts.limit_bytes / 8 || !grow(memo) || (e = malloc(sizeof(*e) + text.len)) == NULL)
        return false;
    while (memo->counts.used_bytes + bytes > memo->counts.limit_bytes && memo->ring.count > 0)
        evict_one(memo);
    *e = (struct entry){.class = class, .hash = hash, .len = (uint32_t)text.len, .is_exact = is_exact};
    if (text.len > 0)
        memcpy(e->text, text.data, text.len);
    *find_slot(memo, hash, text, is_exact) = e;
    list_push_back(&memo->ring, &e->node);
    memo->counts.used_bytes += bytes;
    return true;
}

/* --- asking --- */

/*
 * The class of `text`, which is remembered under itself or under its template. The memo holds the reference
 * of what it returns: a class that is not remembered is kept alive in `loose` until the next question.
 */
static struct sql_class *learn(struct memo *memo, struct slice text, struct slice key, uint64_t hash,
                               bool is_exact)
{
    struct sql_class *class = sql_classify(text);
    memo->counts.misses++;
    if (!is_exact && (class->flags & SQL_CLASS_LITERALS) != 0) {
        (void)remember(memo, hash, key, false, NULL);
        hash = XXH3_64bits(text.data, text.len);
        key = text;
        is_exact = true;
    }
    if (!remember(memo, hash, key, is_exact, class)) {
        sql_class_unref(memo->loose);
        memo->loose = class;
    }
    return class;
}

static struct sql_class *look_up(struct memo *memo, struct slice text, bool *was_known)
{
    const struct template *t = &memo->last;
    /* Without a lifted literal the text is the template, and the class holds for it whatever it depends on.
     */
    bool is_exact = (t->flags & TEMPLATE_LIFTED) == 0;
    struct slice key = is_exact ? text : t->text;
    uint64_t hash = t->hash[0];
    struct entry *e = *find_slot(memo, hash, key, is_exact);
    if (e != NULL && e->class == NULL) {
        e->used = true;
        is_exact = true;
        key = text;
        hash = XXH3_64bits(text.data, text.len);
        e = *find_slot(memo, hash, key, is_exact);
    }
    *was_known = e != NULL;
    if (e == NULL)
        return learn(memo, text, key, hash, is_exact);
    e->used = true;
    memo->counts.hits++;
    return e->class;
}

struct memo_answer memo_classify(struct memo *memo, struct slice text, bool is_readable)
{
    struct memo_answer answer = {sql_class_unparsable(), UINT32_MAX, {0, 0}, NULL, true};
    memo->last = (struct template){.text = text, .flags = TEMPLATE_SPECIAL};
    if (is_readable && text.len > SQL_PARSE_LIMIT) { /* too long to be remembered */
        sql_class_unref(memo->loose);
        answer.class = memo->loose = sql_classify(text);
        return answer;
    }
    if (!is_readable || !template_make(text, &memo->scratch, &memo->last))
        return answer;
    answer.template = &memo->last;
    answer.class = look_up(memo, text, &answer.was_known);
    answer.hash[0] = memo->last.hash[0];
    answer.hash[1] = memo->last.hash[1];
    answer.text_flags = memo->last.flags;
    /* The lexer was pessimistic about what it did not take apart; the parser knows, and the class is of this
     * text. */
    if ((answer.text_flags & TEMPLATE_SPECIAL) != 0 && answer.class != sql_class_unparsable()) {
        if ((answer.class->flags & SQL_CLASS_DATETIME_WORD) == 0)
            answer.text_flags &= ~(uint32_t)TEMPLATE_DATETIME_WORD;
        if (answer.class->n_statements == 1)
            answer.text_flags &= ~(uint32_t)TEMPLATE_SEMICOLON;
    }
    return answer;
}

const struct template *memo_last_template(const struct memo *memo)
{
    return &memo->last;
}

struct memo_counts memo_counts(const struct memo *memo)
{
    struct memo_counts counts = memo->counts;
    counts.entries = memo->ring.count;
    return counts;
}
