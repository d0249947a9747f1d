# The front door. On a fresh Debian 12 machine, `make` builds build/carat; the first run installs what is missing.
# Meson and Ninja do the work (meson.build); this file says which steps there are. `make help` lists them.

BUILD ?= build
ASAN ?= build-asan
MESON_OPTIONS ?=
TEST ?=
TEXT ?=
ONLY ?=
JOBS ?= 2
OUT ?= out/first-run

NINJA = ninja -C $(BUILD)

# Each fuzzer's turn in `make test`; tests/fuzz/fuzz_main.c.
export CARAT_FUZZ_SECONDS ?= 5

all: $(BUILD)/build.ninja
	@$(NINJA)

help:
	@echo 'make                     build $(BUILD)/carat and libcarat (the first run installs missing Debian packages)'
	@echo 'make run [TEXT=file.txt] train a small language model, evaluate it, sample from it, save it in $(OUT)'
	@echo 'make test [TEST=name]    build and run the tests'
	@echo 'make sanitize            the same under the address and undefined-behaviour sanitizers, in $(ASAN)'
	@echo 'make claims [JOBS=n]     run all claims, writes $(BUILD)/claims/claims.html; goes on where it was interrupted'
	@echo 'make bench [ONLY=name]   measure against PyTorch and oneDNN, writes $(BUILD)/bench.json'
	@echo 'make peers               install what make bench compares with, in $(BUILD)/peers'
	@echo 'make peers-check         what Carat writes, loaded by transformers (after make peers)'
	@echo 'make docs                write docs/methods anew from the source of the methods'
	@echo 'make install             install command, library, headers, manual pages, completion (DESTDIR=, MESON_OPTIONS=--prefix=...)'
	@echo 'make clean               remove what was built (not $(BUILD)/peers); make distclean removes all'

run: all
	@tools/first-run.sh $(BUILD)/carat '$(OUT)' '$(TEXT)'

test: all
	@meson test -C $(BUILD) --no-rebuild --print-errorlogs $(TEST)

sanitize: $(ASAN)/build.ninja
	@ninja -C $(ASAN)
	@meson test -C $(ASAN) --no-rebuild --print-errorlogs --timeout-multiplier 8 $(TEST)

# `make clean` or a changed program starts anew. To keep the results: cp build/claims/claims.json claims/results.json
claims: all
	@$(BUILD)/carat claims --jobs $(JOBS) --out $(BUILD)/claims --resume

bench: peers
	@$(NINJA) all benchmarks
	@python3 bench/run.py --build $(BUILD) $(if $(ONLY),--only $(ONLY))

# What Carat writes, read by the programs whose formats these are.
peers-check: all
	@for check in tests/golden/check_*.py; do $(BUILD)/peers/bin/python $$check $(BUILD) || exit 1; done

peers: $(BUILD)/build.ninja
	@tools/setup.sh bench
	@python3 bench/run.py --build $(BUILD) --prepare

docs: all
	@$(NINJA) docs

install: all
	@meson install -C $(BUILD) --no-rebuild

clean:
	@if [ -d $(BUILD) ]; then find $(BUILD) -mindepth 1 -maxdepth 1 ! -name peers -exec rm -rf {} +; fi
	@rm -rf $(ASAN)

distclean:
	@rm -rf $(BUILD) $(ASAN)

# The stamp holds for one version of the script; packages are looked at again when it changes.
$(BUILD)/.setup: tools/setup.sh
	@mkdir -p $(BUILD)
	@tools/setup.sh
	@touch $@

# Meson notices changed files by itself, but not new ones: the list of sources is compared each time.
$(BUILD)/build.ninja $(ASAN)/build.ninja: %/build.ninja: $(BUILD)/.setup FORCE
	@if [ ! -f $@ ]; then \
	    meson setup $* $(MESON_OPTIONS) $(if $(filter $(ASAN),$*),$(SANITIZE_OPTIONS)); \
	elif ! tools/list-sources.sh all | cmp -s - $*/sources.txt; then \
	    meson setup --reconfigure $*; \
	fi

SANITIZE_OPTIONS = -Db_sanitize=address,undefined -Doptimization=1 -Db_lundef=false -Ddefault_library=static

FORCE:
.PHONY: all help run test sanitize claims bench peers peers-check docs install clean distclean FORCE
