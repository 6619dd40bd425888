/*
 * feed_needs: what a server must have before its commits can be decoded, what is missing, and what to do
 * about it. Asks nothing itself: gives the question, and judges the answer.
 */
#ifndef WEIR_CONTROL_FEED_NEEDS_H
#define WEIR_CONTROL_FEED_NEEDS_H

#include <stdbool.h>
#include <stddef.h>

struct pg_result;

struct feed_needs {
    bool is_standby;
    bool may_replicate;    /* the role, by its rights; rules of pg_hba.conf are not looked at */
    bool may_see_standbys; /* whether commits wait for it */
    bool has_free_slot;
    bool has_free_sender;
    bool has_slot;        /* one of this name exists */
    bool is_slot_ours;    /* it decodes this database with test_decoding */
    bool is_slot_lasting; /* it is not temporary */
    bool is_slot_lost;    /* the log that it needs is gone */
    bool is_waited_for;   /* commits wait for a standby of this name */
    int slot_pid;         /* who uses it; 0: nobody */
    int max_slots;
    int max_senders;
    char wal_level[16];
    char role[64];
    char standby_names[256]; /* synchronous_standby_names */
};

/* One row; its one parameter is the name of the slot, and of the standby. */
const char *feed_needs_query(void);
/* False when the answer does not have the shape expected. */
bool feed_needs_take(const struct pg_result *result, struct feed_needs *needs);

/* One of them, in words. */
struct feed_need {
    const char *name;
    bool is_met;
    char found[200];
    char sql[320];    /* the statement that does it, or the first step of it; "" where none can */
    char remedy[200]; /* mostly SQL; "" when it is met */
};

enum { FEED_NEEDS_MAX = 8 };

/*
 * All of them, in the order in which they are best met; returns how many. Of a synchronous feed the last is
 * that commits wait for it, which it needs to be exact, not to begin. `own_pid` is the backend that uses the
 * slot by right; 0: none.
 */
size_t feed_needs_list(const struct feed_needs *needs, const char *slot, bool is_synchronous, int own_pid,
                       struct feed_need list[FEED_NEEDS_MAX]);

enum feed_slot_step { FEED_SLOT_CREATE, FEED_SLOT_USE, FEED_SLOT_DROP };

/*
 * May the feed begin, and what becomes of the slot? False, with what is missing and the remedy in `text`,
 * when it may not. The slot of a synchronous feed outlives its connection.
 */
bool feed_needs_judge(const struct feed_needs *needs, const char *slot, bool is_synchronous,
                      enum feed_slot_step *step, char *text, size_t size);

#endif
