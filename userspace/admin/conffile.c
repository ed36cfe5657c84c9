/* SPDX-License-Identifier: BSD-3-Clause */
#include "admin/conffile.h"

#include <errno.h>
#include <ini.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/opener.h"
#include "base/util.h"

#define MAX_BYTES	(1024L * 1024)

struct entry {
	char *name, *value;		/* owned */
	int line;
	struct entry *next;
};

struct conffile {
	struct entry *entries, **last;
};

/* A file under way. inih calls back for each line and each value, but does not say which line it is at. */
struct reading {
	struct conffile *f;
	const struct flag_table *t;
	const char *path;
	FILE *in, *err;
	int line;
	char section[64];		/* of the last entry */
	bool continues;			/* the line begins with white space */
	bool bad;
};

static void complain(struct reading *r, int line)
{
	fprintf(r->err, "%s:%d: ", r->path, line);
	r->bad = true;
}

/* A line for inih, whole or not at all: it would take the rest of a long one for a line of its own. */
static char *read_line(char *buf, int size, void *ctx)
{
	struct reading *r = ctx;
	char *line = NULL;
	size_t cap = 0;
	ssize_t n = getline(&line, &cap, r->in);

	if (n == -1) {
		free(line);
		return NULL;
	}
	r->line++;
	r->continues = line[0] == ' ' || line[0] == '\t';
	memcpy(buf, "\n", 2);
	if (memchr(line, '\0', (size_t)n)) {
		complain(r, r->line);
		fprintf(r->err, "a zero byte: this is no text\n");
	} else if (n >= size) {
		complain(r, r->line);
		fprintf(r->err, "a line may have at most %d bytes; continue the value on further lines that begin with a space\n",
			size - 2);
	} else {
		memcpy(buf, line, (size_t)n + 1);
	}
	free(line);
	return buf;
}

static struct entry *add(struct conffile *f, const char *name, const char *value, int line)
{
	struct entry *e = calloc(1, sizeof(*e));

	if (!e)
		return NULL;
	*f->last = e;
	f->last = &e->next;
	e->name = strdup(name);
	e->value = strdup(value);
	e->line = line;
	return e->name && e->value ? e : NULL;
}

/* The name in an indented "name = value"; its length, 0 if that is no setting. */
static size_t setting_in(const struct flag_table *t, const char *text)
{
	size_t n = strcspn(text, "=: \t");

	return text[n] && flags_find(t, text, n) ? n : 0;
}

static int append(struct reading *r, const char *more)
{
	struct entry *e = container_of(r->f->last, struct entry, next);
	size_t n = setting_in(r->t, more), old = strlen(e->value), len = strlen(more);
	char *longer;

	if (n) {
		complain(r, r->line);
		fprintf(r->err, "white space in front makes this a continuation of line %d; remove it to set %.*s\n", e->line,
			(int)n, more);
		return 1;
	}
	longer = realloc(e->value, old + len + 1);
	if (!longer)
		return 0;
	memcpy(longer + old, more, len + 1);
	e->value = longer;
	return 1;
}

/* 0 would make inih count an error; ours are said with a reason, so that is left for want of memory. */
static int handle(void *ctx, const char *section, const char *name, const char *value)
{
	struct reading *r = ctx;

	/* inih forgets the name at a heading: there an indented line is one of its own. */
	if (r->continues && r->f->entries && !strcmp(section, r->section) &&
	    !strcmp(container_of(r->f->last, struct entry, next)->name, name))
		return append(r, value);
	snprintf(r->section, sizeof(r->section), "%s", section);
	return add(r->f, name, value, r->line) != NULL;
}

static const struct entry *earlier(const struct conffile *f, const struct entry *e)
{
	for (const struct entry *x = f->entries; x != e; x = x->next)
		if (!strcmp(x->name, e->name))
			return x;
	return NULL;
}

static void unknown(struct reading *r, const struct entry *e)
{
	const struct flag *nearest = flags_nearest(r->t, e->name, strlen(e->name));

	complain(r, e->line);
	fprintf(r->err, "there is no setting \"%s\"", e->name);
	if (nearest && !nearest->cli_only)
		fprintf(r->err, "; did you mean %s?", nearest->name);
	fprintf(r->err, "\n");
}

static void apply(struct reading *r, const struct entry *e, void *settings)
{
	const struct flag *f = flags_find(r->t, e->name, strlen(e->name));
	const struct entry *before = earlier(r->f, e);
	size_t n = strlen(e->value);
	char where[4096];

	if (!f) {
		unknown(r, e);
	} else if (f->cli_only) {
		complain(r, e->line);
		fprintf(r->err, "%s is for the command line only\n", e->name);
	} else if (before) {
		complain(r, e->line);
		fprintf(r->err, "%s is set already, in line %d\n", e->name, before->line);
	} else if (n >= 2 && strchr("\"'", e->value[0]) && e->value[n - 1] == e->value[0]) {
		complain(r, e->line);
		fprintf(r->err, "%s: values stand without quotes; write %s = %.*s\n", e->name, e->name, (int)n - 2, e->value + 1);
	} else {
		snprintf(where, sizeof(where), "%s:%d", r->path, e->line);
		r->bad |= flags_set(f, settings, where, e->name, e->value, r->err) != 0;
	}
}

static int open_file(struct reading *r, struct opener *opener)
{
	struct stat st;
	int fd = opener_open(opener, r->path);

	if (fd < 0)
		errno = -fd;
	r->in = fd < 0 ? NULL : fdopen(fd, "r");
	if (!r->in || fstat(fd, &st)) {
		fprintf(r->err, "%s: %s: can't read the configuration: %s\n", r->t->program, r->path, strerror(errno));
		return -errno;
	}
	if (!S_ISREG(st.st_mode) || st.st_size > MAX_BYTES) {
		fprintf(r->err, "%s: %s: the configuration must be a file of at most %ld bytes\n", r->t->program, r->path, MAX_BYTES);
		return -ENOTSUP;
	}
	return 0;
}

static int parse(struct reading *r)
{
	int line = ini_parse_stream(read_line, r, handle, r);

	if (line > 0) {
		complain(r, line);
		fprintf(r->err, "neither \"name = value\" nor a heading in brackets nor a comment\n");
	} else if (line < 0) {
		fprintf(r->err, "%s: %s: out of memory\n", r->t->program, r->path);
		return -ENOMEM;
	}
	return 0;
}

int conffile_load(struct conffile **ret, const struct flag_table *t, void *settings, struct opener *opener, const char *path,
		  FILE *err)
{
	struct conffile *f = calloc(1, sizeof(*f));
	struct reading r = { .f = f, .t = t, .path = path, .err = err };
	int e;

	if (!f)
		return -ENOMEM;
	f->last = &f->entries;
	e = open_file(&r, opener);
	if (!e)
		e = parse(&r);
	if (r.in)
		fclose(r.in);
	for (const struct entry *x = f->entries; !e && x; x = x->next)
		apply(&r, x, settings);
	*ret = f;
	return !e && r.bad ? -EINVAL : e;
}

void conffile_free(struct conffile *f)
{
	struct entry *e, *next;

	for (e = f ? f->entries : NULL; e; e = next) {
		next = e->next;
		free(e->name);
		free(e->value);
		free(e);
	}
	free(f);
}
