# Troth. `make` alone says what there is.
#
# Everything built or downloaded goes to bin/ and .cache/. Set-up is part of the
# targets: as root they install what is missing, otherwise they say what to run.

SHELL    := /bin/bash
FUZZTIME ?= 2m
# Extra flags of go test, as in: make test TESTFLAGS='-count=1 -run Attack'
TESTFLAGS ?=
TOOLS    := .cache/bin

# One configuration everywhere: what is tested and linted is what is shipped, and
# the build cache is shared. Only the race detector needs cgo.
export CGO_ENABLED = 0

.DEFAULT_GOAL := help
.PHONY: help build demo test race lint fmt bench fuzz chaos capture vault clean

help: ## Say what there is
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

build: ## Build the programs into bin/, static and stripped
	go build -trimpath -ldflags "-s -w" -o bin/ ./cmd/...

demo: ## Show the main job on software TPMs (KEEP=1 leaves it running)
	@tools/setup.sh demo
	@$(MAKE) --no-print-directory build
	@bin/troth-sim demo $(if $(KEEP),--keep)

# The fast groups come first, so that a simple mistake shows at once.
test: ## Run all tests on real swtpm, PostgreSQL and Vault; the last line counts them
	@tools/setup.sh test
	@$(MAKE) --no-print-directory vault-server
	@go build -o $(TOOLS)/testrun ./tools/testrun
	@TROTH_REQUIRE=1 $(TOOLS)/testrun -summary .cache/test-summary \
	  .,./attest/...,./policy/...,./policies/...,./tuf/...,./ca/... test/differential:./... ./... -- -timeout=20m $(TESTFLAGS)

race: ## Run all tests under the race detector (needs a C compiler)
	@tools/setup.sh test
	@go build -o $(TOOLS)/testrun ./tools/testrun
	@CGO_ENABLED=1 TROTH_REQUIRE=1 $(TOOLS)/testrun ./... -- -race -timeout=40m $(TESTFLAGS)

vault: vault-server ## Run a Vault that is set up as the CA of devices (VAULT_PORT=8200), until interrupted
	@go build -trimpath -ldflags "-s -w" -o bin/ ./cmd/troth
	@tools/vault/dev.sh

.PHONY: vault-server
# Minutes and gigabytes the first time.
vault-server:
	@tools/vault/build.sh || echo "NOT TESTED: the Vault server did not build (see above); tests that need it will skip" >&2

# The linters are pinned in a module of their own and built once.
$(TOOLS)/golangci-lint: tools/lint/go.mod tools/lint/go.sum
	@echo "building the linters into $(TOOLS) (minutes the first time)" >&2
	@mkdir -p $(TOOLS)
	@cd tools/lint && go build -o ../../$(TOOLS)/ tool
	@touch $@

SCRIPTS = .ci/run $(shell find tools internal -name '*.sh')

lint: $(TOOLS)/golangci-lint ## Check format, vet, staticcheck, golangci-lint and shell scripts
	@echo "gofmt"; test -z "$$(gofmt -l $$(find . -name '*.go' -not -path './.cache/*') | tee /dev/stderr)"
	@echo "go vet"; go vet ./... && cd test/differential && go vet ./...
	@echo "staticcheck"; $(TOOLS)/staticcheck ./...
	@echo "golangci-lint"; GOLANGCI_LINT_CACHE=$(CURDIR)/.cache/golangci-lint $(TOOLS)/golangci-lint run ./...
	@if command -v shellcheck >/dev/null; then echo "shellcheck"; shellcheck -x $(SCRIPTS); \
	  else echo "NOT CHECKED: shell scripts (no shellcheck; tools/setup.sh lint installs it)" >&2; fi

fmt: ## Format the code
	@gofmt -w $$(find . -name '*.go' -not -path './.cache/*')

bench: ## Run all benchmarks; x/… are ratios within one run
	go test -run '^$$' -bench . -benchmem ./...
	cd test/differential && go test -run '^$$' -bench . -benchmem ./...

fuzz: ## Fuzz every target for FUZZTIME (2m); plain tests run the seeds
	@tools/fuzz.sh $(FUZZTIME)

chaos: ## Kill the agent at POINTS (60) seeded points, by itself and led by a service (SEED=1)
	TROTH_CHAOS_POINTS=$(or $(POINTS),60) TROTH_CHAOS_SEED=$(or $(SEED),1) go test -count=1 -v -timeout=60m -run 'TestAttack_T8' ./cmd/troth-agent ./test/e2e

capture: ## Boot real kernels in emulated machines and keep their evidence as test data anew
	@tools/setup.sh capture
	@tools/capture/capture.sh

clean: ## Remove what was built (.cache/ keeps tools that take minutes; clean-all removes it too)
	rm -rf bin demo-data .cache/test-summary

.PHONY: clean-all
clean-all: clean
	rm -rf .cache
