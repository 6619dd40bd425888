/*
 * Private to admin: what drivers say to any PostgreSQL on connecting. It gets an answer that keeps them
 * going.
 */
#ifndef WEIR_ADMIN_CONSOLE_FOREIGN_H
#define WEIR_ADMIN_CONSOLE_FOREIGN_H

#include "console_words.h"
#include "weir/util/buf.h"

/* SHOW of a PostgreSQL setting that drivers look at. False, with nothing written, for any other. */
bool foreign_show(const struct console_words *words, struct buf *out);

/* SET of a PostgreSQL setting: accepted, without effect on a console. */
bool foreign_set(const struct console_words *words);

/* SELECT: version() and 1 get their value, all else an empty result. False when it is no SELECT. */
bool foreign_select(const struct console_words *words, struct buf *out);

#endif
