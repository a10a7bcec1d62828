# The two commands of this project are `make demo` and `make test`. Everything
# they need beyond Go, Node and npm they install themselves.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c

export JSII_SILENCE_WARNING_END_OF_LIFE_NODE_VERSION := 20
export CDK_DISABLE_CLI_TELEMETRY := 1
# golangci-lint remembers findings by content with the folder they were in, and
# cannot read its exceptions there once that checkout is gone: each has its own.
export GOLANGCI_LINT_CACHE := $(CURDIR)/.cache/golangci-lint

# Packages whose tests run jsii, which must not run twice in one process and does
# not stand -race.
JSII := ./infra/... ./constructs/...

# As cdk.json builds: so lwt, the simulator and the CDK app share what they compile.
BUILD := CGO_ENABLED=0 go build -trimpath

.PHONY: demo lwt test lint bench screenshots tools

## demo: deploy the stack on this machine, lose a device, see the e-mail
demo:
	@$(MAKE) -s --no-print-directory -j2 lwt node_modules/.package-lock.json
	@./lwt demo $(DEMO)

## lwt: the operator's program, ./lwt; compiles the simulator and the CDK app beside it
lwt:
	@[ -x lwt ] || echo "Compiling lwt, the simulator and the CDK app. The first time takes 2 to 3 minutes on two cores, later ones seconds." >&2
	@$(BUILD) -tags lambda.norpc ./cmd/lwt ./cmd/simulator ./cmd/alerter ./infra
	@$(BUILD) -o lwt ./cmd/lwt

## test: lint and all tests
test: tools lint
	go vet ./...
	go test -timeout 40m -race $$(go list ./... | grep -v -e /infra -e /constructs)
	go test -timeout 40m $(JSII)

## lint: the pinned linters, and whether go.mod is tidy
lint:
	go mod tidy -diff
	go tool -modfile=tools/go.mod golangci-lint run
	go tool -modfile=tools/go.mod actionlint

## bench: the figures, next to their peers
bench: tools test/bench/synth/node_modules/.package-lock.json
	go test -run '^$$' -bench . -benchtime 1x ./test/bench ./test/page
	cd test/bench/iotsql && go test -run '^$$' -bench .
	go test -run '^$$' -bench Rules ./internal/localaws/iot

## screenshots: the page's views for docs/img, light and dark, wide and narrow
screenshots: tools
	mkdir -p docs/img
	go test ./test/page -count 1 -run "TestEveryViewIsForEverybody|TestAStackIsWatched" -screenshots $(CURDIR)/docs/img

# The CDK CLI, at the version that package.json pins.
node_modules/.package-lock.json: package.json package-lock.json
	@npm ci --no-audit --no-fund --loglevel=error >&2
	@touch $@

# MQTT.js and AWS's Device SDKs, devices that are not ours.
test/e2e/node_modules/.package-lock.json: test/e2e/package.json test/e2e/package-lock.json
	cd test/e2e && npm ci --no-audit --no-fund --loglevel=error
	@touch $@

# Node versions that the app is tested on, beside the machine's own.
test/node/node_modules/.package-lock.json: test/node/package.json test/node/package-lock.json
	cd test/node && npm ci --no-audit --no-fund --loglevel=error
	@touch $@

# axe, which knows the accessibility rules.
test/page/node_modules/.package-lock.json: test/page/package.json test/page/package-lock.json
	cd test/page && npm ci --no-audit --no-fund --loglevel=error
	@touch $@

# The CDK in JavaScript and TypeScript, the peers of BenchmarkSynth.
test/bench/synth/node_modules/.package-lock.json: test/bench/synth/package.json test/bench/synth/package-lock.json
	cd test/bench/synth && npm ci --no-audit --no-fund --loglevel=error
	@touch $@

# Independent peers that the tests and benchmarks talk to, a C compiler for -race, and a browser.
tools: node_modules/.package-lock.json test/e2e/node_modules/.package-lock.json test/node/node_modules/.package-lock.json test/page/node_modules/.package-lock.json
	@.ci/tools
