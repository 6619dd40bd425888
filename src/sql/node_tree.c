/* node_tree: one pass over the tokens, with a stack of open nodes; what a field's numbers are stands in one
 * table. */
#include "weir/sql/node_tree.h"

#include <stdio.h>
#include <string.h>

enum { DEPTH_MAX = 400, SETTING_MAX = 63, TEXT_TYPE = 25, TEXT_HEADER = 4 };

/*
 * Every field of a node, with what its numbers are: f functions, o operators, t types, c the type of a cast
 * from text, r relations, v an SQLValueFunctionOp, a column number, 1 must be 1 (a SELECT), nothing for what
 * is of no interest. Fields of all versions stand side by side. A node that is not here is not understood.
 */
/* clang-format off */
static const struct node_row {
    const char *name;
    const char *fields;
} rows[] = {
    {"AGGREF", " aggfnoid=f aggtype=t aggcollid inputcollid aggtranstype=t aggargtypes=t aggdirectargs args aggorder "
               "aggdistinct aggfilter aggstar aggvariadic aggkind aggpresorted agglevelsup aggsplit aggno aggtransno location "},
    {"ALIAS", " aliasname colnames "},
    {"ARRAY", " array_typeid=t array_collid element_typeid=t elements multidims location "},
    {"ARRAYCOERCEEXPR", " arg elemexpr resulttype=t resulttypmod resultcollid coerceformat location "},
    {"ARRAYEXPR", " array_typeid=t array_collid element_typeid=t elements multidims list_start list_end location "},
    {"BOOLEANTEST", " arg booltesttype location "},
    {"BOOLEXPR", " boolop args location "},
    {"CASE", " casetype=t casecollid arg args defresult location "},
    {"CASEEXPR", " casetype=t casecollid arg args defresult location "},
    {"CASETESTEXPR", " typeId=t typeMod collation "},
    {"CASEWHEN", " expr result location "},
    {"COALESCE", " coalescetype=t coalescecollid args location "},
    {"COALESCEEXPR", " coalescetype=t coalescecollid args location "},
    {"COERCEVIAIO", " arg resulttype=c resultcollid coerceformat location "},
    {"COLLATE", " arg collOid location "},
    {"COLLATEEXPR", " arg collOid location "},
    {"COMMONTABLEEXPR", " ctename aliascolnames ctematerialized ctequery search_clause cycle_clause location cterecursive "
                        "cterefcount ctecolnames ctecoltypes=t ctecoltypmods ctecolcollations "},
    {"CONST", " consttype=t consttypmod constcollid constlen constbyval constisnull location constvalue "},
    {"DISTINCTEXPR", " opno=o opfuncid=f opresulttype=t opretset opcollid inputcollid args location "},
    {"FROMEXPR", " fromlist quals "},
    {"FUNCEXPR", " funcid=f funcresulttype=t funcretset funcvariadic funcformat funccollid inputcollid args location "},
    {"GROUPINGFUNC", " args refs cols agglevelsup location "},
    {"GROUPINGSET", " kind content location "},
    {"JOINEXPR", " jointype isNatural larg rarg usingClause join_using_alias quals alias rtindex "},
    {"MINMAX", " minmaxtype=t minmaxcollid inputcollid op args location "},
    {"MINMAXEXPR", " minmaxtype=t minmaxcollid inputcollid op args location "},
    {"NAMEDARGEXPR", " arg name argnumber location "},
    {"NULLIFEXPR", " opno=o opfuncid=f opresulttype=t opretset opcollid inputcollid args location "},
    {"NULLTEST", " arg nulltesttype argisrow location "},
    {"OPEXPR", " opno=o opfuncid=f opresulttype=t opretset opcollid inputcollid args location "},
    {"PARAM", " paramkind paramid paramtype=t paramtypmod paramcollid location "},
    {"QUERY", " commandType=1 querySource canSetTag utilityStmt resultRelation hasAggs hasWindowFuncs hasTargetSRFs "
              "hasSubLinks hasDistinctOn hasRecursive hasModifyingCTE hasForUpdate hasRowSecurity hasGroupRTE isReturn "
              "cteList rtable rteperminfos jointree mergeActionList mergeTargetRelation mergeResultRelation "
              "mergeJoinCondition mergeUseOuterJoin targetList override onConflict returningOldAlias returningNewAlias "
              "returningList groupClause groupDistinct groupingSets havingQual windowClause distinctClause sortClause "
              "limitOffset limitCount limitOption rowMarks setOperations constraintDeps withCheckOptions stmt_location "
              "stmt_len "},
    {"RANGETBLENTRY", " alias eref rtekind relid=r inh relkind rellockmode perminfoindex tablesample lateral inFromCl "
                      "requiredPerms checkAsUser selectedCols insertedCols updatedCols extraUpdatedCols securityQuals "
                      "subquery security_barrier groupexprs ctename ctelevelsup self_reference coltypes=t coltypmods "
                      "colcollations jointype joinmergedcols joinaliasvars joinleftcols joinrightcols join_using_alias "
                      "functions funcordinality values_lists "},
    {"RANGETBLFUNCTION", " funcexpr funccolcount funccolnames funccoltypes=t funccoltypmods funccolcollations funcparams "},
    {"RANGETBLREF", " rtindex "},
    {"RELABELTYPE", " arg resulttype=t resulttypmod resultcollid relabelformat location "},
    {"ROW", " args row_typeid=t row_format colnames location "},
    {"ROWCOMPARE", " rctype opnos=o opfamilies inputcollids largs rargs "},
    {"ROWCOMPAREEXPR", " rctype cmptype opnos=o opfamilies inputcollids largs rargs "},
    {"ROWEXPR", " args row_typeid=t row_format colnames location "},
    {"ROWMARKCLAUSE", " rti strength waitPolicy pushedDown "},
    {"RTE", " alias eref rtekind relid=r relkind rellockmode tablesample subquery security_barrier jointype joinmergedcols "
            "joinaliasvars joinleftcols joinrightcols join_using_alias functions funcordinality values_lists ctename "
            "ctelevelsup self_reference coltypes=t coltypmods colcollations lateral inh inFromCl requiredPerms checkAsUser "
            "selectedCols insertedCols updatedCols extraUpdatedCols securityQuals "},
    {"RTEPERMISSIONINFO", " relid=r inh requiredPerms checkAsUser selectedCols insertedCols updatedCols "},
    {"SCALARARRAYOPEXPR", " opno=o opfuncid=f hashfuncid=f negfuncid=f useOr inputcollid args location "},
    {"SETOPERATIONSTMT", " op all larg rarg colTypes=t colTypmods colCollations groupClauses "},
    {"SORTGROUPCLAUSE", " tleSortGroupRef eqop=o sortop=o reverse_sort nulls_first hashable "},
    {"SQLVALUEFUNCTION", " op=v type=t typmod location "},
    {"SUBLINK", " subLinkType subLinkId testexpr operName subselect location "},
    {"SUBSCRIPTINGREF", " refcontainertype=t refelemtype=t refrestype=t reftypmod refcollid refupperindexpr "
                        "reflowerindexpr refexpr refassgnexpr "},
    {"TARGETENTRY", " expr resno resname ressortgroupref resorigtbl resorigcol resjunk "},
    {"VAR", " varno varattno=a vartype=t vartypmod varcollid varnullingrels varlevelsup varreturningtype varnosyn "
            "varattnosyn varnoold varoattno location "},
    {"WHEN", " expr result location "},
    {"WINDOWCLAUSE", " name refname partitionClause orderClause frameOptions startOffset endOffset runCondition "
                     "startInRangeFunc=f endInRangeFunc=f inRangeColl inRangeAsc inRangeNullsFirst winref copiedOrder "},
    {"WINDOWFUNC", " winfnoid=f wintype=t wincollid inputcollid args aggfilter runCondition winref winstar winagg location "},
};
/* clang-format on */

enum token_kind { TOKEN_END, TOKEN_OPEN, TOKEN_CLOSE, TOKEN_LIST, TOKEN_LIST_END, TOKEN_ATOM };

struct token {
    enum token_kind kind;
    struct slice text;
};

/* What a call of current_setting still lacks. */
enum wanted { WANTED_NOTHING, WANTED_SETTING };

struct frame {
    const struct node_row *row;
    char meaning;      /* of the field at hand; 0 before the first */
    bool has_value;    /* of the field at hand */
    unsigned lists;    /* open in the field at hand */
    bool is_text;      /* a CONST of type text */
    enum wanted wants; /* a FUNCEXPR */
};

struct reader {
    struct node_tree *tree;
    const uint8_t *at, *end;
    size_t depth;
    unsigned outer_lists; /* around the outermost nodes */
    struct frame frames[DEPTH_MAX];
};

static bool fail(struct reader *r, const char *what, struct slice text)
{
    if (r->tree->unknown[0] == '\0')
        snprintf(r->tree->unknown, sizeof(r->tree->unknown), "%s%.*s", what,
                 (int)(text.len < 40 ? text.len : 40), text.len > 0 ? (const char *)text.data : "");
    return false;
}

/* --- tokens --- */

static bool is_blank(uint8_t c)
{
    return c == ' ' || c == '\n' || c == '\t';
}

static bool is_bracket(uint8_t c)
{
    return c == '(' || c == ')' || c == '{' || c == '}';
}

/* As pg_strtok of PostgreSQL's read.c: a backslash takes what follows for an ordinary byte. */
static struct token next_token(struct reader *r)
{
    static const enum token_kind kinds[] = {
        ['('] = TOKEN_LIST, [')'] = TOKEN_LIST_END, ['{'] = TOKEN_OPEN, ['}'] = TOKEN_CLOSE};
    while (r->at < r->end && is_blank(*r->at))
        r->at++;
    if (r->at == r->end)
        return (struct token){TOKEN_END, SLICE_EMPTY};
    const uint8_t *start = r->at;
    if (is_bracket(*start)) {
        r->at++;
        return (struct token){kinds[*start], slice_make(start, 1)};
    }
    while (r->at < r->end && !is_blank(*r->at) && !is_bracket(*r->at))
        r->at += *r->at == '\\' && r->end - r->at > 1 ? 2 : 1;
    return (struct token){TOKEN_ATOM, slice_make(start, (size_t)(r->at - start))};
}

static bool read_number(struct slice text, long *number)
{
    bool is_negative = text.len > 0 && text.data[0] == '-';
    long value = 0;
    if (text.len == (size_t)is_negative || text.len > 11)
        return false;
    for (size_t i = is_negative; i < text.len; i++) {
        if (text.data[i] < '0' || text.data[i] > '9')
            return false;
        value = value * 10 + (text.data[i] - '0');
    }
    *number = is_negative ? -value : value;
    return true;
}

/* --- what was found --- */

static void add(struct node_tree *tree, enum node_list list, uint32_t oid)
{
    if (!node_tree_has(tree, list, oid))
        buf_append(&tree->oids[list], &oid, sizeof(oid));
}

static bool is_current_setting(uint32_t function)
{
    return function == 2077 || function == 3294;
}

/* A number, or a list of numbers with a letter in front that says what they are. */
static bool take_number(struct reader *r, struct frame *f, struct slice text)
{
    static const struct {
        char meaning;
        enum node_list list;
    } lists[] = {{'f', NODE_FUNCTIONS}, {'o', NODE_OPERATORS}, {'t', NODE_TYPES},
                 {'r', NODE_RELATIONS}, {'v', NODE_VALUES},    {'c', NODE_CASTS}};
    long number;
    bool is_letter = f->lists > 0 && text.len == 1 && (text.data[0] == 'o' || text.data[0] == 'i');
    if (is_letter || slice_equal_str(text, "<>"))
        return true;
    if (!read_number(text, &number) || (number < 0 && f->meaning != 'a') || number > UINT32_MAX)
        return fail(r, "no number: ", text);
    if (f->meaning == 'a') {
        r->tree->has_system_column |= number < 0;
        return true;
    }
    if (f->meaning == '1')
        return number == 1 || fail(r, "not a SELECT", SLICE_EMPTY);
    for (size_t i = 0; i < sizeof(lists) / sizeof(lists[0]); i++)
        if (lists[i].meaning == f->meaning && (number != 0 || f->meaning == 'v'))
            add(r->tree, lists[i].list, (uint32_t)number);
    if (f->meaning == 'c')
        add(r->tree, NODE_TYPES, (uint32_t)number);
    if (f->meaning == 'f' && is_current_setting((uint32_t)number))
        f->wants = WANTED_SETTING;
    f->is_text = f->meaning == 't' && number == TEXT_TYPE;
    return true;
}

static bool is_name_byte(long c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
           c == '.' || c == '$';
}

/* A text as it is in memory: its length, header included, in four bytes of the server's order; then the
 * bytes. */
static bool take_setting(struct reader *r, const long *bytes, size_t count)
{
    char name[SETTING_MAX + 1];
    size_t len = count - TEXT_HEADER;
    uint32_t little =
        (uint32_t)(bytes[0] & 255) | (uint32_t)(bytes[1] & 255) << 8 | (uint32_t)(bytes[2] & 255) << 16;
    uint32_t big =
        (uint32_t)(bytes[3] & 255) | (uint32_t)(bytes[2] & 255) << 8 | (uint32_t)(bytes[1] & 255) << 16;
    if (little != count << 2 && big != count)
        return fail(r, "current_setting", SLICE_EMPTY);
    for (size_t i = 0; i < len; i++) {
        long c = bytes[TEXT_HEADER + i];
        if (!is_name_byte(c))
            return fail(r, "current_setting", SLICE_EMPTY);
        name[i] = (char)(c >= 'A' && c <= 'Z' ? c + 32 : c);
    }
    name[len] = '\0';
    buf_append(&r->tree->settings, name, len + 1);
    return true;
}

/* The bytes of a constant, after its "[". They matter only as the name given to current_setting. */
static bool take_bytes(struct reader *r)
{
    struct frame *constant = &r->frames[r->depth - 1];
    struct frame *call = r->depth > 1 ? &r->frames[r->depth - 2] : NULL;
    bool is_name = constant->is_text && call != NULL && call->wants == WANTED_SETTING;
    long bytes[TEXT_HEADER + SETTING_MAX], number;
    size_t count = 0;
    for (struct token t = next_token(r);; t = next_token(r)) {
        if (t.kind != TOKEN_ATOM)
            return fail(r, "constant", SLICE_EMPTY);
        if (slice_equal_str(t.text, "]"))
            break;
        if (!read_number(t.text, &number))
            return fail(r, "constant", SLICE_EMPTY);
        if (count < sizeof(bytes) / sizeof(bytes[0]))
            bytes[count] = number;
        count++;
    }
    if (!is_name)
        return true;
    call->wants = WANTED_NOTHING;
    if (count <= TEXT_HEADER || count > sizeof(bytes) / sizeof(bytes[0]))
        return fail(r, "current_setting", SLICE_EMPTY);
    return take_setting(r, bytes, count);
}

/* --- nodes --- */

static const struct node_row *find_row(struct slice name)
{
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        if (slice_equal_str(name, rows[i].name))
            return &rows[i];
    return NULL;
}

/* The letter of a field; ' ' for none; 0 when there is no such field. */
static char find_meaning(const struct node_row *row, struct slice field)
{
    for (const char *at = row->fields; *at != '\0';) {
        at++; /* the blank */
        size_t len = strcspn(at, " =");
        if (len == field.len && len > 0 && memcmp(at, field.data, len) == 0)
            return at[len] == '=' ? at[len + 1] : ' ';
        at += strcspn(at, " ");
    }
    return 0;
}

static bool open_node(struct reader *r)
{
    struct token name = next_token(r);
    if (name.kind != TOKEN_ATOM)
        return fail(r, "no node", SLICE_EMPTY);
    const struct node_row *row = find_row(name.text);
    if (row == NULL)
        return fail(r, "node ", name.text);
    if (r->depth == DEPTH_MAX)
        return fail(r, "too deep", SLICE_EMPTY);
    r->frames[r->depth++] = (struct frame){.row = row, .has_value = true};
    r->tree->has_row_lock |= strcmp(row->name, "ROWMARKCLAUSE") == 0;
    return true;
}

static bool close_node(struct reader *r)
{
    if (r->depth == 0 || r->frames[r->depth - 1].lists > 0 || !r->frames[r->depth - 1].has_value)
        return fail(r, "unbalanced", SLICE_EMPTY);
    if (r->frames[r->depth - 1].wants == WANTED_SETTING)
        return fail(r, "current_setting", SLICE_EMPTY);
    r->depth--;
    return true;
}

static bool take_field(struct reader *r, struct frame *f, struct slice text)
{
    struct slice name = text.data[0] == ':' ? slice_from(text, 1) : SLICE_EMPTY;
    f->meaning = find_meaning(f->row, name);
    if (f->meaning == 0) {
        char what[48];
        snprintf(what, sizeof(what), "field of %s ", f->row->name);
        return fail(r, what, text);
    }
    f->has_value = false;
    return true;
}

static bool take_atom(struct reader *r, struct slice text)
{
    if (r->depth == 0) /* an empty list, say */
        return slice_equal_str(text, "<>") || fail(r, "no node: ", text);
    struct frame *f = &r->frames[r->depth - 1];
    if (f->lists == 0 && f->has_value) {
        if (slice_equal_str(text, "[") && strcmp(f->row->name, "CONST") == 0)
            return take_bytes(r);
        return take_field(r, f, text);
    }
    f->has_value = true;
    return f->meaning == ' ' || take_number(r, f, text);
}

static bool take_list(struct reader *r, bool is_end)
{
    struct frame *f = r->depth > 0 ? &r->frames[r->depth - 1] : NULL;
    unsigned *lists = f != NULL ? &f->lists : &r->outer_lists;
    if (is_end ? *lists == 0 : (f != NULL && *lists == 0 && f->has_value))
        return fail(r, "unbalanced", SLICE_EMPTY);
    if (f != NULL)
        f->has_value = true;
    *lists += is_end ? -1u : 1u;
    return true;
}

/* A node is the value of a field, or an item of a list. */
static bool take_node(struct reader *r)
{
    struct frame *f = r->depth > 0 ? &r->frames[r->depth - 1] : NULL;
    if (f != NULL && f->lists == 0 && f->has_value)
        return fail(r, "unbalanced", SLICE_EMPTY);
    if (f != NULL && f->meaning != ' ')
        return fail(r, "a node where a number should be", SLICE_EMPTY);
    if (f != NULL)
        f->has_value = true;
    return open_node(r);
}

bool node_tree_read(struct node_tree *tree, struct slice text)
{
    struct reader r = {.tree = tree, .at = text.data, .end = text.data + text.len};
    bool is_good = tree->unknown[0] == '\0';
    for (struct token t = next_token(&r); is_good && t.kind != TOKEN_END; t = next_token(&r)) {
        switch (t.kind) {
        case TOKEN_OPEN:
            is_good = take_node(&r);
            break;
        case TOKEN_CLOSE:
            is_good = close_node(&r);
            break;
        case TOKEN_LIST:
        case TOKEN_LIST_END:
            is_good = take_list(&r, t.kind == TOKEN_LIST_END);
            break;
        default:
            is_good = take_atom(&r, t.text);
        }
    }
    if (is_good && (r.depth > 0 || r.outer_lists > 0))
        is_good = fail(&r, "cut off", SLICE_EMPTY);
    bool has_failed = buf_failed(&tree->settings);
    for (int i = 0; i < NODE_LIST_COUNT; i++)
        has_failed |= buf_failed(&tree->oids[i]);
    return has_failed ? fail(&r, "out of memory", SLICE_EMPTY) : is_good;
}

void node_tree_free(struct node_tree *tree)
{
    for (int i = 0; i < NODE_LIST_COUNT; i++)
        buf_free(&tree->oids[i]);
    buf_free(&tree->settings);
    *tree = (struct node_tree){.has_system_column = false};
}

size_t node_tree_count(const struct node_tree *tree, enum node_list list)
{
    return tree->oids[list].len / sizeof(uint32_t);
}

uint32_t node_tree_at(const struct node_tree *tree, enum node_list list, size_t index)
{
    uint32_t oid;
    memcpy(&oid, tree->oids[list].data + index * sizeof(oid), sizeof(oid));
    return oid;
}

bool node_tree_has(const struct node_tree *tree, enum node_list list, uint32_t oid)
{
    for (size_t i = 0; i < node_tree_count(tree, list); i++)
        if (node_tree_at(tree, list, i) == oid)
            return true;
    return false;
}
