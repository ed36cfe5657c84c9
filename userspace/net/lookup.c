/* SPDX-License-Identifier: BSD-3-Clause */
#include "net/lookup.h"

#include <netdb.h>
#include <resolv.h>
#include <stdlib.h>
#include <string.h>

#include "base/util.h"
#include "net/listen.h"

#define ANSWER_MAX	65535U		/* of a DNS message */

static int collect(struct lookup_addresses *ret, const struct addrinfo *list)
{
	unsigned int n = 0;
	uint16_t port;

	for (const struct addrinfo *a = list; a; a = a->ai_next)
		n++;
	ret->ip = calloc(n, sizeof(ret->ip[0]));
	if (!ret->ip)
		return EAI_MEMORY;
	ret->n = 0;
	for (const struct addrinfo *a = list; a; a = a->ai_next)
		sockaddr_to_16(ret->ip[ret->n++], &port, a->ai_addr);
	return 0;
}

const char *lookup_addresses(struct lookup_addresses *ret, const char *name)
{
	/* One row per address. Also those of a family that this machine has none of: they are for others. */
	const struct addrinfo hints = { .ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM };
	struct addrinfo *list = NULL;
	int e = getaddrinfo(name, NULL, &hints, &list);

	if (!e) {
		e = collect(ret, list);
		freeaddrinfo(list);
	}
	return e ? gai_strerror(e) : NULL;
}

/* RFC 1035 section 3.3.14: strings with their lengths before them. */
static void give_text(const uint8_t *p, size_t n, void (*fn)(const char *text, void *ctx), void *ctx)
{
	char text[256];
	size_t len = 0, k;

	for (; n; p += 1 + k, n -= 1 + k) {
		k = min_of((size_t)p[0], n - 1);
		if (len + k >= sizeof(text))
			return;
		memcpy(text + len, p + 1, k);
		len += k;
	}
	text[len] = '\0';
	fn(text, ctx);
}

static const char *each_text(const uint8_t *answer, int n, void (*fn)(const char *text, void *ctx), void *ctx)
{
	ns_msg msg;
	ns_rr rr;

	if (ns_initparse(answer, n, &msg))
		return "malformed answer";
	for (int i = 0; i < ns_msg_count(msg, ns_s_an); i++)
		if (!ns_parserr(&msg, ns_s_an, i, &rr) && ns_rr_type(rr) == ns_t_txt)
			give_text(ns_rr_rdata(rr), ns_rr_rdlen(rr), fn, ctx);
	return NULL;
}

const char *lookup_txt(const char *name, void (*fn)(const char *text, void *ctx), void *ctx)
{
	struct __res_state state = { 0 };
	uint8_t *answer = malloc(ANSWER_MAX);
	const char *why = "out of memory";
	int n;

	if (!answer || res_ninit(&state)) {
		free(answer);
		return why;
	}
	n = res_nsearch(&state, name, ns_c_in, ns_t_txt, answer, (int)ANSWER_MAX);
	if (n < 0)
		why = hstrerror(state.res_h_errno);
	else
		why = each_text(answer, (int)min_of((unsigned int)n, ANSWER_MAX), fn, ctx);
	res_nclose(&state);
	free(answer);
	return why;
}
