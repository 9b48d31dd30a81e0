# Everything a newcomer and CI run. `make help` lists the targets.
#
# LAB is the name of the lab that a target works on; SUITE narrows `make e2e` and `make soak`, BENCH `make bench`, which
# does parts p1 to p8 before the lab is needed.
# KUBELB_SOAK_OUTAGE_SECONDS is how long `make soak` keeps the hub's API server away: 600 unless told.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

LAB ?= kubelb
SUITE ?=
export CARGO_TERM_COLOR ?= auto
TARGET := $(or $(CARGO_TARGET_DIR),target)
BIN := $(TARGET)/release
# The `lab` command reads the lab's name here.
export KUBELB_LAB := $(LAB)
LAB_CMD = $(BIN)/lab
DEPLOY = $(BIN)/deploy --binaries $(BIN)

.PHONY: help
help: ## Lists the targets.
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "  %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: quickstart
quickstart: build ## A hub and two tenants with the product installed and examples served.
	$(LAB_CMD) up
	$(LAB_CMD) exec -- $(DEPLOY) install
	$(LAB_CMD) exec -- $(DEPLOY) demo

.PHONY: test
test: ## Everything that CI runs, on a lab of its own, with a summary at the end.
	e2e/run-all.sh

.PHONY: unit
unit: ## Formatting, lints and all tests that need no lab.
	cargo fmt --all --check
	cargo clippy --workspace --all-targets -- -D warnings
	cargo clippy -p e2e --test stories --test soak -- -D warnings
	cargo test --workspace --quiet

.PHONY: build
build: ## Release binaries of the product and of the lab.
	cargo build --release -p testbed -p e2e -p kubelb-manager -p kubelb-ccm

.PHONY: lab-up
lab-up: build ## Brings up the clusters only.
	$(LAB_CMD) up

.PHONY: lab-down
lab-down: ## Removes the lab: no process, container, mount, namespace or interface stays.
	@test -x $(BIN)/lab || cargo build --release -p testbed
	$(LAB_CMD) down

.PHONY: install
install: build ## Installs or upgrades the product in a lab that stands.
	$(LAB_CMD) exec -- $(DEPLOY) install

.PHONY: e2e
e2e: ## Whole-system stories on a lab with the product; SUITE=l4|gateway|tenancy|operations|crds for one.
	LAB=$(LAB) BIN=$(BIN) e2e/run-stories.sh "$(SUITE)"

.PHONY: soak
soak: ## Long runs on a lab with the product, an hour or two in all; SUITE=outage|renewal|churn|cold for one.
	LAB=$(LAB) BIN=$(BIN) STORIES=soak SHOW=1 e2e/run-stories.sh "$(SUITE)"

.PHONY: bench
bench: bench-l4 ## What the product costs, on a lab with it and beside it; BENCH=p1,...,p9-shared,p9-rested,p9-own,p10,p11,switch, ROUTES=1000.
	$(LAB_CMD) exec -- $(BIN)/bench --out bench.json

.PHONY: bench-l4
bench-l4: ## The part of it that needs no lab, half an hour: BENCH=p1,...,p8, SCALE=0.1, MANAGER= and CCM= for other binaries.
	cargo build --release -p bench -p kubelb-manager -p kubelb-ccm
	$(BIN)/bench l4 --manager $(or $(MANAGER),$(BIN)/kubelb-manager) --ccm $(or $(CCM),$(BIN)/kubelb-ccm) --out bench.json

.PHONY: performance
performance: ## Makes docs/performance.md from docs/performance.json, which is a bench.json.
	cargo run --quiet --release -p bench -- --out docs/performance.json --document docs/performance.md

.PHONY: conformance
conformance: ## Gateway API conformance, on fresh clusters unless LAB is given; PROFILE=, RUN= or SMOKE=1 narrow it.
	BIN=$(BIN) conformance/run.sh

.PHONY: crds
crds: ## Generates the custom resource definitions into the chart.
	cargo run --quiet -p api --bin crdgen -- charts/kubelb-manager/crds-files

.PHONY: shell
shell: ## A shell that reaches the lab's addresses.
	$(LAB_CMD) shell
