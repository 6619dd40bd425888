/* classify: parses, classifies statement by statement, packs the class. See the header; classify_*.c do the
 * parts. */
#include "weir/sql/classify.h"

#include <stdlib.h>
#include <string.h>

#include <pg_query.h>

#include "classify_build.h"
#include "weir/sql/lex.h"
#include "weir/sql/rows.h"

#define CHUNK_BYTES 2048
#define LONG_TEXT   4096 /* from here on it pays to look for rows that can be left out */

const char *sql_kind_name(enum sql_kind kind)
{
    static const char *const names[] = {
#define X(kind, name) name,
        SQL_KINDS(X)
#undef X
    };
    return kind < SQL_KIND_COUNT ? names[kind] : "?";
}

/* --- memory --- */

void *scratch_take(struct scratch *arena, size_t size)
{
    const size_t header = (sizeof(struct sql_chunk) + 15) & ~(size_t)15;
    size = (size + 15) & ~(size_t)15;
    struct sql_chunk *chunk = arena->first;
    if (chunk == NULL || chunk->size - chunk->used < size) {
        size_t whole = header + (size > CHUNK_BYTES - header ? size : CHUNK_BYTES - header);
        chunk = calloc(1, whole);
        if (chunk == NULL) {
            arena->failed = true;
            return NULL;
        }
        *chunk = (struct sql_chunk){arena->first, whole, header};
        arena->first = chunk;
        arena->bytes += whole;
    }
    void *taken = (char *)chunk + chunk->used;
    chunk->used += size;
    return taken;
}

const char *scratch_text(struct scratch *arena, const char *text)
{
    size_t len = strlen(text);
    char *copy = scratch_take(arena, len + 1);
    if (copy != NULL)
        memcpy(copy, text, len);
    return copy;
}

void scratch_free(struct sql_chunk *first)
{
    while (first != NULL) {
        struct sql_chunk *next = first->next;
        free(first);
        first = next;
    }
}

/* The parse tree is unpacked into an arena of its own: one free instead of thousands. */
static void *tree_alloc(void *arena, size_t size)
{
    return scratch_take(arena, size);
}

static void tree_free(void *arena, void *memory)
{
    (void)arena;
    (void)memory;
}

/* --- plain statements --- */

/* SELECT of targets only, none of which may return a set: every call in it is evaluated exactly once. */
static bool is_simple_select(const PgQuery__SelectStmt *s)
{
    for (size_t i = 0; i < s->n_target_list; i++) {
        if (!is_single_row_target(s->target_list[i]))
            return false;
    }
    return s->n_target_list > 0 && s->n_from_clause == 0 && s->where_clause == NULL &&
           s->n_group_clause == 0 && s->having_clause == NULL && s->n_distinct_clause == 0 &&
           s->n_sort_clause == 0 && s->n_locking_clause == 0 && s->limit_count == NULL &&
           s->limit_offset == NULL && s->with_clause == NULL && s->larg == NULL && s->into_clause == NULL;
}

static void classify_select(struct builder *b, const PgQuery__Node *node)
{
    if (is_simple_select(node->select_stmt))
        b->simple_select = node->select_stmt;
    walk_node(b, node);
    b->now.kind = SQL_KIND_READ;
    classify_rows_of_read(b, node->select_stmt);
    if (b->has_writing_with || (b->now.flags & SQL_LOCKS) != 0)
        b->now.kind = SQL_KIND_SELECT_OTHER;
    if (b->into == NULL)
        return;
    const PgQuery__RangeVar *made = b->into->rel;
    bool is_temporary =
        made != NULL && (strcmp(made->relpersistence, "t") == 0 || is_temp_schema(made->schemaname));
    b->now.kind = is_temporary ? SQL_KIND_CREATE_TEMP : SQL_KIND_DDL;
    b->depends_on_text = true;
    set_flags(b, SQL_SCHEMA | SQL_WRITES | SQL_WRITES_UNKNOWN);
    if (is_temporary && b->into->on_commit == PG_QUERY__ON_COMMIT_ACTION__ONCOMMIT_DROP)
        set_flags(b, SQL_ON_COMMIT_DROP);
}

void classify_statement(struct builder *b, const PgQuery__Node *node)
{
    switch (node->node_case) {
    case PG_QUERY__NODE__NODE_SELECT_STMT:
        classify_select(b, node);
        return;
    case PG_QUERY__NODE__NODE_INSERT_STMT:
        b->now.kind = SQL_KIND_INSERT;
        break;
    case PG_QUERY__NODE__NODE_UPDATE_STMT:
        b->now.kind = SQL_KIND_UPDATE;
        break;
    case PG_QUERY__NODE__NODE_DELETE_STMT:
        b->now.kind = SQL_KIND_DELETE;
        break;
    case PG_QUERY__NODE__NODE_MERGE_STMT:
        b->now.kind = SQL_KIND_MERGE;
        break;
    default:
        classify_utility(b, node);
        return;
    }
    walk_node(b, node);
    if (node->node_case == PG_QUERY__NODE__NODE_UPDATE_STMT)
        classify_rows_of_update(b, node->update_stmt);
    else if (node->node_case == PG_QUERY__NODE__NODE_DELETE_STMT)
        classify_rows_of_delete(b, node->delete_stmt);
    else if (node->node_case == PG_QUERY__NODE__NODE_INSERT_STMT)
        classify_rows_of_insert(b, node->insert_stmt);
}

/* --- from builder to class --- */

static const void *keep(struct builder *b, const void *items, size_t count, size_t size)
{
    void *kept = count > 0 ? scratch_take(&b->arena, count * size) : NULL;
    if (kept != NULL)
        memcpy(kept, items, count * size);
    return kept;
}

static void start_statement(struct builder *b)
{
    memset(&b->now, 0, sizeof(b->now));
    b->reads.count = b->writes.count = b->types.count = 0;
    b->n_functions = b->n_settings = b->n_fields = 0;
    b->n_tables = 0;
    b->n_ctes = 0;
    b->has_writing_with = b->names_temp_schema = false;
    b->into = NULL;
    b->simple_select = NULL;
}

/* Code that is not built in may write anything, and what is written to a catalog is a definition. */
static void draw_conclusions(struct builder *b)
{
    uint32_t flags = b->now.flags;
    if ((flags & SQL_UNKNOWN_CODE) != 0)
        set_flags(b, SQL_WRITES | SQL_WRITES_UNKNOWN);
    if ((flags & SQL_UNKNOWN_FUNCTION) != 0 && (flags & (SQL_WRITES_UNKNOWN | SQL_UNKNOWN_CODE)) == 0)
        set_flags(b, SQL_WRITES | SQL_WRITES_UNKNOWN | SQL_FUNCTION_WRITES);
    if ((flags & SQL_CATALOG) != 0 && b->writes.count > 0)
        set_flags(b, SQL_SCHEMA | SQL_WRITES_UNKNOWN);
}

static void finish_statement(struct builder *b, struct sql_statement *out)
{
    draw_conclusions(b);
    *out = b->now;
    out->n_reads = b->reads.count;
    out->n_writes = b->writes.count;
    out->n_types = b->types.count;
    out->n_functions = b->n_functions;
    out->n_settings = b->n_settings;
    out->reads = keep(b, b->reads.items, b->reads.count, sizeof(*b->reads.items));
    out->writes = keep(b, b->writes.items, b->writes.count, sizeof(*b->writes.items));
    out->types = keep(b, b->types.items, b->types.count, sizeof(*b->types.items));
    out->functions = keep(b, b->functions, b->n_functions, sizeof(*b->functions));
    out->n_fields = b->n_fields;
    if (b->n_fields != SQL_FIELDS_UNKNOWN)
        out->fields = keep(b, b->fields, b->n_fields, sizeof(*b->fields));
    out->equalities = keep(b, b->equalities, b->now.n_equalities, sizeof(*b->equalities));
    out->settings = keep(b, b->settings, b->n_settings, sizeof(*b->settings));
}

/* What a READ must not have to be thought about by the cache. */
#define UNFIT_FOR_CACHE                                                                                      \
    (SQL_UNKNOWN_CODE | SQL_UNKNOWN_SETTING | SQL_UNKNOWN_LOCAL | SQL_READS_UNKNOWN | SQL_LOCKS |            \
     SQL_TABLESAMPLE | SQL_SYSTEM_COLUMN | SQL_CATALOG | SQL_ADVISORY_LOCK | SQL_ADVISORY_UNLOCK |           \
     SQL_ADVISORY_UNLOCK_ALL | SQL_SEQUENCE_STATE | SQL_NEXTVAL | SQL_NOTIFIES)

static uint32_t flags_of(const struct sql_statement *s)
{
    static const struct {
        uint32_t statement, class;
    } implied[] = {
        {SQL_WRITES, SQL_CLASS_WRITES},
        {SQL_WRITES_UNKNOWN, SQL_CLASS_WRITES_UNKNOWN},
        {SQL_SCHEMA, SQL_CLASS_SCHEMA},
        {SQL_UNKNOWN_CODE | SQL_UNKNOWN_FUNCTION | SQL_UNKNOWN_SETTING, SQL_CLASS_UNKNOWN_CODE},
        {SQL_REFUSES_BLOCK, SQL_CLASS_REFUSES_BLOCK},
    };
    uint32_t flags = 0;
    for (size_t i = 0; i < sizeof(implied) / sizeof(*implied); i++) {
        if ((s->flags & implied[i].statement) != 0)
            flags |= implied[i].class;
    }
    if (s->n_settings > 0 || s->kind == SQL_KIND_RESET_ALL || s->kind == SQL_KIND_DISCARD_ALL)
        flags |= SQL_CLASS_SETTINGS;
    if (s->kind >= SQL_KIND_BEGIN && s->kind <= SQL_KIND_ROLLBACK_PREPARED)
        flags |= SQL_CLASS_TRANSACTION;
    return flags;
}

static struct sql_class *pack(struct builder *b, struct sql_statement *statements, uint32_t count)
{
    struct sql_class *class = calloc(1, sizeof(*class));
    if (class == NULL || b->arena.failed) {
        free(class);
        return NULL;
    }
    class->refs = 1;
    class->n_statements = count;
    class->statements = statements;
    class->memory = b->arena.first;
    class->size_bytes = sizeof(*class) + b->arena.bytes;
    for (uint32_t i = 0; i < count; i++)
        class->flags |= flags_of(&statements[i]);
    const struct sql_statement *only = statements;
    if (count == 1 && only->kind == SQL_KIND_READ && only->n_reads > 0 && only->n_settings == 0 &&
        (only->flags & UNFIT_FOR_CACHE) == 0)
        class->flags |=
            (only->flags & SQL_UNKNOWN_FUNCTION) != 0 ? SQL_CLASS_READ_IF_FORGIVEN : SQL_CLASS_READ_CANDIDATE;
    if (b->depends_on_text)
        class->flags |= SQL_CLASS_LITERALS;
    if (b->has_datetime_word)
        class->flags |= SQL_CLASS_DATETIME_WORD;
    return class;
}

static struct sql_class *build(struct builder *b, const PgQuery__ParseResult *tree)
{
    uint32_t count = tree->n_stmts > 0 ? (uint32_t)tree->n_stmts : 1;
    struct sql_statement *statements =
        tree->n_stmts <= MAX_STATEMENTS ? scratch_take(&b->arena, count * sizeof(*statements)) : NULL;
    if (statements == NULL)
        return NULL;
    if (tree->n_stmts == 0)
        statements[0].kind = SQL_KIND_EMPTY;
    for (size_t i = 0; i < tree->n_stmts; i++) {
        if (tree->stmts[i]->stmt == NULL || tree->stmts[i]->stmt->node_case == PG_QUERY__NODE__NODE__NOT_SET)
            return NULL;
        start_statement(b);
        classify_statement(b, tree->stmts[i]->stmt);
        finish_statement(b, &statements[i]);
    }
    return pack(b, statements, count);
}

/* Identifiers with bytes over 127, unquoted (or possibly so): a single-byte server folds them, this parser
 * does not. */
static bool has_wide_words(struct slice text)
{
    struct lexer lexer = lex_start(text);
    for (;;) {
        struct lexeme piece = lex_next(&lexer);
        if (piece.kind == LEX_END)
            return false;
        if (piece.kind == LEX_WORD && piece.is_wide)
            return true;
        for (size_t i = 0; piece.kind == LEX_SPECIAL && i < piece.len; i++) {
            if ((piece.start[i] & 0x80) != 0)
                return true;
        }
    }
}

/* NULL when the text is not SQL, or memory is out. */
static struct sql_class *parse(struct builder *b, struct slice text)
{
    struct sql_class *class = NULL;
    PgQueryProtobufParseResult parsed = pg_query_parse_protobuf(b->text);
    if (parsed.error == NULL) {
        struct scratch tree_memory = {NULL, 0, false};
        ProtobufCAllocator allocator = {tree_alloc, tree_free, &tree_memory};
        const uint8_t *bytes = (const uint8_t *)parsed.parse_tree.data;
        PgQuery__ParseResult *tree = pg_query__parse_result__unpack(&allocator, parsed.parse_tree.len, bytes);
        if (tree != NULL) {
            b->has_wide_words = has_wide_words(text);
            class = build(b, tree);
        }
        scratch_free(tree_memory.first);
    }
    pg_query_free_protobuf_parse_result(parsed);
    return class;
}

struct sql_class *sql_classify(struct slice text)
{
    if (text.len > SQL_TEXT_LIMIT || (text.len > 0 && memchr(text.data, '\0', text.len) != NULL))
        return sql_class_unparsable();
    struct buf shorter = BUF_INIT;
    struct slice read = text;
    if (text.len > LONG_TEXT && rows_leave_out(text, &shorter))
        read = buf_slice(&shorter);
    bool is_readable = read.len <= SQL_PARSE_LIMIT && lex_depth(read) < LEX_DEPTH_LIMIT;
    char *copy = is_readable ? slice_dup(read) : NULL;
    buf_free(&shorter);
    struct builder *b = calloc(1, sizeof(*b));
    struct sql_class *class = NULL;
    if (copy != NULL && b != NULL) {
        b->text = copy;
        b->is_whole_text = read.data == text.data;
        class = parse(b, text);
        if (class != NULL)
            class->hint = hint_parse(text);
        else
            scratch_free(b->arena.first);
    }
    free(b);
    free(copy);
    return class != NULL ? class : sql_class_unparsable();
}

/* --- counting --- */

static struct sql_statement unparsable_statement = {
    .kind = SQL_KIND_UNPARSABLE,
    .flags = SQL_WRITES | SQL_WRITES_UNKNOWN | SQL_SCHEMA | SQL_UNKNOWN_CODE | SQL_READS_UNKNOWN |
             SQL_REFUSES_BLOCK,
};

static struct sql_class unparsable = {
    .refs = 1,
    .flags = SQL_CLASS_WRITES | SQL_CLASS_WRITES_UNKNOWN | SQL_CLASS_SCHEMA | SQL_CLASS_UNKNOWN_CODE |
             SQL_CLASS_LITERALS | SQL_CLASS_REFUSES_BLOCK | SQL_CLASS_DATETIME_WORD,
    .n_statements = 1,
    .statements = &unparsable_statement,
};

struct sql_class *sql_class_unparsable(void)
{
    return &unparsable;
}

struct sql_class *sql_class_ref(struct sql_class *class)
{
    if (class != NULL && class != &unparsable)
        atomic_fetch_add_explicit(&class->refs, 1, memory_order_relaxed);
    return class;
}

void sql_class_unref(struct sql_class *class)
{
    if (class == NULL || class == &unparsable)
        return;
    if (atomic_fetch_sub_explicit(&class->refs, 1, memory_order_acq_rel) == 1) {
        scratch_free(class->memory);
        free(class);
    }
}

void sql_display(struct slice text, struct buf *out)
{
    char *copy = text.len <= SQL_PARSE_LIMIT && lex_depth(text) < LEX_DEPTH_LIMIT ? slice_dup(text) : NULL;
    if (copy == NULL)
        return;
    PgQueryNormalizeResult normal = pg_query_normalize(copy);
    if (normal.error == NULL)
        buf_append_str(out, normal.normalized_query);
    pg_query_free_normalize_result(normal);
    free(copy);
}

void sql_classify_thread_end(void)
{
    pg_query_exit();
}
