/*
 * classify_utility: statements that are not plain SELECT, INSERT, UPDATE, DELETE or MERGE.
 *
 * Small ones have a function; the many kinds of DDL share one, and a table says which of them deal in rights,
 * or refuse a transaction block. What stands in no table is DDL: it is feared most.
 */
#include "classify_build.h"

#include <string.h>
#include <strings.h>

/* CURSOR_OPT_HOLD of PostgreSQL 14 and newer. */
#define CURSOR_HOLD 0x0020

#define WRITES_ANYTHING (SQL_WRITES | SQL_WRITES_UNKNOWN)

static void set_name(struct builder *b, enum sql_kind kind, const char *name)
{
    b->now.kind = kind;
    b->now.name = scratch_text(&b->arena, name);
}

static bool option_is(const PgQuery__DefElem *option, const char *name)
{
    return strcasecmp(option->defname, name) == 0;
}

/* A boolean option: bare, or anything but a word for no. */
static bool option_is_on(const PgQuery__DefElem *option)
{
    if (option->arg == NULL)
        return true;
    const char *text = node_string(option->arg);
    if (text != NULL)
        return strcasecmp(text, "off") != 0 && strcasecmp(text, "false") != 0;
    return option->arg->node_case != PG_QUERY__NODE__NODE_INTEGER || option->arg->integer->ival != 0;
}

/* --- transactions --- */

static void begin_options(struct builder *b, const PgQuery__TransactionStmt *stmt)
{
    bool is_plain = true;
    for (size_t i = 0; i < stmt->n_options; i++) {
        const PgQuery__DefElem *option =
            stmt->options[i]->node_case == PG_QUERY__NODE__NODE_DEF_ELEM ? stmt->options[i]->def_elem : NULL;
        const PgQuery__AConst *value =
            option != NULL && option->arg != NULL && option->arg->node_case == PG_QUERY__NODE__NODE_A_CONST
                ? option->arg->a_const
                : NULL;
        bool is_text = value != NULL && value->val_case == PG_QUERY__A__CONST__VAL_SVAL;
        bool is_zero =
            value != NULL && value->val_case == PG_QUERY__A__CONST__VAL_IVAL && value->ival->ival == 0;
        if (is_text && option_is(option, "transaction_isolation")) {
            b->now.isolation = isolation_from_text(value->sval->sval);
            b->now.begin_options |= SQL_BEGIN_READ_COMMITTED;
            is_plain = is_plain && b->now.isolation == SQL_READ_COMMITTED;
        } else if (is_zero && option_is(option, "transaction_deferrable")) {
            b->now.begin_options |= SQL_BEGIN_NOT_DEFERRABLE;
        } else {
            is_plain = false;
        }
    }
    if (is_plain)
        set_flags(b, SQL_PLAIN_BEGIN);
}

static void classify_transaction(struct builder *b, const PgQuery__TransactionStmt *stmt)
{
    static const enum sql_kind kinds[] = {
        [PG_QUERY__TRANSACTION_STMT_KIND__TRANS_STMT_BEGIN] = SQL_KIND_BEGIN,
        [PG_QUERY__TRANSACTION_STMT_KIND__TRANS_STMT_START] = SQL_KIND_BEGIN,
        [PG_QUERY__TRANSACTION_STMT_KIND__TRANS_STMT_COMMIT] = SQL_KIND_COMMIT,
        [PG_QUERY__TRANSACTION_STMT_KIND__TRANS_STMT_ROLLBACK] = SQL_KIND_ROLLBACK,
        [PG_QUERY__TRANSACTION_STMT_KIND__TRANS_STMT_SAVEPOINT] = SQL_KIND_SAVEPOINT,
        [PG_QUERY__TRANSACTION_STMT_KIND__TRANS_STMT_RELEASE] = SQL_KIND_RELEASE,
        [PG_QUERY__TRANSACTION_STMT_KIND__TRANS_STMT_ROLLBACK_TO] = SQL_KIND_ROLLBACK_TO,
        [PG_QUERY__TRANSACTION_STMT_KIND__TRANS_STMT_PREPARE] = SQL_KIND_PREPARE_TRANSACTION,
        [PG_QUERY__TRANSACTION_STMT_KIND__TRANS_STMT_COMMIT_PREPARED] = SQL_KIND_COMMIT_PREPARED,
        [PG_QUERY__TRANSACTION_STMT_KIND__TRANS_STMT_ROLLBACK_PREPARED] = SQL_KIND_ROLLBACK_PREPARED,
    };
    size_t index = (size_t)stmt->kind;
    b->now.kind = index > 0 && index < sizeof(kinds) / sizeof(*kinds) ? kinds[index] : SQL_KIND_OTHER;
    b->now.name = scratch_text(&b->arena, stmt->savepoint_name);
    b->depends_on_text = true;
    if (stmt->chain)
        set_flags(b, SQL_CHAIN);
    if (b->now.kind == SQL_KIND_BEGIN)
        begin_options(b, stmt);
    if (stmt->kind == PG_QUERY__TRANSACTION_STMT_KIND__TRANS_STMT_START)
        set_flags(b, SQL_START);
    if (b->now.kind == SQL_KIND_COMMIT_PREPARED)
        set_flags(b, WRITES_ANYTHING | SQL_REFUSES_BLOCK);
    if (b->now.kind == SQL_KIND_ROLLBACK_PREPARED)
        set_flags(b, SQL_REFUSES_BLOCK);
    if (b->now.kind == SQL_KIND_OTHER)
        set_flags(b, SQL_UNKNOWN_CODE | WRITES_ANYTHING);
}

static void classify_discard(struct builder *b, const PgQuery__DiscardStmt *stmt)
{
    switch (stmt->target) {
    case PG_QUERY__DISCARD_MODE__DISCARD_PLANS:
        b->now.kind = SQL_KIND_DISCARD_PLANS;
        return;
    case PG_QUERY__DISCARD_MODE__DISCARD_SEQUENCES:
        b->now.kind = SQL_KIND_DISCARD_SEQUENCES;
        return;
    case PG_QUERY__DISCARD_MODE__DISCARD_TEMP:
        b->now.kind = SQL_KIND_DISCARD_TEMP;
        return;
    default:
        b->now.kind = SQL_KIND_DISCARD_ALL;
        set_flags(b, SQL_REFUSES_BLOCK);
        return;
    }
}

/* --- statements around another statement --- */

/* What only the running of the inner statement would do. */
#define RUNTIME_FLAGS                                                                                        \
    (SQL_SCHEMA | SQL_UNKNOWN_CODE | SQL_UNKNOWN_SETTING | SQL_UNKNOWN_LOCAL | SQL_LOCKS |                   \
     SQL_ADVISORY_LOCK | SQL_ADVISORY_UNLOCK | SQL_ADVISORY_UNLOCK_ALL | SQL_SEQUENCE_STATE | SQL_NEXTVAL |  \
     SQL_NOTIFIES | SQL_REFUSES_BLOCK | SQL_ON_COMMIT_DROP)

static void forget_runtime(struct builder *b, bool may_evaluate)
{
    b->now.flags &= ~(uint32_t)RUNTIME_FLAGS;
    /* Planning evaluates functions of constants. */
    if (!may_evaluate || (b->now.flags & SQL_UNKNOWN_FUNCTION) == 0)
        b->now.flags &= ~(uint32_t)(SQL_WRITES | SQL_WRITES_UNKNOWN | SQL_UNKNOWN_FUNCTION);
    b->n_settings = 0;
    b->writes.count = 0;
    b->now.is_advisory_counted = false;
}

static void classify_explain(struct builder *b, const PgQuery__ExplainStmt *stmt)
{
    bool analyze = false;
    for (size_t i = 0; i < stmt->n_options; i++) {
        const PgQuery__DefElem *option = stmt->options[i]->def_elem;
        b->depends_on_text |= option->arg != NULL;
        if (option_is(option, "analyze"))
            analyze = option_is_on(option);
    }
    if (stmt->query != NULL)
        classify_statement(b, stmt->query);
    /* EXPLAIN ANALYZE CREATE TEMP TABLE ... AS makes the table. */
    if (!analyze || b->now.kind != SQL_KIND_CREATE_TEMP)
        b->now.kind = SQL_KIND_EXPLAIN;
    if (analyze)
        set_flags(b, SQL_ANALYZE);
    else
        forget_runtime(b, true);
}

static void classify_prepare(struct builder *b, const PgQuery__PrepareStmt *stmt)
{
    if (stmt->query != NULL)
        classify_statement(b, stmt->query);
    forget_runtime(b, false);
    set_name(b, SQL_KIND_PREPARE, stmt->name);
}

static void classify_cursor(struct builder *b, const PgQuery__DeclareCursorStmt *stmt)
{
    if (stmt->query != NULL)
        classify_statement(b, stmt->query);
    /* Nobody knows how often FETCH will evaluate what the query calls. */
    if (b->n_settings > 0)
        set_flags(b, SQL_UNKNOWN_SETTING);
    b->n_settings = 0;
    b->now.is_advisory_counted = false;
    set_name(b, SQL_KIND_DECLARE_CURSOR, stmt->portalname);
    if ((stmt->options & CURSOR_HOLD) != 0)
        set_flags(b, SQL_HOLD);
}

static void classify_copy(struct builder *b, const PgQuery__CopyStmt *stmt)
{
    b->now.kind = stmt->is_from ? SQL_KIND_COPY_FROM : SQL_KIND_COPY_TO;
    b->depends_on_text = true;
    if (stmt->query != NULL) {
        classify_statement(b, stmt->query);
        b->now.kind = SQL_KIND_COPY_TO;
    }
    if (stmt->relation != NULL && stmt->is_from)
        add_write(b, stmt->relation);
    else if (stmt->relation != NULL)
        add_read(b, stmt->relation);
    walk_node(b, stmt->where_clause);
}

/* --- definitions --- */

static void classify_definition(struct builder *b, const PgQuery__Node *node, const PgQuery__RangeVar *made,
                                PgQuery__OnCommitAction on_commit)
{
    walk_node(b, node);
    b->now.kind = SQL_KIND_DDL;
    b->depends_on_text = true;
    set_flags(b, SQL_SCHEMA | WRITES_ANYTHING);
    bool is_temporary =
        made != NULL && (strcmp(made->relpersistence, "t") == 0 || is_temp_schema(made->schemaname));
    if (is_temporary || b->names_temp_schema) {
        b->now.kind = SQL_KIND_CREATE_TEMP;
        if (is_temporary && on_commit == PG_QUERY__ON_COMMIT_ACTION__ONCOMMIT_DROP)
            set_flags(b, SQL_ON_COMMIT_DROP);
    }
}

static const PgQuery__RangeVar *made_by(const PgQuery__Node *node, PgQuery__OnCommitAction *on_commit)
{
    *on_commit = PG_QUERY__ON_COMMIT_ACTION__ONCOMMIT_NOOP;
    switch (node->node_case) {
    case PG_QUERY__NODE__NODE_CREATE_STMT:
        *on_commit = node->create_stmt->oncommit;
        return node->create_stmt->relation;
    case PG_QUERY__NODE__NODE_CREATE_TABLE_AS_STMT:
        if (node->create_table_as_stmt->into == NULL)
            return NULL;
        *on_commit = node->create_table_as_stmt->into->on_commit;
        return node->create_table_as_stmt->into->rel;
    case PG_QUERY__NODE__NODE_VIEW_STMT:
        return node->view_stmt->view;
    case PG_QUERY__NODE__NODE_CREATE_SEQ_STMT:
        return node->create_seq_stmt->sequence;
    default:
        return NULL;
    }
}

static bool is_about_rights(PgQuery__Node__NodeCase type)
{
    switch (type) {
    case PG_QUERY__NODE__NODE_GRANT_STMT:
    case PG_QUERY__NODE__NODE_GRANT_ROLE_STMT:
    case PG_QUERY__NODE__NODE_CREATE_ROLE_STMT:
    case PG_QUERY__NODE__NODE_ALTER_ROLE_STMT:
    case PG_QUERY__NODE__NODE_ALTER_ROLE_SET_STMT:
    case PG_QUERY__NODE__NODE_DROP_ROLE_STMT:
    case PG_QUERY__NODE__NODE_ALTER_DEFAULT_PRIVILEGES_STMT:
    case PG_QUERY__NODE__NODE_CREATE_POLICY_STMT:
    case PG_QUERY__NODE__NODE_ALTER_POLICY_STMT:
    case PG_QUERY__NODE__NODE_REASSIGN_OWNED_STMT:
    case PG_QUERY__NODE__NODE_DROP_OWNED_STMT:
    case PG_QUERY__NODE__NODE_ALTER_OWNER_STMT:
        return true;
    default:
        return false;
    }
}

static bool detaches_concurrently(const PgQuery__AlterTableStmt *stmt)
{
    for (size_t i = 0; i < stmt->n_cmds; i++) {
        const PgQuery__Node *def = stmt->cmds[i]->node_case == PG_QUERY__NODE__NODE_ALTER_TABLE_CMD
                                       ? stmt->cmds[i]->alter_table_cmd->def
                                       : NULL;
        if (def != NULL && def->node_case == PG_QUERY__NODE__NODE_PARTITION_CMD &&
            def->partition_cmd->concurrent)
            return true;
    }
    return false;
}

static bool refuses_block(const PgQuery__Node *node)
{
    switch (node->node_case) {
    case PG_QUERY__NODE__NODE_CREATEDB_STMT:
    case PG_QUERY__NODE__NODE_DROPDB_STMT:
    case PG_QUERY__NODE__NODE_ALTER_DATABASE_STMT:
    case PG_QUERY__NODE__NODE_CREATE_TABLE_SPACE_STMT:
    case PG_QUERY__NODE__NODE_DROP_TABLE_SPACE_STMT:
    case PG_QUERY__NODE__NODE_ALTER_SYSTEM_STMT:
    case PG_QUERY__NODE__NODE_CREATE_SUBSCRIPTION_STMT:
    case PG_QUERY__NODE__NODE_ALTER_SUBSCRIPTION_STMT:
    case PG_QUERY__NODE__NODE_DROP_SUBSCRIPTION_STMT:
    case PG_QUERY__NODE__NODE_ALTER_ENUM_STMT:
        return true;
    case PG_QUERY__NODE__NODE_INDEX_STMT:
        return node->index_stmt->concurrent;
    case PG_QUERY__NODE__NODE_DROP_STMT:
        return node->drop_stmt->concurrent;
    case PG_QUERY__NODE__NODE_ALTER_TABLE_STMT:
        return detaches_concurrently(node->alter_table_stmt);
    default:
        return false;
    }
}

static void classify_other_definition(struct builder *b, const PgQuery__Node *node)
{
    PgQuery__OnCommitAction on_commit;
    const PgQuery__RangeVar *made = made_by(node, &on_commit);
    classify_definition(b, node, made, on_commit);
    if (refuses_block(node))
        set_flags(b, SQL_REFUSES_BLOCK);
    if (is_about_rights(node->node_case))
        b->now.kind = SQL_KIND_GRANT;
    /* CREATE TABLE AS EXECUTE */
    if (node->node_case == PG_QUERY__NODE__NODE_CREATE_TABLE_AS_STMT &&
        node->create_table_as_stmt->query != NULL &&
        node->create_table_as_stmt->query->node_case == PG_QUERY__NODE__NODE_EXECUTE_STMT)
        set_flags(b, SQL_UNKNOWN_CODE);
}

/* --- the rest --- */

static void classify_relations(struct builder *b, enum sql_kind kind, PgQuery__Node *const *nodes,
                               size_t count)
{
    b->now.kind = kind;
    for (size_t i = 0; i < count; i++) {
        const PgQuery__RangeVar *relation =
            nodes[i]->node_case == PG_QUERY__NODE__NODE_RANGE_VAR ? nodes[i]->range_var : NULL;
        if (kind == SQL_KIND_TRUNCATE)
            add_write(b, relation);
        else if (relation != NULL)
            add_read(b, relation);
    }
}

static void classify_code(struct builder *b, enum sql_kind kind, uint32_t flags)
{
    b->now.kind = kind;
    b->depends_on_text = true;
    set_flags(b, flags | SQL_UNKNOWN_CODE | SQL_READS_UNKNOWN | WRITES_ANYTHING);
}

static void classify_maintenance(struct builder *b, const PgQuery__Node *node)
{
    b->now.kind = SQL_KIND_MAINTENANCE;
    b->depends_on_text = true;
    bool is_analyze = node->node_case == PG_QUERY__NODE__NODE_VACUUM_STMT && !node->vacuum_stmt->is_vacuumcmd;
    if (!is_analyze && node->node_case != PG_QUERY__NODE__NODE_CHECK_POINT_STMT)
        set_flags(b, SQL_REFUSES_BLOCK);
}

/* Cursors, prepared statements, channels. */
static bool classify_named(struct builder *b, const PgQuery__Node *node)
{
    switch (node->node_case) {
    case PG_QUERY__NODE__NODE_DEALLOCATE_STMT:
        set_name(b, SQL_KIND_DEALLOCATE, node->deallocate_stmt->name);
        return true;
    case PG_QUERY__NODE__NODE_FETCH_STMT:
        set_name(b, node->fetch_stmt->ismove ? SQL_KIND_MOVE : SQL_KIND_FETCH, node->fetch_stmt->portalname);
        b->depends_on_text = true;
        set_flags(b, SQL_READS_UNKNOWN);
        return true;
    case PG_QUERY__NODE__NODE_CLOSE_PORTAL_STMT:
        set_name(b, SQL_KIND_CLOSE_CURSOR, node->close_portal_stmt->portalname);
        return true;
    case PG_QUERY__NODE__NODE_LISTEN_STMT:
        set_name(b, SQL_KIND_LISTEN, node->listen_stmt->conditionname);
        return true;
    case PG_QUERY__NODE__NODE_UNLISTEN_STMT:
        set_name(b, SQL_KIND_UNLISTEN, node->unlisten_stmt->conditionname);
        return true;
    case PG_QUERY__NODE__NODE_NOTIFY_STMT:
        set_name(b, SQL_KIND_NOTIFY, node->notify_stmt->conditionname);
        b->depends_on_text = true;
        set_flags(b, SQL_NOTIFIES);
        return true;
    case PG_QUERY__NODE__NODE_VARIABLE_SHOW_STMT:
        set_name(b, SQL_KIND_SHOW, node->variable_show_stmt->name);
        return true;
    default:
        return false;
    }
}

/* Statements that hold another, or a query. */
static bool classify_nested(struct builder *b, const PgQuery__Node *node)
{
    switch (node->node_case) {
    case PG_QUERY__NODE__NODE_EXPLAIN_STMT:
        classify_explain(b, node->explain_stmt);
        return true;
    case PG_QUERY__NODE__NODE_PREPARE_STMT:
        classify_prepare(b, node->prepare_stmt);
        return true;
    case PG_QUERY__NODE__NODE_EXECUTE_STMT:
        classify_code(b, SQL_KIND_EXECUTE, 0);
        b->now.name = scratch_text(&b->arena, node->execute_stmt->name);
        return true;
    case PG_QUERY__NODE__NODE_DECLARE_CURSOR_STMT:
        classify_cursor(b, node->declare_cursor_stmt);
        return true;
    case PG_QUERY__NODE__NODE_COPY_STMT:
        classify_copy(b, node->copy_stmt);
        return true;
    case PG_QUERY__NODE__NODE_CALL_STMT:
        walk_node(b, node);
        classify_code(b, SQL_KIND_CALL, SQL_REFUSES_BLOCK);
        return true;
    case PG_QUERY__NODE__NODE_DO_STMT:
        classify_code(b, SQL_KIND_DO, SQL_REFUSES_BLOCK);
        return true;
    default:
        return false;
    }
}

void classify_utility(struct builder *b, const PgQuery__Node *node)
{
    if (classify_named(b, node) || classify_nested(b, node))
        return;
    switch (node->node_case) {
    case PG_QUERY__NODE__NODE_TRANSACTION_STMT:
        classify_transaction(b, node->transaction_stmt);
        return;
    case PG_QUERY__NODE__NODE_VARIABLE_SET_STMT:
        classify_variable_set(b, node->variable_set_stmt);
        return;
    case PG_QUERY__NODE__NODE_DISCARD_STMT:
        classify_discard(b, node->discard_stmt);
        return;
    case PG_QUERY__NODE__NODE_LOCK_STMT:
        classify_relations(b, SQL_KIND_LOCK_TABLE, node->lock_stmt->relations, node->lock_stmt->n_relations);
        set_flags(b, SQL_LOCKS);
        return;
    case PG_QUERY__NODE__NODE_TRUNCATE_STMT:
        classify_relations(b, SQL_KIND_TRUNCATE, node->truncate_stmt->relations,
                           node->truncate_stmt->n_relations);
        if (node->truncate_stmt->behavior == PG_QUERY__DROP_BEHAVIOR__DROP_CASCADE)
            set_flags(b, SQL_CASCADE | WRITES_ANYTHING);
        return;
    case PG_QUERY__NODE__NODE_LOAD_STMT:
        b->now.kind = SQL_KIND_LOAD;
        b->depends_on_text = true;
        return;
    case PG_QUERY__NODE__NODE_REFRESH_MAT_VIEW_STMT:
        b->now.kind = SQL_KIND_REFRESH;
        add_write(b, node->refresh_mat_view_stmt->relation);
        return;
    case PG_QUERY__NODE__NODE_CONSTRAINTS_SET_STMT:
        b->now.kind = SQL_KIND_CONSTRAINTS;
        return;
    case PG_QUERY__NODE__NODE_VACUUM_STMT:
    case PG_QUERY__NODE__NODE_REINDEX_STMT:
    case PG_QUERY__NODE__NODE_CLUSTER_STMT:
    case PG_QUERY__NODE__NODE_CHECK_POINT_STMT:
        classify_maintenance(b, node);
        return;
    default:
        classify_other_definition(b, node);
        return;
    }
}
