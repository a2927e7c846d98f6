// dns/answer.c and dns/route.c: whatever name servers send, there is a verdict, of hosts that can
// be connected to. The input: whether DNS decides, then packets, each behind its length in two
// octets and its security in one; when they are used up, nobody answers.
#include "base/limits.h"
#include "dns/route.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct dns_reply take_reply(struct str *in)
{
    if (in->len < 3)
        return (struct dns_reply){.trouble = "silence"};
    size_t len = (size_t)str_take_le(in, 2);
    unsigned security = (unsigned)str_take_le(in, 1) % 3;
    struct dns_reply reply = {.packet = str_sub(*in, 0, len),
                              .security = (enum dns_security)security};
    *in = str_skip(*in, len);
    return reply;
}

static void check(const struct route *r)
{
    must(r->verdict != ROUTE_PENDING && r->open == 0);
    must((r->verdict == ROUTE_HOSTS) == (r->host_count > 0));
    if (r->verdict != ROUTE_HOSTS) {
        must(r->err.text[0] != '\0' && r->err.code / 100 == r->err.status.class);
        must((r->verdict == ROUTE_DEFER) == (r->err.class == ERR_TRY_LATER));
        return;
    }
    must(r->host_count <= LIMIT_mx_hosts);
    for (size_t i = 0; i < r->host_count; i++) {
        const struct route_host *host = &r->hosts[i];
        must(dns_is_host(host->name) && host->count > 0);
        must(i == 0 || r->hosts[i - 1].preference <= host->preference);
        must(!str_eq(host->name, STR("mail.example.test")) || r->port);
        for (size_t k = 0; k < host->count; k++)
            must(host->addresses[k].port != 0 &&
                 (host->addresses[k].family == 4 || host->addresses[k].family == 6));
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct str in = str_from(data, size);
    const struct route_own own = {.hostname = STR("mail.example.test")};
    struct arena arena;
    struct route route;
    struct route_step *step;
    if (size == 0)
        return 0;
    arena_init(&arena, LIMIT_route_memory);
    route_init(&route, &arena, &own, size);
    if (str_take_le(&in, 1) % 2)
        route_to_host(&route, STR("a.example"), 2626);
    else
        route_to_domain(&route, STR("a.example"));
    while ((step = route_next(&route))) {
        const struct dns_reply reply = take_reply(&in);
        route_answer(&route, step, &reply);
    }
    check(&route);
    arena_finish(&arena);
    return 0;
}
