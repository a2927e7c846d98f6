# Posthouse: a plain GNU Makefile in front of meson. `make help` lists the targets.

BUILD := build
MESON := $(BUILD)/meson
PREFIX ?= /usr/local
BINDIR = $(PREFIX)/bin
LIBEXECDIR = $(PREFIX)/libexec
MANDIR = $(PREFIX)/share/man
DOCDIR = $(PREFIX)/share/doc/posthouse
UNITDIR ?= $(PREFIX)/lib/systemd/system
ENGINE ?=
TIME ?= 60

all: $(MESON)/build.ninja
	@ninja -C $(MESON)
	@tools/stage $(MESON) $(BUILD)

$(MESON)/build.ninja:
	meson setup --buildtype=release $(MESON)

help:
	@echo 'make            release build: $(BUILD)/posthouse'
	@echo 'make run        a demonstration instance under run/, in the foreground'
	@echo 'make check      all tests and static checks (minutes)'
	@echo 'make check-long kill storms, long fuzzing (hours)'
	@echo 'make fuzz       ENGINE=NAME TIME=SECONDS: one fuzz target'
	@echo 'make bench      measures the release build'
	@echo 'make docs       the generated pages of docs/'
	@echo 'make inside     which rooms end up in which role'
	@echo 'make format     clang-format over src and tests'
	@echo 'make install    DESTDIR= PREFIX=$(PREFIX)'
	@echo 'make deps       installs what is missing (Debian, Ubuntu; names it elsewhere)'
	@echo 'make clean      removes $(BUILD)'

deps:
	@tools/deps

# Silent when all is there.
ensure-deps:
	@tools/deps --quiet

run: ensure-deps
	@$(MAKE) --no-print-directory all
	@tools/run

check: ensure-deps
	@tools/check

check-long: ensure-deps
	@tools/check --long

fuzz: ensure-deps
	@tools/fuzz '$(ENGINE)' '$(TIME)'

bench: all
	@tools/bench

docs:
	@tools/docs

inside: all
	@tools/inside $(MESON)

format:
	@tools/format

install: all
	install -d $(DESTDIR)$(BINDIR) $(DESTDIR)$(LIBEXECDIR)/posthouse $(DESTDIR)$(DOCDIR) \
	    $(DESTDIR)$(UNITDIR)
	install -m 755 $(BUILD)/posthouse $(DESTDIR)$(BINDIR)/
	ln -sf posthouse $(DESTDIR)$(BINDIR)/mailq
	install -m 755 $(BUILD)/libexec/posthouse/* $(DESTDIR)$(LIBEXECDIR)/posthouse/
	set -e; for page in $(wildcard man/*.[158]); do \
	    install -D -m 644 $$page $(DESTDIR)$(MANDIR)/man$${page##*.}/$${page##*/}; done
	install -m 644 dist/posthouse.yaml $(DESTDIR)$(DOCDIR)/
	sed 's|@BINDIR@|$(BINDIR)|g' dist/posthouse.service > $(BUILD)/posthouse.service
	install -m 644 $(BUILD)/posthouse.service $(DESTDIR)$(UNITDIR)/

clean:
	rm -rf $(BUILD)

.PHONY: all help deps ensure-deps run check check-long fuzz bench docs inside format install clean
