#!/usr/bin/env bash
# Known vulnerabilities in what dnshark calls: fails when there is one that has a
# fix. GOVULNDB may name a mirror of the database. Where none can be reached it says
# so, and for which linked modules the module proxy has a newer version. That is no check:
# a proxy may hold young versions back, and the newest may have vulnerabilities too.
set -euo pipefail
cd "$(dirname "$0")/.."
# The standard library that is released.
GOTOOLCHAIN=$(sed -n 's/^toolchain //p' go.mod)
export GOTOOLCHAIN
out=$(mktemp)
trap 'rm -f "$out"' EXIT
status=0
go run golang.org/x/vuln/cmd/govulncheck@v1.9.0 ${GOVULNDB:+-db "$GOVULNDB"} -tags grpcnotrace ./cmd/dnshark >"$out" 2>&1 || status=$?
cat "$out"
grep -q 'fetching vulnerabilities' "$out" || exit "$status"
mapfile -t linked < <(go list -deps -tags grpcnotrace -f '{{with .Module}}{{if not .Main}}{{.Path}}{{end}}{{end}}' ./cmd/dnshark | sort -u)
newer=$(go list -m -u -f '{{with .Update}}{{$.Path}} {{$.Version}} has a newer version, {{.Version}}{{end}}' "${linked[@]}") || {
	echo "vulnerabilities: not checked, neither the database nor the module proxy can be reached" >&2
	exit 2
}
echo "$newer"
echo "vulnerabilities: not checked, the database cannot be reached; of ${#linked[@]} linked modules the module proxy has a newer version of $(grep -c . <<<"$newer")" >&2
exit 2
