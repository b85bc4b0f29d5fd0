#!/bin/sh
# Installs the programs that live tests run against, when this is Debian (or a
# descendant), we are root, and something is missing.
set -eu
cd "$(dirname "$0")/.."

# command:package
programs='
dig:bind9-dnsutils
dnsdbq:dnsdbq
dnsmasq:dnsmasq-base
unbound:unbound
named:bind9
dnsperf:dnsperf
tshark:tshark
valgrind:valgrind
strace:strace
ip:iproute2
iptables-legacy:iptables
busybox:busybox-static
curl:curl
musl-gcc:musl-tools
python3:python3
containerd:containerd
runc:runc
clang-19:clang-19
llvm-strip-19:llvm-19
fstrm_capture:fstrm-bin
rsyslogd:rsyslog
redis-server:redis-server
systemd-analyze:systemd
iodined:iodine
dns2tcpd:dns2tcp
ping:iputils-ping
tmux:tmux
chromium:chromium
jq:jq
clickhouse-server:clickhouse-server
java:openjdk-17-jre-headless
'

missing=
for entry in $programs; do
	command -v "${entry%%:*}" >/dev/null 2>&1 || missing="$missing ${entry#*:}"
done
# Headers and modules have no command to look for.
ls /usr/lib/*/rsyslog/lmnsd_gtls.so >/dev/null 2>&1 || missing="$missing rsyslog-gnutls"
[ -e /usr/include/bpf/bpf_helpers.h ] || missing="$missing libbpf-dev"

# Installed, these would change the machine: systemd-resolved its /etc/resolv.conf,
# engines its network. So they are only unpacked, below this directory.
# name:package,package,...
lib=/usr/local/lib/dnshark-tests
unpack=
for entry in systemd-resolved:systemd-resolved,libsystemd-shared docker:docker.io \
	podman:podman,conmon,libgpgme11,libassuan0,libsubid4 \
	zookeeper:libzookeeper-java,libslf4j-java,libnetty-java,libdropwizard-metrics-java,libsnappy-java,libcommons-cli-java,liblog4j1.2-java; do
	[ -d "$lib/${entry%%:*}" ] || unpack="$unpack $entry"
done

# Of npm: the reader of Parquet files and the ClickHouse of today, with their binaries in the
# package, and what drives the browser. name:module,module,...
fetch=
for entry in duckdb:@duckdb/node-api@1.5.6-r.1 chdb:chdb@3.4.0 playwright:playwright-core@1.65.1,axe-core@4.14.1; do
	[ -d "$lib/${entry%%:*}" ] || fetch="$fetch $entry"
done

# The OpenTelemetry Collector, which takes three minutes.
otelcol=
ls $lib/otelcol-* >/dev/null 2>&1 || otelcol=" otelcol"

missing=$missing$unpack$fetch$otelcol
[ -n "$missing" ] || exit 0
if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null 2>&1; then
	echo "not installed (needs root and apt-get):$missing; tests that need them say so" >&2
	exit 0
fi
echo "installing:$missing" >&2
export DEBIAN_FRONTEND=noninteractive
# Services are for the tests to start, in namespaces of their own.
policy=/usr/sbin/policy-rc.d
if [ ! -e $policy ]; then
	printf '#!/bin/sh\nexit 101\n' >$policy
	chmod +x $policy
	trap 'rm -f $policy' EXIT
fi
mkdir -p $lib
for entry in $fetch; do
	fetched=$(mktemp -d)
	# shellcheck disable=SC2046 # a list of packages
	if npm install --silent --no-audit --no-fund --prefix "$fetched" $(echo "${entry#*:}" | tr , ' ') >/dev/null 2>&1; then
		mv "$fetched" "$lib/${entry%%:*}"
	else
		rm -rf "$fetched"
		echo "not installed: ${entry%%:*}, which needs npm" >&2
	fi
done
if [ -n "$otelcol" ] && ! scripts/build-receiver.sh otelcol $lib >&2; then
	echo "not installed: the OpenTelemetry Collector, which could not be built" >&2
fi
missing=${missing%"$otelcol"}
missing=${missing%"$unpack$fetch"}
[ -n "$missing$unpack" ] || exit 0
apt-get update -qq
for entry in $unpack; do
	name=${entry%%:*}
	unpacked=$(mktemp -d)
	if (cd "$unpacked" && echo "${entry#*:}" | tr , '\n' | xargs apt-get download -qq 2>/dev/null &&
		for deb in *.deb; do dpkg -x "$deb" root; done); then
		mv "$unpacked/root" "$lib/$name"
	else
		echo "not unpacked: $name" >&2
	fi
	rm -rf "$unpacked"
done
# shellcheck disable=SC2086 # a list of packages
[ -z "$missing" ] || apt-get install -y -qq --no-install-recommends $missing >/dev/null
