#!/usr/bin/env bash
# Renders the Helm chart with Helm itself, which takes three minutes to build, and asks dnshark about the settings in it.
set -euo pipefail
cd "$(dirname "$0")/.."
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
chart=packaging/helm/dnshark
helm=$(command -v helm) || {
	GOBIN=$work go install helm.sh/helm/v3/cmd/helm@v3.19.0
	helm=$work/helm
}
make -s build

# render NAME OPTION...: lints and renders, as $work/NAME.yaml, and checks the settings.
render() {
	local name=$1
	shift
	"$helm" lint --strict --quiet --kube-version 1.31.0 "$@" $chart
	"$helm" template dns $chart --kube-version 1.31.0 "$@" >"$work/$name.yaml"
	awk '/^  dnshark.yaml: \|/ {on = 1; next} /^---/ {on = 0} on {sub(/^    /, ""); print}' "$work/$name.yaml" >"$work/$name-config.yaml"
	test -s "$work/$name-config.yaml"
	bin/dnshark config check --config "$work/$name-config.yaml" | grep -qx ok
	echo "$name: $(grep -c '^kind:' "$work/$name.yaml") objects"
}
has() { grep -qF -- "$2" "$work/$1.yaml" || { echo "$1 lacks: $2" >&2; exit 1; }; }
lacks() { ! grep -qF -- "$2" "$work/$1.yaml" || { echo "$1 has: $2" >&2; exit 1; }; }

render default
for text in 'hostNetwork: true' 'hostPID: true' 'readOnlyRootFilesystem: true' 'allowPrivilegeEscalation: false' 'drop: [ALL]' \
	'add: [BPF, NET_ADMIN, PERFMON, SYS_PTRACE]' 'type: RuntimeDefault' 'path: /sys/fs/cgroup' '/run/containerd' 'path: /healthz'; do
	has default "$text"
done
lacks default 'kind: Deployment'
lacks default 'privileged: true'

render fleet --set serve.enabled=true --set-json 'serve.envFrom=[{"secretRef":{"name":"clickhouse"}}]' \
	--set-json 'config.output=["kafka+tls://agent:secret@k1.example:9093?spool=1GB&spool-dir=/var/lib/dnshark/spool"]'
has fleet 'kind: Deployment'
has fleet 'runAsNonRoot: true'
# shellcheck disable=SC2016 # dnshark expands it
has fleet '--store=clickhouse://reader:${CLICKHOUSE_PASSWORD}@clickhouse:8123/default'
has fleet 'name: clickhouse'

render interface --set podAnnotations.a=b --set config.interface=eth0 --set stateDir= --set config.metrics=
has interface 'SYS_PTRACE, NET_RAW]'
has interface 'emptyDir: {}'
lacks interface livenessProbe

refused() {
	if "$helm" template dns $chart --kube-version 1.31.0 "$@" >/dev/null 2>&1; then
		echo "the schema takes $*" >&2
		exit 1
	fi
}
refused --set imge.tag=1
refused --set serve.store=mysql://h
refused --set stateDir=relative
refused --set serve.port=53
echo "chart: linted, rendered, its settings are dnshark's, wrong values are refused"
