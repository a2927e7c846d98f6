#include "ctl/find.h"

#include "base/nearest.h"

const struct command_row *find_row(struct str group, struct str name)
{
    size_t count;
    const struct command_row *rows = command_rows(&count);
    for (size_t i = 0; i < count; i++)
        if (str_eq(str_of(rows[i].group), group) &&
            (!rows[i].name[0] || str_eq(str_of(rows[i].name), name)))
            return &rows[i];
    return NULL;
}

int find_fail(const struct command *c, struct str group, struct str name)
{
    size_t count;
    const struct command_row *rows = command_rows(&count);
    struct nearest groups, names;
    bool known = false;
    nearest_init(&groups, group);
    nearest_init(&names, name);
    for (size_t i = 0; i < count; i++) {
        known |= str_eq(str_of(rows[i].group), group);
        nearest_offer(&groups, str_of(rows[i].group));
        if (str_eq(str_of(rows[i].group), group))
            nearest_offer(&names, str_of(rows[i].name));
    }
    if (known && names.best.len)
        return command_usage(c, "there is no command \"%.*s %.*s\", did you mean \"%.*s %.*s\"?",
                             STR_ARG(group), STR_ARG(name), STR_ARG(group), STR_ARG(names.best));
    if (known)
        return command_usage(c, "there is no command \"%.*s %.*s\"; posthouse help %.*s lists them",
                             STR_ARG(group), STR_ARG(name), STR_ARG(group));
    if (groups.best.len)
        return command_usage(c, "there is no command \"%.*s\", did you mean \"%.*s\"?",
                             STR_ARG(group), STR_ARG(groups.best));
    return command_usage(c, "there is no command \"%.*s\"; posthouse help lists them",
                         STR_ARG(group));
}
