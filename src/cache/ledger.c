/* ledger: the scripts, and reading what comes back. */
#include "weir/cache/ledger.h"

#include <ctype.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include <hiredis/hiredis.h>
#include <openssl/evp.h>

/* --- the scripts --- */

#define HEARD "local t=redis.call('TIME') local now=string.format('%.0f',t[1]*1000+math.floor(t[2]/1000)) "
#define SAME  "local g,h=KEYS[1],KEYS[2] if redis.call('HGET',g,'i')~=ARGV[1] then return 'lost' end "
/* An absent field has token 0 here: the incarnation's. */
#define FIELD                                                                                                \
    "local function field(f) local v=redis.call('HGET',g,f) if not v then return '0',0 end "                 \
    "local t,n=string.match(v,'^(%x+)/(%d+)$') return t,tonumber(n) end "                                    \
    "local function put(f,t,n) redis.call('HSET',g,f,string.format('%s/%d',t,n)) end "
/* Ends the marks of one write; `token` is "" where nothing has changed. */
#define UNMARK                                                                                               \
    "local function unmark(id,had,token) for f in string.gmatch(had,'[^,]+') do local t,n=field(f) "         \
    "if n>0 then n=n-1 end if token~='' then t=token end put(f,t,n) end redis.call('HDEL',g,id) end "

/*
 * Who changes definitions changes what the writes under way may write (a trigger, say): these count as writes
 * to everything from then on, and so does each that was marked by who does not know the definitions.
 */
#define MARK                                                                                                 \
    SAME "if redis.call('HEXISTS',h,ARGV[2])==0 then return 'lost' end " FIELD                               \
         "local function mark(id,all,f) if string.find(all,','..f..',',1,true) then return all end "         \
         "local t,n=field(f) put(f,t,n+1) all=all..f..',' redis.call('HSET',g,id,all) return all end "       \
         "local id='m:'..ARGV[2]..':'..ARGV[3] local all=redis.call('HGET',g,id) or ',' "                    \
         "if all=='x' then return 'over' end " HEARD "redis.call('HSET',h,ARGV[2],now) "                     \
         "if (redis.call('HGET',g,'s') or '0/0')~=ARGV[4] then all=mark(id,all,'0') end "                    \
         "for k=5,#ARGV do all=mark(id,all,ARGV[k]) "                                                        \
         "if ARGV[k]=='s' then for _,o in ipairs(redis.call('HKEYS',g)) do if string.sub(o,1,2)=='m:' then " \
         "local a=redis.call('HGET',g,o) if a~='x' then a=mark(o,a,'0') if o==id then all=a end end "        \
         "end end end end return 'ok'"

static const char *const texts[LEDGER_SCRIPTS] = {
    [LEDGER_MEET] =
        "local g,h=KEYS[1],KEYS[2] local i=redis.call('HGET',g,'i') "
        "if ARGV[1]~='' and i~=ARGV[1] then return 'lost' end "
        "if not i then i=ARGV[3] redis.call('HSET',g,'i',i,'l',ARGV[4]) end " HEARD
        "local known=redis.call('HEXISTS',h,ARGV[2]) redis.call('HSET',h,ARGV[2],now) "
        "return {i,redis.call('HGET',g,'l') or '0',tostring(known),redis.call('HGET',g,'s') or '0/0'}",
    [LEDGER_MARK] = MARK,
    [LEDGER_CHANGE] =
        SAME FIELD UNMARK "local id='m:'..ARGV[2]..':'..ARGV[3] local had=redis.call('HGET',g,id) "
                          "if had=='x' then return 'ok' end "
                          "if had then unmark(id,had,ARGV[4]) end "
                          "if ARGV[5]=='1' then redis.call('HSET',g,id,'x') end return 'ok'",
    [LEDGER_BUMP] =
        SAME FIELD "for k=3,#ARGV do local t,n=field(ARGV[k]) put(ARGV[k],ARGV[2],n) end return 'ok'",
    [LEDGER_DEAD] =
        SAME HEARD "local all,dead=redis.call('HGETALL',h),{} for k=1,#all,2 do "
                   "if now-all[k+1]>tonumber(ARGV[2]) then dead[#dead+1]=all[k] end end return dead",
    [LEDGER_RECOVER] = SAME FIELD UNMARK HEARD
    "local last=redis.call('HGET',h,ARGV[2]) if last and now-last<=tonumber(ARGV[3]) then return 'alive' end "
    "local own='m:'..ARGV[2]..':' for _,id in ipairs(redis.call('HKEYS',g)) do "
    "if string.sub(id,1,#own)==own then local had=redis.call('HGET',g,id) "
    "if had=='x' then redis.call('HDEL',g,id) else unmark(id,had,ARGV[4]) end end end "
    "redis.call('HDEL',h,ARGV[2]) return 'ok'",
};

enum { SHA_TEXT = 40 };
static char shas[LEDGER_SCRIPTS][SHA_TEXT + 1];
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void compute_shas(void)
{
    for (int i = 0; i < LEDGER_SCRIPTS; i++) {
        unsigned char digest[EVP_MAX_MD_SIZE];
        unsigned len = 0;
        EVP_Digest(texts[i], strlen(texts[i]), digest, &len, EVP_sha1(), NULL);
        for (unsigned k = 0; k < len && k < SHA_TEXT / 2; k++)
            snprintf(shas[i] + 2 * k, 3, "%02x", digest[k]);
    }
}

static void on_taught(void *context, enum redis_outcome outcome, const struct redisReply *reply,
                      uint64_t now_us)
{
    (void)context, (void)outcome, (void)reply, (void)now_us;
}

void ledger_teach(struct redis_link *link)
{
    for (int i = 0; i < LEDGER_SCRIPTS; i++) {
        const struct slice words[] = {SLICE_LITERAL("SCRIPT"), SLICE_LITERAL("LOAD"), slice_str(texts[i])};
        redis_link_ask(link, words, 3, 0, on_taught, NULL);
    }
}

bool ledger_ask(struct redis_link *link, enum ledger_script script, const char *key,
                const struct slice *words, int count, uint64_t timeout_us, redis_replied replied,
                void *context)
{
    struct slice all[LEDGER_WORDS_MAX + 5];
    char owners[256];
    if (count > LEDGER_WORDS_MAX)
        return false;
    pthread_once(&once, compute_shas);
    int len = snprintf(owners, sizeof(owners), "%s:h", key);
    all[0] = SLICE_LITERAL("EVALSHA");
    all[1] = slice_str(shas[script]);
    all[2] = SLICE_LITERAL("2");
    all[3] = slice_str(key);
    all[4] = slice_make(owners, (size_t)len);
    memcpy(all + 5, words, (size_t)count * sizeof(*words));
    return redis_link_ask(link, all, count + 5, timeout_us, replied, context);
}

/* --- what comes back --- */

static bool is_text(const struct redisReply *reply)
{
    return reply->type == REDIS_REPLY_STRING || reply->type == REDIS_REPLY_STATUS;
}

enum ledger_answer ledger_answer(struct redis_link *link, enum redis_outcome outcome,
                                 const struct redisReply *reply)
{
    static const struct {
        const char *word;
        enum ledger_answer answer;
    } words[] = {{"ok", LEDGER_OK}, {"lost", LEDGER_LOST}, {"over", LEDGER_OVER}, {"alive", LEDGER_ALIVE}};
    if (outcome != REDIS_REPLIED)
        return LEDGER_FAILED;
    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
        if (is_text(reply) && strcmp(reply->str, words[i].word) == 0)
            return words[i].answer;
    if (reply->type == REDIS_REPLY_ARRAY)
        return LEDGER_OK;
    if (link == NULL)
        return LEDGER_FAILED;
    if (reply->type == REDIS_REPLY_ERROR && strncmp(reply->str, "NOSCRIPT", 8) == 0)
        ledger_teach(link);
    else
        redis_link_blame(link, redis_link_error(reply));
    return LEDGER_FAILED;
}

struct slice ledger_number(uint64_t number, char *text)
{
    int len = snprintf(text, LEDGER_NUMBER_SIZE, "%llx", (unsigned long long)number);
    return slice_make(text, (size_t)len);
}

struct slice ledger_clean(uint64_t token, uint64_t incarnation, char *text)
{
    int len =
        snprintf(text, LEDGER_NUMBER_SIZE, "%llx/0", (unsigned long long)(token == incarnation ? 0 : token));
    return slice_make(text, (size_t)len);
}

/* Hexadecimal digits, at least one; `end` is behind them. */
static bool read_hex(const char *text, const char **end, uint64_t *number)
{
    *number = 0;
    for (*end = text; isxdigit((unsigned char)**end) && *end - text < 16; ++*end) {
        int c = tolower((unsigned char)**end);
        *number = *number << 4 | (uint64_t)(c <= '9' ? c - '0' : c - 'a' + 10);
    }
    return *end > text;
}

bool ledger_read_number(const struct redisReply *element, uint64_t *number)
{
    const char *end;
    return element->type == REDIS_REPLY_STRING && read_hex(element->str, &end, number) && *end == '\0';
}

bool ledger_read_field(const struct redisReply *element, uint64_t incarnation, uint64_t *token,
                       bool *is_clean)
{
    const char *end;
    *token = incarnation;
    *is_clean = true;
    if (element->type == REDIS_REPLY_NIL)
        return true;
    if (element->type != REDIS_REPLY_STRING || !read_hex(element->str, &end, token) || *end != '/' ||
        !isdigit((unsigned char)end[1]))
        return false;
    if (*token == 0)
        *token = incarnation;
    *is_clean = strcmp(end, "/0") == 0;
    return true;
}
