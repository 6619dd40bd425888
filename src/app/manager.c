/*
 * manager: what systemd is told, where it asks for it: ready, reloading, stopping; and, as its watchdog, that
 * every worker still turns. Without systemd, or without its library at build time, nobody is told anything.
 */
#include "app.h"

#ifdef WEIR_SYSTEMD

#include <inttypes.h>
#include <systemd/sd-daemon.h>

#include "weir/util/clock.h"

static void all_turn(struct app *app, void *arg, bool is_complete)
{
    (void)app, (void)arg;
    if (is_complete)
        sd_notify(0, "WATCHDOG=1");
}

static void watchdog_due(struct timer *timer)
{
    struct app *app = list_entry(timer, struct app, watchdog);
    app_round(app, NULL, all_turn, NULL);
    timer_start(worker_loop(app->control), timer, app->watchdog_us / 2, watchdog_due);
}

void app_tell_ready(struct app *app)
{
    sd_notifyf(0, "READY=1\nSTATUS=%zu databases, %d workers", config_database_count(app->config),
               app->worker_count);
    if (!timer_is_running(&app->watchdog) && sd_watchdog_enabled(0, &app->watchdog_us) > 0)
        timer_start(worker_loop(app->control), &app->watchdog, app->watchdog_us / 2, watchdog_due);
}

void app_tell_reloading(void)
{
    sd_notifyf(0, "RELOADING=1\nMONOTONIC_USEC=%" PRIu64, clock_now_us());
}

void app_tell_stopping(void)
{
    sd_notify(0, "STOPPING=1\nSTATUS=waiting for clients");
}

#else

void app_tell_ready(struct app *app)
{
    (void)app;
}

void app_tell_reloading(void)
{
}

void app_tell_stopping(void)
{
}

#endif
