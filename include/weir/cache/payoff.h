/*
 * payoff: does it pay to keep the answers of one template, or are they made old before anybody asks again.
 * Pure.
 *
 * On: after every so many events (a hit; a miss with a write since the miss before) the time that hits have
 * saved is held against what fetching and keeping answers has cost that were never asked for again. Where
 * that is more, the template goes off: it is neither looked up nor filled. Off: its relations' versions are
 * still looked at, when it is asked, and tell how it would have gone: no write since the question before is
 * as good as a hit. Once so many questions say that it would pay, it is on again. A template that goes off
 * again at once must look good for twice as many questions next time, up to a bound. One thread.
 */
#ifndef WEIR_CACHE_PAYOFF_H
#define WEIR_CACHE_PAYOFF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { PAYOFF_EVENTS = 32, PAYOFF_QUESTIONS = 16, PAYOFF_QUESTIONS_MAX = 4096, PAYOFF_TEXT_MAX = 200 };

/* Zero-initialised: on, and nothing known. */
struct payoff {
    bool is_off;
    bool is_proven;      /* it has paid since it was last on */
    uint8_t doublings;   /* of the questions that it takes to come back */
    uint32_t hits, lost; /* of this round; off: as they would have been */
    uint64_t saved_us;   /* by the hits of this round */
    uint64_t mean_us;    /* what an answer of it costs PostgreSQL, about */
    uint64_t versions;   /* at the last miss, or off, question; see payoff_miss */
    uint64_t off_since_us;
    uint32_t off_hits, off_lost; /* what made it go off */
    uint64_t off_saved_us;
};

/* What fetching an answer and keeping it costs Weir, for nothing if it is not asked for again. */
uint64_t payoff_cost_us(const struct payoff *p);

void payoff_hit(struct payoff *p, uint64_t cost_us, uint64_t now_us);
/* An answer was waited for that another asker fetched: worth a hit. */
void payoff_join(struct payoff *p, uint64_t now_us);
/* An answer was not there. `versions`: any sum that differs when a relation it depends on has been written.
 */
void payoff_miss(struct payoff *p, uint64_t versions, uint64_t now_us);
/* What an answer costs that was there, but old. */
void payoff_learn(struct payoff *p, uint64_t cost_us);

/* While it is off, a question: false while it stays so. */
bool payoff_question(struct payoff *p, uint64_t versions);

/* "writes made 31 of 32 answers old before …", for people; "" while it is on. */
void payoff_describe(const struct payoff *p, char text[PAYOFF_TEXT_MAX]);

#endif
