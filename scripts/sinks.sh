#!/bin/sh
# Runs the tests of outputs against receivers that take minutes to build: so far, the
# OpenTelemetry Collector.
set -eu
cd "$(dirname "$0")/.."
version=v0.162.0
work=$PWD/bin/sinks
mkdir -p "$work"

if [ ! -x "$work/otelcol" ]; then
	source=$(mktemp -d)
	trap 'rm -rf "$source"' EXIT
	GOBIN=$source CGO_ENABLED=0 go install go.opentelemetry.io/collector/cmd/builder@$version
	cat >"$source/otelcol.yaml" <<-EOT
		dist: {name: otelcol, output_path: $source/out, module: dnshark.test/otelcol}
		receivers:
		  - gomod: go.opentelemetry.io/collector/receiver/otlpreceiver $version
		exporters:
		  - gomod: go.opentelemetry.io/collector/exporter/debugexporter $version
	EOT
	CGO_ENABLED=0 "$source/builder" --config "$source/otelcol.yaml"
	mv "$source/out/otelcol" "$work/otelcol"
fi
OTELCOL=$work/otelcol go test -tags sinks -count=1 -v -run '^TestOTLPCollector$' ./internal/sink
