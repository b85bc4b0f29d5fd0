#!/usr/bin/env bash
# Runs the tests that hold dnshark's promises of rights, faults, overload, privacy and the web,
# and prints a table: promise, whether it holds, figure. A skip is a failure. Needs root.
# TRUST_OUT=docs/trust.md writes the table there too.
set -uo pipefail
cd "$(dirname "$0")/.."
export CGO_ENABLED=0 DNSHARK_REQUIRE_LIVE=1 DNSHARK_TRUST=1
out=$(mktemp)
page=$(mktemp)
trap 'rm -f "$out" "$page"' EXIT
failed=0
line() { # PROMISE HELD SECONDS FIGURE
	printf '%-58s | %-4s | %5s | %s\n' "$1" "$2" "$3" "$4"
	printf '| %s | %s | %s | %s |\n' "$1" "${4//|/\\|}" "$2" "$3" >>"$page"
}
row() { # PROMISE ROOM TEST [VARIABLE=VALUE...]
	local promise=$1 room=$2 name=$3 figure held=pass begin=$SECONDS
	shift 3
	env "$@" go test -count=1 -v -timeout 15m -run "^$name\$" "$room" >"$out" 2>&1 || held=FAIL
	grep -q '^--- PASS' "$out" || held=FAIL
	# What the test logged last is its figure.
	figure=$(grep -E '^ +[a-z_]+_test\.go:[0-9]+: ' "$out" | tail -1 | sed -E 's/^ +[a-z_]+_test\.go:[0-9]+: //; s|/tmp/[^/ ]+/[0-9]+/||g' | cut -c1-220)
	if [[ $name == TestScripts/* ]]; then
		figure="$(grep -cE '^(! )?(holds|grep|stdout|stderr|cmp|exit) ' "testdata/scripts/${name#*/}.txtar") checks of what commands wrote"
	fi
	line "$promise" "$held" "$((SECONDS - begin))s" "${figure:--}"
	if [ "$held" = FAIL ]; then
		failed=1
		grep -E '^ *--- (FAIL|SKIP)|_test\.go' "$out" | head -10 >&2
	fi
}
row 'no right but those documented, live'              ./cmd/dnshark TestLiveDrop
row 'read and serve: no right, known calls and files'  ./cmd/dnshark TestReadConfined
row 'outputs by name, with TLS, rotated, in the sandbox' ./cmd/dnshark TestConfinedOutputs
row 'the image: what the chart gives it is just enough'  ./cmd/dnshark TestLiveImage
row 'no exec, fork, mount, trace, foreign file'        ./internal/privilege TestConfined
row 'SIGKILL x 200: nothing committed is lost'         ./cmd/dnshark TestKilled DNSHARK_KILLS=200
row 'restart: 2 s per GiB of spool'                     ./internal/spool TestRecoveryTime DNSHARK_LONG=1
row 'SIGKILL of the history'                           ./internal/store TestKilled
row 'torn spool: what is whole is read'                ./internal/spool TestTornTail
row 'flipped bits in the spool are found'              ./internal/spool TestBitFlips
row 'a failing disk below the spool'                   ./internal/spool TestFailingDisk
row 'full and read-only disks: lives, counts, heals'   ./internal/sink TestSpoolDiskTrouble
row 'receiver away: bounded, counted, caught up'       ./internal/sink TestSpoolWhileSinkIsAway
row 'live: disk full, no inodes, EIO, read-only: heals' ./cmd/dnshark TestLiveDiskFaults
row 'receiver away for 8 h: held, caught up five times as fast' ./cmd/dnshark TestAwayForHours DNSHARK_AWAY=720000
row 'a clock set by a year: no event is removed'        ./internal/store/eventlog TestClockJump
row 'a clock set by a year: no history, restarts too'   ./internal/store TestClockJump
row 'hostile captures: one reason each'                ./cmd/dnshark TestHostileCaptures
row 'hostile input: 64 descriptors, 256 MiB'           ./cmd/dnshark TestHostileWithinLimits
row 'bad policies on reload keep the old'              ./cmd/dnshark TestLivePolicyReload
row 'overload: what is lost is counted'                ./internal/source/ebpf TestRingFull
row 'three times too much: 90 % of the best, 2 s, exact' ./cmd/dnshark TestLiveThreefold
row 'losses are told once as they begin and end'        ./internal/loss TestEpisode
row 'privacy: no octet is left in any message'         ./internal/privacy TestNothingLeft
row 'privacy: not in hostile messages either'          ./internal/privacy TestHostile
row 'privacy and purge: outputs, history, files'       ./cmd/dnshark TestScripts/privacy
row 'purge of whole events: what mentions it, no more' ./internal/store/eventlog TestPurge
row 'privacy: fields= lets nothing else through'        ./internal/output TestAllowedFormats
row 'web: a foreign name reaches nothing (421)'          ./internal/web TestGuardHost
row 'web: other sites get nothing, pages run only ours'  ./internal/web TestGuardOtherSites
row 'web: bodies, headers, paths, limits'                ./internal/web TestGuardLimits
row 'web: tokens, roles, sessions'                       ./internal/web TestGuardTokens
row 'web: other hosts with TLS and tokens alone'         ./internal/web TestListen
row 'web: certificates of clients'                       ./internal/web TestTLS
row 'web: the audit log cannot be flooded'               ./internal/web TestAuditBounds
row 'systemd: exposure at most 2.7'                      ./cmd/dnshark TestService
row 'every command in the documents runs'                ./cmd/dnshark TestDocuments
row 'licences of all that is linked'                   . TestLicences
begin=$SECONDS
if scripts/test-vulnerabilities.sh >"$out" 2>&1; then held=pass; else held=FAIL failed=1; fi
line 'vulnerabilities in what is called are found' "$held" "$((SECONDS - begin))s" "$(tail -1 "$out" | cut -c1-150)"
if scripts/vulnerabilities.sh >"$out" 2>&1; then held=pass; elif [ $? = 2 ]; then held='n/a'; else held=FAIL failed=1; fi
line 'no known vulnerability' "$held" '' "$(tail -1 "$out" | cut -c1-200)"
if [ -n "${TRUST_OUT:-}" ]; then
	{
		printf '# What is promised, and what was measured\n\nMade by `TRUST_OUT=docs/trust.md make trust` on %s, %s processors, Linux %s; do not edit.\n' \
			"$(date -u +%F)" "$(nproc)" "$(uname -r | cut -d- -f1)"
		printf 'Each row is a test that fails where the promise does not hold; a skip is a failure.\n\n| promise | figure | holds | time |\n|---|---|---|---|\n'
		cat "$page"
	} >"$TRUST_OUT"
fi
exit $failed
