# Each target is one script or one cargo command; `make` lists them.

.DEFAULT_GOAL := help
.PHONY: help run test test-kafka lint fmt build sim sim-planted torture torture-guards bench fuzz proto-breaking proto-accept deny-advisories clean-tools

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-18s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: ## the main job: every service on this machine, with live data of the sample plants
	@scripts/run.sh

test: ## set up what the tests need and run them all; ends with "N passed, N failed, N skipped"
	@scripts/test.sh

test-kafka: ## those that run on real Kafka (`make test` runs them too)
	@scripts/test-kafka.sh

lint: ## format, clippy, licences, contract, scripts, images and manifests
	@scripts/lint.sh

fmt: ## format the Rust code
	cargo fmt --all

build: ## compile the workspace
	@scripts/setup.sh build
	cargo build --workspace --locked

sim: ## simulate the staleness detector: SEEDS (300) from FIRST (0); target/sim/report.json
	@scripts/setup.sh build
	cargo run -p heliograph-sim --locked -- --seeds $(or $(SEEDS),300) --first $(or $(FIRST),0)

sim-planted: ## plant bugs in the detector, one after the other: SEEDS (1000) must find each
	@scripts/setup.sh build
	cargo run -p heliograph-sim --features planted --locked -- --plant all --seeds $(or $(SEEDS),1000)

torture: ## kill -9 in the middle of uploads, KILLS times on each log; target/torture/report.json
	@scripts/setup.sh test
	cargo test --workspace --locked --no-run
	KILLS=$${KILLS:-60} cargo test --workspace --locked --test e2e -- --nocapture torture

torture-guards: ## the same without one guard after another: each must be missed
	@scripts/torture-guards.sh

bench: ## measure against the limits; CASE="recovery replay" or all but those; JSON in target/bench
	@scripts/setup.sh test
	cargo build --release --workspace --locked
	target/release/heliograph-bench $(if $(KILLS),--kills $(KILLS)) $(or $(CASE),all)

fuzz: ## fuzz the parsers: SECONDS each (20), TARGET="json event" or all
	@scripts/fuzz.sh $(or $(SECONDS),20) $(TARGET)

proto-breaking: ## does proto/ still keep the contract in schemas/proto?
	@scripts/proto.sh breaking

proto-accept: ## make today's proto/ the contract; to be reviewed and committed
	@scripts/proto.sh accept

deny-advisories: ## look for known vulnerabilities; needs the internet
	@"$$(scripts/fetch-cargo-deny.sh)" --locked check advisories

clean-tools: ## remove what set-up fetched into .tools
	rm -rf .tools
