/*
 * classify: what a query text is, what it touches, and what it does to its session, by libpg_query's parse
 * tree.
 *
 * The answer is a struct sql_class: immutable, atomically counted, usable on any thread.
 * Whatever is not understood is said to be unknown, never guessed: see SQL_CLASS_UNKNOWN_CODE. Knows nothing
 * of catalogs: names are as written, views look like tables, triggers are not seen, functions called as
 * attributes (t.f) look like columns. Assumes standard_conforming_strings = on. Costs 5 to 50 us; memo
 * remembers the answers. Thread-safe (libpg_query keeps its memory per thread).
 */
#ifndef WEIR_SQL_CLASSIFY_H
#define WEIR_SQL_CLASSIFY_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "weir/sql/hint.h"
#include "weir/util/buf.h"
#include "weir/util/slice.h"

/* Longer text is not looked at; nor parsed if it is longer than SQL_PARSE_LIMIT without the rows that say
 * nothing (see rows.h): a parser takes most of a second for that. */
#define SQL_TEXT_LIMIT  (16u * 1024u * 1024u)
#define SQL_PARSE_LIMIT (1024u * 1024u)

/* kind, name for people */
#define SQL_KINDS(X)                                                                                         \
    X(UNPARSABLE, "unparsable") /* not read at all; stands alone */                                          \
    X(EMPTY, "empty")           /* nothing but blanks and comments; stands alone */                          \
    X(READ, "read")             /* SELECT, VALUES, TABLE: no locking, INTO or writing WITH */                \
    X(SELECT_OTHER, "select")   /* SELECT ... FOR UPDATE, or with INSERT/UPDATE/DELETE in WITH */            \
    X(INSERT, "insert")                                                                                      \
    X(UPDATE, "update")                                                                                      \
    X(DELETE, "delete")                                                                                      \
    X(MERGE, "merge")                                                                                        \
    X(BEGIN, "begin")             /* and START TRANSACTION: isolation, SQL_PLAIN_BEGIN */                    \
    X(COMMIT, "commit")           /* and END: SQL_CHAIN */                                                   \
    X(ROLLBACK, "rollback")       /* and ABORT: SQL_CHAIN */                                                 \
    X(SAVEPOINT, "savepoint")     /* name */                                                                 \
    X(ROLLBACK_TO, "rollback to") /* name */                                                                 \
    X(RELEASE, "release")         /* name */                                                                 \
    X(PREPARE_TRANSACTION, "prepare transaction")                                                            \
    X(COMMIT_PREPARED, "commit prepared")                                                                    \
    X(ROLLBACK_PREPARED, "rollback prepared")                                                                \
    X(SET, "set") /* settings; SET, SET LOCAL, SET ROLE, SET SESSION AUTHORIZATION, RESET x */               \
    X(SET_TRANSACTION, "set transaction") /* isolation; the rest only lasts the transaction */               \
    X(RESET_ALL, "reset all")                                                                                \
    X(SHOW, "show") /* name */                                                                               \
    X(DISCARD_ALL, "discard all")                                                                            \
    X(DISCARD_TEMP, "discard temp")                                                                          \
    X(DISCARD_PLANS, "discard plans")                                                                        \
    X(DISCARD_SEQUENCES, "discard sequences")                                                                \
    X(PREPARE, "prepare")               /* name */                                                           \
    X(EXECUTE, "execute")               /* name */                                                           \
    X(DEALLOCATE, "deallocate")         /* name; empty: ALL */                                               \
    X(DECLARE_CURSOR, "declare cursor") /* name, SQL_HOLD */                                                 \
    X(FETCH, "fetch")                   /* name */                                                           \
    X(MOVE, "move")                     /* name */                                                           \
    X(CLOSE_CURSOR, "close")            /* name; empty: ALL */                                               \
    X(LISTEN, "listen")                 /* name */                                                           \
    X(UNLISTEN, "unlisten")             /* name; empty: * */                                                 \
    X(NOTIFY, "notify")                 /* name */                                                           \
    X(LOCK_TABLE, "lock table")         /* relations in reads */                                             \
    X(COPY_FROM, "copy from")           /* relation in writes */                                             \
    X(COPY_TO, "copy to")               /* relations in reads */                                             \
    X(TRUNCATE, "truncate")             /* relations in writes, SQL_CASCADE */                               \
    X(CREATE_TEMP,                                                                                           \
      "create temp")  /* table, view, sequence, SELECT INTO, CREATE TABLE AS; SQL_ON_COMMIT_DROP */          \
    X(DDL, "ddl")     /* any other CREATE, ALTER, DROP, COMMENT, SELECT INTO, ... */                         \
    X(GRANT, "grant") /* rights and roles: GRANT, REVOKE, CREATE/ALTER/DROP ROLE, policies */                \
    X(CALL, "call")                                                                                          \
    X(DO, "do")                                                                                              \
    X(LOAD, "load")                                                                                          \
    X(EXPLAIN, "explain")         /* SQL_ANALYZE: the inner statement runs, its effects are listed */        \
    X(MAINTENANCE, "maintenance") /* VACUUM, ANALYZE, REINDEX, CLUSTER, CHECKPOINT */                        \
    X(REFRESH, "refresh")         /* the materialized view in writes */                                      \
    X(CONSTRAINTS, "set constraints")                                                                        \
    X(OTHER, "other")

enum sql_kind {
#define X(kind, name) SQL_KIND_##kind,
    SQL_KINDS(X)
#undef X
        SQL_KIND_COUNT
};

const char *sql_kind_name(enum sql_kind kind);

/* Of one statement. */
enum sql_flag {
    SQL_WRITES = 1 << 0, /* changes rows, or may: of `writes`, or of anything with SQL_WRITES_UNKNOWN */
    SQL_WRITES_UNKNOWN = 1 << 1, /* the written relations cannot all be named */
    SQL_SCHEMA = 1 << 2,         /* changes definitions or rights (comes with both flags above) */
    SQL_UNKNOWN_FUNCTION =
        1 << 3, /* calls functions or operators that are not built in; all of them are in `functions`,
                   so who knows them to be harmless may forgive this flag and SQL_FUNCTION_WRITES */
    SQL_FUNCTION_WRITES =
        1 << 4, /* SQL_WRITES and SQL_WRITES_UNKNOWN are set because of SQL_UNKNOWN_FUNCTION alone */
    SQL_UNKNOWN_CODE = 1 << 5, /* runs code nobody can see: DO, CALL, EXECUTE, unparsable */
    SQL_UNKNOWN_SETTING =
        1 << 6, /* changes a setting of the session that is not in `settings` (set_config($1, ...)) */
    SQL_UNKNOWN_LOCAL =
        1 << 7, /* the same, but only until the transaction ends (set_config(..., $1, true)) */
    SQL_READS_UNKNOWN = 1 << 8, /* `reads` is not complete */
    SQL_REFUSES_BLOCK = 1 << 9, /* PostgreSQL refuses, or may refuse, it inside a transaction block */
    SQL_HAS_PARAMS = 1 << 10,
    SQL_LOCKS = 1 << 11, /* FOR UPDATE and its like, LOCK TABLE, transaction-level advisory locks */
    SQL_TABLESAMPLE = 1 << 12,
    SQL_SUBLINK = 1 << 13,
    SQL_SYSTEM_COLUMN = 1 << 14, /* ctid, xmin, tableoid, ... */
    SQL_CURRENT_TIME = 1 << 15,  /* CURRENT_DATE, LOCALTIME, ... (now() is a function) */
    SQL_CURRENT_USER = 1 << 16,  /* CURRENT_USER, SESSION_USER, CURRENT_SCHEMA, CURRENT_CATALOG, ... */
    SQL_CATALOG = 1 << 17,       /* reads or writes pg_catalog, information_schema or pg_temp by name */
    SQL_CHAIN = 1 << 18,         /* AND CHAIN */
    SQL_HOLD = 1 << 19,          /* WITH HOLD */
    SQL_CASCADE = 1 << 20,       /* TRUNCATE ... CASCADE */
    SQL_ANALYZE = 1 << 21,       /* EXPLAIN ANALYZE */
    SQL_PLAIN_BEGIN = 1 << 22, /* BEGIN without options, or with READ COMMITTED, NOT DEFERRABLE only: what no
                                  server refuses (a standby does refuse READ WRITE) */
    SQL_ON_COMMIT_DROP = 1 << 23,      /* the temporary table goes when the transaction ends */
    SQL_ADVISORY_LOCK = 1 << 24,       /* a session-level advisory lock; see `advisory` */
    SQL_ADVISORY_UNLOCK = 1 << 25,     /* pg_advisory_unlock, _shared; see `advisory` */
    SQL_ADVISORY_UNLOCK_ALL = 1 << 26, /* pg_advisory_unlock_all */
    SQL_SEQUENCE_STATE = 1 << 27,      /* lastval, currval, setseed: state of this very server session */
    SQL_NEXTVAL = 1 << 28,             /* nextval, setval */
    SQL_NOTIFIES = 1 << 29,            /* NOTIFY, pg_notify */
    SQL_START = 1 << 30,               /* BEGIN spelt START TRANSACTION: so is its command tag */
};

enum sql_isolation {
    SQL_ISOLATION_UNSAID,
    SQL_READ_UNCOMMITTED,
    SQL_READ_COMMITTED,
    SQL_REPEATABLE_READ,
    SQL_SERIALIZABLE,
};

/* What a plain BEGIN says although it needs not. */
enum sql_begin_option { SQL_BEGIN_READ_COMMITTED = 1, SQL_BEGIN_NOT_DEFERRABLE = 2 };

struct sql_relation {
    const char *schema; /* NULL: found by search_path */
    const char *name;
};

struct sql_function {
    const char *schema; /* NULL: found by search_path */
    const char *name;
    uint16_t args; /* how many arguments are written (UINT16_MAX: an operator) */
    bool is_builtin;
};

#define SQL_FIELDS_UNKNOWN UINT16_MAX
/* As `fields` of a statement has it. */
uint32_t sql_name_hash(const char *name);

/* `column = value` with a constant or a parameter as value, perhaps cast. */
enum sql_cast { SQL_CAST_NONE, SQL_CAST_INTEGER, SQL_CAST_UUID, SQL_CAST_TEXT };

struct sql_equality {
    const char *column;
    uint16_t param;   /* $n; 0: a literal */
    uint16_t literal; /* its place among the literals of the text that template lifts, from 0 */
    enum sql_cast cast;
};

/* One change of one setting, as set_config would be told. */
struct sql_setting {
    const char *name;  /* lower case: "timezone", "role", "session_authorization", "app.tenant" */
    const char *value; /* NULL: back to its default (RESET, TO DEFAULT) */
    bool is_local;     /* for the transaction only */
};

struct sql_statement {
    enum sql_kind kind;
    enum sql_isolation isolation; /* BEGIN, SET TRANSACTION */
    uint32_t flags;               /* enum sql_flag */
    uint32_t params;              /* the highest $n */
    const char *name; /* of cursor, savepoint, prepared statement, channel, setting shown; else NULL */
    const struct sql_relation *reads;     /* tables read, CTE names left out; without repetition */
    const struct sql_relation *writes;    /* tables named as target */
    const struct sql_function *functions; /* and operators, as far as they are written */
    const struct sql_relation *types;     /* of casts, as written (pg_catalog.timestamptz for keywords) */
    const struct sql_setting *settings;
    const uint32_t *fields; /* hashes of names behind a dot (t.f, (t).f), which may be calls of functions */
    uint16_t n_fields;      /* SQL_FIELDS_UNKNOWN: more, or others, than are listed */
    uint16_t n_reads, n_writes, n_functions, n_types, n_settings;
    int16_t advisory;         /* locks taken minus locks given back, when every key is a constant ... */
    bool is_advisory_counted; /* ... and each call runs once; else the count is not known */
    bool has_computed_cast;   /* casts something that is neither a constant nor a parameter */
    uint8_t begin_options;    /* enum sql_begin_option, with SQL_PLAIN_BEGIN */
    /*
     * Of UPDATE and DELETE of one table, and of READ where the table named first in FROM is the only one
     * there and named nowhere else: every row of it that is changed, or that the answer depends on, fulfils
     * all of these, and UPDATE changes none of their columns. Not all that there are, perhaps.
     */
    const struct sql_equality *equalities;
    uint16_t n_equalities;
    bool is_row_for_row;   /* READ with equalities: no row of the answer without a row of that table */
    bool only_adds_rows;   /* INSERT without ON CONFLICT DO UPDATE: rows that are there stay as they are */
    uint32_t advisory_sum; /* sum of fingerprints of the keys taken, minus those given back */
    /* set_config(name, $n, is_local): see sql_bound_setting. NULL: none, or it is not the only one. */
    const char *bound_setting;
    uint16_t bound_param;
    bool is_bound_local;
};

enum sql_class_flag {
    SQL_CLASS_READ_CANDIDATE =
        1 << 0, /* exactly one READ of at least one named, not evidently unfit relation, all built in,
                   nothing done to the session: the cache may go on thinking about it */
    SQL_CLASS_READ_IF_FORGIVEN =
        1 << 1,                /* would be, if its functions that are not built in are known to be harmless */
    SQL_CLASS_WRITES = 1 << 2, /* OR of the statements' SQL_WRITES */
    SQL_CLASS_WRITES_UNKNOWN = 1 << 3, /* OR of the statements' SQL_WRITES_UNKNOWN */
    SQL_CLASS_SCHEMA = 1 << 4,         /* OR of the statements' SQL_SCHEMA */
    SQL_CLASS_UNKNOWN_CODE = 1 << 5,   /* may change the session unseen: any SQL_UNKNOWN_CODE,
                                          SQL_UNKNOWN_FUNCTION   or SQL_UNKNOWN_SETTING */
    SQL_CLASS_LITERALS = 1 << 6,       /* holds for this exact text only, not for all of its template */
    SQL_CLASS_TRANSACTION = 1 << 7,    /* has BEGIN, COMMIT, ROLLBACK, SAVEPOINT, PREPARE TRANSACTION, ... */
    SQL_CLASS_SETTINGS = 1 << 8,       /* has settings, RESET ALL or DISCARD ALL */
    SQL_CLASS_REFUSES_BLOCK = 1 << 9,  /* any SQL_REFUSES_BLOCK */
    SQL_CLASS_DATETIME_WORD =
        1 << 10, /* of the text classified, not of its template: see memo_answer.text_flags */
};

struct sql_class {
    _Atomic uint32_t refs;
    _Atomic uint8_t sequence_habit; /* what session/sequence has learned of it; no affair of this layer */
    uint32_t flags;                 /* enum sql_class_flag */
    uint32_t n_statements;
    struct hint hint;
    size_t size_bytes;                /* all memory of the class */
    struct sql_chunk *memory;         /* classify's own */
    struct sql_statement *statements; /* at least one; one CommandComplete each (UNPARSABLE: any number) */
};

/* Never NULL: without memory, or for text that cannot be read, the class of sql_class_unparsable. Caller
 * unrefs. */
struct sql_class *sql_classify(struct slice text);

/* One UNPARSABLE statement of which everything must be feared. Static: ref and unref are harmless. */
struct sql_class *sql_class_unparsable(void);

/*
 * The parameter ($n, from 1) whose value is all that is unknown of this class: that of a setting, in a SELECT
 * of nothing but harmless calls beside set_config('name', $n, ...). 0: there is none.
 */
uint16_t sql_bound_setting(const struct sql_class *class);
/*
 * Appends a statement that changes the setting as the class would with this value (`value.data` NULL: NULL),
 * to be classified, never to be sent. The value must be ASCII without NUL; false where it is not.
 */
bool sql_bound_text(const struct sql_class *class, struct slice value, struct buf *out);

struct sql_class *sql_class_ref(struct sql_class *class);
void sql_class_unref(struct sql_class *class);

/*
 * Appends a text without its literals, by the parser: for people, where the lexer of sql/template does not
 * take it apart. Nothing when the text cannot be read.
 */
void sql_display(struct slice text, struct buf *out);

/* Gives back what libpg_query keeps for the calling thread; before a thread that classified ends. */
void sql_classify_thread_end(void);

#endif
