#include "mail/language.h"

#include "../check.h"

static void check_languages(void **state)
{
    static const struct {
        const char *header;
        bool chinese;
    } cases[] = {
        {"Subject: hello\r\n", false},
        {"", false},
        {"Content-Language: zh-CN\r\n", true},
        {"Subject: x\r\ncontent-language:  zh\r\n", true},
        {"X-Content-Language: zh\r\n", false},
        {"Subject: 你好\r\n", true},
        {"Subject: =?utf-8?B?5L2g5aW9?=\r\n", true},
        {"Subject: =?UTF-8?q?=E4=BD=A0=E5=A5=BD?=\r\n", true},
        {"Subject: =?UTF-8?Q?caf=C3=A9?=\r\n", false},
        {"Subject: =?gb2312?B?xOO6ww==?=\r\n", true},
        {"Subject: =?GB18030?Q?x?=\r\n", true},
        {"Subject: =?Big5?B?p0E=?=\r\n", true},
        {"Content-Type: text/plain;\r\n charset=\"GBK\"\r\n", true},
        {"Content-Type: text/plain; Charset=big5\r\n", true},
        {"Content-Type: text/plain; charset=iso-2022-jp\r\n", false},
        {"Subject: 日本語のメール\r\n", false},
        {"Subject: =?utf-8?B?5pel5pys6Kqe44Gu?=\r\n", false},
        {"Subject: 漢字 한글\r\n", false},
        {"Subject: =?utf-8?B?5L2g\r\n", false},
        {"Subject: =?utf-8?B?"
         "?=\r\n",
         false},
        {"Subject: \xe4\xbd\r\n", false},
        {"=?", false},
        {"To: 你好 <a@b>\r\nReceived: from x for <用户@例子.测试>\r\nSubject: x\r\n", false},
        {"From: =?utf-8?B?5L2g5aW9?=\r\n <a@b>\r\n", true},
        {"Subject: hello\r\n 你好\r\n", true},
        {"content-type: text/plain; charset=gb18030\n", true},
        {"Content-Type:", false},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        if (language_is_chinese(str_of(cases[i].header)) != cases[i].chinese)
            fail_msg("%s", cases[i].header);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(check_languages)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
