/*
 * role: whether a server is what target_session_attrs asks for, as libpq means its values. Pure; private to
 * pool.
 *
 * PostgreSQL 14 and later report both facts at login (in_hot_standby, default_transaction_read_only); others
 * are asked by role_query.
 */
#ifndef WEIR_POOL_ROLE_H
#define WEIR_POOL_ROLE_H

#include "weir/config/settings.h"
#include "weir/pool/server.h"
#include "weir/util/slice.h"

/* One row of two columns: pg_is_in_recovery, and the session's own default for transaction_read_only,
 * whatever a client has set since. */
const char *role_query(void);

/* Takes the row in; a row of another form leaves the role as it is. */
void role_take_row(struct server_role *role, struct slice body);
/* A ParameterStatus; those that say nothing about the role are ignored. */
void role_take_parameter(struct server_role *role, struct slice name, struct slice value);

static inline bool role_is_known(const struct server_role *role)
{
    return role->has_standby && role->has_read_only;
}

/* Of a role that is known. For PREFER_STANDBY: is it the preferred one? */
bool role_fits(const struct server_role *role, enum target_session target);

/* What is wrong with a known role that does not fit: "server is in hot standby mode". */
const char *role_misfit(const struct server_role *role, enum target_session target);

#endif
