// The role resolver: where does mail for a domain go? By the route table of the configuration, else
// by DNS. It is the one process that reads what name servers send; it sees domains and no mail, and
// its word decides no more than where a letter is carried.
#include "roles/resolver.h"

#include "base/limits.h"
#include "ipc/targets.h"
#include "ipc/verdicts.h"
#include "mail/domain.h"
#include "os/random.h"

enum { OWN_MAX = 1024, STATUS_TEXT = 32 };

struct resolver {
    struct resolve *resolve;
    struct arena process;
    struct route_own own;
    struct link jobs;
    bool draining;
};

// ---- one job

static void answer_peer(const struct job *job)
{
    static const enum routed_verdict verdicts[] = {
        [ROUTE_HOSTS] = ROUTED_WAYS, [ROUTE_DEFER] = ROUTED_LATER, [ROUTE_REFUSE] = ROUTED_REFUSED};
    const struct route *r = &job->route;
    struct msg m = {.type = MSG_routed, .slot = job->slot};
    struct buf ways, status;
    buf_init(&ways, LIMIT_message - 4096);
    buf_init(&status, STATUS_TEXT);
    for (size_t i = 0; i < r->host_count; i++) {
        const struct route_host *host = &r->hosts[i];
        struct routed_way way = {host->name, {0}, host->preference, host->secure};
        if (host->count == 0)
            ways_put(&ways, &way);
        for (size_t k = 0; k < host->count && k < LIMIT_host_addresses; k++) {
            way.address = host->addresses[k];
            ways_put(&ways, &way);
        }
    }
    must(buf_ok(&ways));
    m.routed.verdict = (uint8_t)verdicts[r->verdict];
    m.routed.lmtp = job->lmtp;
    m.routed.ways = buf_str(&ways);
    m.routed.ttl = r->ttl;
    if (r->verdict != ROUTE_HOSTS) {
        buf_putf(&status, "%u.%u.%u", r->err.status.class, r->err.status.subject,
                 r->err.status.detail);
        m.routed.code = (uint32_t)r->err.code;
        m.routed.status = buf_str(&status);
        m.routed.reason = err_text(&r->err);
    }
    ipc_send(job->channel, &m);
    buf_finish(&ways);
    buf_finish(&status);
}

static void answer_administrator(const struct job *job)
{
    struct buf body;
    buf_init(&body, LIMIT_control_reply);
    report_put(&body, job);
    role_answer(job->question, true, &body);
    buf_finish(&body);
}

static void end(struct job *job)
{
    struct resolver *d = job->role->state;
    if (job->question)
        answer_administrator(job);
    else if (job->channel)
        answer_peer(job);
    loop_cancel_hook(&job->next); // set again by answers that came within the asking
    list_remove(&job->link);
    if (d->draining && list_empty(&d->jobs))
        role_drained(job->role);
    arena_finish(&job->arena);
    free(job);
}

// A question of a job to DNS; it lives in the job's arena.
struct asked {
    struct resolve_question question;
    struct job *job;
    struct route_step *step;
};

static void answered(struct resolve_question *question, const struct dns_reply *reply)
{
    struct asked *asked = CONTAINER_OF(question, struct asked, question);
    route_answer(&asked->job->route, asked->step, reply);
    loop_at_turn_end(asked->job->role->loop, &asked->job->next);
}

static void ask(struct job *job, struct route_step *step)
{
    struct resolver *d = job->role->state;
    struct asked *asked = ARENA_NEW(&job->arena, struct asked);
    if (!asked) {
        route_answer(&job->route, step,
                     &(struct dns_reply){.trouble = "no memory for one more question"});
        return;
    }
    asked->job = job;
    asked->step = step;
    asked->question.name = step->name;
    asked->question.type = step->type;
    asked->question.answered = answered;
    resolve_ask(d->resolve, &asked->question);
}

static void go_on(struct turn_hook *hook)
{
    struct job *job = CONTAINER_OF(hook, struct job, next);
    struct route_step *step;
    while ((step = route_next(&job->route)))
        ask(job, step);
    if (job->route.open == 0)
        end(job);
}

static void begin_by_table(struct job *job)
{
    struct route_target target;
    struct err err;
    must(route_target_read(job->rule->to, &job->arena, &target, &err)); // conf has read it before
    job->lmtp = target.kind == ROUTE_TO_LMTP || target.kind == ROUTE_TO_LMTP_PATH;
    switch (target.kind) {
    case ROUTE_TO_SMTP:
    case ROUTE_TO_LMTP:
        route_to_host(&job->route, target.host, target.port);
        break;
    case ROUTE_TO_LMTP_PATH:
        route_to_path(&job->route, target.text);
        break;
    case ROUTE_TO_ERROR:
        route_refuse(&job->route, target.text);
        break;
    }
}

static struct job *new_job(struct role *role)
{
    struct resolver *d = role->state;
    struct job *job = calloc(1, sizeof *job);
    must(job != NULL);
    job->role = role;
    job->next.run = go_on;
    arena_init(&job->arena, LIMIT_route_memory);
    list_append(&d->jobs, &job->link);
    route_init(&job->route, &job->arena, &d->own, os_random_u64());
    return job;
}

// Both are folded.
static void begin(struct job *job, struct str domain, struct str sender)
{
    const struct conf *conf = job->role->conf;
    must(arena_copy(&job->arena, domain, &job->domain));
    job->rule = route_table_find(conf->routes, conf->route_count, domain, sender);
    if (job->rule)
        begin_by_table(job);
    else
        route_to_domain(&job->route, domain);
    loop_at_turn_end(job->role->loop, &job->next);
}

// ---- who asks

static void on_route(struct ipc_channel *channel, struct msg *m, void *owner)
{
    struct job *job = new_job(ipc_context(channel));
    (void)owner;
    job->channel = channel;
    job->slot = m->slot;
    begin(job, m->route.domain, m->route.sender);
}

static void closed(struct ipc_channel *channel, const char *why)
{
    struct role *role = ipc_context(channel);
    struct resolver *d = role->state;
    (void)why;
    LIST_EACH(&d->jobs, at, after)
    {
        struct job *job = CONTAINER_OF(at, struct job, link);
        if (job->channel == channel)
            job->channel = NULL;
    }
}

static void refuse_question(struct question *question, const char *why)
{
    struct buf body;
    buf_init(&body, LIMIT_control_reply);
    buf_putf(&body, "%s\n", why);
    role_answer(question, false, &body);
    buf_finish(&body);
}

// route DOMAIN [SENDER'S DOMAIN]
static void ask_route(struct role *role, struct str what, struct str argument,
                      struct question *question)
{
    struct str domain = STR(""), sender = STR("");
    struct arena turn;
    struct err err;
    if (!str_eq(what, STR("route"))) {
        refuse_question(question, "the resolver knows no such question");
        return;
    }
    (void)str_cut(&argument, ' ', &domain);
    arena_init(&turn, 4 * DOMAIN_ROOM);
    if (domain_read_host(domain, &turn, &domain, &err) &&
        (argument.len == 0 || domain_read_host(argument, &turn, &sender, &err))) {
        struct job *job = new_job(role);
        job->question = question;
        begin(job, domain, sender);
    } else {
        refuse_question(question, err.text);
    }
    arena_finish(&turn);
}

// ---- the role

// Where we listen for SMTP; "all addresses" are those that the host has now.
static void find_own_addresses(struct role *role)
{
    static const uint8_t any[16] = {0};
    struct resolver *d = role->state;
    struct net_address *own = arena_alloc_array(&d->process, OWN_MAX, sizeof *own);
    must(own != NULL);
    d->own.addresses = own;
    for (size_t i = 0; i < role->conf->listen_count; i++) {
        const struct conf_listen *listen = &role->conf->listen[i];
        struct net_address *to = own + d->own.count;
        size_t room = OWN_MAX - d->own.count, count = 1;
        if (listen->protocol != CONF_SMTP || room == 0)
            continue;
        if (memcmp(listen->address.bytes, any, sizeof any) == 0)
            count = net_own_addresses(to, room);
        else
            *to = listen->address;
        for (size_t k = 0; k < count; k++)
            to[k].port = listen->address.port;
        d->own.count += count;
    }
}

static bool prepare(struct role *role, struct err *err)
{
    struct resolver *d = calloc(1, sizeof *d);
    must(d != NULL);
    role->state = d;
    list_init(&d->jobs);
    arena_init(&d->process, LIMIT_session_memory);
    if (!domain_read(role->conf->hostname, &d->process, &d->own.hostname, err))
        return false;
    find_own_addresses(role);
    return resolve_open(&d->resolve, role->loop,
                        &(struct resolve_options){.server = role->conf->dns.server,
                                                  .trust_anchor = role->conf->dns.trust_anchor,
                                                  .timeout_ms = role->conf->dns.timeout},
                        err);
}

static void drain(struct role *role, uint64_t milliseconds)
{
    struct resolver *d = role->state;
    (void)milliseconds;
    d->draining = true;
    if (list_empty(&d->jobs))
        role_drained(role);
}

static const struct ipc_handlers handlers = {.on = {[MSG_route] = on_route}, .closed = closed};

static const struct role_ops ops = {
    .role = IPC_RESOLVER,
    .handlers = &handlers,
    .prepare = prepare,
    .drain = drain,
    .ask = ask_route,
};

int main(int argc, char **argv)
{
    return role_main(&ops, argc, argv);
}
