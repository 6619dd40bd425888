/*
 * cold: what is off the way of a query. The compiler keeps such functions, and the branches that lead to
 * them, away from the code that runs every time: what a worker runs for a query then fits fewer cache lines,
 * which are all cold themselves when it is woken.
 */
#ifndef WEIR_UTIL_COLD_H
#define WEIR_UTIL_COLD_H

#define COLD __attribute__((cold, noinline))

#endif
