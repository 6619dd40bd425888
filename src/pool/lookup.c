/* lookup: the server may be gone, by its timeout, before the resolver has answered; so it is found by its
 * number. */
#include "lookup.h"

#include <stdlib.h>
#include <string.h>

#include "handover.h"
#include "weir/pool/registry.h"
#include "weir/pool/server.h"
#include "weir/util/cold.h"
#include "weir/util/log.h"

struct lookup {
    struct pool_part *part;
    uint64_t id;
    char host[];
};

struct change_mail {
    struct mail mail;
    struct pool_part *part;
    char host[];
};

static bool has_host(const struct pool_part *part, int index, const char *host)
{
    return (size_t)index < part->database->host_count && strcmp(part->database->hosts[index].name, host) == 0;
}

/* Connections of this part to addresses that the host does not have any more. */
COLD static void address_changed(struct mail *mail)
{
    struct change_mail *change = (struct change_mail *)(void *)mail;
    struct pool_part *part = change->part;
    struct resolver *resolver = registry_resolver(part->pool->registry);
    for (size_t state = SERVER_LOGIN; state < SERVER_STATES; state++) {
        list_for_each(&part->servers[state], node)
        {
            struct server *server = list_entry(node, struct server, node);
            if (!has_host(part, server->host, change->host) ||
                resolver_has(resolver, change->host, &server->address) || server->close_needed)
                continue;
            server->close_needed = true;
            server->close_reason = "address of the host changed";
            if (server->state == SERVER_IDLE)
                server_close(server, server->close_reason);
        }
    }
    free(change);
    pool_serve(part);
}

COLD void registry_address_changed(struct registry *registry, const char *host)
{
    log_info("the addresses of %s have changed", host);
    for (struct pool *pool = registry_pools(registry); pool != NULL; pool = pool->next) {
        for (int i = 0; i < pool->part_count; i++) {
            struct pool_part *part = pool_part_at(pool, i);
            struct change_mail *change = part != NULL ? malloc(sizeof(*change) + strlen(host) + 1) : NULL;
            if (change == NULL)
                continue;
            change->mail = (struct mail){.run = address_changed};
            change->part = part;
            strcpy(change->host, host);
            worker_post(part->worker, &change->mail);
        }
    }
}

COLD static void resolved(void *context, const struct resolve_answer *answer)
{
    struct lookup *lookup = context;
    struct pool_part *part = lookup->part;
    if (answer->has_changed)
        registry_address_changed(part->pool->registry, lookup->host);
    list_for_each(&part->servers[SERVER_CONNECTING], node)
    {
        struct server *server = list_entry(node, struct server, node);
        if (server->id != lookup->id)
            continue;
        server_resolved(server, answer);
        break;
    }
    free(lookup);
}

bool lookup_begin(struct server *server, const struct config_host *host)
{
    struct lookup *lookup = malloc(sizeof(*lookup) + strlen(host->name) + 1);
    if (lookup == NULL)
        return false;
    lookup->part = server->part;
    lookup->id = server->id;
    strcpy(lookup->host, host->name);
    if (resolver_ask(registry_resolver(server->part->pool->registry), host->name, host->port,
                     server->part->worker, resolved, lookup))
        return true;
    free(lookup);
    return false;
}
