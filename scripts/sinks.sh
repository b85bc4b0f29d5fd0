#!/bin/sh
# Runs the tests of outputs against receivers that take long to build: Loki, half an hour the
# first time.
set -eu
cd "$(dirname "$0")/.."
scripts/build-receiver.sh loki bin/receivers
LOKI=$(echo "$PWD"/bin/receivers/loki-*) go test -tags sinks -count=1 -v -run '^TestRealLoki' ./internal/sink
