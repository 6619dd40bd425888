/*
 * cold: what is off the way of a query. The compiler keeps such functions, and the branches that lead to
 * them, away from the code that runs every time: what a worker runs for a query then fits fewer cache lines,
 * which are all cold themselves when it is woken.
 */
#ifndef WEIR_UTIL_COLD_H
#define WEIR_UTIL_COLD_H

#define COLD __attribute__((cold, noinline))

/* A way of its own, as quick as any, but not to be laid out inside the one that leads to it. */
#define APART __attribute__((noinline))

#endif
