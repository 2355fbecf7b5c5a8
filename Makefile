# Everything that is done with this project, by name. Packages that are missing
# are installed first, where a target needs them.

# All kernels that there are guests of, and those that `make test` runs on.
KERNELS = 5.10 6.1 6.12 7.2
TEST_KERNELS ?= 6.1
# Those with which machines of other makes are booted, one for each test.
export MACHINE_KERNELS ?= 6.1
# Those that are gone through once more, without mapping the guest's RAM.
export PROCESS_KERNELS ?=
# What `make fuzz` runs, and for how long each.
FUZZ_TARGETS ?= $(basename $(notdir $(wildcard fuzz/fuzz_targets/*.rs)))
FUZZ_SECONDS ?= 60
# Where the report of `make bench` goes, and what it is to measure.
REPORT ?= bench-report
BENCH ?=
# What the tests on guests saw working.
SEEN = $(or $(CARGO_TARGET_DIR),target)/tmp/seen.jsonl
# What becomes of that.
PAGES ?= --check $(SEEN)
# Scales the tests that repeat; `make test-all` sets it.
export OVMIGRATE_TEST_REPEATS ?= 1

.PHONY: kernel-profiles help build demo test test-all lint fuzz bench clean packages

help:
	@echo 'make build     build target/release/ovmigrate'
	@echo 'make demo      move a counter from one VM to another, from nothing'
	@echo 'make test      formatting, lints, unit tests, tests on real guests of one kernel'
	@echo 'make test-all  the same on all kernels and machines, with all repeats'
	@echo 'make lint      formatting, clippy and documentation only'
	@echo 'make fuzz      feed the parsers with made-up input, a minute each'
	@echo 'make kernel-profiles  profiles of the test kernels, after a declaration has changed'
	@echo 'make bench     measure saves on this machine, beside CRIU; the report goes to bench-report/'
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
	cargo clippy --all-targets --no-default-features -- -D warnings
	RUSTDOCFLAGS='-D warnings' cargo doc --no-deps --quiet

# All but the tests on guests, then those. What they see must be in the pages in
# docs/ that tell of it.
test: lint
	cargo test --no-fail-fast --lib --bins --examples --test domain --test libvirt --test strangers --test xsave
	cargo test --doc
	@for kernel in $(TEST_KERNELS); do qemu-scripts/build-image --kernel $$kernel >/dev/null || exit 1; done
	@rm -f $(SEEN)
	tests/on-guests $(TEST_KERNELS)
	tests/pages $(PAGES)

# All kernels on all machines. The pages are written anew.
test-all:
	$(MAKE) test OVMIGRATE_TEST_REPEATS=10 TEST_KERNELS='$(KERNELS)' MACHINE_KERNELS='$(KERNELS)' \
		PROCESS_KERNELS='$(KERNELS)' PAGES='--write $(SEEN) $(KERNELS)'

# Needs no nightly compiler: the stable one takes the flags of cargo-fuzz when
# told to. Findings and corpora stay in fuzz/.
fuzz: packages
	@command -v cargo-fuzz >/dev/null || cargo install --locked cargo-fuzz
	@for target in $(FUZZ_TARGETS); do \
		RUSTC_BOOTSTRAP=1 cargo fuzz run $$target -- -max_total_time=$(FUZZ_SECONDS) || exit 1; \
	done

# Profiles of the kernels that the guest images have today.
kernel-profiles: packages
	cargo build
	@set -e; scratch=$$(mktemp -d); trap 'rm -rf "$$scratch"' EXIT; \
	for kernel in $(KERNELS); do \
		image=$$(qemu-scripts/build-image --kernel $$kernel); \
		file=$$scratch/vmlinuz-$$(cat "$$image/release"); cp "$$image/vmlinuz" "$$file"; \
		$(or $(CARGO_TARGET_DIR),target)/debug/ovmigrate profile build --vmlinux "$$file" --output kernel-profiles/$$kernel.json; \
	done

# All suites, and what drgn needs beside it; some hours. BENCH='limit --quick' is one
# suite alone, in short.
bench: build
	$(or $(CARGO_TARGET_DIR),target)/release/ovmigrate bench $(BENCH) --out $(REPORT)
	$(if $(BENCH),,benches/against-drgn)

clean:
	qemu-scripts/vm down --all
	cargo clean
