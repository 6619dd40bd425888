/* pool_shared: counted facts, replaced as a whole and read with a reference of one's own. */
#include "pool_shared.h"

#include <stdlib.h>
#include <string.h>

void welcome_unref(struct welcome *welcome)
{
    if (welcome != NULL && atomic_fetch_sub(&welcome->references, 1) == 1)
        free(welcome);
}

struct welcome *pool_welcome(struct pool *pool)
{
    pthread_mutex_lock(&pool->shared->mutex);
    struct welcome *welcome = pool->shared->welcome;
    if (welcome != NULL)
        atomic_fetch_add(&welcome->references, 1);
    pthread_mutex_unlock(&pool->shared->mutex);
    return welcome;
}

void pool_set_welcome(struct pool *pool, const void *bytes, size_t len)
{
    struct welcome *welcome = malloc(sizeof(*welcome) + len);
    if (welcome == NULL)
        return; /* the next login will do it */
    atomic_init(&welcome->references, 1);
    welcome->len = len;
    memcpy(welcome->bytes, bytes, len);
    pthread_mutex_lock(&pool->shared->mutex);
    struct welcome *old = pool->shared->welcome;
    pool->shared->welcome = welcome;
    pthread_mutex_unlock(&pool->shared->mutex);
    welcome_unref(old);
}

struct credential *pool_credential(struct pool *pool)
{
    pthread_mutex_lock(&pool->shared->mutex);
    struct credential *credential = pool->shared->credential;
    if (credential != NULL)
        credential_ref(credential);
    pthread_mutex_unlock(&pool->shared->mutex);
    return credential;
}

void pool_set_credential(struct pool *pool, struct credential *credential)
{
    pthread_mutex_lock(&pool->shared->mutex);
    struct credential *old = pool->shared->credential;
    pool->shared->credential = credential != NULL ? credential_ref(credential) : NULL;
    pthread_mutex_unlock(&pool->shared->mutex);
    credential_unref(old);
}
