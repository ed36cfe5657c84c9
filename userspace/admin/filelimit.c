/* SPDX-License-Identifier: BSD-3-Clause */
#include "admin/filelimit.h"

#include <sys/resource.h>

#include "base/log.h"

void filelimit_raise(unsigned int conns)
{
	struct rlimit rl;
	rlim_t want = conns + 256UL;

	if (getrlimit(RLIMIT_NOFILE, &rl))
		return;
	if (rl.rlim_cur < want) {
		rl.rlim_cur = rl.rlim_max > want ? want : rl.rlim_max;
		if (rl.rlim_max < want) {
			struct rlimit higher = { want, want };

			if (!setrlimit(RLIMIT_NOFILE, &higher))
				return;
		}
		setrlimit(RLIMIT_NOFILE, &rl);
	}
	if (rl.rlim_cur < want)
		log_event(LOG_LEVEL_INFO, "file_limit", "descriptors=%llu wanted=%llu fix=%s",
			  (unsigned long long)rl.rlim_cur, (unsigned long long)want,
			  "raise LimitNOFILE (ulimit -n) or lower --max-connections");
}
