/*
 * template against PostgreSQL's own scanner: what was lifted is a constant token at the same place, and what
 * is a constant was lifted. Only where the scanner reads the text at all, and the lexer claims to.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <pg_query.h>
#include <pg_query/pg_query.pb-c.h>

#include "weir/sql/lex.h"
#include "weir/sql/template.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool is_constant(PgQuery__Token token)
{
    return token == PG_QUERY__TOKEN__ICONST || token == PG_QUERY__TOKEN__FCONST ||
           token == PG_QUERY__TOKEN__SCONST;
}

static bool fits(enum lex_kind kind, PgQuery__Token token)
{
    switch (kind) {
    case LEX_INTEGER:
        return token == PG_QUERY__TOKEN__ICONST;
    case LEX_BIGINT:
    case LEX_HUGE:
    case LEX_FLOAT:
        return token == PG_QUERY__TOKEN__FCONST;
    case LEX_STRING:
        return token == PG_QUERY__TOKEN__SCONST;
    default:
        return false;
    }
}

static void compare(const char *text, const PgQuery__ScanResult *scan)
{
    struct lexer lexer = lex_start(slice_str(text));
    size_t token = 0;
    for (struct lexeme piece; (piece = lex_next(&lexer)).kind != LEX_END;) {
        if (piece.kind < LEX_INTEGER || piece.kind > LEX_STRING)
            continue;
        while (token < scan->n_tokens && !is_constant(scan->tokens[token]->token))
            token++;
        const uint8_t *start = (const uint8_t *)text;
        if (token == scan->n_tokens || !fits(piece.kind, scan->tokens[token]->token) ||
            scan->tokens[token]->start != piece.start - start ||
            scan->tokens[token]->end != piece.start + piece.len - start) {
            fprintf(stderr, "lifted '%.*s' of %s\n", (int)piece.len, piece.start, text);
            abort();
        }
        token++;
    }
    for (; token < scan->n_tokens; token++) {
        if (is_constant(scan->tokens[token]->token)) {
            fprintf(stderr, "left the constant at %d of %s\n", scan->tokens[token]->start, text);
            abort();
        }
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct buf scratch = BUF_INIT, shown = BUF_INIT;
    struct template t;
    if (!template_make(slice_make(data, size), &scratch, &t))
        abort();
    template_display(&t, &shown);
    if (t.text.len > size || lex_depth(slice_make(data, size)) > LEX_DEPTH_LIMIT)
        abort();
    if ((t.flags & TEMPLATE_SPECIAL) == 0) {
        char *text = slice_dup(slice_make(data, size));
        PgQueryScanResult scan = pg_query_scan(text);
        if (scan.error == NULL) {
            PgQuery__ScanResult *tokens =
                pg_query__scan_result__unpack(NULL, scan.pbuf.len, (const uint8_t *)scan.pbuf.data);
            compare(text, tokens);
            pg_query__scan_result__free_unpacked(tokens, NULL);
        }
        pg_query_free_scan_result(scan);
        free(text);
    }
    buf_free(&scratch);
    buf_free(&shown);
    return 0;
}
