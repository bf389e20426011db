# ferry: `make` lists what there is to do.

GO ?= go
# A number of runs: with a duration, go test takes a run that its end cuts off for
# a failure.
FUZZTIME ?= 10000x

# In so many labs the end-to-end tests run side by side.
LABS ?= 2

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: demo
demo: ## show the main job in a lab of containers and a virtual machine (root); KEEP=1 leaves it up
	$(GO) run ./cmd/lab demo $(if $(KEEP),--keep)

.PHONY: test
test: unit lab ## all tests; sets up what they need (root, Debian)

.PHONY: unit
unit: ## the tests that need nothing but Go
	$(GO) test ./...

.PHONY: lab
lab: ## the tests with real Nix, OpenSSH, systemd and QEMU, in the lab (root, Debian)
	$(GO) test -tags lab -count=1 -timeout 20m $$($(GO) list -tags lab ./internal/lab/... ./test/... | grep -v '/e2e$$')
	./test/e2e/shards.sh $(LABS)

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
lint: ## formatting, vet, the build for macOS, staticcheck, module file
	@unformatted=$$(gofmt -l cmd internal test); [ -z "$$unformatted" ] || { echo "not gofmt-clean:"; echo "$$unformatted"; exit 1; }
	$(GO) vet ./...
	$(GO) vet -tags lab ./...
	GOOS=darwin GOARCH=arm64 $(GO) build -o /dev/null ./cmd/ferry
	$(GO) tool staticcheck -tags lab ./...
	$(GO) mod tidy -diff
	$(GO) mod verify

.PHONY: build
build: ## bin/ferry, static, so that it also runs on hosts; VERSION=TAG: a release
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags '-s -w$(if $(VERSION), -X ferry/internal/cli.release=$(VERSION))' -o bin/ferry ./cmd/ferry
