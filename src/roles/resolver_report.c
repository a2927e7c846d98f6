#include "roles/resolver.h"

#include "base/json.h"
#include "base/limits.h"

static void put_text(struct json *j, const char *name, struct str value)
{
    json_name(j, name);
    json_put_string(j, value);
}

static void put_number(struct json *j, const char *name, uint64_t value)
{
    json_name(j, name);
    json_put_int(j, (int64_t)value);
}

static void put_hosts(struct json *j, const struct job *job)
{
    const struct route *r = &job->route;
    struct buf text;
    buf_init(&text, LIMIT_domain);
    put_text(j, "protocol", job->lmtp ? STR("lmtp") : STR("smtp"));
    json_name(j, "hosts");
    json_open_array(j);
    for (size_t i = 0; i < r->host_count; i++) {
        const struct route_host *host = &r->hosts[i];
        json_open_object(j);
        put_text(j, "name", host->name);
        put_number(j, "preference", host->preference);
        json_name(j, "secure");
        json_put_bool(j, host->secure);
        json_name(j, "addresses");
        json_open_array(j);
        for (size_t k = 0; k < host->count; k++) {
            buf_clear(&text);
            net_put_address(&text, &host->addresses[k]);
            json_put_string(j, buf_str(&text));
        }
        json_close_array(j);
        json_close_object(j);
    }
    json_close_array(j);
    buf_finish(&text);
}

static void put_verdict(struct json *j, const struct job *job)
{
    const struct err *err = &job->route.err;
    struct buf status;
    if (job->route.verdict == ROUTE_HOSTS) {
        put_text(j, "verdict", STR("way"));
        put_hosts(j, job);
        return;
    }
    buf_init(&status, 32);
    buf_putf(&status, "%u.%u.%u", err->status.class, err->status.subject, err->status.detail);
    put_text(j, "verdict", job->route.verdict == ROUTE_DEFER ? STR("later") : STR("refused"));
    put_number(j, "code", (uint64_t)err->code);
    put_text(j, "status", buf_str(&status));
    put_text(j, "text", err_text(err));
    buf_finish(&status);
}

static void put_record(struct json *j, enum dns_type type, const struct dns_record *record)
{
    struct buf text;
    buf_init(&text, LIMIT_message);
    if (type == DNS_MX)
        buf_putf(&text, "%u %.*s.", record->preference, STR_ARG(record->name));
    else
        net_put_ip(&text, &record->address);
    json_put_string(j, buf_str(&text));
    buf_finish(&text);
}

static void put_answer(struct json *j, const struct route_step *step)
{
    const struct dns_answer *answer = &step->answer;
    json_open_object(j);
    put_text(j, "name", step->name);
    put_text(j, "type", str_of(dns_type_name(step->type)));
    put_text(j, "outcome", str_of(dns_outcome_name(answer->outcome)));
    if (answer->outcome == DNS_TROUBLE)
        put_text(j, "trouble", answer->trouble);
    put_text(j, "security", str_of(dns_security_name(answer->security)));
    put_number(j, "ttl", answer->ttl);
    json_name(j, "aliases");
    json_open_array(j);
    for (size_t i = 0; i < answer->alias_count; i++)
        json_put_string(j, answer->aliases[i]);
    json_close_array(j);
    json_name(j, "records");
    json_open_array(j);
    for (size_t i = 0; i < answer->count; i++)
        put_record(j, step->type, &answer->records[i]);
    json_close_array(j);
    json_close_object(j);
}

void report_put(struct buf *out, const struct job *job)
{
    struct json j;
    json_begin(&j, out);
    json_open_object(&j);
    put_text(&j, "domain", job->domain);
    put_text(&j, "rule", job->rule ? job->rule->domain : STR("dns"));
    put_verdict(&j, job);
    put_number(&j, "ttl", job->route.ttl);
    json_name(&j, "answers");
    json_open_array(&j);
    LIST_EACH((struct link *)(uintptr_t)&job->route.steps, at, after)
    {
        put_answer(&j, CONTAINER_OF(at, struct route_step, link));
    }
    json_close_array(&j);
    json_close_object(&j);
    buf_put_byte(out, '\n');
}
