// posthouse config check, show, schema, sample.
#include "ctl/command.h"

int config_check_command(struct command *c)
{
    // Whoever comes here has a configuration without a mistake.
    buf_put_escaped(&c->out, c->conf_path);
    buf_put(&c->out, STR(": good\n"));
    return EXIT_DONE;
}

int config_show_command(struct command *c)
{
    conf_show(&c->out, c->conf);
    return EXIT_DONE;
}

int config_schema_command(struct command *c)
{
    conf_schema(&c->out);
    return EXIT_DONE;
}

// Everything below the directories that dist/posthouse.service lets the server write in.
int config_sample_command(struct command *c)
{
    const struct conf_setting settings[] = {
        {STR("hostname"), STR("mail.example.com")},
        {STR("spool_dir"), STR("/var/lib/posthouse/spool")},
        {STR("state_dir"), STR("/var/lib/posthouse")},
        {STR("log_dir"), STR("/var/log/posthouse")},
        {STR("mail_dir"), STR("/var/lib/posthouse/mail")},
    };
    struct conf_sample sample = {
        .settings = settings,
        .count = ARRAY_LEN(settings),
        .listen = {[CONF_SMTP] = STR("*:25"), [CONF_POP3] = STR("127.0.0.1:110")},
    };
    conf_put_sample(&c->out, &sample);
    return EXIT_DONE;
}
