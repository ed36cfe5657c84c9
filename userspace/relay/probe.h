/* SPDX-License-Identifier: BSD-3-Clause */
/* USDT probes: one nop each until somebody traces. See docs/drops.md for the perf lines. */
#ifndef XDERP_PROBE_H
#define XDERP_PROBE_H

#include <sys/sdt.h>

#define PROBE_DROP(reason, bytes, shard)	DTRACE_PROBE3(xderp, drop, reason, bytes, shard)
#define PROBE_CLOSE(reason, slot, shard)	DTRACE_PROBE3(xderp, close, reason, slot, shard)
/* outcome: enum ktls_state */
#define PROBE_KTLS(outcome, slot, shard)	DTRACE_PROBE3(xderp, ktls, outcome, slot, shard)
enum twin_outcome { TWIN_JOINED, TWIN_REFUSED, TWIN_BROKEN };
#define PROBE_TWIN(outcome, slot, shard)	DTRACE_PROBE3(xderp, twin, outcome, slot, shard)
#define PROBE_LOGIN(slot, shard)		DTRACE_PROBE2(xderp, login, slot, shard)

#endif
