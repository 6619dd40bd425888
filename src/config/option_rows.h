/*
 * Private to config: the rows of the option table, apart from the code that reads them.
 */
#ifndef WEIR_CONFIG_OPTION_ROWS_H
#define WEIR_CONFIG_OPTION_ROWS_H

#include "weir/config/options.h"

extern const struct option option_global_rows[];
extern const size_t option_global_count;
extern const struct option option_database_rows[];
extern const size_t option_database_count;
extern const struct option option_user_rows[];
extern const struct option option_peer_rows[];
extern const size_t option_user_count;
extern const size_t option_peer_count;

extern const struct option_name option_pool_mode_names[];
extern const struct option_name option_cache_mode_names[];
extern const struct option_name option_load_balance_names[];
extern const struct option_name option_ssl_mode_names[];
extern const struct option_name option_target_session_names[];

#endif
