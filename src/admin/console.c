/*
 * From text to answer. An ask lives from console_execute until its answer; asks that are under way are in a
 * list, so that console_free can cut them off: their completions then find no console and only clean up.
 */
#include "weir/admin/console.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "averages.h"
#include "console_foreign.h"
#include "console_words.h"
#include "show.h"
#include "weir/util/list.h"
#include "weir/wire/decode.h"
#include "weir/wire/encode.h"

struct console {
    struct admin_source source;
    struct averages *averages;
    struct list asks;
};

struct ask {
    struct list_node node;
    struct console *console; /* NULL once it is gone */
    console_answer_fn *answer;
    void *arg;
    struct buf out;
    const struct show_command *show;
    const struct command *command;
    console_period_fn *logged; /* of console_period */
};

/* What may follow the name of a command. */
enum arguments {
    ARGUMENT_NONE,
    ARGUMENT_OPTIONAL_DATABASE,
    ARGUMENT_DATABASE,
    ARGUMENT_CLIENT,
    ARGUMENT_OPTIONAL_RELATION, /* behind an optional database */
};

static const char *const argument_usage[] = {"", " [db]", " db", " id", " [db [schema.relation]]"};
static const char *const argument_words[] = {"no argument", "at most a database", "a database", "a client id",
                                             "at most a database and a relation"};

struct command {
    const char *name;
    enum admin_verb verb;
    enum arguments arguments;
};

static const struct command commands[] = {
    {"RELOAD", ADMIN_RELOAD, ARGUMENT_NONE},
    {"PAUSE", ADMIN_PAUSE, ARGUMENT_OPTIONAL_DATABASE},
    {"RESUME", ADMIN_RESUME, ARGUMENT_OPTIONAL_DATABASE},
    {"DISABLE", ADMIN_DISABLE, ARGUMENT_DATABASE},
    {"ENABLE", ADMIN_ENABLE, ARGUMENT_DATABASE},
    {"RECONNECT", ADMIN_RECONNECT, ARGUMENT_OPTIONAL_DATABASE},
    {"KILL", ADMIN_KILL, ARGUMENT_OPTIONAL_DATABASE},
    {"KILL_CLIENT", ADMIN_KILL_CLIENT, ARGUMENT_CLIENT},
    {"SUSPEND", ADMIN_SUSPEND, ARGUMENT_NONE},
    {"WAIT_CLOSE", ADMIN_WAIT_CLOSE, ARGUMENT_OPTIONAL_DATABASE},
};

static const struct command set_command = {"SET", ADMIN_SET, ARGUMENT_NONE};

static const struct command cache_commands[] = {
    {"CACHE FLUSH", ADMIN_CACHE_FLUSH, ARGUMENT_OPTIONAL_RELATION},
    {"CACHE DISABLE", ADMIN_CACHE_DISABLE, ARGUMENT_OPTIONAL_DATABASE},
    {"CACHE ENABLE", ADMIN_CACHE_ENABLE, ARGUMENT_OPTIONAL_DATABASE},
};

static const struct command shutdown_command = {"SHUTDOWN", ADMIN_SHUTDOWN, ARGUMENT_NONE};

struct console *console_new(const struct admin_source *source)
{
    struct console *console = calloc(1, sizeof(*console));
    if (console == NULL)
        return NULL;
    console->source = *source;
    list_init(&console->asks);
    console->averages = averages_new(source->started_us);
    if (console->averages == NULL) {
        free(console);
        return NULL;
    }
    return console;
}

void console_free(struct console *console)
{
    if (console == NULL)
        return;
    struct list_node *node;
    while ((node = list_pop_front(&console->asks)) != NULL)
        list_entry(node, struct ask, node)->console = NULL;
    averages_free(console->averages);
    free(console);
}

bool console_may_enter(const struct config *config, const char *user, bool *is_admin)
{
    *is_admin = config_list_contains(config_settings(config)->admin_users, user);
    return *is_admin || config_list_contains(config_settings(config)->stats_users, user);
}

static struct ask *ask_new(struct console *console)
{
    struct ask *ask = calloc(1, sizeof(*ask));
    if (ask == NULL)
        return NULL;
    ask->console = console;
    list_push_back(&console->asks, &ask->node);
    return ask;
}

/* Gives the answer, if anybody is left to take it, and ends the ask. */
static void ask_finish(struct ask *ask)
{
    struct buf out = ask->out;
    console_answer_fn *answer = ask->console != NULL ? ask->answer : NULL;
    void *arg = ask->arg;
    if (ask->console != NULL)
        list_remove(&ask->console->asks, &ask->node);
    free(ask);
    if (answer != NULL)
        answer(arg, &out);
    else
        buf_free(&out);
}

static void ask_refuse(struct ask *ask, const char *sqlstate, const char *message, const char *hint)
{
    buf_clear(&ask->out);
    encode_error(&ask->out, "ERROR", sqlstate, message, hint);
    ask_finish(ask);
}

/* ---- SHOW ---- */

static void write_show(struct ask *ask, const struct admin_snapshot *snapshot)
{
    const struct admin_source *source = &ask->console->source;
    struct config *config = source->config(source->arg);
    struct show show = {.snapshot = snapshot,
                        .config = config,
                        .averages = ask->console->averages,
                        .flags = source->flags(source->arg),
                        .now_us = source->now_us(source->arg),
                        .out = &ask->out};
    encode_row_description(&ask->out, ask->show->columns, ask->show->column_count);
    ask->show->write(&show);
    encode_command_complete(&ask->out, "SHOW");
    config_unref(config);
    ask_finish(ask);
}

static void show_gathered(void *arg, struct admin_snapshot *snapshot)
{
    struct ask *ask = arg;
    if (ask->console == NULL)
        ask_finish(ask);
    else if (snapshot == NULL || snapshot_failed(snapshot))
        ask_refuse(ask, "53200", "out of memory", NULL);
    else
        write_show(ask, snapshot);
    snapshot_free(snapshot);
}

static void show_help(struct ask *ask)
{
    struct buf text = BUF_INIT;
    size_t count;
    const struct show_command *shows = show_commands(&count);
    buf_append_str(&text, "Console usage\n\tSHOW HELP");
    for (size_t i = 0; i < count; i++)
        buf_printf(&text, "%s%s", i % 8 == 7 ? "|\n\t     " : "|", shows[i].name);
    buf_append_str(&text, "\n\tSHOW key\n\tSET key = value");
    for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++)
        buf_printf(&text, "\n\t%s%s", commands[i].name, argument_usage[commands[i].arguments]);
    buf_append_str(&text, "\n\tSHUTDOWN [WAIT_FOR_SERVERS|WAIT_FOR_CLIENTS]");
    for (size_t i = 0; i < sizeof(cache_commands) / sizeof(cache_commands[0]); i++)
        buf_printf(&text, "\n\t%s%s", cache_commands[i].name, argument_usage[cache_commands[i].arguments]);
    buf_append_str(&text, "\n\tFEED CHECK\n\tEXPLAIN CACHE [db [user]] SELECT ...");
    const char *message = buf_text(&text);
    if (message != NULL)
        encode_notice(&ask->out, "NOTICE", "00000", message);
    encode_command_complete(&ask->out, "SHOW");
    buf_free(&text);
    ask_finish(ask);
}

/* A configuration key: one column of its name, one row. */
static void show_key(struct ask *ask, const struct option *option)
{
    const struct admin_source *source = &ask->console->source;
    struct config *config = source->config(source->arg);
    struct encode_column column = {option->name, 25, -1};
    struct buf value = BUF_INIT;
    bool is_set = option_format(option, config_settings(config), &value);
    struct show show = {.out = &ask->out};
    encode_row_description(&ask->out, &column, 1);
    show_begin(&show, 1);
    show_text(&show, is_set ? buf_text(&value) : NULL);
    show_end(&show);
    encode_command_complete(&ask->out, "SHOW");
    buf_free(&value);
    config_unref(config);
    ask_finish(ask);
}

static void do_show(struct ask *ask, const struct console_words *words, bool is_admin)
{
    size_t count;
    const struct show_command *shows = show_commands(&count);
    bool is_check = console_word_is(words, 0, "FEED"); /* FEED CHECK is short for SHOW FEED_CHECK */
    const char *what = is_check ? "FEED_CHECK" : words->count > 1 ? words->word[1] : "HELP";
    const struct option *option = option_find(OPTION_GLOBAL, what);
    if (words->count <= 2 && strcasecmp(what, "HELP") == 0) {
        show_help(ask);
        return;
    }
    for (size_t i = 0; words->count == 2 && i < count; i++)
        if (strcasecmp(shows[i].name, what) == 0)
            ask->show = &shows[i];
    if (ask->show != NULL && ask->show->needs_admin && !is_admin)
        ask_refuse(ask, "42501", "admin access needed", NULL);
    else if (ask->show != NULL && ask->show->parts == 0)
        write_show(ask, NULL);
    else if (ask->show != NULL)
        ask->console->source.gather(ask->console->source.arg, ask->show->parts, show_gathered, ask);
    else if (words->count == 2 && option != NULL)
        show_key(ask, option);
    else if (foreign_show(words, &ask->out))
        ask_finish(ask);
    else
        ask_refuse(ask, "42704", "unsupported SHOW command", "SHOW HELP lists what there is.");
}

/* ---- commands ---- */

static void command_done(void *arg, const struct error *error)
{
    struct ask *ask = arg;
    if (error == NULL)
        encode_command_complete(&ask->out, ask->command->name);
    else if (ask->command->verb == ADMIN_RELOAD)
        encode_error(&ask->out, "ERROR", error->sqlstate, "RELOAD failed, see logs for additional details",
                     NULL);
    else
        encode_error(&ask->out, "ERROR", error->sqlstate, error->message, NULL);
    ask_finish(ask);
}

static void run(struct ask *ask, const struct command *command, const struct admin_command *what)
{
    ask->command = command;
    ask->console->source.command(ask->console->source.arg, what, command_done, ask);
}

/* Is there such a database, and is it not the console's own? Refuses otherwise. */
static bool check_database(struct ask *ask, const char *name)
{
    char message[CONSOLE_WORD_SIZE + 64];
    if (strcmp(name, "pgbouncer") == 0) {
        ask_refuse(ask, "0A000", "the console's own database cannot be controlled", NULL);
        return false;
    }
    struct config *config = ask->console->source.config(ask->console->source.arg);
    bool is_known = config_database_find(config, name) != NULL;
    config_unref(config);
    if (is_known)
        return true;
    snprintf(message, sizeof(message), "no such database: %s", name);
    ask_refuse(ask, "08P01", message, NULL);
    return false;
}

static bool parse_client(const char *word, struct admin_command *what)
{
    char *end;
    bool is_pointer = strncasecmp(word, "0x", 2) == 0;
    if (!((word[0] >= '0' && word[0] <= '9')))
        return false;
    errno = 0;
    uint64_t number = strtoull(word, &end, is_pointer ? 16 : 10);
    if (errno != 0 || *end != '\0' || number == 0)
        return false;
    if (is_pointer)
        what->client_ptr = number;
    else
        what->client_id = number;
    return true;
}

/* Runs the command for the relation whose name begins with this word: bare, or all of it in '...'. */
static void run_for_relation(struct ask *ask, const struct command *command,
                             const struct console_words *words, size_t at, struct admin_command *what)
{
    char schema[CONSOLE_WORD_SIZE], name[CONSOLE_WORD_SIZE];
    bool is_string = words->is_quoted[at] && words->rest[at].data[0] == '\'';
    bool is_right = !is_string || (words->count == at + 1 && !words->has_more);
    if (!is_right ||
        !console_relation_parse(is_string ? slice_str(words->word[at]) : words->rest[at], schema, name)) {
        ask_refuse(ask, "42601", "CACHE FLUSH takes one relation: [schema.]name",
                   "CACHE FLUSH shop public.items ;");
        return;
    }
    what->schema = schema[0] != '\0' ? schema : NULL;
    what->relation = name;
    run(ask, command, what);
}

/* `first` is the number of the word after the command's name. */
static void do_command(struct ask *ask, const struct command *command, const struct console_words *words,
                       size_t first, const char *user)
{
    struct admin_command what = {.verb = command->verb, .user = user};
    bool has_argument = words->count > first;
    bool is_right = words->count <= first + 1 && !words->has_more;
    if (command->arguments == ARGUMENT_NONE)
        is_right = !has_argument;
    else if (command->arguments == ARGUMENT_OPTIONAL_RELATION)
        is_right = true;
    else if (command->arguments != ARGUMENT_OPTIONAL_DATABASE)
        is_right = is_right && has_argument;
    if (!is_right) {
        char message[128];
        snprintf(message, sizeof(message), "%s takes %s", command->name, argument_words[command->arguments]);
        ask_refuse(ask, "42601", message, NULL);
        return;
    }
    if (command->arguments == ARGUMENT_CLIENT) {
        if (!parse_client(words->word[first], &what)) {
            ask_refuse(ask, "08P01", "invalid client pointer supplied", NULL);
            return;
        }
    } else if (has_argument) {
        if (!check_database(ask, words->word[first]))
            return;
        what.database = words->word[first];
    }
    if (words->count > first + 1)
        run_for_relation(ask, command, words, first + 1, &what);
    else
        run(ask, command, &what);
}

static void do_shutdown(struct ask *ask, const struct console_words *words, const char *user)
{
    struct admin_command what = {.verb = ADMIN_SHUTDOWN, .user = user};
    if (console_word_is(words, 1, "WAIT_FOR_SERVERS"))
        what.verb = ADMIN_SHUTDOWN_WAIT_SERVERS;
    else if (console_word_is(words, 1, "WAIT_FOR_CLIENTS"))
        what.verb = ADMIN_SHUTDOWN_WAIT_CLIENTS;
    if (words->count > 2 || (words->count == 2 && what.verb == ADMIN_SHUTDOWN))
        ask_refuse(ask, "42601", "SHUTDOWN takes WAIT_FOR_SERVERS or WAIT_FOR_CLIENTS", NULL);
    else
        run(ask, &shutdown_command, &what);
}

/* SET key = value, SET key TO value; what drivers set of PostgreSQL's own is accepted and forgotten. */
static void do_set(struct ask *ask, const struct console_words *words, const struct console_request *request)
{
    bool has_form = words->count > 3 && (strcmp(words->word[2], "=") == 0 || console_word_is(words, 2, "TO"));
    if (!has_form || option_find(OPTION_GLOBAL, words->word[1]) == NULL) {
        if (foreign_set(words)) {
            encode_command_complete(&ask->out, "SET");
            ask_finish(ask);
        } else if (!has_form) {
            ask_refuse(ask, "42601", "expected SET key = value", NULL);
        } else {
            char message[CONSOLE_WORD_SIZE + 64];
            snprintf(message, sizeof(message), "unrecognized configuration parameter \"%s\"", words->word[1]);
            ask_refuse(ask, "42704", message, "SHOW CONFIG lists what there is.");
        }
        return;
    }
    if (!request->is_admin) {
        ask_refuse(ask, "42501", "admin access needed", NULL);
        return;
    }
    char value[CONSOLE_WORD_SIZE];
    bool is_one_word = words->count == 4 && !words->has_more;
    if (is_one_word)
        snprintf(value, sizeof(value), "%s", words->word[3]);
    else /* several bare words: a list of users, a query */
        snprintf(value, sizeof(value), "%.*s", (int)words->rest[3].len, (const char *)words->rest[3].data);
    if (!is_one_word && words->rest[3].len >= sizeof(value)) {
        ask_refuse(ask, "22001", "the value is too long", NULL);
        return;
    }
    struct admin_command what = {
        .verb = ADMIN_SET, .key = words->word[1], .value = value, .user = request->user};
    run(ask, &set_command, &what);
}

/* ---- EXPLAIN CACHE ---- */

static void explained(void *arg, const struct admin_explanation *e, const struct error *error)
{
    static const struct encode_column columns[] = {
        SHOW_TEXT("database"),   SHOW_TEXT("user"),      SHOW_TEXT("cacheable"),   SHOW_TEXT("reason"),
        SHOW_TEXT("found"),      SHOW_TEXT("relations"), SHOW_TEXT("generations"), SHOW_NUMERIC("ttl_us"),
        SHOW_TEXT("stored"),     SHOW_NUMERIC("calls"),  SHOW_NUMERIC("hits"),     SHOW_NUMERIC("misses"),
        SHOW_NUMERIC("saved_us")};
    enum { COLUMNS = sizeof(columns) / sizeof(columns[0]) };
    struct ask *ask = arg;
    if (error != NULL) {
        ask_refuse(ask, error->sqlstate, error->message, NULL);
        return;
    }
    struct show show = {.out = &ask->out};
    encode_row_description(&ask->out, columns, COLUMNS);
    show_begin(&show, COLUMNS);
    show_text(&show, e->database);
    show_text(&show, e->user);
    show_text(&show, e->cacheable);
    show_text(&show, e->reason);
    show_text(&show, e->found);
    show_text(&show, e->relations);
    show_text(&show, e->generations);
    show_number(&show, e->ttl_us);
    show_text(&show, e->stored);
    show_number(&show, e->calls);
    show_number(&show, e->hits);
    show_number(&show, e->misses);
    show_number(&show, e->saved_us);
    show_end(&show);
    encode_command_complete(&ask->out, "EXPLAIN");
    ask_finish(ask);
}

static bool begins_statement(const struct console_words *words, size_t i)
{
    return words->word[i][0] == '(' || strncasecmp(words->word[i], "values(", 7) == 0 ||
           console_word_is(words, i, "SELECT") || console_word_is(words, i, "VALUES") ||
           console_word_is(words, i, "TABLE") || console_word_is(words, i, "WITH");
}

/* EXPLAIN CACHE [database [user]] statement; the statement as it is, or as one string. */
static void do_explain(struct ask *ask, const struct console_words *words)
{
    struct admin_explain question = {.database = NULL};
    size_t at = 2;
    while (at < words->count && at < 4 && !begins_statement(words, at) &&
           (!words->is_quoted[at] || words->rest[at].data[0] == '"'))
        at++;
    bool is_string = at < words->count && words->is_quoted[at];
    if (at >= words->count || (is_string && (words->count > at + 1 || words->has_more)) ||
        (!is_string && !begins_statement(words, at))) {
        ask_refuse(ask, "42601", "EXPLAIN CACHE takes a database and a user, if wanted, and a SELECT",
                   "EXPLAIN CACHE shop app SELECT ... ;");
        return;
    }
    if (at > 2 && !check_database(ask, words->word[2]))
        return;
    question.database = at > 2 ? words->word[2] : NULL;
    question.user = at > 3 ? words->word[3] : NULL;
    question.text = is_string ? slice_str(words->word[at]) : words->rest[at];
    ask->console->source.explain(ask->console->source.arg, &question, explained, ask);
}

static void refuse_unknown(struct ask *ask, const struct console_request *request)
{
    char message[256];
    int shown = request->query.len > 100 ? 100 : (int)request->query.len;
    snprintf(message, sizeof(message), "invalid command '%.*s', use SHOW HELP;", shown,
             (const char *)request->query.data);
    ask_refuse(ask, "42601", message, NULL);
}

static void dispatch(struct ask *ask, const struct console_words *words,
                     const struct console_request *request)
{
    const struct command *command = NULL;
    size_t first = 1;
    for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++)
        if (console_word_is(words, 0, commands[i].name))
            command = &commands[i];
    for (size_t i = 0; i < sizeof(cache_commands) / sizeof(cache_commands[0]); i++)
        if (console_word_is(words, 0, "CACHE") &&
            console_word_is(words, 1, cache_commands[i].name + strlen("CACHE "))) {
            command = &cache_commands[i];
            first = 2;
        }
    bool is_shutdown = console_word_is(words, 0, "SHUTDOWN");
    if ((command != NULL || is_shutdown) && !request->is_admin)
        ask_refuse(ask, "42501", "admin access needed", NULL);
    else if (command != NULL)
        do_command(ask, command, words, first, request->user);
    else if (is_shutdown)
        do_shutdown(ask, words, request->user);
    else if (console_word_is(words, 0, "SHOW") ||
             (console_word_is(words, 0, "FEED") && console_word_is(words, 1, "CHECK")))
        do_show(ask, words, request->is_admin);
    else if (console_word_is(words, 0, "EXPLAIN") && console_word_is(words, 1, "CACHE"))
        do_explain(ask, words);
    else if (console_word_is(words, 0, "SET"))
        do_set(ask, words, request);
    else if (foreign_select(words, &ask->out))
        ask_finish(ask);
    else
        refuse_unknown(ask, request);
}

void console_execute(struct console *console, const struct console_request *request,
                     console_answer_fn *answer, void *arg)
{
    struct ask *ask = ask_new(console);
    struct console_words *words = calloc(1, sizeof(*words));
    struct error error = ERROR_INIT;
    if (ask == NULL || words == NULL) {
        struct buf failed = BUF_INIT;
        failed.failed = true;
        free(words);
        if (ask != NULL)
            ask_finish(ask);
        else
            answer(arg, &failed);
        return;
    }
    ask->answer = answer;
    ask->arg = arg;
    if (!console_words_parse(request->query, words, &error)) {
        ask_refuse(ask, error.sqlstate, error.message, NULL);
    } else if (words->count == 0) {
        encode_empty(&ask->out, MSG_EMPTY_QUERY);
        ask_finish(ask);
    } else {
        dispatch(ask, words, request);
    }
    free(words);
}

/* ---- periods ---- */

static void write_period(const struct console *console, const struct admin_snapshot *snapshot,
                         uint64_t now_us, char *line, size_t size)
{
    struct counters_sum sum, c;
    snapshot_total(snapshot, &sum, NULL);
    uint64_t length_us = averages_get(console->averages, NULL, &sum, now_us, &c);
    double seconds = (double)length_us / 1e6;
    double xacts = c.xact_count > 0 ? (double)c.xact_count : 1,
           queries = c.query_count > 0 ? (double)c.query_count : 1;
    snprintf(line, size,
             "stats: %.0f xacts/s, %.0f queries/s, %.0f client parses/s, %.0f server parses/s, %.0f binds/s, "
             "in %.0f B/s, out %.0f B/s, xact %.0f us, query %.0f us, wait %.0f us, %.0f cache hits/s",
             (double)c.xact_count / seconds, (double)c.query_count / seconds,
             (double)c.client_parse_count / seconds, (double)c.server_parse_count / seconds,
             (double)c.bind_count / seconds, (double)c.bytes_received / seconds,
             (double)c.bytes_sent / seconds, (double)c.xact_time / xacts, (double)c.query_time / queries,
             (double)c.wait_time / seconds, (double)c.cache_hits / seconds);
}

static void period_gathered(void *arg, struct admin_snapshot *snapshot)
{
    struct ask *ask = arg;
    struct console *console = ask->console;
    char line[512];
    if (console != NULL && snapshot != NULL && !snapshot_failed(snapshot)) {
        uint64_t now_us = console->source.now_us(console->source.arg);
        if (averages_close(console->averages, snapshot, now_us) && ask->logged != NULL) {
            write_period(console, snapshot, now_us, line, sizeof(line));
            ask->logged(ask->arg, line);
        }
    }
    snapshot_free(snapshot);
    ask_finish(ask);
}

void console_period(struct console *console, console_period_fn *logged, void *arg)
{
    struct ask *ask = ask_new(console);
    if (ask == NULL)
        return;
    ask->logged = logged;
    ask->arg = arg;
    console->source.gather(console->source.arg, SNAPSHOT_POOLS, period_gathered, ask);
}
