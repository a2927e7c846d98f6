// struct conf, made from options.def and the records. Included by conf.h only, after the types of
// the records.
#ifndef CONF_CONF_STRUCT_H
#define CONF_CONF_STRUCT_H

#include "os/net.h"

struct conf_networks {
    struct conf_network *items;
    size_t count;
};

#define CONF_C_NAME struct str
#define CONF_C_PATH struct str
#define CONF_C_TEXT struct str
#define CONF_C_SIZE uint64_t
#define CONF_C_TIME uint64_t
#define CONF_C_COUNT uint64_t
#define CONF_C_CLOCK uint64_t
#define CONF_C_FLAG bool
#define CONF_C_CHOICE unsigned
#define CONF_C_SERVER struct str
#define CONF_C_NETWORKS struct conf_networks

#define CONF_IN_top_top(type, name) CONF_C_##type name;
#define CONF_IN_top_limits(type, name)
#define CONF_IN_top_dns(type, name)
#define CONF_IN_limits_top(type, name)
#define CONF_IN_limits_limits(type, name) CONF_C_##type name;
#define CONF_IN_limits_dns(type, name)
#define CONF_IN_dns_top(type, name)
#define CONF_IN_dns_limits(type, name)
#define CONF_IN_dns_dns(type, name) CONF_C_##type name;

struct conf {
#define OPTION(group, name, type, ...) CONF_IN_top_##group(type, name)
#include "conf/options.def"
#undef OPTION
    struct {
#define OPTION(group, name, type, ...) CONF_IN_limits_##group(type, name)
#include "conf/options.def"
#undef OPTION
    } limits;
    struct {
#define OPTION(group, name, type, ...) CONF_IN_dns_##group(type, name)
#include "conf/options.def"
#undef OPTION
    } dns;
    struct conf_listen *listen;
    size_t listen_count;
    struct route_rule *routes;
    struct conf_place *route_places; // of each route
    size_t route_count;
    struct str *sources; // the files it was read from, the main one first
    size_t source_count;
    struct conf_place *places; // of each option, by its number in options.def
};

#endif
