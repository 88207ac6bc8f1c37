# The daily commands. Each does its own set-up; BUILD can be moved.
BUILD ?= build

all: $(BUILD)/build.ninja
	@ninja -C $(BUILD)

# Rerun by ninja itself when meson.build changes.
$(BUILD)/build.ninja:
	@tools/setup
	@meson setup $(BUILD) > /dev/null

check: all
	@tests/check $(BUILD)

# Every job on both releases of Debian.
check-all: all
	@tests/check --all $(BUILD)

# Some of them: make jobs JOBS="trip-pvh power" RELEASE=trixie.
JOBS ?= trip-pvh
jobs: all
	@tests/check --jobs $(BUILD) $(or $(RELEASE),bookworm) $(JOBS)

# What docs/RELIABILITY.md tells of: each parser for SECONDS; every fault point; COUNT cuts in create and as many in restore;
# MINUTES of a soak.
SECONDS ?= 60
fuzz:
	@fuzz/run $(SECONDS)

faults: all
	@tests/every-fault $(BUILD)

COUNT ?= 50
power-cuts: all
	@tests/power/cuts $(BUILD) $(COUNT) 1 --write

MINUTES ?= 60
SEED ?= 1
soak: all
	@tests/soak/soak $(BUILD) $(MINUTES) pvh $(SEED)

# A repository with many at work at once, some of whom are killed; without Xen.
ROUNDS ?= 500
soak-repository: all
	@tests/soak/repository $(BUILD)/src/domsnap-xen $(ROUNDS) $(SEED)

# The unit tests and the command line's messages, slowly: what the sanitizers do not see.
valgrind: all
	@tests/sanitize valgrind $(BUILD)

# Without the Xen host: minutes instead of an hour.
check-fast: all
	@tests/check --fast $(BUILD)

demo: all
	@demo/run $(BUILD)

lab: all
	@lab/shell --with $(BUILD)/src/domsnap --with $(BUILD)/src/domsnap-xen

# An hour and a half. BENCH=pause, or BENCH=repository: only that.
BENCH ?= pause repository
bench: all
	@for part in $(BENCH); do bench/$$part $(BUILD) || exit; done

format:
	@git ls-files '*.c' '*.h' | xargs clang-format -i

# What a Xen host needs, and no more: a build of its own, without the tests and what they want installed.
install:
	@meson setup $(BUILD)-release --buildtype=release -Dtests=disabled > /dev/null
	@meson install -C $(BUILD)-release

# Debian packages. RELEASE=bookworm, RELEASE=trixie: built in a clean root of that, as root.
deb:
	@tools/deb $(RELEASE) $(BUILD)/deb

clean:
	rm -rf $(BUILD) $(BUILD)-asan $(BUILD)-tsan $(BUILD)-release build-fuzz

.PHONY: all check check-all jobs check-fast valgrind fuzz faults power-cuts soak soak-repository demo lab bench format install deb clean
