# cygnet: make demo, make test, and what takes longer. All need root, for
# network namespaces, and say what they install.

CARGO ?= cargo
export CARGO_TERM_COLOR ?= auto

.PHONY: help build demo test check unit soak bench fuzz deny interop-setup nextest-setup

help:
	@echo 'make demo   a session suspends, moves and resumes, in three namespaces'
	@echo 'make test   every test, with real strongSwan and libreswan'
	@echo 'make check  only formatting, lints and documentation'
	@echo 'make unit   only the tests that need neither root nor peers'
	@echo 'make soak   RUNS random lives of two endpoints (default 100000), from SEED on'
	@echo 'make bench  performance beside the peers'
	@echo 'make fuzz   every fuzz target, RUNS executions each (default 10000000)'
	@echo 'make deny   licences, sources and bans of dependencies'

build:
	$(CARGO) build --workspace --locked

# Debian packages, and a tree with the peer that Debian 12 does not have.
interop-setup:
	@interop/setup.sh

NEXTEST = $(CARGO) nextest
nextest-setup:
	@$(NEXTEST) --version >/dev/null 2>&1 || { \
		echo 'installing cargo-nextest'; $(CARGO) install cargo-nextest --locked; }

check:
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets --locked -- -D warnings
	RUSTDOCFLAGS='-D warnings' $(CARGO) doc --workspace --no-deps --locked

unit: nextest-setup
	$(NEXTEST) run --workspace --locked --exclude cygnet-interop \
		-E 'not (binary(links) or binary(userspace_plane))'

test: interop-setup nextest-setup check
	$(CARGO) test --workspace --locked --doc
	$(NEXTEST) run --workspace --locked

# The seed of a block of 1000 that fails is printed, with the smallest case.
SEED ?= 1
soak: SOAK_RUNS = $(or $(RUNS),100000)
soak:
	CYGNET_MODEL_SEED=$(SEED) CYGNET_MODEL_RUNS=$(SOAK_RUNS) $(CARGO) test --locked \
		-p cygnet-sim --test model -- --ignored --exact soak --nocapture

demo:
	@interop/setup.sh --tools
	$(CARGO) build --locked -p cygnetd -p cygnet
	$(CARGO) run --locked -q -p cygnet-interop --bin demo -- $(ARGS)

bench: interop-setup
	@bench/setup.sh
	$(CARGO) build --release --locked -p cygnetd -p cygnet
	$(CARGO) run --release --locked -q -p cygnet-bench -- $(ARGS)

fuzz: FUZZ_RUNS = $(or $(RUNS),10000000)
fuzz:
	@$(CARGO) fuzz --version >/dev/null 2>&1 || { \
		echo 'installing cargo-fuzz'; $(CARGO) install cargo-fuzz --locked; }
	for target in $$($(CARGO) +nightly fuzz list); do \
		$(CARGO) +nightly fuzz run $$target -- -runs=$(FUZZ_RUNS) -max_len=2048 || exit 1; done

deny:
	@$(CARGO) deny --version >/dev/null 2>&1 || { \
		echo 'installing cargo-deny'; $(CARGO) install cargo-deny --locked; }
	$(CARGO) deny check bans licenses sources
