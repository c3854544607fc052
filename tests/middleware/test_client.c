/* SPDX-License-Identifier: MIT */
/* tests/middleware/test_client.c - addresses, trusted networks, X-Forwarded-For and request ids. */
#include "middleware/client.h"
#include "middleware/request_id.h"
#include "tests/support/case.h"
#include <errno.h>
#include <string.h>

static struct skink__ip ip_of(const char *text)
{
    struct skink__ip ip;
    if (strcmp(text, "unix") == 0) return (struct skink__ip){ .local = true };
    assert_true(skink__ip_parse(&ip, text, strlen(text)));
    return ip;
}

static void addresses_are_read_with_and_without_ports(void **state)
{
    (void)state;
    static const struct {
        const char *text, *expected; /* NULL: not an address */
    } samples[] = {
        { "192.0.2.7", "192.0.2.7" },
        { " 192.0.2.7\t", "192.0.2.7" },
        { "192.0.2.7:8080", "192.0.2.7" },
        { "2001:db8::1", "2001:db8::1" },
        { "[2001:db8::1]:443", "2001:db8::1" },
        { "[::1]", "::1" },
        { "::ffff:10.1.2.3", "10.1.2.3" },
        { "", NULL },
        { "unknown", NULL },
        { "_hidden", NULL },
        { "192.0.2", NULL },
        { "192.0.2.256", NULL },
        { "[::1", NULL },
        { "1111:2222:3333:4444:5555:6666:7777:8888:9999:aaaa:bbbb:cccc", NULL },
    };
    for (size_t i = 0; i < sizeof samples / sizeof *samples; i++) {
        struct skink__ip ip;
        char text[SKINK__CLIENT_BYTES];
        bool valid = skink__ip_parse(&ip, samples[i].text, strlen(samples[i].text));
        assert_int_equal(valid, samples[i].expected != NULL);
        if (!valid) continue;
        skink__ip_format(&ip, text);
        assert_string_equal(text, samples[i].expected);
    }
}

static void networks_contain_what_their_prefix_says(void **state)
{
    (void)state;
    static const struct {
        const char *proxies, *ip;
        bool trusted;
    } samples[] = {
        { "10.0.0.0/8", "10.255.0.1", true },
        { "10.0.0.0/8", "11.0.0.1", false },
        { "10.0.0.0/9", "10.128.0.1", false },
        { "10.0.0.0/9", "10.127.9.9", true },
        { "192.0.2.7", "192.0.2.7", true },
        { "192.0.2.7", "192.0.2.8", false },
        { "0.0.0.0/0", "203.0.113.9", true },
        { "0.0.0.0/0", "2001:db8::1", false },
        { "fd00::/8", "fd12::9", true },
        { "fd00::/8", "fe80::1", false },
        { "::/0", "203.0.113.9", true },
        { "127.0.0.1, 10.0.0.0/8\tfd00::/8", "fd00::1", true },
        { "unix", "unix", true },
        { "127.0.0.1", "unix", false },
        { "unix", "127.0.0.1", false },
        { "", "127.0.0.1", false },
    };
    for (size_t i = 0; i < sizeof samples / sizeof *samples; i++) {
        struct skink__proxies proxies;
        struct skink__ip ip = ip_of(samples[i].ip);
        assert_int_equal(skink__proxies_parse(&proxies, samples[i].proxies, NULL), 0);
        assert_int_equal(skink__proxies_trust(&proxies, &ip), samples[i].trusted);
        skink__proxies_fini(&proxies);
    }
}

static void what_is_no_network_is_refused_where_it_stands(void **state)
{
    (void)state;
    static const char *const samples[] = { "10.0.0.1, 10.0.0.0/33", "10.0.0.1, ::/129",     "10.0.0.1, 10.0.0.0/",
                                           "10.0.0.1, 10.0.0.0/8x", "10.0.0.1, proxy.name", "10.0.0.1, 10.0.0.0/-1",
                                           "10.0.0.1, [::1]" };
    for (size_t i = 0; i < sizeof samples / sizeof *samples; i++) {
        struct skink__proxies proxies;
        size_t at = 0;
        assert_int_equal(skink__proxies_parse(&proxies, samples[i], &at), -EINVAL);
        assert_int_equal(at, 10);
        assert_null(proxies.networks);
    }
}

static void the_client_is_the_first_from_the_right_that_is_no_proxy(void **state)
{
    (void)state;
    static const struct {
        const char *peer, *forwarded, *client;
        bool goes_on;
    } samples[] = {
        { "10.0.0.1", "203.0.113.9", "203.0.113.9", true },
        { "10.0.0.1", "198.51.100.1, 203.0.113.9", "203.0.113.9", false }, /* what the client itself made up */
        { "10.0.0.1", "203.0.113.9, 10.0.0.2,10.0.0.3", "203.0.113.9", true },
        { "10.0.0.1", "10.0.0.2, 10.0.0.3", "10.0.0.2", true },
        { "10.0.0.1", "unknown", "10.0.0.1", false },
        { "10.0.0.1", "203.0.113.9, unknown, 10.0.0.2", "10.0.0.2", false },
        { "10.0.0.1", "", "10.0.0.1", false },
        { "10.0.0.1", ",", "10.0.0.1", false },
        { "10.0.0.1", "[2001:db8::1]:1234", "2001:db8::1", true },
        { "203.0.113.1", "192.0.2.1", "203.0.113.1", false }, /* not a proxy: not believed */
    };
    struct skink__proxies proxies;
    assert_int_equal(skink__proxies_parse(&proxies, "10.0.0.0/8", NULL), 0);
    for (size_t i = 0; i < sizeof samples / sizeof *samples; i++) {
        struct skink__ip ip = ip_of(samples[i].peer);
        char text[SKINK__CLIENT_BYTES];
        assert_int_equal(skink__client_behind(&proxies, samples[i].forwarded, &ip), samples[i].goes_on);
        skink__ip_format(&ip, text);
        assert_string_equal(text, samples[i].client);
    }
    skink__proxies_fini(&proxies);
}

static void request_ids_are_made_and_judged(void **state)
{
    (void)state;
    char prefix[SKINK__REQUEST_ID_PREFIX_BYTES], id[SKINK__REQUEST_ID_MADE_BYTES];
    skink__request_id_prefix(prefix);
    assert_int_equal(prefix[8], '-');
    size_t length = skink__request_id_make(id, prefix, UINT64_MAX);
    assert_int_equal(length, strlen(id));
    assert_string_equal(id + 9, "18446744073709551615");
    assert_true(skink__request_id_is_valid(id));
    skink__request_id_make(id, prefix, 7);
    assert_string_equal(id + 9, "7");
    char longest[SKINK__REQUEST_ID_MAX + 2];
    memset(longest, 'x', sizeof longest);
    longest[SKINK__REQUEST_ID_MAX + 1] = '\0';
    assert_false(skink__request_id_is_valid(longest));
    longest[SKINK__REQUEST_ID_MAX] = '\0';
    assert_true(skink__request_id_is_valid(longest));
    static const char *const bad[] = { "", " ", "a b", "a\"b", "a\\b", "a\tb", "\xc3\xa4", "a,b", "{}" };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_false(skink__request_id_is_valid(bad[i]));
    assert_true(skink__request_id_is_valid("01HZX.trace-1:2/3+4=5@6_7"));
}

static const struct test_case cases[] = {
    CASE(addresses_are_read_with_and_without_ports),
    CASE(networks_contain_what_their_prefix_says),
    CASE(what_is_no_network_is_refused_where_it_stands),
    CASE(the_client_is_the_first_from_the_right_that_is_no_proxy),
    CASE(request_ids_are_made_and_judged),
};
TEST_MAIN(cases, NULL, NULL)
