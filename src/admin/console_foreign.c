#include "console_foreign.h"

#include <string.h>
#include <strings.h>

#include "show.h"

static const struct {
    const char *name;
    const char *value;
} settings[] = {
    {"client_encoding", "UTF8"},
    {"server_encoding", "UTF8"},
    {"server_version", "15.0 (Weir " WEIR_VERSION ")"},
    {"server_version_num", "150000"},
    {"standard_conforming_strings", "on"},
    {"datestyle", "ISO, MDY"},
    {"timezone", "UTC"},
    {"integer_datetimes", "on"},
    {"intervalstyle", "postgres"},
    {"is_superuser", "off"},
    {"search_path", "public"},
    {"max_identifier_length", "63"},
    {"transaction_isolation", "read committed"},
    {"default_transaction_isolation", "read committed"},
    {"transaction_read_only", "off"},
    {"default_transaction_read_only", "off"},
};

/* Set by drivers, and no key of Weir; the words of SET SESSION ..., SET NAMES, SET TIME ZONE among them. */
static const char *const settable[] = {
    "application_name",
    "bytea_output",
    "check_function_bodies",
    "client_encoding",
    "client_min_messages",
    "datestyle",
    "default_transaction_isolation",
    "default_transaction_read_only",
    "extra_float_digits",
    "idle_in_transaction_session_timeout",
    "intervalstyle",
    "jit",
    "local",
    "lock_timeout",
    "names",
    "row_security",
    "search_path",
    "session",
    "standard_conforming_strings",
    "statement_timeout",
    "synchronous_commit",
    "time",
    "timezone",
    "transaction",
    "xmloption",
};

static void write_one(const char *column_name, const char *value, const char *tag, struct buf *out)
{
    struct encode_column column = {column_name, 25, -1};
    struct show show = {.out = out};
    encode_row_description(out, &column, 1);
    if (value != NULL) {
        show_begin(&show, 1);
        show_text(&show, value);
        show_end(&show);
    }
    encode_command_complete(out, tag);
}

bool foreign_show(const struct console_words *words, struct buf *out)
{
    const char *name = words->count > 1 ? words->word[1] : "";
    if (words->count == 4 && strcasecmp(name, "TRANSACTION") == 0 && console_word_is(words, 2, "ISOLATION"))
        name = "transaction_isolation";
    else if (words->count == 3 && strcasecmp(name, "TIME") == 0 && console_word_is(words, 2, "ZONE"))
        name = "timezone";
    else if (words->count != 2)
        return false;
    for (size_t i = 0; i < sizeof(settings) / sizeof(settings[0]); i++) {
        if (strcasecmp(settings[i].name, name) == 0) {
            write_one(settings[i].name, settings[i].value, "SHOW", out);
            return true;
        }
    }
    return false;
}

bool foreign_set(const struct console_words *words)
{
    for (size_t i = 0; words->count > 2 && i < sizeof(settable) / sizeof(settable[0]); i++)
        if (strcasecmp(settable[i], words->word[1]) == 0)
            return true;
    return false;
}

bool foreign_select(const struct console_words *words, struct buf *out)
{
    if (!console_word_is(words, 0, "SELECT"))
        return false;
    if (words->count == 2 && strcasecmp(words->word[1], "version()") == 0)
        write_one("version", "PostgreSQL 15.0 (Weir " WEIR_VERSION ")", "SELECT 1", out);
    else if (words->count == 2 && strcmp(words->word[1], "1") == 0)
        write_one("?column?", "1", "SELECT 1", out);
    else
        write_one("?column?", NULL, "SELECT 0", out);
    return true;
}
