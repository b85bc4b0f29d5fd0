# build, test, lint, generate, bench: see CONTRIBUTING.md.

VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null)
# Without tracing pages, which nobody serves, the gRPC client is 3 MB smaller.
TAGS = grpcnotrace
STATICCHECK = go run honnef.co/go/tools/cmd/staticcheck@v0.8.2
FUZZTIME ?= 60s

.PHONY: build packages package-test image-test chart-test trust soak vulnerabilities detect-eval test lint generate check-generated bench bench-filter bench-live bench-captures bench-peers bench-growth bench-store bench-engines kernels sinks ui ui-dev profile guard fuzz deps clean

build:
	CGO_ENABLED=0 go build -trimpath -tags $(TAGS) -ldflags "-s -w -X main.version=$(VERSION)" -o bin/dnshark ./cmd/dnshark

# Packages for amd64 and arm64, the same octets whenever they are made; beside them the
# licences of what is linked, and a bill of materials (CycloneDX).
NFPM = go run github.com/goreleaser/nfpm/v2/cmd/nfpm@v2.45.2
# Versions of packages begin with a digit.
PACKAGE_VERSION = $(shell git describe --tags --match 'v[0-9]*' 2>/dev/null || echo 0.0.0-git.$$(git rev-parse --short HEAD))
# Vulnerabilities of the standard library are mended in newer toolchains, so a released program is
# built with go.mod's, whatever is installed.
RELEASE_GO = $(shell sed -n 's/^toolchain //p' go.mod)
EPOCH = $(shell git log -1 --format=%ct)
packages: export GOTOOLCHAIN = $(RELEASE_GO)
packages:
	rm -rf bin/man bin/completions && mkdir -p bin/completions
	for arch in amd64 arm64; do \
		CGO_ENABLED=0 GOARCH=$$arch go build -trimpath -buildvcs=false -tags $(TAGS) -ldflags "-s -w -X main.version=$(VERSION)" -o bin/$$arch/dnshark ./cmd/dnshark || exit 1; \
	done
	SOURCE_DATE_EPOCH=$(EPOCH) go run ./cmd/dnshark man bin/man
	for shell in bash zsh fish; do go run ./cmd/dnshark completion $$shell > bin/completions/dnshark.$$shell || exit 1; done
	go run ./packaging/licences > bin/licences.txt
	go run ./packaging/licences -sbom $(PACKAGE_VERSION) > bin/dnshark.cdx.json
	for arch in amd64 arm64; do for kind in deb rpm; do \
		SOURCE_DATE_EPOCH=$(EPOCH) ARCH=$$arch VERSION=$(PACKAGE_VERSION) $(NFPM) package -f packaging/nfpm.yaml -p $$kind -t bin/ || exit 1; \
	done; done

# Builds packages twice, compares them, and installs one in a new Debian root.
package-test: chart-test
	scripts/test-package.sh

# Builds the image twice, compares, and runs it in containerd.
image-test:
	scripts/test-image.sh

# The Helm chart, with Helm itself.
chart-test:
	scripts/test-chart.sh

# What dnshark promises of faults, rights and privacy, each with its figure; 20 minutes, needs root.
trust: deps
	scripts/trust.sh

# Memory, goroutines and descriptors of a dnshark under load for SOAK.
SOAK ?= 45m
soak:
	DNSHARK_REQUIRE_LIVE=1 DNSHARK_SOAK=$(SOAK) CGO_ENABLED=0 go test -count=1 -v -timeout 60m -run '^TestSoak$$' ./cmd/dnshark

# Known vulnerabilities in what is linked; needs the network. GOVULNDB may name a mirror of the database.
vulnerabilities:
	scripts/vulnerabilities.sh

# Everything, live tests included. They need root; without it they say what
# they skipped and why. DNSHARK_REQUIRE_LIVE=1 makes a skip a failure.
# Packages run one after the other: live tests and timings disturb each other.
test: deps
	cd bench && CGO_ENABLED=0 go test ./...
	@skips=$$(mktemp); status=0; \
	DNSHARK_SKIPS=$$skips CGO_ENABLED=0 go test -count=1 -p 1 -timeout 20m ./... || status=$$?; \
	if [ -s $$skips ]; then echo "Skipped, and why:"; sort -u $$skips; fi; \
	rm -f $$skips; exit $$status

deps:
	scripts/install-test-deps.sh

lint:
	@unformatted=$$(gofmt -l .); test -z "$$unformatted" || { echo "gofmt would change: $$unformatted"; exit 1; }
	go vet ./...
	$(STATICCHECK) ./...
	cd bench && go vet ./... && $(STATICCHECK) ./...
	@if command -v golangci-lint >/dev/null; then golangci-lint run; fi

generate:
	go generate ./...

# The committed eBPF objects and pages are what their source says.
check-generated: deps
	@if command -v clang-19 >/dev/null; then \
		go generate ./... && git diff --exit-code -- internal/bpf; \
	else echo "check-generated: skipped, clang-19 is not installed"; fi
	@if command -v npm >/dev/null && (cd ui && npm ci --silent); then \
		(cd ui && npm run --silent build) && test -z "$$(git status --porcelain internal/web/assets)" || \
		{ git --no-pager diff --stat -- internal/web/assets; echo "internal/web/assets is not what make ui makes of ui/"; exit 1; }; \
	else echo "check-generated: pages skipped, npm is not installed or finds no packages"; fi

# COUNT=10 is what benchstat wants.
COUNT ?= 1
bench:
	@CGO_ENABLED=0 go test -run '^$$' -bench . -benchmem -count $(COUNT) ./...

# What dnshark costs a resolver at full speed. Needs root and some minutes.
bench-live: deps
	DNSHARK_REQUIRE_LIVE=1 DNSHARK_BENCH_LIVE=5 CGO_ENABLED=0 go test -count=1 -v -timeout 20m -run '^TestLiveOverhead$$' ./cmd/dnshark

# What a filter costs beside reading, by the clock.
bench-filter:
	DNSHARK_BENCH_FILTER=10 CGO_ENABLED=0 go test -count=1 -v -run '^TestFilterCost$$' ./cmd/dnshark

# The pages of dnshark serve, from ui/ into internal/web/assets; needs node.
ui:
	cd ui && npm ci --silent && npm run --silent build

# The same pages while they are changed, with the data of a dnshark serve.
ui-dev:
	cd ui && npm ci --silent && npm run dev

# Live tests on an older kernel, in qemu.
kernels: deps
	scripts/kernels.sh

# Outputs to a receiver that takes half an hour to build.
sinks:
	scripts/sinks.sh

# What the compiler is told about which code is hot (profile-guided
# optimisation); go build reads cmd/dnshark/default.pgo by itself.
profile:
	CGO_ENABLED=0 go test -run '^$$' -bench '^BenchmarkRead$$' -benchtime 100x -cpu 1 -o /dev/null \
		-cpuprofile $(CURDIR)/cmd/dnshark/default.pgo ./cmd/dnshark

# What follows writes docs/bench; docs/bench/README.md says how and why. RESPONSES
# is the size of the captures (a quick look: make bench-peers RESPONSES=50000
# BENCH_OUT=/tmp/bench); LOCK is a file that others lock who measure here.
RESPONSES ?= 1000000
CAPTURES = bin/captures-$(RESPONSES)
BENCH_OUT ?= docs/bench
BENCH_ARGS = -out $(abspath $(BENCH_OUT)) -dnshark bin/dnshark -lock "$(LOCK)"

bench-captures:
	cd bench && go build -o ../bin/bench/ ./...
	bin/bench/gen -n $(RESPONSES) -out $(CAPTURES)

bench-peers: build
	cd bench && go build -o ../bin/bench/ ./...
	test -e $(CAPTURES)/truth.json || $(MAKE) bench-captures
	bin/bench/peers -captures $(CAPTURES) -floor bin/bench/floor -reference bin/bench/reference $(BENCH_ARGS)

# What the detectors find in labelled captures, and what they call a threat that is none, with and
# without the lists of domains that come with dnshark.
# The score of names is learned anew for that, without the families that it is shown.
# WORDS is of Debian's wamerican.
THREATS ?= ../shared/corpus/threats
WORDS ?= /usr/share/dict/american-english
detect-eval:
	go run ./internal/detect/eval -corpus $(THREATS)
	go run ./internal/namescore/train -chosen $(THREATS)/dga/benign-clean.txt -made-up $(THREATS)/dga/dga -dead $(THREATS)/dga/benign-nxdomain.txt -words $(WORDS)

bench-growth: build
	cd bench && go build -o ../bin/bench/ ./...
	bin/bench/growth $(BENCH_ARGS)

# The history store: a tuple for every 20 events.
STORE_EVENTS ?= 10000000
bench-store:
	GOGC=50 DNSHARK_BENCH_STORE=$(STORE_EVENTS) DNSHARK_BENCH_OUT=$(abspath $(BENCH_OUT))/store.md \
		CGO_ENABLED=0 go test -count=1 -v -timeout 60m -run '^TestMeasure$$' ./internal/store

# The engines that the history could stand on, side by side; needs a C compiler.
ENGINE_EVENTS ?= 1000000
bench-engines:
	cd bench/engines && go run . -events $(ENGINE_EVENTS) -out $(abspath $(BENCH_OUT))/engines.md

# Instructions per response (valgrind) and allocations, against what is
# committed. UPDATE=1 commits what is measured. `make test` runs these tests too.
guard:
	UPDATE_GUARD=$(UPDATE) CGO_ENABLED=0 go test -count=1 -v -run 'TestGuard|TestNoAllocation' ./cmd/dnshark ./internal/line

fuzz:
	FUZZTIME=$(FUZZTIME) scripts/fuzz.sh

clean:
	rm -rf bin
