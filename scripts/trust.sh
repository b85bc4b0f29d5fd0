#!/usr/bin/env bash
# Runs the tests that hold dnshark's promises of rights, faults and privacy, and
# prints a table: promise, figure, whether it holds. A skip is a failure. Needs root.
set -uo pipefail
cd "$(dirname "$0")/.."
export CGO_ENABLED=0 DNSHARK_REQUIRE_LIVE=1
out=$(mktemp)
trap 'rm -f "$out"' EXIT
failed=0
row() { # PROMISE ROOM TEST [VARIABLE=VALUE...]
	local promise=$1 room=$2 name=$3 figure held=pass begin=$SECONDS
	shift 3
	env "$@" go test -count=1 -v -timeout 15m -run "^$name\$" "$room" >"$out" 2>&1 || held=FAIL
	grep -q '^--- PASS' "$out" || held=FAIL
	# What the test logged last is its figure.
	figure=$(grep -E '^ +[a-z_]+_test\.go:[0-9]+: ' "$out" | tail -1 | sed -E 's/^ +[a-z_]+_test\.go:[0-9]+: //' | cut -c1-150)
	printf '%-58s | %-4s | %4ds | %s\n' "$promise" "$held" $((SECONDS - begin)) "${figure:--}"
	if [ "$held" = FAIL ]; then
		failed=1
		grep -E '^ *--- (FAIL|SKIP)|_test\.go' "$out" | head -10 >&2
	fi
}
row 'no right but those documented, live'              ./cmd/dnshark TestLiveDrop
row 'read and serve: no right, known calls and files'  ./cmd/dnshark TestReadConfined
row 'outputs by name, with TLS, rotated, in the sandbox' ./cmd/dnshark TestConfinedOutputs
row 'no exec, fork, mount, trace, foreign file'        ./internal/privilege TestConfined
row 'SIGKILL x 200: nothing committed is lost'         ./cmd/dnshark TestKilled DNSHARK_KILLS=200
row 'SIGKILL of the history'                           ./internal/store TestKilled
row 'torn spool: what is whole is read'                ./internal/spool TestTornTail
row 'flipped bits in the spool are found'              ./internal/spool TestBitFlips
row 'a failing disk below the spool'                   ./internal/spool TestFailingDisk
row 'full and read-only disks: lives, counts, heals'   ./internal/sink TestSpoolDiskTrouble
row 'receiver away: bounded, counted, caught up'       ./internal/sink TestSpoolWhileSinkIsAway
row 'hostile captures: one reason each'                ./cmd/dnshark TestHostileCaptures
row 'hostile captures: 64 descriptors, 256 MiB'        ./cmd/dnshark TestHostileWithinLimits
row 'bad policies on reload keep the old'              ./cmd/dnshark TestLivePolicyReload
row 'overload: what is lost is counted'                ./internal/source/ebpf TestRingFull
row 'privacy: no octet is left in any message'         ./internal/privacy TestNothingLeft
row 'privacy: not in hostile messages either'          ./internal/privacy TestHostile
row 'privacy and purge: outputs, history, files'       ./cmd/dnshark TestScripts/privacy
row 'licences of all that is linked'                   . TestLicences
if scripts/vulnerabilities.sh >"$out" 2>&1; then held=pass; elif [ $? = 2 ]; then held='n/a'; else held=FAIL failed=1; fi
printf '%-58s | %-4s | %5s | %s\n' 'no known vulnerability' "$held" '' "$(tail -1 "$out" | cut -c1-150)"
exit $failed
