# xderp: the only build file. make help lists the targets; V=1 shows commands; B=dir builds elsewhere.
B       ?= build
CC      ?= gcc
ifeq ($(origin CC),default)
CC      := gcc
endif
CLANG   ?= clang
SAN     ?=
PKGS    := libcrypto libssl libsodium jansson libseccomp
Q       := $(if $(V),,@)
SAY     := $(if $(V),@:,@printf '  %-7s %s\n')

# Table rows name what differs from zero: hence no -Wmissing-field-initializers.
WARN    := -std=gnu11 -Wall -Wextra -Wshadow -Wvla -Wundef -Wformat=2 -Wstrict-prototypes -Wmissing-prototypes -Werror \
           -Wno-missing-field-initializers
# Across files, for the path of a packet: 3 % fewer instructions. clang would want its own linker for it.
OPT     ?= -O3 -g $(if $(findstring clang,$(CC)),,-flto=auto)
HARDEN  := -D_FORTIFY_SOURCE=2 -fstack-protector-strong -fPIE
VERSION := $(shell git describe --always --dirty 2>/dev/null || echo unknown)
# liburing's static archive carries calls that the shared object of Debian 12 does not export.
CFLAGS  += $(WARN) $(OPT) $(if $(SAN),-fsanitize=$(SAN) -fno-omit-frame-pointer -U_FORTIFY_SOURCE,$(HARDEN)) \
           -pthread -D_GNU_SOURCE -Iinclude -Iuserspace -I$(B) $(shell pkg-config --cflags $(PKGS) 2>/dev/null)
LDFLAGS += -pthread $(if $(SAN),-fsanitize=$(SAN),-pie -Wl,-z,relro,-z,now)
# AES by libipsec-mb where it is packaged (amd64); else everything by OpenSSL.
ifneq ($(wildcard /usr/include/intel-ipsec-mb.h),)
CFLAGS  += -DHAVE_IPSEC_MB
LDLIBS  += -lIPSec_MB
endif
# The kernel half: programs by clang -target bpf, their loaders by bpftool. Without these userspace/kern/none.c stands for it.
BPFTOOL ?= $(firstword $(shell command -v bpftool) $(wildcard /usr/sbin/bpftool))
HAVE_BPF := $(and $(wildcard /usr/include/bpf/libbpf.h),$(BPFTOOL),$(shell command -v $(CLANG)))
LDLIBS  += $(if $(HAVE_BPF),-lbpf)
LDLIBS  += -lresolv -linih -lwslay -l:liburing.a $(shell pkg-config --libs $(PKGS) 2>/dev/null) -lm

ROOMS   := base wire net kern relay admin
SRC     := $(sort $(foreach r,$(ROOMS),$(wildcard userspace/$(r)/*.c)))
ifeq ($(HAVE_BPF),)
SRC     := $(filter-out userspace/kern/%,$(SRC)) userspace/kern/none.c
else
SRC     := $(filter-out userspace/kern/none.c,$(SRC))
endif
OBJ     := $(SRC:%.c=$(B)/%.o)
LIB     := $(B)/libxderp.a
BENCH_PROGRAMS := floor tables
BINS    := $(B)/xderpd $(B)/xderpctl $(if $(wildcard bench/xderp-bench.c),$(B)/xderp-bench $(BENCH_PROGRAMS:%=$(B)/bench-%))

.PHONY: all
all: $(BINS)

$(B)/%.o: %.c Makefile
	$(SAY) CC $<
	@mkdir -p $(@D)
	$(Q)$(CC) $(CFLAGS) -MMD -MP -c -o $@ $<

# --- BPF: bpf/x.bpf.c -> x.bpf.o -> (linked, without debug sections that only a debugger reads) -> x.skel.h
BPF_CFLAGS := -target bpf -mcpu=v3 -std=gnu11 -O2 -g -fno-strict-aliasing -Wall -Wextra -Werror -Iinclude -Ibpf \
           $(if $(HAVE_BPF),-isystem /usr/include/$(shell gcc -dumpmachine))
SKEL    := $(if $(HAVE_BPF),$(patsubst bpf/%.bpf.c,$(B)/bpf/%.skel.h,$(wildcard bpf/*.bpf.c)))

$(B)/%.bpf.o: %.bpf.c Makefile
	$(SAY) BPF $<
	@mkdir -p $(@D)
	$(Q)$(CLANG) $(BPF_CFLAGS) -MMD -MP -c -o $@ $<
	$(Q)$(BPFTOOL) gen object $@.linked $@ && mv $@.linked $@
$(B)/%.skel.h: $(B)/%.bpf.o
	$(Q)$(BPFTOOL) gen skeleton $< name $(*F) >$@.new && mv $@.new $@
.SECONDARY: $(SKEL:%.skel.h=%.bpf.o)
$(patsubst %.c,$(B)/%.o,$(filter userspace/kern/%,$(SRC))): | $(SKEL)

# The status page as a C string, and the hashes by which its Content-Security-Policy lets its script and style run.
hash_of = printf '"sha256-%s"\n' "$$({ echo; sed -n '/^<$1>$$/,/^<\/$1>$$/p' $< | sed '1d;$$d'; } | sha256sum | cut -d' ' -f1 | \
          tr a-f A-F | basenc -d --base16 | base64)"
$(B)/status_page.h: userspace/admin/status.html Makefile
	$(SAY) GEN $@
	@mkdir -p $(@D)
	$(Q){ printf '#define STATUS_SCRIPT_HASH '; $(call hash_of,script); printf '#define STATUS_STYLE_HASH '; $(call hash_of,style); \
	  printf '#define STATUS_PAGE \\\n'; sed 's/[\\"]/\\&/g; s/.*/"&\\n" \\/' $<; echo '""'; } >$@.new && mv $@.new $@
$(B)/userspace/admin/pages.o $(B)/userspace/relay/frontdoor.o: $(B)/status_page.h

# Rebuilt when the commit changes, so that -version tells the truth.
$(B)/version.o: FORCE
	@mkdir -p $(@D)
	@printf 'extern const char xderp_version[];\nconst char xderp_version[] = "%s";\n' '$(VERSION)' >$(B)/version.c.new
	@cmp -s $(B)/version.c.new $(B)/version.c || mv $(B)/version.c.new $(B)/version.c
	@test $@ -nt $(B)/version.c || $(CC) $(CFLAGS) -c -o $@ $(B)/version.c
FORCE:

$(LIB): $(OBJ) $(B)/version.o
	$(SAY) AR $@
	$(Q)rm -f $@ && ar rcs $@ $^

$(B)/xderpd: $(B)/userspace/main.o $(LIB)
	$(SAY) LD $@
	$(Q)$(CC) $(LDFLAGS) -o $@ $^ $(LDLIBS)

$(B)/xderpctl: $(patsubst %.c,$(B)/%.o,$(wildcard userspace/ctl/*.c)) $(LIB)
	$(SAY) LD $@
	$(Q)$(CC) $(LDFLAGS) -o $@ $^ $(LDLIBS)

$(B)/xderp-bench: $(patsubst %.c,$(B)/%.o,$(filter-out $(BENCH_PROGRAMS:%=bench/%.c),$(wildcard bench/*.c))) $(LIB)
	$(SAY) LD $@
	$(Q)$(CC) $(LDFLAGS) -o $@ $^ $(LDLIBS)

$(B)/bench-%: $(B)/bench/%.o $(LIB)
	$(SAY) LD $@
	$(Q)$(CC) $(LDFLAGS) -o $@ $^ $(LDLIBS)

$(B)/bench/stunload/nic.o: $(B)/bench/stunload/nic.skel.h
$(B)/stun-nic: $(B)/bench/stunload/nic.o
	$(SAY) LD $@
	$(Q)$(CC) $(LDFLAGS) -o $@ $< $(LDLIBS)
$(B)/stun-load: $(B)/bench/stunload/load.o
	$(SAY) LD $@
	$(Q)$(CC) $(LDFLAGS) -o $@ $^

# --- unit tests: one binary per file, under ASan+UBSan, in a tree of their own
UNIT    := $(patsubst tests/unit/%.c,%,$(wildcard tests/unit/test_*.c))
ifeq ($(HAVE_BPF),)
UNIT    := $(filter-out test_xdp test_splice test_twin,$(UNIT))
endif
ASAN    := B=build/asan SAN=address,undefined OPT='-O1 -g'
.PHONY: check unit units
check:
	$(Q)$(MAKE) --no-print-directory $(ASAN) unit
units: $(UNIT:%=$(B)/unit/%)
unit: $(UNIT:%=$(B)/unit/%)
	$(Q)for t in $^; do echo "== $${t##*/}"; $$t || exit 1; done

$(B)/unit/%: tests/unit/%.c $(LIB) $(wildcard tests/lib/*.h)
	$(SAY) TEST $@
	@mkdir -p $(@D)
	$(Q)$(CC) $(CFLAGS) -Wno-missing-prototypes -Itests -MMD -MP $(LDFLAGS) -o $@ $< $(LIB) -lcmocka $(LDLIBS)

$(B)/unit/test_splice: $(B)/tests/unit/splice_run.skel.h
$(B)/unit/test_twin: $(B)/tests/unit/twin_run.skel.h

# --- what tools/vm runs: its guest has neither the compilers nor the time to build anything
.PHONY: vm-tests check-vm check-long
vm-tests: $(B)/xderpd $(B)/xderpctl $(B)/interop.test
	$(Q)$(MAKE) --no-print-directory $(ASAN) units
$(B)/interop.test: FORCE
	$(SAY) GO $@
	$(Q)tools/go test -C tests/interop -c -o $(abspath $@) .
check-vm:
	@VM_FULL=1 tests/run deps build-vm 'vm*'
# Hours: hand-overs of the splice and the like, thousands of times.
check-long:
	@LONG=1 tests/run deps build-gcc 'long-*'

# --- fuzzing: clang's libFuzzer over each codec; FUZZ_SECONDS each
FUZZ_SECONDS ?= 5
FUZZERS := $(patsubst tests/fuzz/%.c,%,$(wildcard tests/fuzz/fuzz_*.c))
.PHONY: fuzz fuzzers
fuzz:
	$(Q)$(MAKE) --no-print-directory B=build/fuzz CC=$(CLANG) SAN=fuzzer-no-link,address,undefined OPT='-O1 -g' fuzzers
fuzzers: $(FUZZERS:%=$(B)/%)
	$(Q)for f in $(FUZZERS); do echo "== $$f, $(FUZZ_SECONDS) s"; mkdir -p $(B)/corpus/$$f; \
	  $(B)/$$f -max_total_time=$(FUZZ_SECONDS) -rss_limit_mb=1024 -print_final_stats=0 -verbosity=0 \
	    $(B)/corpus/$$f $(wildcard tests/fuzz/seeds/) || exit 1; done
$(B)/fuzz_%: tests/fuzz/fuzz_%.c $(LIB)
	$(SAY) FUZZ $@
	$(Q)$(CC) $(CFLAGS) -Wno-missing-prototypes -Itests -fsanitize=fuzzer $(LDFLAGS) -o $@ $< $(LIB) $(LDLIBS)

$(B)/no-uring: tests/no-uring.c
	@mkdir -p $(@D)
	$(Q)$(CC) $(CFLAGS) $(LDFLAGS) -o $@ $< -lseccomp

.PHONY: deps run test lint bench bench-tables bench-stun cost help
deps:
	@tools/deps
run: deps
	$(Q)$(MAKE) --no-print-directory all
	@exec tools/run-relay $(ARGS)
# Everything: builds, lint, unit tests, fuzzers, interop against derper and xderpd (STEPS='unit fuzz' runs a part).
test:
	@tests/run $(STEPS)
lint:
	@tools/lint
bench: deps
	$(Q)$(MAKE) --no-print-directory all
	@bench/compare $(ARGS)
bench-tables: $(B)/bench-tables
	@$(B)/bench-tables $(ARGS)
bench-stun: all $(B)/stun-load $(B)/stun-nic
	@bench/stun $(ARGS)
cost: all
	@bench/cost $(if $(UPDATE),--update) $(ARGS)
help:
	@echo 'make         build/xderpd, build/xderpctl, build/xderp-bench'
	@echo 'make deps    install what building and testing need (Debian 12 and later)'
	@echo 'make run     deps, build, run a relay with a self-signed certificate on port 3443'
	@echo 'make test    deps, then every test there is'
	@echo 'make check   unit tests under ASan and UBSan'
	@echo 'make check-vm  what needs a stock kernel or a bad network, in a virtual machine'
	@echo 'make check-long  the splice under load, 100,000 hand-overs: an hour on two quiet processors'
	@echo 'make fuzz    fuzzers, FUZZ_SECONDS each'
	@echo 'make install programs, manual pages, completion, systemd units, example settings; PREFIX, DESTDIR'
	@echo 'make lint    layout rules, shell and Go checks'
	@echo 'make bench   xderpd against derper on this machine, below 15 minutes; ARGS=--quick tries it'
	@echo 'make bench-tables  time and memory of the tables at 100,000 peers'
	@echo 'make bench-stun  STUN by XDP against STUN by the socket (root)'
	@echo 'make cost    instructions per packet, against bench/cost.tsv; ARGS=--full for all sizes; UPDATE=1 sets them'

# --- into the system, or below DESTDIR for packages
PREFIX     ?= /usr/local
SYSCONFDIR ?= /etc
MANDIR     := $(PREFIX)/share/man
UNITS      := $(notdir $(wildcard dist/*.service dist/*.timer))
DIRS       := s|@sbindir@|$(PREFIX)/sbin|g; s|@bindir@|$(PREFIX)/bin|g; s|@sysconfdir@|$(SYSCONFDIR)|g
.PHONY: install
install: all
	$(Q)install -d $(DESTDIR)$(PREFIX)/sbin $(DESTDIR)$(PREFIX)/bin $(DESTDIR)$(MANDIR)/man1 $(DESTDIR)$(MANDIR)/man5 \
	  $(DESTDIR)$(MANDIR)/man8 $(DESTDIR)$(PREFIX)/lib/systemd/system $(DESTDIR)$(PREFIX)/share/doc/xderp \
	  $(DESTDIR)$(PREFIX)/share/bash-completion/completions
	$(Q)install -m 755 $(B)/xderpd $(DESTDIR)$(PREFIX)/sbin/
	$(Q)install -m 755 $(B)/xderpctl $(DESTDIR)$(PREFIX)/bin/
	$(Q)for p in man/*; do install -m 644 $$p $(DESTDIR)$(MANDIR)/man$${p##*.}/ || exit 1; done
	$(Q)for f in $(UNITS); do sed '$(DIRS)' dist/$$f >$(DESTDIR)$(PREFIX)/lib/systemd/system/$$f || exit 1; done
	$(Q)sed '$(DIRS)' dist/xderp-acme >$(DESTDIR)$(PREFIX)/sbin/xderp-acme && chmod 755 $(DESTDIR)$(PREFIX)/sbin/xderp-acme
	$(Q)$(B)/xderpctl completion >$(DESTDIR)$(PREFIX)/share/bash-completion/completions/xderpd
	$(Q)ln -sf xderpd $(DESTDIR)$(PREFIX)/share/bash-completion/completions/xderpctl
	$(Q)install -m 644 dist/xderp.conf docs/*.md $(DESTDIR)$(PREFIX)/share/doc/xderp/

.PHONY: clean
clean:
	rm -rf build

-include $(shell find $(B) -name '*.d' 2>/dev/null)
