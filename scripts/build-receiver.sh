#!/bin/sh
# Builds a receiver that no Debian package has, for the tests of outputs:
#   build-receiver.sh otelcol|loki DIRECTORY
# It makes DIRECTORY/NAME-VERSION, or leaves the one that is there alone. The OpenTelemetry
# Collector takes about three minutes, Loki half an hour.
set -eu
name=$1
mkdir -p "$2"
directory=$(cd "$2" && pwd)
source=$(mktemp -d)
trap 'rm -rf "$source"' EXIT
export CGO_ENABLED=0 GOFLAGS=-trimpath GOWORK=off
cd "$source"
case $name in
otelcol)
	version=v0.162.0
	[ ! -x "$directory/$name-$version" ] || exit 0
	GOBIN=$source go install go.opentelemetry.io/collector/cmd/builder@$version
	cat >otelcol.yaml <<-EOT
		dist: {name: otelcol, output_path: $source/out, module: dnshark.test/otelcol}
		receivers:
		  - gomod: go.opentelemetry.io/collector/receiver/otlpreceiver $version
		exporters:
		  - gomod: go.opentelemetry.io/collector/exporter/debugexporter $version
	EOT
	./builder --config otelcol.yaml
	mv out/otelcol "$directory/$name-$version"
	;;
loki)
	version=v3.7.8
	[ ! -x "$directory/$name-$version" ] || exit 0
	module=github.com/grafana/loki/v3
	go mod init dnshark.test/loki
	# Its own replacements are part of what it is; Go takes them from the main module only.
	go mod download -json $module@$version | sed -n 's/.*"GoMod": "\(.*\)".*/\1/p' | xargs cat |
		awk '/^replace \(/ {list = 1; next} list && /^\)/ {list = 0} list && NF {print "replace", $0} /^replace [^(]/ {print}' |
		grep -v '=> \.' >>go.mod
	go get $module/cmd/loki@$version
	go build -ldflags '-s -w' -o loki $module/cmd/loki
	mv loki "$directory/$name-$version"
	;;
*)
	echo "no receiver is called $name" >&2
	exit 2
	;;
esac
