/* payoff: rounds of a few numbers. */
#include "weir/cache/payoff.h"

#include <stdio.h>

/* A lookup that fails, a copy of the answer, a place in the store. */
enum { KEEPING_US = 25, DOUBLINGS_MAX = 8 };

_Static_assert(PAYOFF_QUESTIONS << DOUBLINGS_MAX == PAYOFF_QUESTIONS_MAX, "questions until it comes back");

uint64_t payoff_cost_us(const struct payoff *p)
{
    return (uint64_t)p->lost * KEEPING_US;
}

static void begin_round(struct payoff *p)
{
    p->hits = p->lost = 0;
    p->saved_us = 0;
}

/* At the end of a round: off, or another one. */
static void judge(struct payoff *p, uint64_t now_us)
{
    if (p->hits + p->lost < PAYOFF_EVENTS)
        return;
    if (p->saved_us >= payoff_cost_us(p)) {
        p->is_proven = true;
        p->doublings = 0;
        begin_round(p);
        return;
    }
    if (!p->is_proven && p->off_since_us != 0 && p->doublings < DOUBLINGS_MAX)
        p->doublings++;
    p->is_off = true;
    p->is_proven = false;
    p->off_since_us = now_us;
    p->off_hits = p->hits;
    p->off_lost = p->lost;
    p->off_saved_us = p->saved_us;
    begin_round(p);
}

void payoff_learn(struct payoff *p, uint64_t cost_us)
{
    p->mean_us = p->mean_us == 0 ? cost_us : (7 * p->mean_us + cost_us) / 8;
}

void payoff_hit(struct payoff *p, uint64_t cost_us, uint64_t now_us)
{
    payoff_learn(p, cost_us);
    p->hits++;
    p->saved_us += cost_us;
    judge(p, now_us);
}

void payoff_join(struct payoff *p, uint64_t now_us)
{
    p->hits++;
    p->saved_us += p->mean_us > 0 ? p->mean_us : KEEPING_US;
    judge(p, now_us);
}

void payoff_miss(struct payoff *p, uint64_t versions, uint64_t now_us)
{
    bool is_lost = p->versions != 0 && p->versions != versions;
    p->versions = versions;
    if (!is_lost) /* nobody has asked for it before, or it had to make room */
        return;
    p->lost++;
    judge(p, now_us);
}

bool payoff_question(struct payoff *p, uint64_t versions)
{
    if (p->versions == versions)
        p->hits++;
    else
        p->lost++;
    p->versions = versions;
    if (p->hits + p->lost < (uint32_t)PAYOFF_QUESTIONS << p->doublings)
        return false;
    uint64_t mean_us = p->mean_us > 0 ? p->mean_us : KEEPING_US;
    bool would_pay = p->hits * mean_us > payoff_cost_us(p);
    begin_round(p);
    p->is_off = !would_pay;
    return would_pay;
}

void payoff_describe(const struct payoff *p, char text[PAYOFF_TEXT_MAX])
{
    text[0] = '\0';
    if (!p->is_off)
        return;
    snprintf(text, PAYOFF_TEXT_MAX,
             "of %u answers writes made %u old before they were asked for again; hits saved %llu us, keeping "
             "the others cost %llu us",
             p->off_hits + p->off_lost, p->off_lost, (unsigned long long)p->off_saved_us,
             (unsigned long long)p->off_lost * KEEPING_US);
}
