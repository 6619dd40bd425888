/*
 * weirctl: the console's commands for a shell: arguments to one command of the console, its answer to text or
 * JSON.
 *
 * It knows the console's words and nothing of Weir's insides: every decision is Weir's, every error is passed
 * on as it was said. A row of the table of commands is all there is to a command.
 */
#include <errno.h>
#include <getopt.h>
#include <libpq-fe.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "print.h"
#include "weir/util/buf.h"

enum { EXIT_MISSING = 1, EXIT_USAGE = 2, EXIT_UNREACHABLE = 3, EXIT_REFUSED = 4 };

static const char usage[] =
    "weirctl: asks and tells a running Weir, through its console\n"
    "\n"
    "usage: weirctl [options] explain [-d DATABASE [-u ROLE]] STATEMENT\n"
    "       weirctl [options] feed check [DATABASE]\n"
    "       weirctl [options] cache flush [DATABASE [RELATION]]\n"
    "       weirctl [options] cache disable|enable [DATABASE]\n"
    "       weirctl [options] show NAME\n"
    "\n"
    "  -h, --host HOST      where Weir listens: a name, an address, or the directory of its socket\n"
    "                       (default: PGHOST, else 127.0.0.1)\n"
    "  -p, --port PORT      its port (default: 6432)\n"
    "  -U, --user USER      who asks: one of admin_users or stats_users (default: as for psql)\n"
    "  -d, --database NAME  explain: in which database of the configuration\n"
    "  -u, --role ROLE      explain: as which user of that database\n"
    "  -j, --json           print JSON\n"
    "  -V, --version        print the version and exit\n"
    "      --help           print this and exit\n"
    "\n"
    "The password comes from PGPASSWORD or ~/.pgpass, as for psql. Exit status: 0 done; 1 feed check found "
    "something\n"
    "missing; 2 wrong usage; 3 Weir could not be reached; 4 Weir refused.\n";

struct asking {
    const char *host, *port, *user;
    const char *database, *role;
    bool is_json;
    int count; /* of the words below */
    char **words;
};

__attribute__((format(printf, 1, 2))) static int wrong_usage(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    fprintf(stderr, "weirctl: ");
    vfprintf(stderr, format, args);
    va_end(args);
    fprintf(stderr, "\nweirctl --help says how it is used\n");
    return EXIT_USAGE;
}

/* ---- the console ---- */

static void print_notice(void *arg, const char *message)
{
    (void)arg;
    const char *text = strncmp(message, "NOTICE:  ", 9) == 0 ? message + 9 : message;
    fputs(text, stdout);
}

/* NULL, and the reason told, when it cannot be reached. */
static PGconn *reach(const struct asking *a)
{
    const char *host = a->host != NULL ? a->host : getenv("PGHOST");
    const char *const keywords[] = {"host", "port", "user", "dbname", "application_name", "connect_timeout",
                                    NULL};
    const char *const values[] = {host != NULL && host[0] != '\0' ? host : "127.0.0.1",
                                  a->port,
                                  a->user,
                                  "weir",
                                  "weirctl",
                                  "10",
                                  NULL};
    PGconn *console = PQconnectdbParams(keywords, values, 0);
    if (PQstatus(console) == CONNECTION_OK) {
        PQsetNoticeProcessor(console, print_notice, NULL);
        return console;
    }
    fprintf(stderr, "weirctl: the console of Weir cannot be reached: %s", PQerrorMessage(console));
    PQfinish(console);
    return NULL;
}

static int put(struct buf *out)
{
    if (buf_failed(out)) {
        fprintf(stderr, "weirctl: out of memory\n");
        return EXIT_REFUSED;
    }
    fwrite(out->data, 1, out->len, stdout);
    return fflush(stdout) == 0 ? EXIT_SUCCESS : EXIT_REFUSED;
}

/* Runs the command, and hands its rows on. */
static int run(const struct asking *a, struct buf *command,
               int (*show)(const struct asking *a, const PGresult *rows))
{
    const char *text = buf_text(command);
    PGconn *console = text != NULL ? reach(a) : NULL;
    if (console == NULL)
        return EXIT_UNREACHABLE;
    PGresult *rows = PQexec(console, text);
    int status = EXIT_REFUSED;
    if (PQresultStatus(rows) == PGRES_TUPLES_OK)
        status = show(a, rows);
    else if (PQresultStatus(rows) == PGRES_COMMAND_OK)
        status = EXIT_SUCCESS;
    else
        fprintf(stderr, "weirctl: %s", PQerrorMessage(console));
    PQclear(rows);
    PQfinish(console);
    return status;
}

static int show_rows(const struct asking *a, const PGresult *rows)
{
    struct buf out = BUF_INIT;
    if (a->is_json)
        print_json(rows, false, &out);
    else
        print_table(rows, &out);
    int status = put(&out);
    buf_free(&out);
    return status;
}

static void put_quoted(struct buf *out, char quote, const char *text)
{
    buf_append_u8(out, (uint8_t)quote);
    for (; *text != '\0'; text++) {
        if (*text == quote)
            buf_append_u8(out, (uint8_t)quote);
        buf_append_u8(out, (uint8_t)*text);
    }
    buf_append_u8(out, (uint8_t)quote);
}

/* ---- explain ---- */

static int show_explanation(const struct asking *a, const PGresult *rows)
{
    struct buf out = BUF_INIT;
    if (a->is_json)
        print_json(rows, true, &out);
    else
        print_row(rows, 0, &out);
    int status = put(&out);
    buf_free(&out);
    return status;
}

/* The console knows by its first word where a statement begins; anything else it takes as a string. */
static bool begins_query(const char *text)
{
    static const char *const words[] = {"SELECT", "VALUES", "TABLE", "WITH"};
    text += strspn(text, " \t\r\n");
    size_t len = strcspn(text, " \t\r\n(");
    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
        if (len == strlen(words[i]) && strncasecmp(text, words[i], len) == 0)
            return true;
    return text[0] == '(';
}

static int explain(const struct asking *a, struct buf *command)
{
    if (a->count != 2)
        return wrong_usage("explain takes one statement, in quotes");
    if (a->role != NULL && a->database == NULL)
        return wrong_usage("-u %s: a role is asked about in a database, which -d names", a->role);
    buf_append_str(command, "EXPLAIN CACHE ");
    if (a->database != NULL)
        put_quoted(command, '"', a->database);
    if (a->role != NULL) {
        buf_append_u8(command, ' ');
        put_quoted(command, '"', a->role);
    }
    buf_append_u8(command, ' ');
    if (begins_query(a->words[1]))
        buf_append_str(command, a->words[1]);
    else
        put_quoted(command, '\'', a->words[1]);
    return run(a, command, show_explanation);
}

/* ---- feed check ---- */

static const char *value_of(const PGresult *rows, int row, const char *column)
{
    int number = PQfnumber(rows, column);
    return number >= 0 ? PQgetvalue(rows, row, number) : "";
}

/* What is said stands in comments, what is to be run does not: so all of it can be piped into psql. */
static int show_needs(const struct asking *a, const PGresult *rows)
{
    const char *database = a->count > 2 ? a->words[2] : NULL;
    struct buf out = BUF_INIT;
    int missing = 0, shown = 0;
    for (int r = 0; r < PQntuples(rows); r++) {
        const char *name = value_of(rows, r, "database"), *sql = value_of(rows, r, "sql");
        if (database != NULL && strcmp(database, name) != 0)
            continue;
        bool is_met = strcmp(value_of(rows, r, "state"), "ok") == 0;
        shown++;
        missing += !is_met;
        buf_printf(&out, "-- %s: %s: %s: %s%s%s\n", name, value_of(rows, r, "what"),
                   is_met ? "ok" : "MISSING", value_of(rows, r, "found"), is_met ? "" : ": ",
                   value_of(rows, r, "remedy"));
        if (!is_met && sql[0] != '\0')
            buf_printf(&out, "%s;\n", sql);
    }
    int status = EXIT_SUCCESS;
    if (shown == 0 && database != NULL) {
        fprintf(stderr, "weirctl: no database %s has a cache\n", database);
        status = EXIT_REFUSED;
    } else if (a->is_json) {
        buf_clear(&out);
        print_json(rows, false, &out);
    }
    if (status == EXIT_SUCCESS)
        status = put(&out);
    buf_free(&out);
    return status == EXIT_SUCCESS && missing > 0 ? EXIT_MISSING : status;
}

static int feed(const struct asking *a, struct buf *command)
{
    if (a->count < 2 || strcmp(a->words[1], "check") != 0 || a->count > 3)
        return wrong_usage("feed takes check, and at most a database");
    buf_append_str(command, "FEED CHECK");
    return run(a, command, show_needs);
}

/* ---- cache, show ---- */

static int cache(const struct asking *a, struct buf *command)
{
    const char *verb = a->count > 1 ? a->words[1] : "";
    bool is_flush = strcmp(verb, "flush") == 0;
    if (!is_flush && strcmp(verb, "disable") != 0 && strcmp(verb, "enable") != 0)
        return wrong_usage("cache takes flush, disable or enable");
    if (a->count > (is_flush ? 4 : 3))
        return wrong_usage("cache %s takes at most a database%s", verb, is_flush ? " and a relation" : "");
    buf_printf(command, "CACHE %s", verb);
    for (int i = 2; i < a->count; i++) {
        buf_append_u8(command, ' ');
        put_quoted(command, i == 2 ? '"' : '\'', a->words[i]);
    }
    return run(a, command, show_rows);
}

static int show(const struct asking *a, struct buf *command)
{
    if (a->count != 2 || a->words[1][0] == '\0' ||
        strspn(a->words[1], "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_0123456789") !=
            strlen(a->words[1]))
        return wrong_usage("show takes one name: weirctl show help lists what there is");
    buf_printf(command, "SHOW %s", a->words[1]);
    return run(a, command, show_rows);
}

static const struct {
    const char *name;
    int (*run)(const struct asking *a, struct buf *command);
    bool is_explain; /* takes -d and -u */
} commands[] = {
    {"explain", explain, true},
    {"feed", feed, false},
    {"cache", cache, false},
    {"show", show, false},
};

/* ---- arguments ---- */

enum { OPTION_HELP = 256 };

static const struct option options[] = {
    {"host", required_argument, NULL, 'h'},
    {"port", required_argument, NULL, 'p'},
    {"user", required_argument, NULL, 'U'},
    {"database", required_argument, NULL, 'd'},
    {"role", required_argument, NULL, 'u'},
    {"json", no_argument, NULL, 'j'},
    {"version", no_argument, NULL, 'V'},
    {"help", no_argument, NULL, OPTION_HELP},
    {NULL, 0, NULL, 0},
};

static bool is_port(const char *text)
{
    char *end;
    errno = 0;
    unsigned long number = strtoul(text, &end, 10);
    return errno == 0 && *end == '\0' && text[0] >= '0' && text[0] <= '9' && number >= 1 && number <= 65535;
}

int main(int argc, char **argv)
{
    struct asking a = {.port = "6432"};
    for (int c; (c = getopt_long(argc, argv, "h:p:U:d:u:jV", options, NULL)) != -1;)
        switch (c) {
        case 'h':
            a.host = optarg;
            break;
        case 'p':
            a.port = optarg;
            break;
        case 'U':
            a.user = optarg;
            break;
        case 'd':
            a.database = optarg;
            break;
        case 'u':
            a.role = optarg;
            break;
        case 'j':
            a.is_json = true;
            break;
        case 'V':
            printf("weirctl %s\n", WEIR_VERSION);
            return EXIT_SUCCESS;
        case OPTION_HELP:
            fputs(usage, stdout);
            return EXIT_SUCCESS;
        default:
            return wrong_usage("what cannot be read is said above");
        }
    a.count = argc - optind;
    a.words = argv + optind;
    if (!is_port(a.port))
        return wrong_usage("-p %s: a port is a number from 1 to 65535", a.port);
    if (a.count == 0)
        return wrong_usage("say what to do: explain, feed check, cache or show");
    for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
        if (strcmp(commands[i].name, a.words[0]) != 0)
            continue;
        if (!commands[i].is_explain && (a.database != NULL || a.role != NULL))
            return wrong_usage("-d and -u are of explain; %s takes the database as a word", a.words[0]);
        struct buf command = BUF_INIT;
        int status = commands[i].run(&a, &command);
        buf_free(&command);
        return status;
    }
    return wrong_usage("there is no command %s: explain, feed check, cache and show are all", a.words[0]);
}
