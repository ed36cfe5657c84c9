/* SPDX-License-Identifier: BSD-3-Clause */
#include "relay/stats.h"

const char *drop_reason_name(enum drop_reason r)
{
	static const char *const names[] = {
#define X(id, label) label,
		DROP_REASONS(X)
#undef X
	};

	return names[r];
}

const char *ktls_fallback_name(unsigned int i)
{
	static const char *const names[] = {
#define X(id, label, help) label,
		KTLS_FALLBACKS(X)
#undef X
	};

	return names[i];
}

const char *admission_name(enum admission_outcome o)
{
	static const char *const names[] = {
#define X(id, label, help) label,
		ADMISSIONS(X)
#undef X
	};

	return names[o];
}

const char *close_reason_name(enum close_reason r)
{
	static const char *const names[] = {
#define X(id, label, help) label,
		CLOSE_REASONS(X)
#undef X
	};

	return names[r];
}

void stats_note_flush(struct shard_stats *st, unsigned int frames)
{
	static const unsigned int bounds[FLUSH_BUCKETS - 1] = FLUSH_BOUNDS;
	unsigned int i = 0;

	while (i < FLUSH_BUCKETS - 1 && frames > bounds[i])
		i++;
	STAT_INC(st, flush_frames[i]);
	STAT_ADD(st, flush_frames_sum, frames);
}

void stats_note_rtt(struct shard_stats *st, uint32_t rtt_us)
{
	static const uint32_t bounds_ms[RTT_BUCKETS - 1] = RTT_BOUNDS_MS;
	unsigned int i = 0;

	while (i < RTT_BUCKETS - 1 && rtt_us > bounds_ms[i] * 1000)
		i++;
	STAT_INC(st, rtt[i]);
}
