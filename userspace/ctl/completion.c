/* SPDX-License-Identifier: BSD-3-Clause */
#include "ctl/completion.h"

static void put_choices(const struct flag *f, FILE *out)
{
	fprintf(out, "\t-%s|--%s) COMPREPLY=($(compgen -W '", f->name, f->name);
	for (int i = 0; f->choices[i]; i++)
		fprintf(out, "%s%s", i ? " " : "", f->choices[i]);
	fprintf(out, "' -- \"$cur\")); return ;;\n");
}

/* What a value is made of is not known: bash offers files where nothing is offered here. */
void completion_bash(const struct flag_table *t, const char *const *commands, size_t n, FILE *out)
{
	fprintf(out, "_%s() {\n\tlocal cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]}\n\tCOMPREPLY=()\n"
		"\tcase $prev in\n", t->program);
	for (size_t i = 0; i < t->n; i++)
		if (t->flags[i].type == FLAG_CHOICE)
			put_choices(&t->flags[i], out);
	fprintf(out, "\tesac\n\tcase $cur in\n\t-*) COMPREPLY=($(compgen -W '");
	for (size_t i = 0; i < t->n; i++)
		if (t->flags[i].type != FLAG_REFUSED)
			fprintf(out, "--%s ", t->flags[i].name);
	fprintf(out, "--help' -- \"$cur\")) ;;\n");
	if (n) {
		fprintf(out, "\t*) COMPREPLY=($(compgen -W '");
		for (size_t i = 0; i < n; i++)
			fprintf(out, "%s%s", i ? " " : "", commands[i]);
		fprintf(out, "' -- \"$cur\")) ;;\n");
	}
	fprintf(out, "\tesac\n}\ncomplete -o default -F _%s %s\n", t->program, t->program);
}
