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

# SECONDS for each parser.
fuzz:
	@fuzz/run 60

# Without the Xen host: seconds instead of minutes.
check-fast: all
	@tests/check --fast $(BUILD)

demo: all
	@demo/run $(BUILD)

lab: all
	@lab/shell --with $(BUILD)/src/domsnap

# An hour and a half. BENCH=pause, or BENCH=repository: only that.
BENCH ?= pause repository
bench: all
	@for part in $(BENCH); do bench/$$part $(BUILD) || exit; done

format:
	@git ls-files '*.c' '*.h' | xargs clang-format -i

install: all
	@meson install -C $(BUILD)

clean:
	rm -rf $(BUILD)

.PHONY: all check check-fast fuzz demo lab bench format install clean
