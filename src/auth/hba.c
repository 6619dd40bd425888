/* Rules in the order of the file; the names of each rule in a set. */
#include "weir/auth/hba.h"

#include <arpa/inet.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#define HASH_NONFATAL_OOM 1
#include <uthash.h>

#include "tokens.h"
#include "weir/util/arena.h"

enum { DEEPEST_FILE = 8 }; /* @files that name @files */

enum rule_kind { RULE_LOCAL, RULE_HOST, RULE_HOSTSSL, RULE_HOSTNOSSL };

struct name {
    UT_hash_handle hh;
    const char *text;
};

struct names {
    struct name *set;
    bool is_all, is_same, is_replication;
};

struct rule {
    struct rule *next;
    enum rule_kind kind;
    enum hba_method method;
    int line;
    struct names databases, users;
    int family; /* AF_UNSPEC: any address */
    uint8_t address[16], mask[16];
    const struct ident_map *map;
};

struct hba {
    atomic_int refs;
    struct arena memory;
    struct ident *ident;
    struct rule *first, **end;
};

/* What the reading of one line needs to know. */
struct reader {
    struct hba *hba;
    const struct hba_source *source;
    struct rule *rule;
    char problem[640];   /* this line is wrong */
    struct error *whole; /* the file is unusable */
    bool is_whole_unusable;
};

static bool wrong(struct reader *r, const char *what, const char *which)
{
    if (r->problem[0] == '\0')
        snprintf(r->problem, sizeof(r->problem), "%s%s%.100s%s", what, which != NULL ? " \"" : "",
                 which != NULL ? which : "", which != NULL ? "\"" : "");
    return false;
}

/* The word at hand, for messages. */
static const char *seen(struct tokens *t)
{
    const char *text = tokens_is_name(t) ? buf_text(&t->word) : NULL;
    return text != NULL ? text : t->kind == TOKEN_COMMA ? "," : t->kind == TOKEN_END ? "" : "(an open quote)";
}

/* ---- names ---- */

static bool add_name(struct reader *r, struct names *names, struct slice text)
{
    struct name *known = NULL;
    if (text.len > 0)
        HASH_FIND(hh, names->set, text.data, text.len, known);
    if (known != NULL || text.len == 0)
        return true;
    struct name *name = arena_alloc(&r->hba->memory, sizeof(*name));
    if (name == NULL || (name->text = arena_text(&r->hba->memory, text)) == NULL)
        return wrong(r, "out of memory", NULL);
    HASH_ADD_KEYPTR(hh, names->set, name->text, text.len, name);
    return name->hh.tbl != NULL || wrong(r, "out of memory", NULL);
}

static bool read_names(struct reader *r, struct tokens *t, struct names *names, const char *beside,
                       int depth);

/* `name` beside the file `beside`. */
static char *path_beside(const char *beside, const char *name)
{
    const char *slash = name[0] == '/' ? NULL : strrchr(beside, '/');
    size_t folder = slash != NULL ? (size_t)(slash - beside) + 1 : 0;
    char *path = malloc(folder + strlen(name) + 1);
    if (path == NULL)
        return NULL;
    memcpy(path, beside, folder);
    strcpy(path + folder, name);
    return path;
}

/* The names in a file: lines of names, separated by commas or blanks. */
static bool read_name_file(struct reader *r, struct names *names, const char *name, const char *beside,
                           int depth)
{
    struct buf text = BUF_INIT;
    struct error error = ERROR_INIT;
    char *path = path_beside(beside, name);
    bool is_good = path != NULL || wrong(r, "out of memory", NULL);
    if (is_good && depth >= DEEPEST_FILE)
        is_good = wrong(r, "files that name each other too deeply:", path);
    if (is_good && !r->source->read(r->source->read_arg, path, &text, &error))
        is_good = wrong(r, error.message, path);
    struct slice rest = buf_slice(&text), line;
    while (is_good && tokens_line(&rest, &line)) {
        struct tokens t;
        tokens_begin(&t, line);
        while (is_good && t.kind != TOKEN_END)
            is_good = read_names(r, &t, names, path, depth + 1);
        tokens_end(&t);
    }
    buf_free(&text);
    free(path);
    return is_good;
}

static bool read_name(struct reader *r, struct tokens *t, struct names *names, const char *beside, int depth)
{
    struct slice word = tokens_word(t);
    bool *keyword = NULL;
    if (!tokens_is_name(t))
        return wrong(r, "expected a name, found", seen(t));
    if (t->kind == TOKEN_WORD) {
        keyword = slice_equal_str(word, "all")           ? &names->is_all
                  : slice_equal_str(word, "sameuser")    ? &names->is_same
                  : slice_equal_str(word, "replication") ? &names->is_replication
                                                         : NULL;
        if (slice_equal_str(word, "samerole") || slice_equal_str(word, "samegroup") ||
            (word.len > 0 && word.data[0] == '+'))
            return wrong(
                r, "membership in roles is known to PostgreSQL alone, and not supported here:", seen(t));
    }
    bool is_good;
    if (keyword != NULL)
        is_good = *keyword = true;
    else if (t->kind == TOKEN_WORD && word.len > 1 && word.data[0] == '@')
        is_good = read_name_file(r, names, seen(t) + 1, beside, depth);
    else
        is_good = add_name(r, names, word);
    tokens_next(t);
    return is_good;
}

static bool read_names(struct reader *r, struct tokens *t, struct names *names, const char *beside, int depth)
{
    do {
        if (t->kind == TOKEN_COMMA)
            tokens_next(t);
        if (!read_name(r, t, names, beside, depth))
            return false;
    } while (t->kind == TOKEN_COMMA);
    return true;
}

/* ---- addresses ---- */

static bool read_prefix(struct rule *rule, const char *text)
{
    char *end;
    if (*text < '0' || *text > '9')
        return false;
    long bits = strtol(text, &end, 10);
    if (*end != '\0' || bits < 0 || bits > (rule->family == AF_INET ? 32 : 128))
        return false;
    for (long i = 0; i < bits; i++)
        rule->mask[i / 8] |= (uint8_t)(0x80 >> (i % 8));
    return true;
}

static bool read_address(struct reader *r, struct tokens *t)
{
    struct rule *rule = r->rule;
    char text[80];
    if (tokens_take(t, "all")) {
        rule->family = AF_UNSPEC;
        return true;
    }
    if (t->kind != TOKEN_WORD)
        return wrong(r, "expected an address or all, found", seen(t));
    snprintf(text, sizeof(text), "%s", seen(t));
    char *slash = strchr(text, '/');
    if (slash != NULL)
        *slash = '\0';
    rule->family = strchr(text, ':') != NULL ? AF_INET6 : AF_INET;
    if (inet_pton(rule->family, text, rule->address) != 1)
        return wrong(r, "not an address (host names, samehost and samenet are not supported):", seen(t));
    if (slash != NULL && !read_prefix(rule, slash + 1))
        return wrong(r, "not a number of bits of the network behind the slash:", seen(t));
    tokens_next(t);
    if (slash == NULL) {
        if (t->kind != TOKEN_WORD || inet_pton(rule->family, seen(t), rule->mask) != 1)
            return wrong(r, "an address without /BITS has its mask behind it, and this is none:", seen(t));
        tokens_next(t);
    }
    for (size_t i = 0; i < sizeof(rule->address); i++)
        if (rule->address[i] & ~rule->mask[i])
            return wrong(r, "the address has bits outside its mask, so that nobody could have it:", text);
    return true;
}

/* ---- lines ---- */

static bool read_kind(struct reader *r, struct tokens *t)
{
    static const char *const kinds[] = {[RULE_LOCAL] = "local",
                                        [RULE_HOST] = "host",
                                        [RULE_HOSTSSL] = "hostssl",
                                        [RULE_HOSTNOSSL] = "hostnossl"};
    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
        if (tokens_take(t, kinds[i])) {
            r->rule->kind = (enum rule_kind)i;
            return true;
        }
    }
    return wrong(r, "expected local, host, hostssl or hostnossl, found", seen(t));
}

static bool read_method(struct reader *r, struct tokens *t)
{
    static const char *const methods[] = {[HBA_TRUST] = "trust",
                                          [HBA_REJECT] = "reject",
                                          [HBA_MD5] = "md5",
                                          [HBA_PASSWORD] = "password",
                                          [HBA_PEER] = "peer",
                                          [HBA_CERT] = "cert",
                                          [HBA_SCRAM_SHA_256] = "scram-sha-256"};
    for (size_t i = 0; i < sizeof(methods) / sizeof(methods[0]); i++) {
        if (tokens_take(t, methods[i])) {
            r->rule->method = (enum hba_method)i;
            return true;
        }
    }
    if (t->kind == TOKEN_WORD &&
        (slice_equal_str(tokens_word(t), "ldap") || slice_equal_str(tokens_word(t), "pam"))) {
        r->is_whole_unusable = true;
        error_set_state(r->whole, "F0000",
                        "%s:%d: method %s is not built into Weir; use scram-sha-256, or take the line out",
                        r->source->path, r->rule->line, seen(t));
        return false;
    }
    return wrong(r, "expected trust, reject, md5, password, scram-sha-256, peer or cert, found", seen(t));
}

static bool read_options(struct reader *r, struct tokens *t)
{
    if (t->kind == TOKEN_WORD) {
        const char *word = seen(t);
        if (strncmp(word, "map=", 4) != 0)
            return wrong(r, "the one option is map=NAME, and this is another:", word);
        r->rule->map = ident_find(r->source->ident, slice_str(word + 4));
        if (r->rule->map == NULL)
            return wrong(r, "auth_ident_file has no map", word + 4);
        tokens_next(t);
    }
    return t->kind == TOKEN_END || wrong(r, "one thing too many at the end of the line:", seen(t));
}

static bool read_rule(struct reader *r, struct tokens *t)
{
    struct rule *rule = r->rule;
    const char *path = r->source->path;
    if (!read_kind(r, t) || !read_names(r, t, &rule->databases, path, 0) ||
        !read_names(r, t, &rule->users, path, 0))
        return false;
    rule->family = AF_UNIX;
    return (rule->kind == RULE_LOCAL || read_address(r, t)) && read_method(r, t) && read_options(r, t);
}

static void free_rule(struct rule *rule)
{
    HASH_CLEAR(hh, rule->databases.set);
    HASH_CLEAR(hh, rule->users.set);
}

static void read_line(struct reader *r, struct slice line, int number)
{
    struct tokens t;
    tokens_begin(&t, line);
    if (t.kind != TOKEN_END) {
        r->problem[0] = '\0';
        r->rule = arena_alloc(&r->hba->memory, sizeof(*r->rule));
        if (r->rule != NULL)
            r->rule->line = number;
        if (r->rule != NULL ? read_rule(r, &t) : wrong(r, "out of memory", NULL)) {
            *r->hba->end = r->rule;
            r->hba->end = &r->rule->next;
        } else if (r->rule != NULL) {
            free_rule(r->rule);
        }
        if (r->problem[0] != '\0' && r->source->report != NULL) {
            struct error error = ERROR_INIT;
            error_set_state(&error, "F0000", "%s:%d: %s; the line is ignored", r->source->path, number,
                            r->problem);
            r->source->report(r->source->report_arg, &error);
        }
    }
    tokens_end(&t);
}

struct hba *hba_parse(const struct hba_source *source, struct error *error)
{
    struct error why = ERROR_INIT;
    struct hba *hba = calloc(1, sizeof(*hba));
    if (hba == NULL) {
        error_set(error, "out of memory");
        return NULL;
    }
    atomic_init(&hba->refs, 1);
    hba->end = &hba->first;
    hba->ident = source->ident != NULL ? ident_ref(source->ident) : NULL;
    struct reader reader = {.hba = hba, .source = source, .whole = &why};
    struct slice rest = source->text, line;
    for (int number = 1; !reader.is_whole_unusable && tokens_line(&rest, &line); number++)
        read_line(&reader, line, number);
    if (!reader.is_whole_unusable)
        return hba;
    error_set_state(error, why.sqlstate, "%s", why.message);
    hba_unref(hba);
    return NULL;
}

struct hba *hba_ref(struct hba *hba)
{
    atomic_fetch_add_explicit(&hba->refs, 1, memory_order_relaxed);
    return hba;
}

void hba_unref(struct hba *hba)
{
    if (hba == NULL || atomic_fetch_sub_explicit(&hba->refs, 1, memory_order_acq_rel) != 1)
        return;
    for (struct rule *rule = hba->first; rule != NULL; rule = rule->next)
        free_rule(rule);
    ident_unref(hba->ident);
    arena_free(&hba->memory);
    free(hba);
}

/* ---- looking ---- */

static bool has_name(const struct names *names, const char *name, const char *other)
{
    const struct name *found = NULL;
    size_t len = strlen(name);
    if (names->is_all || (names->is_same && strcmp(name, other) == 0))
        return true;
    HASH_FIND(hh, names->set, name, len, found);
    return found != NULL;
}

static bool fits_connection(const struct rule *rule, const struct hba_client *client)
{
    if ((client->family == AF_UNIX) != (rule->kind == RULE_LOCAL))
        return false;
    if (rule->kind == RULE_LOCAL)
        return true;
    if ((rule->kind == RULE_HOSTSSL && !client->is_tls) || (rule->kind == RULE_HOSTNOSSL && client->is_tls))
        return false;
    if (rule->family == AF_UNSPEC)
        return true;
    if (rule->family != client->family)
        return false;
    for (size_t i = 0; i < (rule->family == AF_INET ? 4 : 16); i++)
        if ((client->address[i] & rule->mask[i]) != rule->address[i])
            return false;
    return true;
}

bool hba_find(const struct hba *hba, const struct hba_client *client, struct hba_answer *out)
{
    for (const struct rule *rule = hba->first; rule != NULL; rule = rule->next) {
        bool is_database = client->is_replication
                               ? rule->databases.is_replication
                               : has_name(&rule->databases, client->database, client->user);
        if (!is_database || !fits_connection(rule, client) ||
            !has_name(&rule->users, client->user, client->database))
            continue;
        *out = (struct hba_answer){.method = rule->method, .line = rule->line, .map = rule->map};
        return true;
    }
    return false;
}
