/* role: two facts about a server, and six things that may be wanted of it. */
#include "role.h"

#include "weir/wire/decode.h"

const char *role_query(void)
{
    return "SELECT pg_catalog.pg_is_in_recovery(), reset_val FROM pg_catalog.pg_settings "
           "WHERE name OPERATOR(pg_catalog.=) 'default_transaction_read_only'";
}

void role_take_row(struct server_role *role, struct slice body)
{
    struct slice cursor, standby, read_only;
    uint16_t columns;
    if (!decode_row_start(body, &cursor, &columns) || columns != 2 || !decode_row_column(&cursor, &standby) ||
        !decode_row_column(&cursor, &read_only))
        return;
    *role = (struct server_role){.has_standby = true,
                                 .has_read_only = true,
                                 .is_standby = slice_equal_str(standby, "t"),
                                 .is_read_only = slice_equal_str(read_only, "on")};
}

void role_take_parameter(struct server_role *role, struct slice name, struct slice value)
{
    if (slice_equal_str(name, "in_hot_standby")) {
        role->has_standby = true;
        role->is_standby = slice_equal_str(value, "on");
    } else if (slice_equal_str(name, "default_transaction_read_only")) {
        role->has_read_only = true;
        role->is_read_only = slice_equal_str(value, "on");
    }
}

bool role_fits(const struct server_role *role, enum target_session target)
{
    bool is_read_only = role->is_standby || role->is_read_only;
    switch (target) {
    case TARGET_SESSION_PRIMARY:
        return !role->is_standby;
    case TARGET_SESSION_STANDBY:
    case TARGET_SESSION_PREFER_STANDBY:
        return role->is_standby;
    case TARGET_SESSION_READ_WRITE:
        return !is_read_only;
    case TARGET_SESSION_READ_ONLY:
        return is_read_only;
    case TARGET_SESSION_ANY:
        break;
    }
    return true;
}

const char *role_misfit(const struct server_role *role, enum target_session target)
{
    switch (target) {
    case TARGET_SESSION_STANDBY:
    case TARGET_SESSION_PREFER_STANDBY:
        return "server is not in hot standby mode";
    case TARGET_SESSION_READ_ONLY:
        return "session is not read-only";
    default:
        return role->is_standby ? "server is in hot standby mode" : "session is read-only";
    }
}
