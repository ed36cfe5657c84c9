/* SPDX-License-Identifier: BSD-3-Clause */
#include "relay/stats.h"

#define LABEL(id, label, ...)	label,
/* const char *name(type value), by the labels of a table in stats.h. */
#define NAME_FUNCTION(name, type, TABLE)			\
	const char *name(type v)				\
	{							\
		static const char *const names[] = { TABLE(LABEL) };	\
								\
		return names[v];				\
	}

NAME_FUNCTION(drop_reason_name, enum drop_reason, DROP_REASONS)
NAME_FUNCTION(ktls_fallback_name, unsigned int, KTLS_FALLBACKS)
NAME_FUNCTION(admission_name, enum admission_outcome, ADMISSIONS)
NAME_FUNCTION(close_reason_name, enum close_reason, CLOSE_REASONS)

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
