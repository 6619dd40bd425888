/* classify_call: what calling a function does, known by its name or not known at all. */
#include "classify_build.h"

#include <stdio.h>
#include <string.h>

#include <xxhash.h>

#include "weir/sql/builtins.h"

/* Functions of pg_catalog that do something builtins does not vouch for, and what. */
static const struct effect {
    const char *name;
    uint32_t flags;
} effects[] = {
    {"pg_advisory_lock", SQL_ADVISORY_LOCK},
    {"pg_advisory_lock_shared", SQL_ADVISORY_LOCK},
    {"pg_try_advisory_lock", SQL_ADVISORY_LOCK},
    {"pg_try_advisory_lock_shared", SQL_ADVISORY_LOCK},
    {"pg_advisory_unlock", SQL_ADVISORY_UNLOCK},
    {"pg_advisory_unlock_shared", SQL_ADVISORY_UNLOCK},
    {"pg_advisory_unlock_all", SQL_ADVISORY_UNLOCK_ALL},
    {"pg_advisory_xact_lock", SQL_LOCKS},
    {"pg_advisory_xact_lock_shared", SQL_LOCKS},
    {"pg_try_advisory_xact_lock", SQL_LOCKS},
    {"pg_try_advisory_xact_lock_shared", SQL_LOCKS},
    {"nextval", SQL_NEXTVAL},
    {"setval", SQL_NEXTVAL},
    {"currval", SQL_SEQUENCE_STATE},
    {"lastval", SQL_SEQUENCE_STATE},
    {"setseed", SQL_SEQUENCE_STATE},
    {"pg_notify", SQL_NOTIFIES},
};

/* Schema ("" if none) and name of a call; false for shapes that PostgreSQL has no use for. */
static bool split_name(PgQuery__Node *const *names, size_t count, const char **schema, const char **name)
{
    *schema = count >= 2 ? node_string(names[count - 2]) : "";
    *name = count >= 1 ? node_string(names[count - 1]) : NULL;
    return *schema != NULL && *name != NULL;
}

static void add_function(struct builder *b, const char *schema, const char *name, uint16_t args,
                         bool is_builtin)
{
    if (!is_builtin)
        set_flags(b, SQL_UNKNOWN_FUNCTION);
    for (uint16_t i = 0; i < b->n_functions; i++) {
        const struct sql_function *f = &b->functions[i];
        if (f->args == args && strcmp(f->name, name) == 0 &&
            strcmp(f->schema != NULL ? f->schema : "", schema) == 0)
            return;
    }
    /* Not listed: nobody can vouch for all of them. */
    if (b->n_functions == MAX_FUNCTIONS) {
        set_flags(b, SQL_UNKNOWN_CODE);
        return;
    }
    struct sql_function *f = &b->functions[b->n_functions++];
    f->schema = schema[0] != '\0' ? scratch_text(&b->arena, schema) : NULL;
    f->name = scratch_text(&b->arena, name);
    f->args = args;
    f->is_builtin = is_builtin;
    if (b->arena.failed)
        b->n_functions--;
}

static bool is_constant(const PgQuery__Node *node)
{
    if (node->node_case == PG_QUERY__NODE__NODE_TYPE_CAST && node->type_cast->arg != NULL)
        node = node->type_cast->arg;
    return node->node_case == PG_QUERY__NODE__NODE_A_CONST ||
           node->node_case == PG_QUERY__NODE__NODE_PARAM_REF;
}

/* A call of constants to a function that certainly does not return a set. */
static bool is_scalar_call(const PgQuery__FuncCall *call)
{
    static const char *const others[] = {"set_config", "current_setting", "pg_backend_pid", "now"};
    const char *schema, *name;
    if (!split_name(call->funcname, call->n_funcname, &schema, &name) ||
        (schema[0] != '\0' && strcmp(schema, "pg_catalog") != 0))
        return false;
    bool is_known = false;
    for (size_t i = 0; i < sizeof(effects) / sizeof(*effects); i++)
        is_known = is_known || strcmp(effects[i].name, name) == 0;
    for (size_t i = 0; i < sizeof(others) / sizeof(*others); i++)
        is_known = is_known || strcmp(others[i], name) == 0;
    for (size_t i = 0; i < call->n_args; i++)
        is_known = is_known && is_constant(call->args[i]);
    return is_known;
}

bool is_single_row_target(const PgQuery__Node *target)
{
    const PgQuery__Node *value =
        target->node_case == PG_QUERY__NODE__NODE_RES_TARGET ? target->res_target->val : NULL;
    if (value == NULL)
        return false;
    if (value->node_case == PG_QUERY__NODE__NODE_FUNC_CALL)
        return is_scalar_call(value->func_call);
    return is_constant(value);
}

bool is_simple_call(const struct builder *b, const PgQuery__FuncCall *call)
{
    for (size_t i = 0; b->simple_select != NULL && i < b->simple_select->n_target_list; i++) {
        const PgQuery__Node *target = b->simple_select->target_list[i];
        if (target->node_case == PG_QUERY__NODE__NODE_RES_TARGET && target->res_target->val != NULL &&
            target->res_target->val->node_case == PG_QUERY__NODE__NODE_FUNC_CALL &&
            target->res_target->val->func_call == call)
            return call->agg_filter == NULL && call->over == NULL;
    }
    return false;
}

/*
 * A number that stands for a lock: its kind and key. Zero when the key is not made of whole constants. A
 * negative number is a constant to the parser too.
 */
static uint32_t lock_fingerprint(const PgQuery__FuncCall *call, bool is_shared)
{
    char key[80];
    int len = snprintf(key, sizeof(key), "%d/%zu", is_shared, call->n_args);
    if (call->n_args < 1 || call->n_args > 2)
        return 0;
    for (size_t i = 0; i < call->n_args; i++) {
        const PgQuery__Node *arg = call->args[i];
        if (arg->node_case != PG_QUERY__NODE__NODE_A_CONST)
            return 0;
        if (arg->a_const->val_case == PG_QUERY__A__CONST__VAL_IVAL)
            len += snprintf(key + len, sizeof(key) - (size_t)len, "/%d", arg->a_const->ival->ival);
        else if (arg->a_const->val_case == PG_QUERY__A__CONST__VAL_FVAL &&
                 strlen(arg->a_const->fval->fval) < 24)
            len += snprintf(key + len, sizeof(key) - (size_t)len, "/%s", arg->a_const->fval->fval);
        else
            return 0;
    }
    return XXH32(key, (size_t)len, 0) | 1;
}

/* Counts a lock taken or given back, if it is certain which and how often. */
static void note_advisory(struct builder *b, const PgQuery__FuncCall *call, const char *name, bool is_taken)
{
    b->depends_on_text = true;
    uint32_t fingerprint =
        is_simple_call(b, call) ? lock_fingerprint(call, strstr(name, "_shared") != NULL) : 0;
    bool is_first = (b->now.flags & (SQL_ADVISORY_LOCK | SQL_ADVISORY_UNLOCK)) == 0;
    b->now.is_advisory_counted = fingerprint != 0 && (is_first || b->now.is_advisory_counted);
    b->now.advisory = (int16_t)(b->now.advisory + (is_taken ? 1 : -1));
    b->now.advisory_sum += is_taken ? fingerprint : 0 - fingerprint;
}

static bool apply_effect(struct builder *b, const PgQuery__FuncCall *call, const char *name)
{
    if (strcmp(name, "set_config") == 0) {
        b->depends_on_text = true;
        classify_set_config(b, call);
        return true;
    }
    for (size_t i = 0; i < sizeof(effects) / sizeof(*effects); i++) {
        if (strcmp(effects[i].name, name) != 0)
            continue;
        if ((effects[i].flags & (SQL_ADVISORY_LOCK | SQL_ADVISORY_UNLOCK)) != 0)
            note_advisory(b, call, name, effects[i].flags == SQL_ADVISORY_LOCK);
        set_flags(b, effects[i].flags);
        return true;
    }
    return false;
}

void add_call(struct builder *b, const PgQuery__FuncCall *call)
{
    const char *schema, *name;
    if (!split_name(call->funcname, call->n_funcname, &schema, &name)) {
        set_flags(b, SQL_UNKNOWN_CODE);
        return;
    }
    bool is_catalog = schema[0] == '\0' || strcmp(schema, "pg_catalog") == 0;
    bool is_builtin = is_catalog && (apply_effect(b, call, name) || builtins_has_function(slice_str(name)));
    uint16_t args = call->n_args < UINT16_MAX ? (uint16_t)call->n_args : UINT16_MAX - 1;
    add_function(b, schema, name, args, is_builtin);
}

void add_operator(struct builder *b, PgQuery__Node *const *names, size_t count)
{
    const char *schema, *name;
    if (!split_name(names, count, &schema, &name)) {
        set_flags(b, SQL_UNKNOWN_CODE);
        return;
    }
    bool is_catalog = schema[0] == '\0' || strcmp(schema, "pg_catalog") == 0;
    add_function(b, schema, name, UINT16_MAX, is_catalog && builtins_has_operator(slice_str(name)));
}
