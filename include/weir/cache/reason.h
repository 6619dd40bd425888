/*
 * reason: why a read was not answered from the cache. One list, so that counters, console and explanations
 * agree.
 */
#ifndef WEIR_CACHE_REASON_H
#define WEIR_CACHE_REASON_H

/* X(name, short label for metrics, sentence for a person) */
#define CACHE_REASONS(X)                                                                                     \
    X(NONE, "none", "it may be cached")                                                                      \
    X(OFF, "off", "the cache is off for this database or user")                                              \
    X(SWITCHED_OFF, "switched_off", "CACHE DISABLE has turned it off; CACHE ENABLE turns it on again")       \
    X(HINT, "hint", "a hint in the statement turns the cache off")                                           \
    X(NOT_READY, "not_ready", "the catalog of the database is not known at the moment")                      \
    X(NOT_EXACT, "not_exact",                                                                                \
      "this process does not hold the right to exact answers at the moment: another may")                    \
    X(STANDBY, "standby", "the server is a standby")                                                         \
    X(WRITTEN, "written", "the transaction has written")                                                     \
    X(ISOLATION, "isolation", "the transaction is not known to be READ COMMITTED")                           \
    X(TEMPORARY, "temporary", "the session may have temporary tables")                                       \
    X(UNSEEN, "unseen", "code has run that may have changed the session")                                    \
    X(STATEMENT, "statement", "it is not one plain SELECT")                                                  \
    X(NO_RELATION, "no_relation", "it reads no table")                                                       \
    X(FUNCTION, "function", "it calls a function that is not known to be immutable and built in")            \
    X(SHADOWED, "shadowed", "a user's function or operator has the name of a built-in one that it uses")     \
    X(TIME, "time", "its answer depends on the time or on the session (CURRENT_DATE, 'now', USER)")          \
    X(CAST, "cast", "it casts to a type that is not known to be harmless")                                   \
    X(PARAMETER, "parameter", "it has a parameter of a type that is not known to be harmless")               \
    X(SEARCH_PATH, "search_path", "the search_path is unusual, or a table name is ambiguous in it")          \
    X(UNKNOWN_RELATION, "unknown_relation", "it reads a table that the catalog does not know")               \
    X(SYSTEM_RELATION, "system_relation", "it reads a system catalog")                                       \
    X(RELATION_KIND, "relation_kind", "it reads a view, a foreign table or something else that is no table") \
    X(UNLOGGED, "unlogged", "it reads an unlogged or temporary table")                                       \
    X(ROW_SECURITY, "row_security", "it reads a table with row-level security")                              \
    X(COLUMN, "column", "it reads a table with a column of a type that is not known to be harmless")         \
    X(DISTRUSTED, "distrusted", "its answer from the cache was found to be wrong; CACHE FLUSH forgets that") \
    X(EXPRESSION, "expression",                                                                              \
      "it, or a view or policy behind it, has an expression that is not known to be harmless")               \
    X(SETTING, "setting", "a view or policy behind it asks for a setting that the session has not set")      \
    X(PENDING, "pending", "PostgreSQL has been asked what it calls and reads, and has not answered yet")     \
    X(NOT_ANALYSED, "not_analysed", "PostgreSQL could not be asked what it calls and reads")                 \
    X(NOT_WORTH, "not_worth", "it is not worth it while its tables are written so often")                    \
    X(WRITE_UNDER_WAY, "write_under_way", "a write to one of its tables is under way")                       \
    X(LEDGER, "ledger", "Redis, by which other Weirs tell of their writes, has not answered in time")        \
    X(FETCH_FAILED, "fetch_failed", "another client's fetch of the same answer did not yield one")           \
    X(MEMORY, "memory", "out of memory")

enum cache_reason {
#define X(name, label, text) CACHE_REASON_##name,
    CACHE_REASONS(X)
#undef X
        CACHE_REASON_COUNT,
};

/* Both live for ever. */
const char *cache_reason_label(enum cache_reason reason);
const char *cache_reason_text(enum cache_reason reason);

#endif
