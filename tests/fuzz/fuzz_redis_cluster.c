/* What a Redis Cluster says of itself, as bytes from the wire: no reply may break the map or a redirection.
 */
#include <string.h>

#include <hiredis/hiredis.h>

#include "weir/cache/redis_slots.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    void *reply = NULL;
    struct redis_redirection to;
    redisReader *reader = redisReaderCreate();
    if (reader == NULL || redisReaderFeed(reader, (const char *)data, size) != REDIS_OK ||
        redisReaderGetReply(reader, &reply) != REDIS_OK || reply == NULL) {
        redisReaderFree(reader);
        return 0;
    }
    struct redis_map *map = redis_map_read(reply, "asked");
    for (size_t slot = 0; map != NULL && slot < REDIS_SLOTS; slot++)
        if (map->node_of[slot] != REDIS_NO_NODE && map->node_of[slot] >= map->node_count)
            abort();
    redis_map_free(map);
    enum redis_word word = redis_word_read(reply, &to);
    if ((word == REDIS_WORD_MOVED || word == REDIS_WORD_ASK) &&
        (strlen(to.host) >= sizeof(to.host) || to.port == 0 || to.port > UINT16_MAX ||
         to.slot >= REDIS_SLOTS))
        abort();
    freeReplyObject(reply);
    redisReaderFree(reader);
    redis_slot(slice_make(data, size));
    return 0;
}
