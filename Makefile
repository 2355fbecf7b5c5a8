# Everything that is done with this project, by name. Packages that are missing
# are installed first, where a target needs them.

# Guests that the tests boot; they are taken down at the end unless KEEP_GUESTS
# is set.
TEST_GUESTS = test-a test-b
# Scales the tests that repeat; `make test-all` sets it.
export OVMIGRATE_TEST_REPEATS ?= 1

.PHONY: help build demo test test-all lint bench clean packages

help:
	@echo 'make build     build target/release/ovmigrate'
	@echo 'make demo      move a counter from one VM to another, from nothing'
	@echo 'make test      formatting, lints, unit tests, tests on real guests'
	@echo 'make test-all  the same, with all repeats'
	@echo 'make lint      formatting, clippy and documentation only'
	@echo 'make bench     measure what ovmigrate costs on a guest'
	@echo 'make clean     remove what was built and the guests that run'

packages:
	@qemu-scripts/install-packages

build: packages
	cargo build --release

demo: packages
	@qemu-scripts/demo

lint: packages
	cargo fmt --check
	cargo clippy --all-targets -- -D warnings
	RUSTDOCFLAGS='-D warnings' cargo doc --no-deps --quiet

# Guests run one test at a time; the threads overlap the rest.
test: lint
	@qemu-scripts/build-image >/dev/null
	@status=0; cargo test --no-fail-fast || status=$$?; \
	if [ -z "$$KEEP_GUESTS" ]; then \
		for guest in $(TEST_GUESTS); do qemu-scripts/vm down $$guest >/dev/null 2>&1; done; \
	fi; exit $$status

test-all:
	$(MAKE) test OVMIGRATE_TEST_REPEATS=10

bench: packages
	cargo bench --bench guest

clean:
	qemu-scripts/vm down --all
	cargo clean
