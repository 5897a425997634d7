# Each target is one line of scripts/; make help lists them. Only Go, Node and make need to be there beforehand.
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-print-directory
SHELL := /bin/bash

.PHONY: help
help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-12s %s\n", $$1, $$2 }' Makefile

.PHONY: run
run: ## Build Weir and bring it up with a simulated estate (data in ./data/demo)
	@scripts/deps.sh run
	@scripts/build.sh
	@exec bin/weir up --demo

.PHONY: lab
lab: ## As root: run real Open vSwitch hosts with VMs and traffic, and Weir on them (LAB="--hosts 5 --farm 64"; data in ./data/lab)
	@scripts/deps.sh lab
	@scripts/build.sh
	@exec bin/weirlab up $(LAB)

.PHONY: build
build: ## Build bin/weir and bin/weirlab
	@scripts/build.sh

.PHONY: test
test: ## Run what CI runs: dependencies, build, tests, race detector, lint
	@scripts/test.sh

.PHONY: plugin
plugin: ## Build the Grafana plugin: zips for linux/amd64 and linux/arm64 in dist
	@scripts/deps.sh plugin
	@scripts/plugin.sh

.PHONY: deb
deb: ## Build Debian packages for amd64 and arm64 in dist
	@scripts/deps.sh run
	@scripts/deb.sh

.PHONY: unit
unit: ## Run the tests that need nothing but Go; those that lack a service are skipped
	@. scripts/lib.sh && go test ./...

.PHONY: race
race: ## Run the race detector where goroutines share memory
	@scripts/race.sh

.PHONY: soak
soak: ## Kill store and collector 200 times under load and look for what is lost or doubled
	@. scripts/lib.sh && CI_REQUIRE_SERVICES=1 WEIR_SEED=$${WEIR_SEED:-random} WEIR_CRASHES=200 go test ./internal/crash -run '^TestKills$$' -count 1 -v -timeout 1h

.PHONY: oracle
oracle: ## Ask evaluator, model and Open vSwitch of FRAMES random frames (1000000 unless set; minutes) and look for what they disagree on
	@. scripts/lib.sh && CI_REQUIRE_SERVICES=1 WEIR_SEED=$${WEIR_SEED:-random} WEIR_ORACLE=$${FRAMES:-1000000} go test ./internal/oracle -run '^TestOracle$$' -count 1 -v -timeout 3h

.PHONY: explore
explore: ## Run the tests with random input with new input, in turn, for EXPLORE (10m unless set)
	@scripts/explore.sh

.PHONY: fuzz
fuzz: ## Fuzz every target for FUZZTIME (30s unless set)
	@scripts/fuzz.sh

.PHONY: bench
bench: ## Measure Weir beside its peers; print ratios and figures (minutes)
	@scripts/bench.sh

.PHONY: bench-full
bench-full: ## Ask questions of a store of 10^8 flows (many minutes, some GB)
	@scripts/bench.sh full

.PHONY: lint
lint: ## Run the linters and check the format
	@scripts/lint.sh

.PHONY: fmt
fmt: ## Format the Go files
	@scripts/fmt.sh

.PHONY: generate
generate: ## Write generated files and reference pages anew
	@scripts/generate.sh

.PHONY: deps
deps: ## Install what make run and make test need
	@scripts/deps.sh test

.PHONY: clean
clean: ## Remove what was built; keep data and downloads
	@rm -rf bin .cache
