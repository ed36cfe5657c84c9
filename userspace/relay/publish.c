/* SPDX-License-Identifier: BSD-3-Clause */
#include "relay/publish.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

#include "relay/shard.h"

#define PUBLISH_NS	NS_PER_S
#define PUBLISH_STEP	64U	/* entries written per turn: about 0.1 ms */

_Static_assert(DERP_SHORT_KEY_LEN == KEY_SHORT_LEN, "both hold [12345]");

static void put_address(char ret[static DERP_ADDRESS_LEN], const struct frame_present *p)
{
	static const uint8_t v4[12] = { [10] = 0xff, [11] = 0xff };
	char text[INET6_ADDRSTRLEN];
	bool is_v4 = !memcmp(p->ip, v4, sizeof(v4));

	inet_ntop(is_v4 ? AF_INET : AF_INET6, is_v4 ? p->ip + sizeof(v4) : p->ip, text, sizeof(text));
	snprintf(ret, DERP_ADDRESS_LEN, is_v4 ? "%s:%u" : "[%s]:%u", text, p->port);
}

#define GET(field)	__atomic_load_n(&m->facts->field, __ATOMIC_RELAXED)

void publish_entry(struct derp_peer *ret, const struct directory_member *m, uint32_t duplicates)
{
	/* bpftool shows every byte: none may be left over from something else. */
	memset(ret, 0, sizeof(*ret));
	key_to_short(ret->short_key, &m->present.key);
	put_address(ret->address, &m->present);
	ret->shard = m->id.shard;
	ret->slot = m->id.slot;
	ret->generation = m->id.gen;
	ret->transport = GET(transport);
	ret->mesh = m->present.flags & DERP_PRESENT_MESH;
	ret->prober = m->present.flags & DERP_PRESENT_PROBER;
	ret->not_ideal = m->present.flags & DERP_PRESENT_NOT_IDEAL;
	ret->duplicates = duplicates;
	ret->connected_at = m->facts->connected_at;
	ret->home_since = GET(home_since);
	ret->home = ret->home_since != 0;
	ret->frames_in = GET(frames_in);
	ret->bytes_in = GET(bytes_in);
	ret->frames_out = GET(frames_out);
	ret->bytes_out = GET(bytes_out);
	ret->drops = GET(drops);
}

static uint64_t moved(const struct peer_facts *f)
{
	return f->frames_in + f->frames_out + f->drops;
}

/* A batch is what had changed when the second was over; what changes while it is written waits for the next. */
static void on_publish(struct timer *t, void *ctx)
{
	struct shard *s = ctx;
	struct list *it;
	struct peer *p;

	if (list_empty(&s->publishing))
		list_move_all(&s->publishing, &s->touched);
	for (unsigned int n = 0; n < PUBLISH_STEP && (it = list_pop_front(&s->publishing)); n++) {
		p = list_entry(it, struct peer, touched);
		p->published = moved(&p->facts);
		directory_refresh(s->relay->directory, p->node, conn_id(p->conn));
	}
	if (!list_empty(&s->publishing))
		timer_arm(&s->wheel, t, s->now_ns);
	else if (!list_empty(&s->touched))
		timer_arm(&s->wheel, t, s->now_ns + PUBLISH_NS);
}

void publish_init(struct shard *s)
{
	list_init(&s->touched);
	list_init(&s->publishing);
	timer_init(&s->publish, on_publish);
}

void publish_touch(struct conn *c)
{
	struct shard *s = c->shard;

	if (!s->relay->peers || c->peer->hidden || !list_empty(&c->peer->touched))
		return;
	list_push_back(&s->touched, &c->peer->touched);
	if (!timer_armed(&s->publish))
		timer_arm(&s->wheel, &s->publish, s->now_ns + PUBLISH_NS);
}

void publish_note(struct conn *c)
{
	if (c->peer->published != moved(&c->peer->facts))
		publish_touch(c);
}
