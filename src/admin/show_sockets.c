/*
 * SHOW CLIENTS, SERVERS, SOCKETS, ACTIVE_SOCKETS: the same columns over different choices of connections.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "show.h"

const struct encode_column show_socket_columns[21] = {
    SHOW_TEXT("type"),
    SHOW_TEXT("user"),
    SHOW_TEXT("database"),
    SHOW_TEXT("replication"),
    SHOW_TEXT("state"),
    SHOW_TEXT("addr"),
    SHOW_INT("port"),
    SHOW_TEXT("local_addr"),
    SHOW_INT("local_port"),
    SHOW_TEXT("connect_time"),
    SHOW_TEXT("request_time"),
    SHOW_INT("wait"),
    SHOW_INT("wait_us"),
    SHOW_INT("close_needed"),
    SHOW_TEXT("ptr"),
    SHOW_TEXT("link"),
    SHOW_INT("remote_pid"),
    SHOW_TEXT("tls"),
    SHOW_TEXT("application_name"),
    SHOW_INT("prepared_statements"),
    SHOW_INT("id"),
};

void show_time(struct show *show, uint64_t wall_us)
{
    char text[64] = "";
    time_t seconds = (time_t)(wall_us / 1000000);
    struct tm parts;
    if (wall_us != 0 && localtime_r(&seconds, &parts) != NULL)
        strftime(text, sizeof(text), "%Y-%m-%d %H:%M:%S %Z", &parts);
    show_text(show, text);
}

static void show_pointer(struct show *show, uint64_t pointer)
{
    char text[32] = "";
    if (pointer != 0)
        snprintf(text, sizeof(text), "0x%" PRIx64, pointer);
    show_text(show, text);
}

static void write_socket(struct show *show, const struct show_socket *s)
{
    const char type[2] = {s->type, '\0'};
    show_begin(show, sizeof(show_socket_columns) / sizeof(show_socket_columns[0]));
    show_text(show, type);
    show_text(show, s->user);
    show_text(show, s->database);
    show_text(show, s->replication);
    show_text(show, s->state);
    show_text(show, s->addr);
    show_int(show, s->port);
    show_text(show, s->local_addr);
    show_int(show, s->local_port);
    show_time(show, s->connect_wall_us);
    show_time(show, s->request_wall_us);
    show_number(show, s->wait_us / 1000000);
    show_number(show, s->wait_us % 1000000);
    show_int(show, s->close_needed);
    show_pointer(show, s->ptr);
    show_pointer(show, s->link);
    show_int(show, s->remote_pid);
    show_text(show, s->tls);
    show_text(show, s->application_name);
    show_int(show, s->prepared_statements);
    show_number(show, s->id);
    show_end(show);
}

/* `type` 0: both. */
static void write_sockets(struct show *show, char type, bool only_active)
{
    const struct show_socket *rows;
    size_t count = snapshot_sockets(show->snapshot, &rows);
    for (size_t i = 0; i < count; i++)
        if ((type == 0 || rows[i].type == type) && (!only_active || strcmp(rows[i].state, "active") == 0))
            write_socket(show, &rows[i]);
}

void show_clients(struct show *show)
{
    write_sockets(show, 'C', false);
}

void show_servers(struct show *show)
{
    write_sockets(show, 'S', false);
}

void show_sockets(struct show *show)
{
    write_sockets(show, 0, false);
}

void show_active_sockets(struct show *show)
{
    write_sockets(show, 0, true);
}
