#!/usr/bin/env bash
# Shows that vulnerabilities.sh fails for a vulnerability of what dnshark calls, and for
# no other: with databases of one made-up vulnerability each.
set -euo pipefail
cd "$(dirname "$0")/.."
db=$(mktemp -d)
trap 'rm -rf "$db"' EXIT
mkdir "$db/index" "$db/ID"
module=github.com/spf13/cobra
id=GO-0000-0001
when='"modified":"2026-01-01T00:00:00Z"'
echo "{$when}" >"$db/index/db.json"
echo "[{\"path\":\"$module\",\"vulns\":[{\"id\":\"$id\",$when,\"fixed\":\"999.0.0\"}]}]" >"$db/index/modules.json"
check() { # SYMBOL STATUS
	echo "{\"schema_version\":\"1.3.1\",\"id\":\"$id\",$when,\"published\":\"2026-01-01T00:00:00Z\",\"summary\":\"made up\",\"details\":\"made up\",
		\"affected\":[{\"package\":{\"name\":\"$module\",\"ecosystem\":\"Go\"},\"ranges\":[{\"type\":\"SEMVER\",\"events\":[{\"introduced\":\"0\"},{\"fixed\":\"999.0.0\"}]}],
		\"ecosystem_specific\":{\"imports\":[{\"path\":\"$module\",\"symbols\":[\"$1\"]}]}}]}" >"$db/ID/$id.json"
	local status=0
	GOVULNDB=file://$db scripts/vulnerabilities.sh >"$db/out" 2>&1 || status=$?
	if [ "$status" != "$2" ]; then
		cat "$db/out"
		echo "a vulnerability of $1: status $status, want $2" >&2
		exit 1
	fi
}
check Command.Execute 1
grep -q "$id" "$db/out"
check Command.GenBashCompletionFile 0
echo "a made-up vulnerability of what dnshark calls fails, one of what it does not call is none"
