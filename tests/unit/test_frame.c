/* SPDX-License-Identifier: BSD-3-Clause */
#include <errno.h>

#include "base/util.h"
#include "lib/unit.h"
#include "lib/vectors.h"
#include "wire/frame.h"

enum { IGNORED = 2, KNOWN = 1 };	/* what frame_head answers, with known told apart */

static const struct head_case {
	const char *name;
	uint8_t type;
	uint32_t len;
	int login, client, mesh;
} head_cases[] = {
	{ "type 0",                    0x00, 0, -EPERM, IGNORED, IGNORED },
	{ "ServerKey from a client",   DERP_SERVER_KEY, 40, -EPERM, IGNORED, IGNORED },
	{ "ClientInfo 55",             DERP_CLIENT_INFO, 55, -EMSGSIZE, IGNORED, IGNORED },
	{ "ClientInfo 56",             DERP_CLIENT_INFO, 56, KNOWN, IGNORED, IGNORED },
	{ "ClientInfo 262144",         DERP_CLIENT_INFO, 262144, KNOWN, IGNORED, IGNORED },
	{ "ClientInfo 262145",         DERP_CLIENT_INFO, 262145, -EMSGSIZE, IGNORED, IGNORED },
	{ "ServerInfo from a client",  DERP_SERVER_INFO, 53, -EPERM, IGNORED, IGNORED },
	{ "SendPacket 31",             DERP_SEND_PACKET, 31, -EPERM, -EMSGSIZE, -EMSGSIZE },
	{ "SendPacket 32",             DERP_SEND_PACKET, 32, -EPERM, KNOWN, KNOWN },
	{ "SendPacket 32+65536",       DERP_SEND_PACKET, 65568, -EPERM, KNOWN, KNOWN },
	{ "SendPacket 32+65537",       DERP_SEND_PACKET, 65569, -EPERM, -EMSGSIZE, -EMSGSIZE },
	{ "SendPacket 4 GiB",          DERP_SEND_PACKET, UINT32_MAX, -EPERM, -EMSGSIZE, -EMSGSIZE },
	{ "RecvPacket from a client",  DERP_RECV_PACKET, 32, -EPERM, IGNORED, IGNORED },
	{ "KeepAlive from a client",   DERP_KEEP_ALIVE, 0, -EPERM, IGNORED, IGNORED },
	{ "NotePreferred 0",           DERP_NOTE_PREFERRED, 0, -EPERM, -EMSGSIZE, -EMSGSIZE },
	{ "NotePreferred 1",           DERP_NOTE_PREFERRED, 1, -EPERM, KNOWN, KNOWN },
	{ "NotePreferred 2",           DERP_NOTE_PREFERRED, 2, -EPERM, -EMSGSIZE, -EMSGSIZE },
	{ "PeerGone from a client",    DERP_PEER_GONE, 33, -EPERM, IGNORED, IGNORED },
	{ "PeerPresent from a client", DERP_PEER_PRESENT, 51, -EPERM, IGNORED, IGNORED },
	{ "ForwardPacket 63",          DERP_FORWARD_PACKET, 63, -EPERM, -EPERM, -EMSGSIZE },
	{ "ForwardPacket 64",          DERP_FORWARD_PACKET, 64, -EPERM, -EPERM, KNOWN },
	{ "ForwardPacket 64+65536",    DERP_FORWARD_PACKET, 65600, -EPERM, -EPERM, KNOWN },
	{ "ForwardPacket 64+65537",    DERP_FORWARD_PACKET, 65601, -EPERM, -EPERM, -EMSGSIZE },
	{ "WatchConns 0",              DERP_WATCH_CONNS, 0, -EPERM, -EPERM, KNOWN },
	{ "WatchConns 1",              DERP_WATCH_CONNS, 1, -EPERM, -EPERM, -EMSGSIZE },
	{ "ClosePeer 31",              DERP_CLOSE_PEER, 31, -EPERM, -EPERM, -EMSGSIZE },
	{ "ClosePeer 32",              DERP_CLOSE_PEER, 32, -EPERM, -EPERM, KNOWN },
	{ "ClosePeer 33",              DERP_CLOSE_PEER, 33, -EPERM, -EPERM, -EMSGSIZE },
	{ "Ping 7",                    DERP_PING, 7, -EPERM, -EMSGSIZE, -EMSGSIZE },
	{ "Ping 8",                    DERP_PING, 8, -EPERM, KNOWN, KNOWN },
	{ "Ping 1000",                 DERP_PING, 1000, -EPERM, KNOWN, KNOWN },
	{ "Ping 1001",                 DERP_PING, 1001, -EPERM, -EMSGSIZE, -EMSGSIZE },
	{ "Pong",                      DERP_PONG, 8, -EPERM, IGNORED, IGNORED },
	{ "Health",                    DERP_HEALTH, 3, -EPERM, IGNORED, IGNORED },
	{ "Restarting",                DERP_RESTARTING, 8, -EPERM, IGNORED, IGNORED },
	{ "unknown 0x7f",              0x7f, 10, -EPERM, IGNORED, IGNORED },
	{ "unknown 0xff, 4 GiB",       0xff, UINT32_MAX, -EPERM, IGNORED, IGNORED },
};

static void check_head(const struct head_case *c, enum frame_sender who, int want)
{
	struct frame_head h = { .type = 0xee }, before = h;
	uint8_t head[DERP_HDR_LEN];
	struct t_bytes b;

	frame_put_head(head, c->type, c->len);
	for (size_t n = 0; n < sizeof(head); n++) {
		b = t_copy(head, n);
		assert_int_equal(0, frame_head(&h, b.p, n, who));
		free(b.p);
	}
	b = t_copy(head, sizeof(head));
	assert_int_equal(want == IGNORED ? 1 : want, frame_head(&h, b.p, b.n, who));
	free(b.p);
	if (want < 0) {
		assert_memory_equal(&before, &h, sizeof(h));
		return;
	}
	assert_int_equal(want == KNOWN, h.known);
	assert_int_equal(c->type, h.type);
	assert_int_equal(c->len, h.len);
}

static void head_case(void **state)
{
	const struct head_case *c = *state;

	check_head(c, FRAME_FROM_LOGIN, c->login);
	check_head(c, FRAME_FROM_CLIENT, c->client);
	check_head(c, FRAME_FROM_MESH, c->mesh);
}

static const struct head_case relay_cases[] = {
	{ "relay: ServerKey 39",      DERP_SERVER_KEY, 39, -EMSGSIZE },
	{ "relay: ServerKey 40",      DERP_SERVER_KEY, 40, KNOWN },
	{ "relay: ServerKey 1024",    DERP_SERVER_KEY, 1024, KNOWN },
	{ "relay: ServerKey 1025",    DERP_SERVER_KEY, 1025, -EMSGSIZE },
	{ "relay: ServerInfo 39",     DERP_SERVER_INFO, 39, -EMSGSIZE },
	{ "relay: ServerInfo 53",     DERP_SERVER_INFO, 53, KNOWN },
	{ "relay: PeerGone 31",       DERP_PEER_GONE, 31, -EMSGSIZE },
	{ "relay: PeerGone 33",       DERP_PEER_GONE, 33, KNOWN },
	{ "relay: PeerPresent 32",    DERP_PEER_PRESENT, 32, KNOWN },
	{ "relay: PeerPresent 51",    DERP_PEER_PRESENT, 51, KNOWN },
	{ "relay: PeerPresent 1025",  DERP_PEER_PRESENT, 1025, -EMSGSIZE },
	{ "relay: Ping 8",            DERP_PING, 8, KNOWN },
	{ "relay: KeepAlive",         DERP_KEEP_ALIVE, 0, KNOWN },
	{ "relay: RecvPacket",        DERP_RECV_PACKET, 65568, IGNORED },
	{ "relay: Restarting",        DERP_RESTARTING, 8, IGNORED },
	{ "relay: ForwardPacket",     DERP_FORWARD_PACKET, 64, -EPERM },
	{ "relay: WatchConns",        DERP_WATCH_CONNS, 0, -EPERM },
};

static void relay_case(void **state)
{
	const struct head_case *c = *state;

	check_head(c, FRAME_FROM_RELAY, c->login);
}

/* A ForwardPacket of ours becomes the RecvPacket that it should on the other relay. */
static void forward(void **state)
{
	struct key src, dst;
	uint8_t frame[FRAME_FORWARD_LEN + 5], *recv;

	(void)state;
	memset(src.b, 1, KEY_LEN);
	memset(dst.b, 2, KEY_LEN);
	assert_int_equal(FRAME_FORWARD_LEN, frame_forward(frame, &src, &dst, 5));
	memcpy(frame + FRAME_FORWARD_LEN, "12345", 5);
	assert_int_equal(DERP_FORWARD_PACKET, frame[0]);
	assert_int_equal(2 * KEY_LEN + 5, get_be32(frame + 1));
	assert_memory_equal(dst.b, frame + DERP_HDR_LEN + KEY_LEN, KEY_LEN);
	recv = frame_forward_to_recv(frame, get_be32(frame + 1));
	assert_int_equal(DERP_RECV_PACKET, recv[0]);
	assert_memory_equal(src.b, recv + DERP_HDR_LEN, KEY_LEN);
	assert_memory_equal("12345", recv + DERP_HDR_LEN + KEY_LEN, 5);
}

/* Everything the golden rows call client-to-server must pass for its sender. */
static void golden_heads(void **state)
{
	json_t *root = *state, *row;
	size_t i, checked = 0;

	json_array_foreach(json_object_get(root, "frames"), i, row) {
		struct t_bytes b = t_hex(row, "hex");
		const char *dir = t_str(row, "dir");
		struct frame_head h;

		if (strcmp(dir, "s2c") != 0) {
			assert_int_equal(1, frame_head(&h, b.p, b.n, FRAME_FROM_MESH));
			assert_int_equal(b.n, DERP_HDR_LEN + h.len);
			assert_int_equal(strcmp(dir, "mesh c2s") ? 1 : -EPERM,
					 frame_head(&h, b.p, b.n, FRAME_FROM_CLIENT));
			checked++;
		}
		free(b.p);
	}
	assert_int_equal(9, checked);
}

static void disco(void **state)
{
	json_t *root = *state, *row;
	size_t i;

	json_array_foreach(json_object_get(root, "disco_classifier"), i, row) {
		struct t_bytes b = t_hex(row, "hex");

		assert_int_equal(json_is_true(json_object_get(row, "is_disco")),
				 frame_is_disco(b.p, b.n));
		for (size_t n = 0; n < b.n; n++) {
			struct t_bytes cut = t_copy(b.p, n);

			assert_false(frame_is_disco(cut.p, n));
			free(cut.p);
		}
		for (size_t k = 0; k < DERP_DISCO_MAGIC_LEN; k++) {
			b.p[k] ^= 1;
			assert_false(frame_is_disco(b.p, b.n));
			b.p[k] ^= 1;
		}
		free(b.p);
	}
}

static void rewrite(json_t *root, const char *from, const char *to)
{
	struct t_bytes in = t_hex(t_named(root, "frames", from), "hex");
	struct t_bytes want = t_hex(t_named(root, "frames", to), "hex");
	struct key src = t_key(root, "client_a", "pub");
	uint8_t *out = in.p;

	if (in.p[0] == DERP_FORWARD_PACKET)
		out = frame_forward_to_recv(in.p, (uint32_t)in.n - DERP_HDR_LEN);
	else
		frame_send_to_recv(in.p, &src);
	assert_int_equal(want.n, in.n - (size_t)(out - in.p));
	assert_memory_equal(want.p, out, want.n);
	free(in.p);
	free(want.p);
}

static void rewrites(void **state)
{
	rewrite(*state, "send_packet a->b", "recv_packet from a");
	rewrite(*state, "send_packet empty payload", "recv_packet empty payload");
	rewrite(*state, "forward_packet a->b", "recv_packet from a");
}

static void expect_frame(json_t *root, const char *name, const uint8_t *got, size_t n)
{
	struct t_bytes want = t_hex(t_named(root, "frames", name), "hex");

	assert_int_equal(want.n, n);
	assert_memory_equal(want.p, got, n);
	free(want.p);
}

static void builders(void **state)
{
	json_t *root = *state;
	struct key server = t_key(root, "server", "pub"), b = t_key(root, "client_b", "pub");
	struct t_bytes want = t_hex(root, "server_key_frame_hex");
	uint8_t out[64];

	assert_int_equal(want.n, frame_server_key(out, &server));
	assert_memory_equal(want.p, out, want.n);
	free(want.p);
	expect_frame(root, "peer_gone b disconnected", out,
		     frame_peer_gone(out, &b, DERP_GONE_DISCONNECTED));
	expect_frame(root, "peer_gone b not here", out, frame_peer_gone(out, &b, DERP_GONE_NOT_HERE));
	expect_frame(root, "pong", out, frame_pong(out, (const uint8_t *)"\1\2\3\4\5\6\7\10"));
	expect_frame(root, "keepalive", out, frame_keep_alive(out));
	expect_frame(root, "restarting 1000ms/2000ms", out, frame_restarting(out, 1000, 2000));
}

static void present(void **state)
{
	static const struct {
		const char *name;
		uint8_t ip[16];
		uint16_t port;
		uint8_t flags;
	} rows[] = {
		{ "peer_present b regular ipv4",
		  { [10] = 0xff, [11] = 0xff, 203, 0, 113, 7 }, 41641, DERP_PRESENT_REGULAR },
		{ "peer_present b mesh ipv6",
		  { 0x20, 0x01, 0x0d, 0xb8, [15] = 9 }, 443, DERP_PRESENT_MESH },
		{ "peer_present b prober+notideal",
		  { [10] = 0xff, [11] = 0xff, 203, 0, 113, 7 }, 41641,
		  DERP_PRESENT_PROBER | DERP_PRESENT_NOT_IDEAL },
		{ "peer_present b unknown address", { 0 }, 0, DERP_PRESENT_REGULAR },
	};
	struct frame_present p = { .key = t_key(*state, "client_b", "pub") };
	uint8_t out[FRAME_PEER_PRESENT_LEN];

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		memcpy(p.ip, rows[i].ip, sizeof(p.ip));
		p.port = rows[i].port;
		p.flags = rows[i].flags;
		expect_frame(*state, rows[i].name, out, frame_peer_present(out, &p));
	}
}

int main(void)
{
	json_t *root = t_load_vectors();
	const struct CMUnitTest golden[] = {
		{ "golden client-to-server heads", golden_heads, NULL, NULL, root },
		{ "disco classifier", disco, NULL, NULL, root },
		{ "rewrites in place", rewrites, NULL, NULL, root },
		{ "builders", builders, NULL, NULL, root },
		{ "PeerPresent", present, NULL, NULL, root },
		{ "ForwardPacket", forward, NULL, NULL, NULL },
	};
	struct CMUnitTest t[ARRAY_SIZE(head_cases) + ARRAY_SIZE(relay_cases) + ARRAY_SIZE(golden)];
	int failed;

	for (size_t i = 0; i < ARRAY_SIZE(head_cases); i++)
		t[i] = (struct CMUnitTest){ head_cases[i].name, head_case, NULL, NULL,
					    (void *)&head_cases[i] };
	for (size_t i = 0; i < ARRAY_SIZE(relay_cases); i++)
		t[ARRAY_SIZE(head_cases) + i] = (struct CMUnitTest){ relay_cases[i].name, relay_case, NULL, NULL,
								     (void *)&relay_cases[i] };
	memcpy(t + ARRAY_SIZE(head_cases) + ARRAY_SIZE(relay_cases), golden, sizeof(golden));
	failed = cmocka_run_group_tests(t, NULL, NULL);
	json_decref(root);
	return failed;
}
