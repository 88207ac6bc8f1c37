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

# Without the Xen host: seconds instead of minutes.
check-fast: all
	@tests/check --fast $(BUILD)

demo: all
	@demo/run $(BUILD)

lab: all
	@lab/shell --with $(BUILD)/src/domsnap

bench: all
	@bench/run $(BUILD)

format:
	@git ls-files '*.c' '*.h' | xargs clang-format -i

install: all
	@meson install -C $(BUILD)

clean:
	rm -rf $(BUILD)

.PHONY: all check check-fast demo lab bench format install clean
