/* One list of maps, each with its lines in the order of the file. */
#include "weir/auth/ident.h"

#include <regex.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "tokens.h"
#include "weir/util/arena.h"

enum { PATTERN_MAX = 1000 }; /* bytes; what it takes to compile a longer one is not bounded well */

struct mapping {
    struct mapping *next;
    const char *system_name;
    const char *user; /* NULL: anyone */
    regex_t pattern;
    bool has_pattern;
};

struct ident_map {
    struct ident_map *next;
    const char *name;
    struct mapping *first, **end;
};

struct ident {
    atomic_int refs;
    struct arena memory;
    struct ident_map *maps;
};

static struct ident_map *map_of(struct ident *ident, struct slice name)
{
    struct ident_map *map = ident->maps;
    while (map != NULL && !slice_equal_str(name, map->name))
        map = map->next;
    return map;
}

static struct ident_map *map_make(struct ident *ident, struct slice name)
{
    struct ident_map *map = map_of(ident, name);
    if (map != NULL || (map = arena_alloc(&ident->memory, sizeof(*map))) == NULL)
        return map;
    map->name = arena_text(&ident->memory, name);
    if (map->name == NULL)
        return NULL;
    map->end = &map->first;
    map->next = ident->maps;
    ident->maps = map;
    return map;
}

static const char *compile(struct mapping *mapping)
{
    if (mapping->system_name[0] != '/')
        return NULL;
    if (strlen(mapping->system_name) > PATTERN_MAX)
        return "the regular expression is longer than 1000 bytes";
    if (regcomp(&mapping->pattern, mapping->system_name + 1, REG_EXTENDED) != 0)
        return "the system user name begins with / and is no regular expression";
    mapping->has_pattern = true;
    if (mapping->user != NULL && strstr(mapping->user, "\\1") != NULL && mapping->pattern.re_nsub == 0)
        return "\\1 stands in the user, and the regular expression has no group in parentheses";
    return NULL;
}

/* What is wrong with the line; NULL: nothing. */
static const char *read_line(struct ident *ident, struct tokens *t)
{
    static const char *const expected = "expected MAPNAME SYSTEM-USERNAME USER";
    if (t->kind == TOKEN_END)
        return NULL;
    if (!tokens_is_name(t))
        return expected;
    char *name = slice_dup(tokens_word(t));
    struct mapping *mapping = arena_alloc(&ident->memory, sizeof(*mapping));
    const char *problem = name == NULL || mapping == NULL ? "out of memory" : NULL;
    tokens_next(t);
    if (problem == NULL && !tokens_is_name(t))
        problem = expected;
    if (problem == NULL && (mapping->system_name = arena_text(&ident->memory, tokens_word(t))) == NULL)
        problem = "out of memory";
    tokens_next(t);
    bool is_anyone = t->kind == TOKEN_WORD && slice_equal_str(tokens_word(t), "all");
    if (problem == NULL && !tokens_is_name(t))
        problem = expected;
    if (problem == NULL && !is_anyone && (mapping->user = arena_text(&ident->memory, tokens_word(t))) == NULL)
        problem = "out of memory";
    tokens_next(t);
    if (problem == NULL && t->kind != TOKEN_END)
        problem = "a map line has three words, and here is a fourth";
    if (problem == NULL)
        problem = compile(mapping);
    struct ident_map *map = problem == NULL ? map_make(ident, slice_str(name)) : NULL;
    if (map != NULL) {
        *map->end = mapping;
        map->end = &mapping->next;
    } else {
        if (mapping != NULL && mapping->has_pattern)
            regfree(&mapping->pattern);
        problem = problem != NULL ? problem : "out of memory";
    }
    free(name);
    return problem;
}

struct ident *ident_parse(const char *file, struct slice text, ident_report_fn *report, void *report_arg)
{
    struct ident *ident = calloc(1, sizeof(*ident));
    struct slice line;
    if (ident == NULL)
        return NULL;
    atomic_init(&ident->refs, 1);
    for (int number = 1; tokens_line(&text, &line); number++) {
        struct tokens tokens;
        tokens_begin(&tokens, line);
        const char *problem = read_line(ident, &tokens);
        tokens_end(&tokens);
        if (problem != NULL && report != NULL) {
            struct error error = ERROR_INIT;
            error_set_state(&error, "F0000", "%s:%d: %s; the line is ignored", file, number, problem);
            report(report_arg, &error);
        }
    }
    return ident;
}

struct ident *ident_ref(struct ident *ident)
{
    atomic_fetch_add_explicit(&ident->refs, 1, memory_order_relaxed);
    return ident;
}

void ident_unref(struct ident *ident)
{
    if (ident == NULL || atomic_fetch_sub_explicit(&ident->refs, 1, memory_order_acq_rel) != 1)
        return;
    for (struct ident_map *map = ident->maps; map != NULL; map = map->next)
        for (struct mapping *mapping = map->first; mapping != NULL; mapping = mapping->next)
            if (mapping->has_pattern)
                regfree(&mapping->pattern);
    arena_free(&ident->memory);
    free(ident);
}

const struct ident_map *ident_find(const struct ident *ident, struct slice name)
{
    const struct ident_map *map = ident != NULL ? ident->maps : NULL;
    while (map != NULL && !slice_equal_str(name, map->name))
        map = map->next;
    return map;
}

const char *ident_map_name(const struct ident_map *map)
{
    return map->name;
}

/* Is `user` what the template says once \1 is replaced, the first time it stands there? */
static bool is_expanded(const char *template, struct slice group, const char *user)
{
    const char *mark = strstr(template, "\\1");
    if (mark == NULL)
        return strcmp(template, user) == 0;
    size_t before = (size_t)(mark - template), len = strlen(user), after = strlen(mark + 2);
    return len == before + group.len + after && memcmp(user, template, before) == 0 &&
           (group.len == 0 || memcmp(user + before, group.data, group.len) == 0) &&
           memcmp(user + before + group.len, mark + 2, after) == 0;
}

static bool mapping_allows(const struct mapping *mapping, const char *system_name, const char *user)
{
    if (!mapping->has_pattern)
        return strcmp(mapping->system_name, system_name) == 0 &&
               (mapping->user == NULL || strcmp(mapping->user, user) == 0);
    regmatch_t groups[2];
    if (regexec(&mapping->pattern, system_name, 2, groups, 0) != 0)
        return false;
    struct slice group = SLICE_EMPTY;
    if (groups[1].rm_so >= 0)
        group = slice_make(system_name + groups[1].rm_so, (size_t)(groups[1].rm_eo - groups[1].rm_so));
    return mapping->user == NULL || is_expanded(mapping->user, group, user);
}

bool ident_allows(const struct ident_map *map, const char *system_name, const char *user)
{
    for (const struct mapping *mapping = map->first; mapping != NULL; mapping = mapping->next)
        if (mapping_allows(mapping, system_name, user))
            return true;
    return false;
}
