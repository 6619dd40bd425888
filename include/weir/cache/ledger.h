/*
 * ledger: what several Weirs write down in Redis about one PostgreSQL database: which relations are being
 * written, and which token each has now.
 *
 *   hash KEY      i          incarnation: drawn by whoever finds the hash missing
 *                 l          cache_lease of its members, microseconds
 *                 s          "token/marks" of definitions and rights
 *                 0          the same of the epoch, part of every answer
 *                 OID        the same of a relation, OIDw, OIDn and kPLACE of parts of it (see
 * generation_name); absent until it is first written m:O:N      the fields that write N of owner O has
 * marked, ",0,s,1234,"; "x": it has ended hash KEY:h    O          when the owner was last heard of,
 * milliseconds of Redis' clock
 *
 * Numbers are hexadecimal, counts decimal. Tokens are never used again: an absent field has the incarnation
 * as its token, every change brings a new random one. The hash is there in full or not at all. All changes
 * are scripts, which look at the incarnation first; reading is a plain HMGET. Pure but for redis_link_ask.
 */
#ifndef WEIR_CACHE_LEDGER_H
#define WEIR_CACHE_LEDGER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "weir/cache/redis_link.h"

struct redisReply;

enum ledger_script {
    LEDGER_MEET,    /* incarnation or "", owner, new incarnation, lease → i, l, known, s; or "lost" */
    LEDGER_MARK,    /* incarnation, owner, write, s expected, fields… → "ok", "over", "lost" */
    LEDGER_CHANGE,  /* incarnation, owner, write, token or "", is it unsure whether it was marked → "ok",
                       "lost" */
    LEDGER_BUMP,    /* incarnation, token, fields… → "ok", "lost" */
    LEDGER_DEAD,    /* incarnation, silence in ms → owners */
    LEDGER_RECOVER, /* incarnation, owner, silence in ms, token → "ok", "alive", "lost" */
    LEDGER_SCRIPTS,
};

enum { LEDGER_WORDS_MAX = 240, LEDGER_NUMBER_SIZE = 24 };

/* Makes the scripts known to the server; when the link comes up. */
void ledger_teach(struct redis_link *link);

/*
 * Runs a script on the ledger `key` (NUL-terminated) with `count` arguments, at most LEDGER_WORDS_MAX. False:
 * not sent. A reply that the server does not know the script makes it known; the caller asks again later.
 */
bool ledger_ask(struct redis_link *link, enum ledger_script script, const char *key,
                const struct slice *words, int count, uint64_t timeout_us, redis_replied replied,
                void *context);

/*
 * What a script has answered; anything but a word that is expected is LEDGER_FAILED. `link` is who is told
 * that the script is not known there, or blamed; NULL: nobody. LEDGER_ELSEWHERE is what share_client_answer
 * says of a Cluster: the script has not run, since the slot is not, or not wholly, this node's.
 */
enum ledger_answer { LEDGER_OK, LEDGER_LOST, LEDGER_OVER, LEDGER_ALIVE, LEDGER_FAILED, LEDGER_ELSEWHERE };
enum ledger_answer ledger_answer(struct redis_link *link, enum redis_outcome outcome,
                                 const struct redisReply *reply);

/* Writes the number for a word; `text` has LEDGER_NUMBER_SIZE bytes. */
struct slice ledger_number(uint64_t number, char *text);
/* The same of a token without marks, "token/0". */
struct slice ledger_clean(uint64_t token, uint64_t incarnation, char *text);

/* The number in an element; false when there is none. */
bool ledger_read_number(const struct redisReply *element, uint64_t *number);
/* A field's token and whether nobody marks it; false when it is none. */
bool ledger_read_field(const struct redisReply *element, uint64_t incarnation, uint64_t *token,
                       bool *is_clean);

#endif
