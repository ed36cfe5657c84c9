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

const char *close_reason_name(enum close_reason r)
{
	static const char *const names[] = {
#define X(id, label, help) label,
		CLOSE_REASONS(X)
#undef X
	};

	return names[r];
}
