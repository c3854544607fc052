/* SPDX-License-Identifier: MIT */
/* middleware/client.c - addresses, trusted networks, and the way back through X-Forwarded-For (client.h). */
#include "middleware/client.h"
#include "loop/memory.h"
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <string.h>

static const uint8_t v4_prefix[12] = { 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff };

static bool is_v4(const struct skink__ip *ip)
{
    return memcmp(ip->bytes, v4_prefix, sizeof v4_prefix) == 0;
}

void skink__ip_of_socket(struct skink__ip *ip, const struct sockaddr *address)
{
    memset(ip, 0, sizeof *ip);
    if (address->sa_family == AF_INET) {
        memcpy(ip->bytes, v4_prefix, sizeof v4_prefix);
        memcpy(ip->bytes + 12, &((const struct sockaddr_in *)(const void *)address)->sin_addr, 4);
    } else if (address->sa_family == AF_INET6) {
        memcpy(ip->bytes, &((const struct sockaddr_in6 *)(const void *)address)->sin6_addr, 16);
    } else {
        ip->local = true;
    }
}

void skink__ip_format(const struct skink__ip *ip, char text[SKINK__CLIENT_BYTES])
{
    if (ip->local)
        memcpy(text, "unix", sizeof "unix");
    else if (is_v4(ip))
        inet_ntop(AF_INET, ip->bytes + 12, text, SKINK__CLIENT_BYTES);
    else
        inet_ntop(AF_INET6, ip->bytes, text, SKINK__CLIENT_BYTES);
}

/* An address alone. */
static bool parse_plain(struct skink__ip *ip, const char *text, size_t length)
{
    char copy[SKINK__CLIENT_BYTES];
    if (length == 0 || length >= sizeof copy) return false;
    memcpy(copy, text, length);
    copy[length] = '\0';
    memset(ip, 0, sizeof *ip);
    memcpy(ip->bytes, v4_prefix, sizeof v4_prefix);
    return inet_pton(AF_INET, copy, ip->bytes + 12) == 1 || inet_pton(AF_INET6, copy, ip->bytes) == 1;
}

bool skink__ip_parse(struct skink__ip *ip, const char *text, size_t length)
{
    while (length > 0 && (*text == ' ' || *text == '\t'))
        text++, length--;
    while (length > 0 && (text[length - 1] == ' ' || text[length - 1] == '\t'))
        length--;
    if (length > 0 && *text == '[') {
        const char *end = memchr(text, ']', length);
        return end && parse_plain(ip, text + 1, (size_t)(end - text - 1));
    }
    const char *colon = memchr(text, ':', length);
    bool has_port = colon && !memchr(colon + 1, ':', length - (size_t)(colon + 1 - text));
    return parse_plain(ip, text, has_port ? (size_t)(colon - text) : length);
}

/* --- trusted proxies --- */

/* "10.0.0.0/8"; bits beyond the prefix need not be zero. */
static bool parse_network(struct skink__network *network, const char *text, size_t length)
{
    const char *slash = memchr(text, '/', length);
    size_t address_length = slash ? (size_t)(slash - text) : length;
    if (!parse_plain(&network->ip, text, address_length)) return false;
    unsigned most = is_v4(&network->ip) && !memchr(text, ':', address_length) ? 32 : 128;
    unsigned bits = most;
    if (slash) {
        const char *digit = slash + 1, *end = text + length;
        if (digit == end || end - digit > 3) return false;
        for (bits = 0; digit < end; digit++) {
            if (*digit < '0' || *digit > '9') return false;
            bits = bits * 10 + (unsigned)(*digit - '0');
        }
        if (bits > most) return false;
    }
    network->bits = 128 - most + bits;
    return true;
}

static int add_network(struct skink__proxies *proxies, const char *text, size_t length)
{
    if (length == 4 && memcmp(text, "unix", 4) == 0) {
        proxies->local = true;
        return 0;
    }
    struct skink__network network;
    if (!parse_network(&network, text, length)) return -EINVAL;
    struct skink__network *more = skink__realloc(proxies->networks, (proxies->count + 1) * sizeof *more);
    if (!more) return -ENOMEM;
    proxies->networks = more;
    more[proxies->count++] = network;
    return 0;
}

int skink__proxies_parse(struct skink__proxies *proxies, const char *text, size_t *ret_at)
{
    static const char between[] = ", \t";
    memset(proxies, 0, sizeof *proxies);
    if (!text) return 0;
    for (const char *at = text + strspn(text, between); *at;) {
        size_t length = strcspn(at, between);
        int err = add_network(proxies, at, length);
        if (err) {
            if (ret_at) *ret_at = (size_t)(at - text);
            skink__proxies_fini(proxies);
            return err;
        }
        at += length;
        at += strspn(at, between);
    }
    return 0;
}

void skink__proxies_fini(struct skink__proxies *proxies)
{
    skink__free(proxies->networks);
    memset(proxies, 0, sizeof *proxies);
}

static bool contains(const struct skink__network *network, const struct skink__ip *ip)
{
    unsigned whole = network->bits / 8, rest = network->bits % 8;
    if (memcmp(network->ip.bytes, ip->bytes, whole) != 0) return false;
    return rest == 0 || (uint8_t)(network->ip.bytes[whole] ^ ip->bytes[whole]) >> (8 - rest) == 0;
}

bool skink__proxies_trust(const struct skink__proxies *proxies, const struct skink__ip *ip)
{
    if (ip->local) return proxies->local;
    for (size_t i = 0; i < proxies->count; i++)
        if (contains(&proxies->networks[i], ip)) return true;
    return false;
}

void skink__peer_init(struct skink__peer *peer, const struct skink__ip *ip, const struct skink__proxies *proxies)
{
    peer->ip = *ip;
    peer->trusted = skink__proxies_trust(proxies, ip);
    skink__ip_format(ip, peer->text);
}

bool skink__client_behind(const struct skink__proxies *proxies, const char *forwarded, struct skink__ip *ip)
{
    size_t end = strlen(forwarded);
    while (skink__proxies_trust(proxies, ip)) {
        size_t begin = end;
        while (begin > 0 && forwarded[begin - 1] != ',')
            begin--;
        struct skink__ip said;
        /* What a trusted proxy did not write as an address tells nothing: the proxy is the last that is known. */
        if (!skink__ip_parse(&said, forwarded + begin, end - begin)) return false;
        *ip = said;
        if (begin == 0) return true;
        end = begin - 1;
    }
    return false;
}
