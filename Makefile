# ferry: `make` lists what there is to do.

GO ?= go
# A number of runs: with a duration, go test takes a run that its end cuts off for
# a failure.
FUZZTIME ?= 10000x

# So many random histories of a VM are tried (internal/host/model_test.go).
HISTORIES ?= 1000
# The first of their seeds; 0: a random one, to look for what nobody has seen yet.
SEED ?= 1000

# In so many labs the end-to-end tests run side by side.
LABS ?= 2

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: demo
demo: ## show the main job in a lab of containers and a virtual machine (root); KEEP=1 leaves it up
	$(GO) run ./cmd/lab demo $(if $(KEEP),--keep)

.PHONY: test
test: unit lab-core ## the tests of the main job, undo, hosts and updates, and all units; sets up what they need (root, Debian)

.PHONY: test-all
test-all: test ## all tests, all faults, and each fuzz target for a while (root, Debian)
	$(MAKE) --jobs=2 lab-other test-faults
	$(MAKE) fuzz

.PHONY: unit
unit: ## the tests that need nothing but Go
	$(GO) test ./...
	cd tools && $(GO) test ./...
	$(GO) test -tags model -run TestRandomHistories ./internal/host -model.runs=$(HISTORIES) -model.seed=$(SEED)

.PHONY: lab-core
lab-core: ## the end-to-end tests that `make test` runs, in the lab (root, Debian)
	$(GO) run -tags lab ./test/run -labs $(LABS) -core

.PHONY: lab-other
lab-other: ## the other end-to-end tests, and those of the lab itself (root, Debian)
	$(GO) test -tags lab -count=1 -timeout 40m ./internal/lab
	$(GO) run -tags lab ./test/run -labs $(LABS) -other

.PHONY: test-faults
test-faults: ## break deployments off at every step, and much else (root, Debian); RUN=REGEXP: only some
	$(GO) run -tags lab ./test/faults $(if $(RUN),-run '$(RUN)')

.PHONY: fuzz
fuzz: ## each fuzz target for FUZZTIME runs (default 10000x)
	@for pkg in $$($(GO) list ./...); do \
	  for target in $$($(GO) test -list '^Fuzz' $$pkg | grep '^Fuzz' || :); do \
	    echo "$$pkg $$target"; \
	    $(GO) test -run '^$$' -fuzz "^$$target$$" -fuzztime $(FUZZTIME) $$pkg || exit 1; \
	  done; \
	done

.PHONY: lint
lint: ## formatting, vet, builds for other platforms, staticcheck, module file
	@unformatted=$$(gofmt -l cmd internal test tools); [ -z "$$unformatted" ] || { echo "not gofmt-clean:"; echo "$$unformatted"; exit 1; }
	$(GO) vet ./...
	$(GO) vet -tags lab ./...
	$(GO) vet -tags faults ./...
	$(GO) vet -tags model ./internal/host/...
	GOOS=darwin GOARCH=arm64 $(GO) build -o /dev/null ./cmd/ferry
	GOOS=linux GOARCH=arm64 $(GO) build -o /dev/null ./cmd/ferry-helper
	$(GO) tool -modfile=tools/go.mod staticcheck -tags lab ./...
	$(GO) mod tidy -diff
	$(GO) mod verify
	cd tools && $(GO) vet ./... && $(GO) tool staticcheck ./... && $(GO) mod tidy -diff && $(GO) run ./vendorhash -check

.PHONY: vendor-hash
vendor-hash: ## nix/vendor-hash.nix, after modules or their imports have changed
	cd tools && $(GO) run ./vendorhash

.PHONY: nix-options
nix-options: ## docs/nix-options.md, after an option of a Nix module has changed; needs Nix
	nix --extra-experimental-features nix-command eval --impure --raw --file nix/options.nix --apply 'f: f { }' >docs/nix-options.md

.PHONY: build
build: ## bin/ferry, static, with the helpers for hosts in it; GOOS, GOARCH: for another machine; VERSION=TAG: a release
	GOOS= GOARCH= $(GO) run ./cmd/build -o bin/ferry -version '$(VERSION)' -for '$(or $(GOOS),$(shell $(GO) env GOHOSTOS))/$(or $(GOARCH),$(shell $(GO) env GOHOSTARCH))'

.PHONY: dist
dist: ## dist/: archives for Linux and macOS, Debian's packages, SHA256SUMS; VERSION=TAG: a release (default: the commit's tag)
	GOOS= GOARCH= $(GO) run ./cmd/dist -o dist -version '$(VERSION)' -platforms '$(PLATFORMS)'

.PHONY: dist-twice
dist-twice: ## make dist of the last commit twice, in two directories with nothing in common; fails if the bytes differ
	@tmp=$$(mktemp -d); trap 'rm -rf "$$tmp"' EXIT; set -e; \
	git clone -q . "$$tmp/one"; mkdir "$$tmp/other"; git clone -q "$$tmp/one" "$$tmp/other/ferry"; \
	for source in "$$tmp/one" "$$tmp/other/ferry"; do \
	  (cd "$$source" && GOCACHE="$$source.cache" $(MAKE) --no-print-directory dist); \
	done; \
	diff "$$tmp/one/dist/SHA256SUMS" "$$tmp/other/ferry/dist/SHA256SUMS" && cat "$$tmp/one/dist/SHA256SUMS"
