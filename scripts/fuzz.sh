#!/bin/sh
# Runs every fuzz target of the packages given (default: all), each for FUZZTIME.
set -eu

log=$(mktemp)
trap 'rm -f "$log"' EXIT
for pkg in $(go list "${@:-./...}"); do
	for target in $(go test -list '^Fuzz' "$pkg" | grep '^Fuzz' || true); do
		echo "$pkg $target"
		if go test -run '^$' -fuzz "^$target\$" -fuzztime "${FUZZTIME:-60s}" -fuzzminimizetime 1s "$pkg" >"$log" 2>&1; then
			grep 'execs:' "$log" | tail -n 1
			continue
		fi
		# When time runs out in the middle of an input, go test may call that a
		# failure. It is a finding only if there is an input.
		if grep -q 'context deadline exceeded' "$log" && ! grep -q 'Failing input' "$log"; then
			grep 'execs:' "$log" | tail -n 1
			continue
		fi
		cat "$log"
		exit 1
	done
done
