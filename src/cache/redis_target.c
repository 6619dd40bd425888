/* redis_target: the URL of a Redis, taken apart. */
#include "weir/cache/redis_target.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "weir/net/tls.h"

enum { REDIS_PORT = 6379, SENTINEL_PORT = 26379 };

static int hex(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* The percent-decoded text, to be freed; NULL when it is malformed (a NUL too). */
static char *decode(const char *text, size_t len)
{
    char *out = malloc(len + 1);
    size_t n = 0;
    for (size_t i = 0; out != NULL && i < len; i++) {
        char c = text[i];
        if (c == '%') {
            int high = i + 2 < len ? hex(text[i + 1]) : -1, low = high >= 0 ? hex(text[i + 2]) : -1;
            if (low < 0 || high * 16 + low == 0) {
                free(out);
                return NULL;
            }
            c = (char)(high * 16 + low);
            i += 2;
        }
        out[n++] = c;
    }
    if (out != NULL)
        out[n] = '\0';
    return out;
}

static bool parse_number(const char *text, size_t len, unsigned max, unsigned *value)
{
    unsigned n = 0;
    if (len == 0 || len > 5)
        return false;
    for (size_t i = 0; i < len; i++) {
        if (text[i] < '0' || text[i] > '9')
            return false;
        n = n * 10 + (unsigned)(text[i] - '0');
    }
    *value = n;
    return n <= max;
}

/* "user:password" or ":password" before the '@'. */
static bool parse_credential(struct redis_target *t, const char *text, size_t len)
{
    const char *colon = memchr(text, ':', len);
    if (colon == NULL)
        return false;
    size_t user_len = (size_t)(colon - text);
    if (user_len > 0 && (t->user = decode(text, user_len)) == NULL)
        return false;
    t->password = decode(colon + 1, len - user_len - 1);
    return t->password != NULL;
}

/* "host", "host:port", "[v6]:port"; `*port` is the default. */
static char *parse_address(const char *text, size_t len, unsigned *port)
{
    const char *host = text, *rest = text;
    size_t host_len;
    if (len > 0 && text[0] == '[') {
        const char *close = memchr(text, ']', len);
        if (close == NULL)
            return NULL;
        host = text + 1;
        host_len = (size_t)(close - host);
        rest = close + 1;
    } else {
        const char *colon = memchr(text, ':', len);
        rest = colon != NULL ? colon : text + len;
        host_len = (size_t)(rest - text);
    }
    size_t rest_len = len - (size_t)(rest - text);
    if (host_len == 0 || (rest_len > 0 && (rest[0] != ':' ||
                                           !parse_number(rest + 1, rest_len - 1, 65535, port) || *port == 0)))
        return NULL;
    return decode(host, host_len);
}

/* Who is asked first, with commas. */
static bool parse_guides(struct redis_target *t, const char *text, size_t len, unsigned default_port)
{
    for (size_t at = 0; at <= len;) {
        size_t piece = 0;
        while (at + piece < len && text[at + piece] != ',')
            piece++;
        struct redis_host *more = realloc(t->guides, (t->guide_count + 1) * sizeof(*more));
        if (more == NULL)
            return false;
        t->guides = more;
        struct redis_host host = {.port = default_port};
        host.name = parse_address(text + at, piece, &host.port);
        if (host.name == NULL)
            return false;
        t->guides[t->guide_count++] = host;
        at += piece + 1;
    }
    return true;
}

static bool parse_database(struct redis_target *t, const char *text)
{
    return text[0] == '\0' || parse_number(text, strlen(text), 65535, &t->database);
}

/* "/master[/db]" */
static bool parse_master(struct redis_target *t, const char *text)
{
    size_t len = text[0] == '/' ? strcspn(text + 1, "/") : 0;
    t->master = len > 0 ? decode(text + 1, len) : NULL;
    return t->master != NULL && (text[1 + len] == '\0' || parse_database(t, text + len + 2));
}

enum scheme { ONE, SENTINEL, CLUSTER };

static bool parse_tcp(struct redis_target *t, const char *text, enum scheme scheme)
{
    size_t len = strcspn(text, "/");
    const char *at = NULL, *path = text + len;
    for (size_t i = 0; i < len; i++)
        if (text[i] == '@')
            at = text + i;
    const char *address = at != NULL ? at + 1 : text;
    if (at != NULL && !parse_credential(t, text, (size_t)(at - text)))
        return false;
    size_t address_len = len - (size_t)(address - text);
    t->port = REDIS_PORT;
    if (scheme == SENTINEL)
        return parse_guides(t, address, address_len, SENTINEL_PORT) && parse_master(t, path);
    if (scheme == CLUSTER) {
        t->is_cluster = true;
        return parse_guides(t, address, address_len, REDIS_PORT) &&
               (path[0] == '\0' || parse_database(t, path + 1)) && t->database == 0;
    }
    t->host = parse_address(address, address_len, &t->port);
    return t->host != NULL && (path[0] == '\0' || parse_database(t, path + 1));
}

/* What follows "redis" or "rediss". */
static bool parse_scheme(struct redis_target *t, const char *text)
{
    static const struct {
        const char *text;
        enum scheme scheme;
    } schemes[] = {{"://", ONE}, {"+sentinel://", SENTINEL}, {"+cluster://", CLUSTER}};
    for (size_t i = 0; i < sizeof(schemes) / sizeof(schemes[0]); i++) {
        size_t len = strlen(schemes[i].text);
        if (strncmp(text, schemes[i].text, len) == 0)
            return parse_tcp(t, text + len, schemes[i].scheme);
    }
    return false;
}

static void make_name(struct redis_target *t)
{
    if (t->path != NULL)
        snprintf(t->name, sizeof(t->name), "unix://%s", t->path);
    else if (t->master != NULL)
        snprintf(t->name, sizeof(t->name), "redis%s+sentinel://%s/%u", t->is_tls ? "s" : "", t->master,
                 t->database);
    else if (t->is_cluster)
        snprintf(t->name, sizeof(t->name), "redis%s+cluster://%s:%u", t->is_tls ? "s" : "", t->guides[0].name,
                 t->guides[0].port);
    else
        snprintf(t->name, sizeof(t->name), "redis%s://%s:%u/%u", t->is_tls ? "s" : "", t->host, t->port,
                 t->database);
}

struct redis_target *redis_target_parse(const char *url, struct error *error)
{
    struct redis_target *t = calloc(1, sizeof(*t));
    bool is_good = false;
    if (t == NULL) {
        error_set(error, "out of memory");
        return NULL;
    }
    if (strncmp(url, "redis", 5) == 0) {
        t->is_tls = url[5] == 's';
        is_good = parse_scheme(t, url + 5 + t->is_tls);
    } else if (strncmp(url, "unix://", 7) == 0 && url[7] == '/') {
        t->path = decode(url + 7, strlen(url + 7));
        is_good = t->path != NULL;
    }
    if (!is_good) {
        /* Not the URL itself, which may hold a password. */
        error_set(error, "not a Redis URL; expected redis://[user:password@]host[:port][/db], "
                         "redis+sentinel://[user:password@]host[:port][,host[:port]...]/master[/db], "
                         "redis+cluster://[user:password@]host[:port][,host[:port]...] (which has no db), "
                         "with rediss for TLS, or unix:///path");
        redis_target_free(t);
        return NULL;
    }
    make_name(t);
    return t;
}

struct redis_target *redis_target_node(const struct redis_target *cluster, const char *host, unsigned port)
{
    struct redis_target *t = calloc(1, sizeof(*t));
    if (t == NULL)
        return NULL;
    t->port = port;
    t->is_tls = cluster->is_tls;
    t->tls = cluster->tls != NULL ? tls_context_ref(cluster->tls) : NULL;
    t->host = strdup(host);
    t->user = cluster->user != NULL ? strdup(cluster->user) : NULL;
    t->password = cluster->password != NULL ? strdup(cluster->password) : NULL;
    if (t->host == NULL || (cluster->user != NULL && t->user == NULL) ||
        (cluster->password != NULL && t->password == NULL)) {
        redis_target_free(t);
        return NULL;
    }
    make_name(t);
    return t;
}

void redis_target_free(struct redis_target *t)
{
    if (t == NULL)
        return;
    if (t->password != NULL)
        explicit_bzero(t->password, strlen(t->password));
    free(t->password);
    tls_context_unref(t->tls);
    for (size_t i = 0; i < t->guide_count; i++)
        free(t->guides[i].name);
    free(t->guides);
    free(t->master);
    free(t->user);
    free(t->host);
    free(t->path);
    free(t);
}

const char *redis_target_name(const struct redis_target *t)
{
    return t->name;
}
