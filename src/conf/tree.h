// YAML as a tree of scalars, lists and mappings, each with its place. The only includer of libyaml.
// Less than YAML: one document, no anchors and aliases, no tags, nesting up to
// LIMIT_config_depth.
#ifndef CONF_TREE_H
#define CONF_TREE_H

#include "conf/problem.h"

enum tree_kind {
    TREE_SCALAR,
    TREE_LIST,
    TREE_MAPPING,
    TREE_BROKEN, // its problem was told already: say nothing more of it
};

struct tree_node {
    enum tree_kind kind;
    bool plain;              // a scalar without quotes
    struct str text;         // of a scalar
    struct tree_node *first; // of a list; of a mapping key, value, key, value...
    struct tree_node *next;  // in the list or mapping it stands in
    unsigned line, column;   // from 1
};

// Reads source->text. *root is NULL when the text holds nothing. False: problems were added, and
// *root is what could be read, for the problems in it: keys may be missing.
MUST_USE bool tree_read(const struct conf_source *source, struct arena *arena,
                        struct tree_node **root, struct conf_problems *problems);

#endif
