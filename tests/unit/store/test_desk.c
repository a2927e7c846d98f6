// The desk (store/desk.c): questions, filters, pages, orders. Letters of spool_box.h: from
// absender@example.org, to 收件N@例.test.
#define _GNU_SOURCE
#include "spool_box.h"

#include "store/desk.h"

static int touches;

static void touched(void *owner, struct spool_letter *letter)
{
    const struct box *b = owner;
    assert_ptr_equal(spool_find(b->spool, &letter->id), letter);
    touches++;
}

// The answer, NUL-terminated; the caller's to free. A refusal has '!' in front.
static char *ask(struct box *b, const char *what, const char *argument)
{
    struct buf out;
    struct err err;
    buf_init(&out, LIMIT_control_reply);
    struct desk *desk = desk_open(b->spool, str_of(what), str_of(argument), &err);
    if (desk) {
        desk_read(desk);
        if (desk_act(desk, touched, b))
            settle(b);
        if (!desk_answer(desk, &out))
            out.ptr[0] = '!';
    } else {
        buf_putf(&out, "!%s", err.text);
    }
    desk_close(&desk);
    buf_put_byte(&out, '\0');
    return out.ptr;
}

static void says(struct box *b, const char *what, const char *argument, const char *want)
{
    char *got = ask(b, what, argument);
    assert_string_equal(got, want);
    free(got);
}

static size_t lines_of(struct box *b, const char *argument)
{
    size_t count = 0;
    char *got = ask(b, "list", argument);
    for (const char *at = got; *at; at++)
        count += *at == '\n';
    free(got);
    return count;
}

static const char *id_text(uint64_t n)
{
    static char text[MAIL_ID_TEXT + 1];
    struct mail_id id = id_of(n);
    mail_id_text(&id, text);
    return text;
}

static const char *of(uint64_t n, const char *more)
{
    static char text[200];
    snprintf(text, sizeof text, "\tid=%s%s", id_text(n), more);
    return text;
}

#define COUNTS(letters, recipients, under_way)                                                     \
    "{\"letters\":" #letters ",\"recipients\":" #recipients ",\"under_way\":" #under_way "}\n"

static void what_is_no_question_is_refused(void **state)
{
    struct box *b = *state;
    static const struct {
        const char *what, *argument;
    } cases[] = {
        {"lst", ""},
        {"list", "1"},
        {"list", "1 4294967296"},
        {"list", "1 2 3"},
        {"list", "\t\tfrom="},
        {"list", "\tsize=1"},
        {"list", "\tid=ABCDE"},
        {"list", "\tid=ABCDEU"},
        {"list", "\tfrom=a@"},
        {"list", "\tdomain="},
        {"list", "\tto="},
        {"list", "\tbefore=x"},
        {"show", ""},
        {"show", "\tid=ABCDEF"},
        {"body", "\toffset=1"},
        {"hold", "x"},
    };
    commit(b, 1, 1, 100);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        char *got = ask(b, cases[i].what, cases[i].argument);
        if (got[0] != '!')
            fail_msg("%s %s: %s", cases[i].what, cases[i].argument, got);
        free(got);
    }
    assert_true(desk_knows(STR("drop")));
    assert_false(desk_knows(STR("status")));
}

static void filters_choose_recipients(void **state)
{
    struct box *b = *state;
    static const struct {
        const char *argument;
        size_t rows;
    } cases[] = {
        {"", 5},
        {"\tfrom=ABSENDER@Example.org", 5},
        {"\tfrom=absender@example.org", 5},
        {"\tfrom=", 0},
        {"\tto=收件1@例.test", 2},
        {"\tto=收件2@xn--fsq.test", 1},
        {"\tdomain=例.TEST", 5},
        {"\tdomain=test", 0},
        {"\tbefore=1767225600123", 0},
        {"\tbefore=1767225600124", 5},
        {"\treason=FULL", 2},
        {"\treason=full\tto=收件2@例.test", 1},
        {"\treason=fuller", 0},
    };
    struct spool_letter *one = commit(b, 1, 2, 100);
    struct spool_letter *two = commit(b, 2, 3, 100);
    spool_set_state(b->spool, one, 0, SPOOL_WAITING, 5, STR("the disk is full today"));
    spool_set_state(b->spool, two, 2, SPOOL_HELD, 5, STR("full"));
    settle(b);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        if (lines_of(b, cases[i].argument) != cases[i].rows)
            fail_msg("%s: %zu rows", cases[i].argument, lines_of(b, cases[i].argument));
    }
    assert_int_equal(lines_of(b, of(2, "")), 3);
    char beginning[20];
    snprintf(beginning, sizeof beginning, "\tid=%.10s", id_text(1)); // of both
    assert_int_equal(lines_of(b, beginning), 5);
    beginning[13] = beginning[13] == '0' ? '1' : '0';
    assert_int_equal(lines_of(b, beginning), 0);
}

static void an_order_means_states(void **state)
{
    struct box *b = *state;
    struct spool_letter *letter = commit(b, 1, 3, 100);
    commit(b, 2, 1, 100);
    touches = 0;
    says(b, "hold", of(1, "\tto=收件0@例.test"), COUNTS(1, 1, 0));
    says(b, "hold", "", COUNTS(2, 3, 0));
    says(b, "hold", "", COUNTS(0, 0, 0));
    says(b, "retry", "", COUNTS(0, 0, 0));
    says(b, "release", of(1, ""), COUNTS(1, 3, 0));
    says(b, "retry", "", COUNTS(1, 3, 0));
    says(b, "drop", of(1, "\tto=收件2@例.test"), COUNTS(1, 1, 0));
    assert_int_equal(touches, 6);
    assert_int_equal(letter->pending, 2);
    reopen(b);
    letter = find(b, 1);
    assert_int_equal(letter->recipients[0].state, SPOOL_WAITING);
    assert_int_equal(letter->recipients[2].state, SPOOL_DROPPED);
    assert_int_equal(find(b, 2)->recipients[0].state, SPOOL_HELD);
    says(b, "drop", "", COUNTS(2, 3, 0));
    says(b, "count", "", "0\n");
    says(b, "list", "", "");
    char *got = ask(b, "show", of(1, "")); // it is still known by its id, and waits no more
    assert_int_equal(got[0], '!');
    free(got);
    check_books(b);
}

static void the_reason_is_the_last_failure(void **state)
{
    struct box *b = *state;
    struct spool_letter *letter = commit(b, 1, 1, 100);
    spool_set_state(b->spool, letter, 0, SPOOL_WAITING, 5, STR("locked"));
    says(b, "hold", "\treason=locked", COUNTS(1, 1, 0));
    says(b, "release", "\treason=locked", COUNTS(1, 1, 0));
    assert_true(str_eq(spool_reason(b->spool, &letter->recipients[0]), STR("locked")));
}

static void what_is_under_way_is_held_until_its_end(void **state)
{
    struct box *b = *state;
    struct spool_letter *letter = commit(b, 1, 2, 100);
    struct spool_recipient *r = &letter->recipients[0];
    r->busy = DESK_BUSY;
    says(b, "retry", "", COUNTS(1, 2, 1));
    assert_int_equal(r->state, SPOOL_WAITING);
    says(b, "drop", "", COUNTS(1, 2, 1));
    assert_int_equal(r->state, SPOOL_HELD);
    assert_int_equal(r->busy, DESK_DROPPING);
    assert_int_equal(letter->pending, 1);
    says(b, "drop", "", COUNTS(0, 0, 0));
    says(b, "release", "", COUNTS(1, 1, 1));
    assert_int_equal(r->state, SPOOL_WAITING);
    assert_int_equal(r->busy, DESK_BUSY);
    says(b, "hold", "", COUNTS(1, 1, 1));
    says(b, "drop", "", COUNTS(1, 1, 1));
    assert_int_equal(r->busy, DESK_DROPPING);
    desk_drop(b->spool, letter, 0, STR(""));
    settle(b);
    assert_int_equal(letter->pending, 0);
}

// The state is another one when it comes to acting: nothing is done twice, and no end is undone.
static void what_changed_meanwhile_is_looked_at_again(void **state)
{
    struct box *b = *state;
    struct err err;
    struct buf out;
    struct spool_letter *letter = commit(b, 1, 2, 100);
    struct desk *desk = desk_open(b->spool, STR("hold"), STR(""), &err);
    assert_non_null(desk);
    desk_read(desk);
    spool_set_state(b->spool, letter, 0, SPOOL_DELIVERED, 0, STR(""));
    assert_true(desk_act(desk, touched, b));
    settle(b);
    buf_init(&out, LIMIT_control_reply);
    assert_true(desk_answer(desk, &out));
    assert_true(str_eq(buf_str(&out), STR(COUNTS(1, 1, 0))));
    buf_finish(&out);
    desk_close(&desk);
    assert_int_equal(letter->recipients[0].state, SPOOL_DELIVERED);
    assert_int_equal(letter->recipients[1].state, SPOOL_HELD);
}

// Counts the rows of a page; true and the place where another follows.
static bool read_page(char *page, size_t *rows, char place[64])
{
    struct str text = str_of(page), line;
    bool more = false;
    for (*rows = 0; str_cut(&text, '\n', &line); *rows += !more) {
        more = str_starts(line, STR("more "));
        if (more)
            snprintf(place, 64, "%.*s", STR_ARG(str_skip(line, 5)));
    }
    return more;
}

// Every recipient once, letters never cut; the places lead from page to page.
static void pages_end_with_a_letter(void **state)
{
    struct box *b = *state;
    size_t rows = 0, pages = 0, count;
    char place[64] = "";
    for (uint64_t n = 1; n <= 4; n++)
        commit(b, n, 600, 100);
    for (bool more = true; more; pages++) {
        char *page = ask(b, "list", place);
        more = read_page(page, &count, place);
        assert_int_equal(count % 600, 0);
        rows += count;
        free(page);
    }
    assert_int_equal(rows, 4 * 600);
    assert_int_equal(pages, 2); // 1,024 rows and more are a page
}

static void a_body_is_read_in_pieces(void **state)
{
    struct box *b = *state;
    struct big big;
    struct spool_letter *letter;
    struct err err;
    enum { SIZE = DESK_BODY + 70000 };
    write_large(b, &big, 7, SIZE);
    assert_int_equal(add_large(b, &big, &letter, &err), SPOOL_ADDED);
    settle(b);
    size_t total = 0;
    for (uint64_t offset = 0; offset <= DESK_BODY; offset += DESK_BODY) {
        char more[40];
        struct buf out;
        buf_init(&out, LIMIT_control_reply);
        snprintf(more, sizeof more, "\toffset=%llu", (unsigned long long)offset);
        struct desk *desk = desk_open(b->spool, STR("body"), str_of(of(7, more)), &err);
        assert_non_null(desk);
        desk_read(desk);
        assert_true(desk_answer(desk, &out));
        assert_int_equal(out.len, offset ? 70000 : DESK_BODY);
        total += out.len;
        buf_finish(&out);
        desk_close(&desk);
    }
    assert_int_equal(total, letter->body_size);
    assert_int_equal(letter->holders, 0);
}

static void damage_is_shown_and_can_be_dropped(void **state)
{
    struct box *b = *state;
    struct spool_letter *letter = commit(b, 1, 1, 100);
    flip(b, letter->segment->number, letter->offset + 60); // in its envelope
    char *got = ask(b, "show", of(1, ""));
    assert_non_null(strstr(got, "\"damage\":"));
    free(got);
    assert_int_equal(lines_of(b, ""), 1);
    assert_int_equal(lines_of(b, "\tdomain=例.test"), 0);
    says(b, "drop", of(1, ""), COUNTS(1, 1, 0));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(what_is_no_question_is_refused),
        CASE(filters_choose_recipients),
        CASE(an_order_means_states),
        CASE(the_reason_is_the_last_failure),
        CASE(what_is_under_way_is_held_until_its_end),
        CASE(what_changed_meanwhile_is_looked_at_again),
        CASE(pages_end_with_a_letter),
        CASE(a_body_is_read_in_pieces),
        CASE(damage_is_shown_and_can_be_dropped),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
