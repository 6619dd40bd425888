/* node_tree: parse trees as PostgreSQL's catalogs keep them; no input may break the reader, and what it finds
 * adds up. */
#include <stdlib.h>

#include "weir/sql/node_tree.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct node_tree tree = {.has_system_column = false};
    bool is_known = node_tree_read(&tree, slice_make(data, size));
    if (is_known != (tree.unknown[0] == '\0'))
        abort();
    size_t counts[NODE_LIST_COUNT];
    for (int i = 0; i < NODE_LIST_COUNT; i++)
        counts[i] = node_tree_count(&tree, (enum node_list)i);
    if (is_known && !node_tree_read(&tree, slice_make(data, size)))
        abort();
    for (int i = 0; i < NODE_LIST_COUNT; i++) /* each once */
        if (counts[i] != node_tree_count(&tree, (enum node_list)i))
            abort();
    node_tree_free(&tree);
    return 0;
}
