/* SPDX-License-Identifier: MIT */
/*
 * middleware/client.h - who a request comes from, behind proxies that are trusted to say so.
 *
 * An address is kept as 16 bytes, an IPv4 one as ::ffff:a.b.c.d, so that a listener for both kinds makes no difference.
 */
#ifndef SKINK_MIDDLEWARE_CLIENT_H
#define SKINK_MIDDLEWARE_CLIENT_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

enum { SKINK__CLIENT_BYTES = 46 }; /* the longest text of an address, and a NUL */

struct skink__ip {
    uint8_t bytes[16];
    bool local; /* a unix socket: no address at all */
};

/* What stands in skink_http_options.trusted_proxies. */
struct skink__proxies {
    struct skink__network {
        struct skink__ip ip;
        unsigned bits; /* of 128 */
    } * networks;
    size_t count;
    bool local; /* "unix" is one of them */
};

/* Networks and addresses between commas or blanks: "10.0.0.0/8, 192.0.2.7, fd00::/8, unix". NULL and "": none.
 * -EINVAL: *ret_at (may be NULL) is where in `text` what is not one begins. -ENOMEM. */
int skink__proxies_parse(struct skink__proxies *proxies, const char *text, size_t *ret_at);
void skink__proxies_fini(struct skink__proxies *proxies);
bool skink__proxies_trust(const struct skink__proxies *proxies, const struct skink__ip *ip);

void skink__ip_of_socket(struct skink__ip *ip, const struct sockaddr *address);
void skink__ip_format(const struct skink__ip *ip, char text[SKINK__CLIENT_BYTES]);

/* Whose connection it is, found out once for all of its requests. */
struct skink__peer {
    struct skink__ip ip;
    bool trusted; /* to say whom it stands for */
    char text[SKINK__CLIENT_BYTES];
};

void skink__peer_init(struct skink__peer *peer, const struct skink__ip *ip, const struct skink__proxies *proxies);

/* "192.0.2.7", "192.0.2.7:8080", "2001:db8::1", "[2001:db8::1]:8080", with blanks around it. */
bool skink__ip_parse(struct skink__ip *ip, const char *text, size_t length);

/* Go back through one X-Forwarded-For value, from its right end, for as long as *ip is a trusted proxy's. False: *ip is
 * the client. True: all of them were proxies, and *ip is what the leftmost one said. */
bool skink__client_behind(const struct skink__proxies *proxies, const char *forwarded, struct skink__ip *ip);
#endif
