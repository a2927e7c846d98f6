// Networks of the configuration: which of them are wider than one's own hosts, and how they travel.
#ifndef CONF_NETWORKS_H
#define CONF_NETWORKS_H

#include "conf/problem.h"

// Does the network hold a whole private range, or more; or is it one of these gateways? True:
// *complaint is filled.
bool network_is_wide(const struct net_range *range, const struct net_address *gateways,
                     size_t gateway_count, struct arena *arena, struct complaint *complaint);

#endif
