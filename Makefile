# build, test, lint, generate, bench: see CONTRIBUTING.md.

VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null)
STATICCHECK = go run honnef.co/go/tools/cmd/staticcheck@v0.8.2

.PHONY: build test lint generate check-generated bench fuzz clean

build:
	CGO_ENABLED=0 go build -trimpath -ldflags "-s -w -X main.version=$(VERSION)" -o bin/dnshark ./cmd/dnshark

# Everything, live tests included. They need root; without it they say what
# they skipped and why. DNSHARK_REQUIRE_LIVE=1 makes a skip a failure.
test: deps
	CGO_ENABLED=0 go test -count=1 -timeout 20m ./...

.PHONY: deps
deps:
	scripts/install-test-deps.sh

lint:
	test -z "$$(gofmt -l . | tee /dev/stderr)"
	go vet ./...
	$(STATICCHECK) ./...

generate:
	go generate ./...

# The committed BPF objects are what their source says.
check-generated: deps
	@if command -v clang-19 >/dev/null; then \
		go generate ./... && git diff --exit-code -- internal/bpf docs; \
	else echo "check-generated: skipped, clang-19 is not installed"; fi

bench:
	CGO_ENABLED=0 go test -run '^$$' -bench . -benchmem ./...

clean:
	rm -rf bin
