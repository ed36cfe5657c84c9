# SPDX-License-Identifier: BSD-3-Clause
# What the failing tests of a log of go test -v said, each by itself: parallel tests write between each other's lines. Read
# the log twice: awk -f tests/failures.awk LOG LOG. Of each test every line that names a source line, and some of the rest.
function name_of(line) {
	sub(/^ *(--- FAIL:|=== [A-Z]+) +/, "", line)
	sub(/ \([0-9.]+s\)$/, "", line)
	return line
}

NR == FNR {
	if (/^ *--- FAIL: /)
		failed[name_of($0)] = 1
	next
}
/^=== / { current = name_of($0); next }
/^ *--- [A-Z]+: / { current = ""; if (/ FAIL: /) verdicts = verdicts $0 "\n"; next }
current in failed {
	said = /^ *[a-z0-9_]+\.go:[0-9]+: /
	if (said ? ++said_lines[current] > 30 : ++other_lines[current] > 60)
		next
	text[current] = text[current] $0 "\n"
}
END {
	for (t in text)
		printf "=== %s\n%s", t, text[t]
	printf "%s", verdicts
}
