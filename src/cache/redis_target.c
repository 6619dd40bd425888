/* redis_target: the URL of a Redis, taken apart. Pure. */
#include "weir/cache/redis_target.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

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

/* Who is asked, with commas, and for whom. */
static bool parse_sentinels(struct redis_target *t, const char *text, size_t len, const char *master)
{
    size_t master_len = strcspn(master, "/");
    for (size_t at = 0; at <= len;) {
        size_t piece = 0;
        while (at + piece < len && text[at + piece] != ',')
            piece++;
        struct redis_host *more = realloc(t->sentinels, (t->sentinel_count + 1) * sizeof(*more));
        if (more == NULL)
            return false;
        t->sentinels = more;
        struct redis_host host = {.port = SENTINEL_PORT};
        host.name = parse_address(text + at, piece, &host.port);
        if (host.name == NULL)
            return false;
        t->sentinels[t->sentinel_count++] = host;
        at += piece + 1;
    }
    t->master = decode(master, master_len);
    return master_len > 0 && t->master != NULL &&
           (master[master_len] == '\0' || master[master_len + 1] == '\0' ||
            parse_number(master + master_len + 1, strlen(master + master_len + 1), 65535, &t->database));
}

static bool parse_tcp(struct redis_target *t, const char *text, bool is_sentinel)
{
    size_t len = strcspn(text, "/");
    const char *at = NULL;
    for (size_t i = 0; i < len; i++)
        if (text[i] == '@')
            at = text + i;
    const char *address = at != NULL ? at + 1 : text;
    if (at != NULL && !parse_credential(t, text, (size_t)(at - text)))
        return false;
    size_t address_len = len - (size_t)(address - text);
    if (is_sentinel)
        return text[len] == '/' && parse_sentinels(t, address, address_len, text + len + 1);
    t->port = REDIS_PORT;
    t->host = parse_address(address, address_len, &t->port);
    if (t->host == NULL)
        return false;
    const char *database = text[len] == '/' ? text + len + 1 : "";
    return database[0] == '\0' || parse_number(database, strlen(database), 65535, &t->database);
}

static void make_name(struct redis_target *t)
{
    if (t->path != NULL)
        snprintf(t->name, sizeof(t->name), "unix://%s", t->path);
    else if (t->master != NULL)
        snprintf(t->name, sizeof(t->name), "redis+sentinel://%s/%u", t->master, t->database);
    else
        snprintf(t->name, sizeof(t->name), "redis://%s:%u/%u", t->host, t->port, t->database);
}

struct redis_target *redis_target_parse(const char *url, struct error *error)
{
    struct redis_target *t = calloc(1, sizeof(*t));
    bool is_good = false;
    if (t == NULL) {
        error_set(error, "out of memory");
        return NULL;
    }
    if (strncmp(url, "redis://", 8) == 0) {
        is_good = parse_tcp(t, url + 8, false);
    } else if (strncmp(url, "redis+sentinel://", 17) == 0) {
        is_good = parse_tcp(t, url + 17, true);
    } else if (strncmp(url, "unix://", 7) == 0 && url[7] == '/') {
        t->path = decode(url + 7, strlen(url + 7));
        is_good = t->path != NULL;
    }
    if (!is_good) {
        /* Not the URL itself, which may hold a password. */
        error_set(
            error,
            "not a Redis URL; expected redis://[user:password@]host[:port][/db], "
            "redis+sentinel://[user:password@]host[:port][,host[:port]...]/master[/db] or unix:///path");
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
    for (size_t i = 0; i < t->sentinel_count; i++)
        free(t->sentinels[i].name);
    free(t->sentinels);
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
