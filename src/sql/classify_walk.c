/*
 * classify_walk: visits every node below a statement, whatever its type, by protobuf-c's own descriptions of
 * them.
 *
 * Only types with a row in `visitors` are looked at; all others, those of later grammars included, are passed
 * through to their children, so that nothing can hide in a node nobody thought of.
 */
#include "classify_build.h"

#include <string.h>

#include <xxhash.h>

#include "weir/sql/builtins.h"
#include "weir/sql/template.h"

const char *node_string(const PgQuery__Node *node)
{
    return node->node_case == PG_QUERY__NODE__NODE_STRING ? node->string->sval : NULL;
}

bool is_temp_schema(const char *schema)
{
    return strncmp(schema, "pg_temp", 7) == 0;
}

/* --- relations --- */

static bool is_catalog(const char *schema, const char *name)
{
    if (schema[0] == '\0')
        return builtins_has_relation(slice_str(name));
    return strncmp(schema, "pg_", 3) == 0 || strcmp(schema, "information_schema") == 0;
}

/* A long name with bytes over 127 may be cut off elsewhere by the server than here. */
static bool is_doubtful_name(const char *name)
{
    size_t len = strlen(name);
    if (len >= MAX_NAME_BYTES)
        return true;
    for (size_t i = 0; len >= 63 && i < len; i++) {
        if ((name[i] & 0x80) != 0)
            return true;
    }
    return false;
}

static bool same_text(const char *a, const char *b)
{
    return a == b || (a != NULL && b != NULL && strcmp(a, b) == 0);
}

/* False when there is no room. */
static bool table_add(struct builder *b, struct relation_table *table, const char *schema, const char *name)
{
    const char *found = schema[0] != '\0' ? schema : NULL;
    for (uint16_t i = 0; i < table->count; i++) {
        if (same_text(table->items[i].name, name) && same_text(table->items[i].schema, found))
            return true;
    }
    if (table->count == MAX_RELATIONS || is_doubtful_name(name) || is_doubtful_name(schema))
        return false;
    table->items[table->count].schema = found != NULL ? scratch_text(&b->arena, found) : NULL;
    table->items[table->count].name = scratch_text(&b->arena, name);
    table->count++;
    return true;
}

static bool is_cte(const struct builder *b, const PgQuery__RangeVar *relation)
{
    if (relation->schemaname[0] != '\0')
        return false;
    for (size_t i = b->n_ctes; i > 0; i--) {
        if (strcmp(b->ctes[i - 1], relation->relname) == 0)
            return true;
    }
    return false;
}

static void note_schema(struct builder *b, const PgQuery__RangeVar *relation)
{
    if (is_catalog(relation->schemaname, relation->relname))
        set_flags(b, SQL_CATALOG);
    if (is_temp_schema(relation->schemaname))
        b->names_temp_schema = true;
}

void add_read(struct builder *b, const PgQuery__RangeVar *relation)
{
    if (is_cte(b, relation))
        return;
    b->n_tables++;
    note_schema(b, relation);
    if (!table_add(b, &b->reads, relation->schemaname, relation->relname) || b->has_wide_words)
        set_flags(b, SQL_READS_UNKNOWN);
}

void add_write(struct builder *b, const PgQuery__RangeVar *relation)
{
    set_flags(b, SQL_WRITES);
    if (relation == NULL) {
        set_flags(b, SQL_WRITES_UNKNOWN);
        return;
    }
    note_schema(b, relation);
    if (!table_add(b, &b->writes, relation->schemaname, relation->relname) || b->has_wide_words)
        set_flags(b, SQL_WRITES_UNKNOWN);
    /* Its rule calls set_config. */
    if (strcmp(relation->relname, "pg_settings") == 0)
        set_flags(b, SQL_UNKNOWN_SETTING);
}

/* --- WITH: names hide tables in what follows, in the whole list when RECURSIVE --- */

static void push_cte(struct builder *b, const PgQuery__CommonTableExpr *cte)
{
    if (b->n_ctes < MAX_CTES)
        b->ctes[b->n_ctes++] = cte->ctename;
    else
        set_flags(b, SQL_READS_UNKNOWN | SQL_WRITES_UNKNOWN);
}

/* Walks the WITH list and leaves its names in scope; the caller restores n_ctes. */
static void enter_with(struct builder *b, const PgQuery__WithClause *with)
{
    if (with == NULL)
        return;
    for (size_t i = 0; with->recursive && i < with->n_ctes; i++)
        push_cte(b, with->ctes[i]->common_table_expr);
    for (size_t i = 0; i < with->n_ctes; i++) {
        walk_message(b, &with->ctes[i]->common_table_expr->base);
        if (!with->recursive)
            push_cte(b, with->ctes[i]->common_table_expr);
    }
}

/* --- one visitor for each type that means something; each walks on by itself --- */

static void walk_children(struct builder *b, const ProtobufCMessage *message, const void *skip,
                          const void *skip_too);

static bool is_integer_constant(const PgQuery__Node *node)
{
    return node->node_case == PG_QUERY__NODE__NODE_A_CONST &&
           node->a_const->val_case == PG_QUERY__A__CONST__VAL_IVAL;
}

/* ORDER BY 1, GROUP BY 2, DISTINCT ON (1): another number is another query. */
static void note_positions(struct builder *b, PgQuery__Node *const *nodes, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        const PgQuery__Node *node = nodes[i];
        if (node->node_case == PG_QUERY__NODE__NODE_SORT_BY)
            node = node->sort_by->node;
        if (node != NULL && node->node_case != PG_QUERY__NODE__NODE_COLUMN_REF)
            b->depends_on_text |=
                is_integer_constant(node) || node->node_case == PG_QUERY__NODE__NODE_GROUPING_SET;
    }
}

static void visit_select(struct builder *b, const void *message)
{
    const PgQuery__SelectStmt *select = message;
    size_t outer = b->n_ctes;
    enter_with(b, select->with_clause);
    if (select->into_clause != NULL)
        b->into = select->into_clause;
    if (select->n_locking_clause > 0)
        set_flags(b, SQL_LOCKS);
    note_positions(b, select->sort_clause, select->n_sort_clause);
    note_positions(b, select->group_clause, select->n_group_clause);
    note_positions(b, select->distinct_clause, select->n_distinct_clause);
    /* The relation of INTO is made, not read. */
    PgQuery__SelectStmt rest = *select;
    rest.into_clause = NULL;
    walk_children(b, &rest.base, select->with_clause, NULL);
    b->n_ctes = outer;
}

static void visit_write(struct builder *b, const ProtobufCMessage *message, const PgQuery__WithClause *with,
                        const PgQuery__RangeVar *target)
{
    size_t outer = b->n_ctes;
    b->has_writing_with = true;
    enter_with(b, with);
    add_write(b, target);
    walk_children(b, message, with, target);
    b->n_ctes = outer;
}

static void visit_insert(struct builder *b, const void *message)
{
    const PgQuery__InsertStmt *insert = message;
    visit_write(b, &insert->base, insert->with_clause, insert->relation);
}

static void visit_update(struct builder *b, const void *message)
{
    const PgQuery__UpdateStmt *update = message;
    visit_write(b, &update->base, update->with_clause, update->relation);
}

static void visit_delete(struct builder *b, const void *message)
{
    const PgQuery__DeleteStmt *delete = message;
    visit_write(b, &delete->base, delete->with_clause, delete->relation);
}

static void visit_merge(struct builder *b, const void *message)
{
    const PgQuery__MergeStmt *merge = message;
    visit_write(b, &merge->base, merge->with_clause, merge->relation);
}

static void visit_relation(struct builder *b, const void *message)
{
    add_read(b, message);
}

static void visit_call(struct builder *b, const void *message)
{
    const PgQuery__FuncCall *call = message;
    add_call(b, call);
    walk_children(b, &call->base, NULL, NULL);
}

static void visit_expression(struct builder *b, const void *message)
{
    const PgQuery__AExpr *e = message;
    if (e->kind == PG_QUERY__A__EXPR__KIND__AEXPR_OP || e->kind == PG_QUERY__A__EXPR__KIND__AEXPR_OP_ANY ||
        e->kind == PG_QUERY__A__EXPR__KIND__AEXPR_OP_ALL)
        add_operator(b, e->name, e->n_name);
    walk_children(b, &e->base, NULL, NULL);
}

static void visit_sublink(struct builder *b, const void *message)
{
    const PgQuery__SubLink *link = message;
    set_flags(b, SQL_SUBLINK);
    if (link->n_oper_name > 0)
        add_operator(b, link->oper_name, link->n_oper_name);
    walk_children(b, &link->base, NULL, NULL);
}

static void visit_sort(struct builder *b, const void *message)
{
    const PgQuery__SortBy *sort = message;
    if (sort->n_use_op > 0)
        add_operator(b, sort->use_op, sort->n_use_op);
    walk_children(b, &sort->base, NULL, NULL);
}

static void visit_constant(struct builder *b, const void *message)
{
    const PgQuery__AConst *constant = message;
    if (constant->val_case == PG_QUERY__A__CONST__VAL_SVAL &&
        template_has_datetime_word(slice_str(constant->sval->sval)))
        b->has_datetime_word = true;
}

static void visit_param(struct builder *b, const void *message)
{
    const PgQuery__ParamRef *param = message;
    set_flags(b, SQL_HAS_PARAMS);
    if (param->number > 0 && (uint32_t)param->number > b->now.params)
        b->now.params = (uint32_t)param->number;
}

/* float(24) is float4 and float(25) float8: the number decides the type. */
static bool is_sized_float(const struct builder *b, const PgQuery__TypeName *type)
{
    if (type->location < 0 || (size_t)type->location >= strlen(b->text))
        return false;
    const char *p = b->text + type->location;
    if (strncasecmp(p, "float", 5) != 0)
        return false;
    p += 5;
    while (*p == ' ' || *p == '\t' || *p == '\n' || *p == '\r' || *p == '\f')
        p++;
    return *p == '(' || *p == '/' || *p == '-';
}

static void visit_type(struct builder *b, const void *message)
{
    const PgQuery__TypeName *type = message;
    const char *schema = "", *name = NULL;
    if (type->n_names >= 2)
        schema = node_string(type->names[type->n_names - 2]);
    if (type->n_names >= 1)
        name = node_string(type->names[type->n_names - 1]);
    if (name != NULL && schema != NULL && b->types.count < MAX_TYPES)
        (void)table_add(b, &b->types, schema, name);
    else
        set_flags(b, SQL_READS_UNKNOWN);
    if (is_sized_float(b, type))
        b->depends_on_text = true;
    walk_children(b, &type->base, NULL, NULL);
}

/* A constant or a parameter, perhaps cast before, or with a sign. */
static bool is_given(const PgQuery__Node *node)
{
    while (node != NULL && node->node_case == PG_QUERY__NODE__NODE_TYPE_CAST)
        node = node->type_cast->arg;
    if (node != NULL && node->node_case == PG_QUERY__NODE__NODE_A_EXPR && node->a_expr->lexpr == NULL)
        node = node->a_expr->rexpr;
    return node != NULL && (node->node_case == PG_QUERY__NODE__NODE_A_CONST ||
                            node->node_case == PG_QUERY__NODE__NODE_PARAM_REF);
}

static void visit_cast(struct builder *b, const void *message)
{
    const PgQuery__TypeCast *cast = message;
    b->now.has_computed_cast |= !is_given(cast->arg);
    walk_children(b, &cast->base, NULL, NULL);
}

/* Turns stored text into values of any type, by rules of its own: too much for whoever has to know what is
 * read. */
static void visit_xml(struct builder *b, const void *message)
{
    set_flags(b, SQL_READS_UNKNOWN);
    walk_children(b, message, NULL, NULL);
}

static void visit_value_function(struct builder *b, const void *message)
{
    const PgQuery__SQLValueFunction *function = message;
    if (function->op >= PG_QUERY__SQLVALUE_FUNCTION_OP__SVFOP_CURRENT_DATE &&
        function->op <= PG_QUERY__SQLVALUE_FUNCTION_OP__SVFOP_LOCALTIMESTAMP_N)
        set_flags(b, SQL_CURRENT_TIME);
    else
        set_flags(b, SQL_CURRENT_USER);
}

uint32_t sql_name_hash(const char *name)
{
    return XXH32(name, strlen(name), 0);
}

static void add_field(struct builder *b, const char *name)
{
    uint32_t hash = sql_name_hash(name);
    for (uint16_t i = 0; i < b->n_fields && b->n_fields != SQL_FIELDS_UNKNOWN; i++)
        if (b->fields[i] == hash)
            return;
    if (b->n_fields >= MAX_FIELDS || is_doubtful_name(name) || b->has_wide_words)
        b->n_fields = SQL_FIELDS_UNKNOWN;
    else
        b->fields[b->n_fields++] = hash;
}

static void visit_indirection(struct builder *b, const void *message)
{
    const PgQuery__AIndirection *indirection = message;
    for (size_t i = 0; i < indirection->n_indirection; i++) {
        const char *name = node_string(indirection->indirection[i]);
        if (name != NULL)
            add_field(b, name);
    }
    walk_children(b, &indirection->base, NULL, NULL);
}

static void visit_column(struct builder *b, const void *message)
{
    static const char *const system_columns[] = {"ctid", "xmin", "xmax", "cmin", "cmax", "tableoid"};
    const PgQuery__ColumnRef *column = message;
    const char *name = column->n_fields > 0 ? node_string(column->fields[column->n_fields - 1]) : NULL;
    for (size_t i = 0; name != NULL && i < sizeof(system_columns) / sizeof(*system_columns); i++) {
        if (strcmp(name, system_columns[i]) == 0)
            set_flags(b, SQL_SYSTEM_COLUMN);
    }
    if (name != NULL && column->n_fields > 1)
        add_field(b, name);
}

/* Names in FOR UPDATE OF are aliases, not tables. */
static void visit_locking(struct builder *b, const void *message)
{
    (void)message;
    set_flags(b, SQL_LOCKS);
}

static void visit_sample(struct builder *b, const void *message)
{
    const PgQuery__RangeTableSample *sample = message;
    set_flags(b, SQL_TABLESAMPLE);
    walk_children(b, &sample->base, NULL, NULL);
}

static void visit_string(struct builder *b, const void *message)
{
    const PgQuery__String *string = message;
    if (is_temp_schema(string->sval))
        b->names_temp_schema = true;
}

static const struct visitor {
    const ProtobufCMessageDescriptor *type;
    void (*visit)(struct builder *b, const void *message);
} visitors[] = {
    {&pg_query__column_ref__descriptor, visit_column},
    {&pg_query__a__indirection__descriptor, visit_indirection},
    {&pg_query__a__const__descriptor, visit_constant},
    {&pg_query__a__expr__descriptor, visit_expression},
    {&pg_query__string__descriptor, visit_string},
    {&pg_query__range_var__descriptor, visit_relation},
    {&pg_query__func_call__descriptor, visit_call},
    {&pg_query__param_ref__descriptor, visit_param},
    {&pg_query__type_name__descriptor, visit_type},
    {&pg_query__type_cast__descriptor, visit_cast},
    {&pg_query__xml_expr__descriptor, visit_xml},
    {&pg_query__xml_serialize__descriptor, visit_xml},
    {&pg_query__range_table_func__descriptor, visit_xml},
    {&pg_query__select_stmt__descriptor, visit_select},
    {&pg_query__sub_link__descriptor, visit_sublink},
    {&pg_query__sort_by__descriptor, visit_sort},
    {&pg_query__insert_stmt__descriptor, visit_insert},
    {&pg_query__update_stmt__descriptor, visit_update},
    {&pg_query__delete_stmt__descriptor, visit_delete},
    {&pg_query__merge_stmt__descriptor, visit_merge},
    {&pg_query__sqlvalue_function__descriptor, visit_value_function},
    {&pg_query__locking_clause__descriptor, visit_locking},
    {&pg_query__range_table_sample__descriptor, visit_sample},
};

/* Visits everything a message points to but the two that the caller has dealt with. */
static void walk_children(struct builder *b, const ProtobufCMessage *message, const void *skip,
                          const void *skip_too)
{
    const ProtobufCMessageDescriptor *type = message->descriptor;
    for (unsigned i = 0; i < type->n_fields; i++) {
        const ProtobufCFieldDescriptor *field = &type->fields[i];
        if (field->type != PROTOBUF_C_TYPE_MESSAGE)
            continue;
        const char *base = (const char *)message;
        const void *at = base + field->offset;
        if (field->label == PROTOBUF_C_LABEL_REPEATED) {
            size_t count = *(const size_t *)(const void *)(base + field->quantifier_offset);
            ProtobufCMessage *const *items = *(ProtobufCMessage *const *const *)at;
            for (size_t n = 0; n < count; n++)
                walk_message(b, items[n]);
        } else if ((field->flags & PROTOBUF_C_FIELD_FLAG_ONEOF) == 0 ||
                   *(const uint32_t *)(const void *)(base + field->quantifier_offset) == field->id) {
            const ProtobufCMessage *child = *(const ProtobufCMessage *const *)at;
            if (child != NULL && (const void *)child != skip && (const void *)child != skip_too)
                walk_message(b, child);
        }
    }
}

void walk_message(struct builder *b, const ProtobufCMessage *message)
{
    const ProtobufCMessageDescriptor *type = message->descriptor;
    if (type == &pg_query__node__descriptor) {
        walk_node(b, (const PgQuery__Node *)message);
        return;
    }
    for (size_t i = 0; i < sizeof(visitors) / sizeof(*visitors); i++) {
        if (visitors[i].type == type) {
            visitors[i].visit(b, message);
            return;
        }
    }
    walk_children(b, message, NULL, NULL);
}

void walk_node(struct builder *b, const PgQuery__Node *node)
{
    /* Every member of the union is a pointer to a message. */
    if (node != NULL && node->node_case != PG_QUERY__NODE__NODE__NOT_SET && node->alias != NULL)
        walk_message(b, &node->alias->base);
}

void walk_nodes(struct builder *b, PgQuery__Node *const *nodes, size_t count)
{
    for (size_t i = 0; i < count; i++)
        walk_node(b, nodes[i]);
}
