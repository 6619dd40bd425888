/*
 * classify_row: which rows of its table a statement is about, where it says so by `column = value`.
 *
 * Only what stands at the top of WHERE, joined by AND, holds for every row. Names are as written: whether the
 * column is a key, and whether = is PostgreSQL's own, is for those to know who have a catalog.
 */
#include "classify_build.h"

#include <string.h>

#include "weir/sql/lex.h"

/* --- values --- */

static enum sql_cast cast_of(const PgQuery__TypeName *type, bool *is_plain)
{
    static const struct {
        const char *name;
        enum sql_cast cast;
    } casts[] = {
        {"int2", SQL_CAST_INTEGER}, {"int4", SQL_CAST_INTEGER}, {"int8", SQL_CAST_INTEGER},
        {"uuid", SQL_CAST_UUID},    {"text", SQL_CAST_TEXT},    {"varchar", SQL_CAST_TEXT},
    };
    *is_plain = false;
    /* With a length (varchar(3)) a cast cuts off. */
    if (type == NULL || type->n_names == 0 || type->n_names > 2 || type->n_typmods > 0 ||
        type->n_array_bounds > 0 || type->setof)
        return SQL_CAST_NONE;
    const char *schema = type->n_names == 2 ? node_string(type->names[0]) : "pg_catalog";
    const char *name = node_string(type->names[type->n_names - 1]);
    for (size_t i = 0; name != NULL && schema != NULL && i < sizeof(casts) / sizeof(*casts); i++) {
        if (strcmp(schema, "pg_catalog") == 0 && strcmp(name, casts[i].name) == 0) {
            *is_plain = true;
            return casts[i].cast;
        }
    }
    return SQL_CAST_NONE;
}

/* The place of the literal that begins at `location`, counted as template lifts them; -1 where none is
 * lifted. */
static int literal_at(const struct builder *b, int location)
{
    struct slice text = slice_str(b->text);
    int place = 0;
    if (!b->is_whole_text || location < 0 || (size_t)location >= text.len)
        return -1;
    struct lexer lexer = lex_start(text);
    for (;;) {
        struct lexeme piece = lex_next(&lexer);
        if (piece.kind == LEX_END || piece.kind == LEX_SPECIAL || piece.start > text.data + location)
            return -1;
        if (piece.kind < LEX_INTEGER || piece.kind > LEX_STRING)
            continue;
        if (piece.start == text.data + location)
            return place <= UINT16_MAX ? place : -1;
        place++;
    }
}

/* A constant or a parameter, with one cast at most. */
static bool read_value(const struct builder *b, const PgQuery__Node *node, struct sql_equality *equality)
{
    bool is_plain = true;
    equality->cast = SQL_CAST_NONE;
    if (node->node_case == PG_QUERY__NODE__NODE_TYPE_CAST) {
        equality->cast = cast_of(node->type_cast->type_name, &is_plain);
        node = node->type_cast->arg;
    }
    if (!is_plain || node == NULL)
        return false;
    if (node->node_case == PG_QUERY__NODE__NODE_PARAM_REF) {
        int number = node->param_ref->number;
        equality->param = number > 0 && number <= UINT16_MAX ? (uint16_t)number : 0;
        return equality->param > 0;
    }
    if (node->node_case != PG_QUERY__NODE__NODE_A_CONST || node->a_const->isnull)
        return false;
    int place = literal_at(b, node->a_const->location);
    equality->param = 0;
    equality->literal = (uint16_t)place;
    return place >= 0;
}

/* --- conditions --- */

/* The last name of a column; NULL for anything else. */
static const char *column_name(const PgQuery__Node *node)
{
    if (node == NULL || node->node_case != PG_QUERY__NODE__NODE_COLUMN_REF || node->column_ref->n_fields == 0)
        return NULL;
    return node_string(node->column_ref->fields[node->column_ref->n_fields - 1]);
}

static bool is_equals(const PgQuery__AExpr *e)
{
    const char *schema = "pg_catalog", *name = NULL;
    if (e->kind != PG_QUERY__A__EXPR__KIND__AEXPR_OP || e->n_name == 0 || e->n_name > 2)
        return false;
    if (e->n_name == 2)
        schema = node_string(e->name[0]);
    name = node_string(e->name[e->n_name - 1]);
    return schema != NULL && name != NULL && strcmp(schema, "pg_catalog") == 0 && strcmp(name, "=") == 0;
}

static void add_condition(struct builder *b, const PgQuery__Node *node)
{
    struct sql_equality equality = {.column = NULL};
    const PgQuery__AExpr *e = node->a_expr;
    if (b->now.n_equalities == MAX_EQUALITIES || !is_equals(e) || e->lexpr == NULL || e->rexpr == NULL)
        return;
    const char *left = column_name(e->lexpr), *right = column_name(e->rexpr);
    const char *column = left != NULL ? left : right;
    if (column == NULL || (left != NULL && right != NULL) || strlen(column) >= MAX_NAME_BYTES ||
        !read_value(b, left != NULL ? e->rexpr : e->lexpr, &equality))
        return;
    equality.column = scratch_text(&b->arena, column);
    if (equality.column != NULL)
        b->equalities[b->now.n_equalities++] = equality;
}

/* What is too deep is left out: fewer conditions are still true. */
static void add_conditions(struct builder *b, const PgQuery__Node *node, int depth)
{
    if (node == NULL || depth > 8 || b->has_wide_words)
        return;
    if (node->node_case == PG_QUERY__NODE__NODE_A_EXPR) {
        add_condition(b, node);
    } else if (node->node_case == PG_QUERY__NODE__NODE_BOOL_EXPR &&
               node->bool_expr->boolop == PG_QUERY__BOOL_EXPR_TYPE__AND_EXPR) {
        for (size_t i = 0; i < node->bool_expr->n_args; i++)
            add_conditions(b, node->bool_expr->args[i], depth + 1);
    }
}

/* --- statements --- */

static bool is_plain_table(const PgQuery__RangeVar *table)
{
    /* AS t(a, b) gives columns other names. */
    return table != NULL && (table->alias == NULL || table->alias->n_colnames == 0);
}

static bool calls_nothing(const struct builder *b)
{
    for (uint16_t i = 0; i < b->n_functions; i++)
        if (b->functions[i].args != UINT16_MAX)
            return false;
    return true;
}

void classify_rows_of_read(struct builder *b, const PgQuery__SelectStmt *select)
{
    if (select->op != PG_QUERY__SET_OPERATION__SETOP_NONE || select->with_clause != NULL ||
        select->n_from_clause != 1 || select->from_clause[0]->node_case != PG_QUERY__NODE__NODE_RANGE_VAR ||
        !is_plain_table(select->from_clause[0]->range_var) || b->n_tables != b->reads.count)
        return;
    /* The walk meets FROM before or after what else names tables: the first need not be this one. */
    const PgQuery__RangeVar *table = select->from_clause[0]->range_var;
    for (uint16_t i = 1; i < b->reads.count; i++) {
        const struct sql_relation *other = &b->reads.items[i];
        if (strcmp(other->name, table->relname) == 0 &&
            strcmp(other->schema != NULL ? other->schema : "", table->schemaname) == 0) {
            struct sql_relation first = b->reads.items[0];
            b->reads.items[0] = *other;
            b->reads.items[i] = first;
        }
    }
    if (b->reads.count == 0 || strcmp(b->reads.items[0].name, table->relname) != 0)
        return;
    add_conditions(b, select->where_clause, 0);
    b->now.is_row_for_row = select->n_group_clause == 0 && select->having_clause == NULL && calls_nothing(b);
}

void classify_rows_of_update(struct builder *b, const PgQuery__UpdateStmt *update)
{
    if (update->with_clause != NULL || update->n_from_clause > 0 || !is_plain_table(update->relation))
        return;
    add_conditions(b, update->where_clause, 0);
    for (size_t i = 0; i < update->n_target_list; i++) {
        const PgQuery__Node *target = update->target_list[i];
        const char *name =
            target->node_case == PG_QUERY__NODE__NODE_RES_TARGET ? target->res_target->name : NULL;
        for (uint16_t k = 0; k < b->now.n_equalities;) {
            if (name != NULL && strcmp(b->equalities[k].column, name) != 0)
                k++;
            else
                b->equalities[k] = b->equalities[--b->now.n_equalities];
        }
    }
}

void classify_rows_of_delete(struct builder *b, const PgQuery__DeleteStmt *delete)
{
    if (delete->with_clause == NULL && delete->n_using_clause == 0 && is_plain_table(delete->relation))
        add_conditions(b, delete->where_clause, 0);
}

void classify_rows_of_insert(struct builder *b, const PgQuery__InsertStmt *insert)
{
    b->now.only_adds_rows =
        insert->with_clause == NULL &&
        (insert->on_conflict_clause == NULL ||
         insert->on_conflict_clause->action == PG_QUERY__ON_CONFLICT_ACTION__ONCONFLICT_NOTHING);
}
