/*
 * classify_set: SET, RESET and set_config as name and value, the value in the form that set_config takes.
 *
 * Follows what flatten_set_variable_args of PostgreSQL does: list items are joined by a comma and a blank,
 * and quoted as identifiers where the variable is a list of names.
 */
#include "classify_build.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include <pg_query.h>

#include "weir/util/buf.h"

/* Variables whose items are names (GUC_LIST_QUOTE). */
static const char *const name_lists[] = {
    "local_preload_libraries",  "search_path",      "session_preload_libraries",
    "shared_preload_libraries", "temp_tablespaces", "unix_socket_directories",
};

/* Names under which PostgreSQL still knows variables. */
static const char *const renamed[][2] = {
    {"sort_mem", "work_mem"},
    {"vacuum_mem", "maintenance_work_mem"},
};

static bool is_name_list(const char *name)
{
    for (size_t i = 0; i < sizeof(name_lists) / sizeof(*name_lists); i++) {
        if (strcmp(name_lists[i], name) == 0)
            return true;
    }
    return false;
}

enum sql_isolation isolation_from_text(const char *text)
{
    static const char *const names[] = {"", "read uncommitted", "read committed", "repeatable read",
                                        "serializable"};
    for (int i = SQL_READ_UNCOMMITTED; i <= SQL_SERIALIZABLE; i++) {
        if (strcasecmp(names[i], text) == 0)
            return (enum sql_isolation)i;
    }
    return SQL_SERIALIZABLE;
}

/* These last as long as the transaction, however they are set. */
static bool is_transaction_variable(const char *name)
{
    return strcasecmp(name, "transaction_isolation") == 0 || strcasecmp(name, "transaction_read_only") == 0 ||
           strcasecmp(name, "transaction_deferrable") == 0;
}

/* Lower case, old names replaced; NULL when memory is out. */
static const char *setting_name(struct builder *b, const char *name)
{
    for (size_t i = 0; i < sizeof(renamed) / sizeof(*renamed); i++) {
        if (strcasecmp(renamed[i][0], name) == 0)
            return scratch_text(&b->arena, renamed[i][1]);
    }
    size_t len = strlen(name);
    char *copy = len < MAX_NAME_BYTES ? scratch_take(&b->arena, len + 1) : NULL;
    for (size_t i = 0; copy != NULL && i < len; i++)
        copy[i] = (char)(name[i] >= 'A' && name[i] <= 'Z' ? name[i] + 32 : name[i]);
    return copy;
}

/* Notes a change; what has no place in a profile gets its flag instead. `value` NULL: back to the default. */
static void add_setting(struct builder *b, const char *raw_name, const char *value, bool is_local)
{
    const char *name = setting_name(b, raw_name);
    if (name == NULL || b->n_settings == MAX_SETTINGS ||
        (value != NULL && strlen(value) > MAX_SETTING_BYTES)) {
        set_flags(b, SQL_UNKNOWN_SETTING);
        return;
    }
    /* A seed cannot be replayed: the sequence has moved on. */
    if (strcmp(name, "seed") == 0) {
        set_flags(b, SQL_SEQUENCE_STATE);
        return;
    }
    if (is_transaction_variable(name)) {
        if (strcmp(name, "transaction_isolation") == 0)
            b->now.isolation = value != NULL ? isolation_from_text(value) : SQL_SERIALIZABLE;
        return;
    }
    const char *kept = value != NULL ? scratch_text(&b->arena, value) : NULL;
    if (b->arena.failed)
        return;
    b->settings[b->n_settings++] = (struct sql_setting){name, kept, is_local};
}

/* Whether an identifier must be quoted because it is a keyword of another kind than unreserved. */
static bool is_keyword(const char *name)
{
    bool answer = true;
    PgQueryScanResult scan = pg_query_scan(name);
    if (scan.error == NULL) {
        PgQuery__ScanResult *tokens =
            pg_query__scan_result__unpack(NULL, scan.pbuf.len, (const uint8_t *)scan.pbuf.data);
        if (tokens != NULL) {
            answer = tokens->n_tokens != 1 ||
                     (tokens->tokens[0]->keyword_kind != PG_QUERY__KEYWORD_KIND__NO_KEYWORD &&
                      tokens->tokens[0]->keyword_kind != PG_QUERY__KEYWORD_KIND__UNRESERVED_KEYWORD);
            pg_query__scan_result__free_unpacked(tokens, NULL);
        }
    }
    pg_query_free_scan_result(scan);
    return answer;
}

/* As quote_identifier of PostgreSQL does. */
static void append_identifier(struct buf *out, const char *name)
{
    bool is_safe = (name[0] >= 'a' && name[0] <= 'z') || name[0] == '_';
    for (const char *p = name; *p != '\0'; p++)
        is_safe = is_safe && ((*p >= 'a' && *p <= 'z') || (*p >= '0' && *p <= '9') || *p == '_');
    if (is_safe && !is_keyword(name)) {
        buf_append_str(out, name);
        return;
    }
    buf_append_u8(out, '"');
    for (const char *p = name; *p != '\0'; p++) {
        if (*p == '"')
            buf_append_u8(out, '"');
        buf_append_u8(out, (uint8_t)*p);
    }
    buf_append_u8(out, '"');
}

/* One item of a value; false for what is not a constant (TIME ZONE INTERVAL ...). */
static bool append_item(struct buf *out, const PgQuery__Node *item, bool is_name)
{
    if (item->node_case != PG_QUERY__NODE__NODE_A_CONST || item->a_const->isnull)
        return false;
    switch (item->a_const->val_case) {
    case PG_QUERY__A__CONST__VAL_IVAL:
        buf_printf(out, "%d", item->a_const->ival->ival);
        return true;
    case PG_QUERY__A__CONST__VAL_FVAL:
        buf_append_str(out, item->a_const->fval->fval);
        return true;
    case PG_QUERY__A__CONST__VAL_SVAL:
        if (is_name)
            append_identifier(out, item->a_const->sval->sval);
        else
            buf_append_str(out, item->a_const->sval->sval);
        return true;
    default:
        return false;
    }
}

static void set_value(struct builder *b, const PgQuery__VariableSetStmt *set)
{
    struct buf value = BUF_INIT;
    bool is_known = true;
    for (size_t i = 0; i < set->n_args && is_known; i++) {
        if (i > 0)
            buf_append_str(&value, ", ");
        is_known = append_item(&value, set->args[i], is_name_list(set->name));
    }
    const char *text = is_known ? buf_text(&value) : NULL;
    if (text != NULL)
        add_setting(b, set->name, text, set->is_local);
    else
        set_flags(b, set->is_local ? SQL_UNKNOWN_LOCAL : SQL_UNKNOWN_SETTING);
    buf_free(&value);
}

/* SET TRANSACTION, SET SESSION CHARACTERISTICS AS TRANSACTION: options by name. */
static void set_transaction_modes(struct builder *b, const PgQuery__VariableSetStmt *set, bool is_session)
{
    for (size_t i = 0; i < set->n_args; i++) {
        if (set->args[i]->node_case != PG_QUERY__NODE__NODE_DEF_ELEM)
            continue;
        const PgQuery__DefElem *option = set->args[i]->def_elem;
        const PgQuery__AConst *value =
            option->arg != NULL && option->arg->node_case == PG_QUERY__NODE__NODE_A_CONST
                ? option->arg->a_const
                : NULL;
        char name[64];
        snprintf(name, sizeof(name), "%s%s", is_session ? "default_" : "", option->defname);
        if (value != NULL && value->val_case == PG_QUERY__A__CONST__VAL_SVAL)
            add_setting(b, name, value->sval->sval, false);
        else if (value != NULL && value->val_case == PG_QUERY__A__CONST__VAL_IVAL)
            add_setting(b, name, value->ival->ival != 0 ? "on" : "off", false);
        else
            set_flags(b, SQL_UNKNOWN_SETTING);
    }
}

void classify_variable_set(struct builder *b, const PgQuery__VariableSetStmt *set)
{
    b->now.kind = is_transaction_variable(set->name) ? SQL_KIND_SET_TRANSACTION : SQL_KIND_SET;
    b->depends_on_text = true;
    switch (set->kind) {
    case PG_QUERY__VARIABLE_SET_KIND__VAR_SET_VALUE:
        set_value(b, set);
        return;
    case PG_QUERY__VARIABLE_SET_KIND__VAR_SET_DEFAULT:
    case PG_QUERY__VARIABLE_SET_KIND__VAR_RESET:
        add_setting(b, set->name, NULL, set->is_local);
        return;
    case PG_QUERY__VARIABLE_SET_KIND__VAR_RESET_ALL:
        b->now.kind = SQL_KIND_RESET_ALL;
        return;
    case PG_QUERY__VARIABLE_SET_KIND__VAR_SET_MULTI:
        if (strcmp(set->name, "SESSION CHARACTERISTICS") == 0) {
            set_transaction_modes(b, set, true);
            return;
        }
        b->now.kind = SQL_KIND_SET_TRANSACTION;
        if (strcmp(set->name, "TRANSACTION") == 0)
            set_transaction_modes(b, set, false);
        else
            b->now.isolation = SQL_REPEATABLE_READ; /* TRANSACTION SNAPSHOT: refused at a lower level */
        return;
    default:
        /* SET ... FROM CURRENT */
        set_flags(b, SQL_UNKNOWN_SETTING);
        return;
    }
}

static const char *string_constant(const PgQuery__Node *node)
{
    return node->node_case == PG_QUERY__NODE__NODE_A_CONST &&
                   node->a_const->val_case == PG_QUERY__A__CONST__VAL_SVAL
               ? node->a_const->sval->sval
               : NULL;
}

static bool is_null_constant(const PgQuery__Node *node)
{
    return node->node_case == PG_QUERY__NODE__NODE_A_CONST && node->a_const->isnull;
}

/* -1: not a boolean constant. `'t'` and `true::boolean` are left to "unknown" but for what parsers make of
 * TRUE. */
static int boolean_constant(const PgQuery__Node *node)
{
    if (node->node_case == PG_QUERY__NODE__NODE_TYPE_CAST && node->type_cast->arg != NULL)
        node = node->type_cast->arg;
    if (node->node_case != PG_QUERY__NODE__NODE_A_CONST)
        return -1;
    const PgQuery__AConst *constant = node->a_const;
    if (constant->val_case == PG_QUERY__A__CONST__VAL_BOOLVAL)
        return constant->boolval->boolval;
    const char *text = constant->val_case == PG_QUERY__A__CONST__VAL_SVAL ? constant->sval->sval : "";
    if (strcasecmp(text, "t") == 0 || strcasecmp(text, "true") == 0)
        return 1;
    return strcasecmp(text, "f") == 0 || strcasecmp(text, "false") == 0 ? 0 : -1;
}

/* One call whose value is parameter `param`; `name` NULL: one of which more is unknown. Only one may be all
 * there is. */
static void note_bound(struct builder *b, const char *name, int32_t param, bool is_local)
{
    bool is_first = b->now.bound_param == 0;
    bool is_kept = is_first && name != NULL && param > 0 && param < UINT16_MAX;
    b->now.bound_setting = is_kept ? scratch_text(&b->arena, name) : NULL;
    b->now.bound_param = is_kept ? (uint16_t)param : UINT16_MAX;
    b->now.is_bound_local = is_local;
}

void classify_set_config(struct builder *b, const PgQuery__FuncCall *call)
{
    int is_local = call->n_args == 3 ? boolean_constant(call->args[2]) : -1;
    const char *name = call->n_args == 3 ? string_constant(call->args[0]) : NULL;
    const char *value = call->n_args == 3 ? string_constant(call->args[1]) : NULL;
    bool is_known = call->n_args == 3 && name != NULL && (value != NULL || is_null_constant(call->args[1]));
    bool is_transaction = name != NULL && is_transaction_variable(name);
    if (is_simple_call(b, call) && is_known && is_local >= 0 && !is_transaction) {
        add_setting(b, name, value, is_local == 1);
        return;
    }
    bool is_bound = is_simple_call(b, call) && name != NULL && is_local >= 0 && !is_transaction &&
                    call->args[1]->node_case == PG_QUERY__NODE__NODE_PARAM_REF;
    note_bound(b, is_bound ? name : NULL, is_bound ? call->args[1]->param_ref->number : 0, is_local == 1);
    set_flags(b, is_local == 1 || is_transaction ? SQL_UNKNOWN_LOCAL : SQL_UNKNOWN_SETTING);
}

uint16_t sql_bound_setting(const struct sql_class *class)
{
    const struct sql_statement *s = class->statements;
    bool is_alone = class->n_statements == 1 && s->kind == SQL_KIND_READ && s->n_settings == 0 &&
                    (s->flags == (SQL_UNKNOWN_SETTING | SQL_HAS_PARAMS) ||
                     s->flags == (SQL_UNKNOWN_LOCAL | SQL_HAS_PARAMS));
    return is_alone && s->bound_setting != NULL ? s->bound_param : 0;
}

static void append_quoted(struct buf *out, struct slice text)
{
    buf_append_u8(out, '\'');
    for (size_t i = 0; i < text.len; i++) {
        if (text.data[i] == '\'')
            buf_append_u8(out, '\'');
        buf_append_u8(out, text.data[i]);
    }
    buf_append_u8(out, '\'');
}

bool sql_bound_text(const struct sql_class *class, struct slice value, struct buf *out)
{
    for (size_t i = 0; i < value.len; i++)
        if (value.data[i] == 0 || value.data[i] >= 0x80)
            return false;
    buf_append_str(out, "SELECT pg_catalog.set_config(");
    append_quoted(out, slice_str(class->statements->bound_setting));
    buf_append_str(out, ", ");
    if (value.data == NULL)
        buf_append_str(out, "NULL");
    else
        append_quoted(out, value);
    buf_append_str(out, class->statements->is_bound_local ? ", true)" : ", false)");
    return true;
}
