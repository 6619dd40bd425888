/* redis_slots: CRC16, and two kinds of replies. */
#include "weir/cache/redis_slots.h"

#include <stdlib.h>
#include <string.h>

#include <hiredis/hiredis.h>

/* --- keys --- */

/* CRC-16/XMODEM: polynomial 0x1021, from 0, nothing reflected. Keys are short. */
static uint16_t crc16(struct slice bytes)
{
    uint16_t crc = 0;
    for (size_t i = 0; i < bytes.len; i++) {
        crc = (uint16_t)(crc ^ (bytes.data[i] << 8));
        for (int bit = 0; bit < 8; bit++)
            crc = (uint16_t)(crc & 0x8000 ? crc << 1 ^ 0x1021 : crc << 1);
    }
    return crc;
}

unsigned redis_slot(struct slice key)
{
    const uint8_t *open = key.len > 0 ? memchr(key.data, '{', key.len) : NULL;
    if (open != NULL) {
        struct slice rest = slice_from(key, (size_t)(open - key.data) + 1);
        const uint8_t *close = rest.len > 0 ? memchr(rest.data, '}', rest.len) : NULL;
        if (close != NULL && close > rest.data)
            key = slice_make(rest.data, (size_t)(close - rest.data));
    }
    return crc16(key) % REDIS_SLOTS;
}

/* --- the map --- */

static bool is_list(const struct redisReply *r, size_t least)
{
    return r != NULL && r->type == REDIS_REPLY_ARRAY && r->elements >= least;
}

static bool is_number(const struct redisReply *r, long long min, long long max)
{
    return r != NULL && r->type == REDIS_REPLY_INTEGER && r->integer >= min && r->integer <= max;
}

/* The host of a node: [name, port, ...]; NULL when it is none. */
static const char *host_of(const struct redisReply *node, const char *asked)
{
    if (!is_list(node, 2) || !is_number(node->element[1], 1, UINT16_MAX))
        return NULL;
    const struct redisReply *name = node->element[0];
    if (name->type == REDIS_REPLY_NIL)
        return asked;
    if (name->type != REDIS_REPLY_STRING || strlen(name->str) >= REDIS_HOST_BYTES)
        return NULL;
    if (strcmp(name->str, "?") == 0) /* has a name, and does not know it */
        return NULL;
    return name->str[0] != '\0' ? name->str : asked;
}

/* Its number in the map; REDIS_NO_NODE when there is no room. */
static uint16_t place_node(struct redis_map *map, const char *host, unsigned port)
{
    for (size_t i = 0; i < map->node_count; i++)
        if (map->nodes[i].port == port && strcmp(map->nodes[i].name, host) == 0)
            return (uint16_t)i;
    char *name = map->node_count < REDIS_NODES_MAX ? strdup(host) : NULL;
    if (name == NULL)
        return REDIS_NO_NODE;
    map->nodes[map->node_count] = (struct redis_host){.name = name, .port = port};
    return (uint16_t)map->node_count++;
}

struct redis_map *redis_map_read(const struct redisReply *reply, const char *asked)
{
    struct redis_map *map = is_list(reply, 0) ? calloc(1, sizeof(*map)) : NULL;
    if (map == NULL)
        return NULL;
    memset(map->node_of, 0xff, sizeof(map->node_of));
    for (size_t i = 0; i < reply->elements; i++) {
        const struct redisReply *range = reply->element[i];
        if (!is_list(range, 3) || !is_number(range->element[0], 0, REDIS_SLOTS - 1) ||
            !is_number(range->element[1], range->element[0]->integer, REDIS_SLOTS - 1)) {
            redis_map_free(map);
            return NULL;
        }
        const char *host = host_of(range->element[2], asked);
        uint16_t node = host != NULL ? place_node(map, host, (unsigned)range->element[2]->element[1]->integer)
                                     : REDIS_NO_NODE;
        for (long long slot = range->element[0]->integer; slot <= range->element[1]->integer; slot++)
            map->node_of[slot] = node;
    }
    for (size_t slot = 0; slot < REDIS_SLOTS; slot++)
        map->slot_count += map->node_of[slot] != REDIS_NO_NODE;
    return map;
}

void redis_map_free(struct redis_map *map)
{
    if (map == NULL)
        return;
    for (size_t i = 0; i < map->node_count; i++)
        free(map->nodes[i].name);
    free(map);
}

/* --- redirections --- */

/* A decimal number up to `max`, at the end of which stands `stop`; NULL when it is none, else what follows
 * that. */
static const char *read_number(const char *text, char stop, unsigned max, unsigned *number)
{
    unsigned n = 0;
    const char *at = text;
    for (; *at >= '0' && *at <= '9' && n <= max; at++)
        n = n * 10 + (unsigned)(*at - '0');
    *number = n;
    if (at == text || n > max || *at != stop)
        return NULL;
    return stop != '\0' ? at + 1 : at;
}

/* "3999 127.0.0.1:6381"; the host may be empty, or have colons of its own. */
static bool read_redirection(const char *text, struct redis_redirection *to)
{
    const char *address = read_number(text, ' ', REDIS_SLOTS - 1, &to->slot);
    const char *colon = address != NULL ? strrchr(address, ':') : NULL;
    if (colon == NULL || (size_t)(colon - address) >= sizeof(to->host) ||
        read_number(colon + 1, '\0', UINT16_MAX, &to->port) == NULL || to->port == 0)
        return false;
    memcpy(to->host, address, (size_t)(colon - address));
    to->host[colon - address] = '\0';
    return strcmp(to->host, "?") != 0;
}

enum redis_word redis_word_read(const struct redisReply *reply, struct redis_redirection *to)
{
    static const struct {
        const char *text;
        enum redis_word word;
    } words[] = {{"MOVED ", REDIS_WORD_MOVED},
                 {"ASK ", REDIS_WORD_ASK},
                 {"CLUSTERDOWN", REDIS_WORD_DOWN},
                 {"TRYAGAIN", REDIS_WORD_DOWN}};
    if (reply->type != REDIS_REPLY_ERROR)
        return REDIS_WORD_NONE;
    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
        size_t len = strlen(words[i].text);
        if (strncmp(reply->str, words[i].text, len) != 0)
            continue;
        if (words[i].word == REDIS_WORD_DOWN || read_redirection(reply->str + len, to))
            return words[i].word;
        return REDIS_WORD_DOWN;
    }
    return REDIS_WORD_NONE;
}
