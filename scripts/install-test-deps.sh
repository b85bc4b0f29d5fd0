#!/bin/sh
# Installs the programs that live tests run against, when this is Debian (or a
# descendant), we are root, and something is missing.
set -eu

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
clickhouse-server:clickhouse-server
'

missing=
for entry in $programs; do
	command -v "${entry%%:*}" >/dev/null 2>&1 || missing="$missing ${entry#*:}"
done
# Headers and modules have no command to look for.
ls /usr/lib/*/rsyslog/lmnsd_gtls.so >/dev/null 2>&1 || missing="$missing rsyslog-gnutls"
[ -e /usr/include/bpf/bpf_helpers.h ] || missing="$missing libbpf-dev"

# Installed, systemd-resolved would take over the machine's /etc/resolv.conf. So it
# is only unpacked, and its name here is a directory.
resolved=/usr/local/lib/dnshark-tests/systemd-resolved
[ -d $resolved ] || missing="$missing $resolved"

# The reader of Parquet files: a database, with its binary in the package.
duckdb=/usr/local/lib/dnshark-tests/duckdb
[ -d $duckdb ] || missing="$missing $duckdb"

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
if [ ! -d $duckdb ]; then
	missing=${missing% "$duckdb"}
	fetched=$(mktemp -d)
	if npm install --silent --no-audit --no-fund --prefix "$fetched" @duckdb/node-api@1.5.6-r.1 >/dev/null 2>&1; then
		mkdir -p "${duckdb%/*}"
		mv "$fetched" $duckdb
	else
		rm -rf "$fetched"
		echo "not installed: DuckDB, which needs npm" >&2
	fi
fi
[ -n "$missing" ] || exit 0
apt-get update -qq
if [ ! -d $resolved ]; then
	missing=${missing% "$resolved"}
	unpacked=$(mktemp -d)
	if (cd "$unpacked" && apt-get download -qq systemd-resolved libsystemd-shared 2>/dev/null &&
		for deb in *.deb; do dpkg -x "$deb" root; done); then
		mkdir -p "${resolved%/*}"
		mv "$unpacked/root" $resolved
	else
		echo "not unpacked: systemd-resolved" >&2
	fi
	rm -rf "$unpacked"
fi
# shellcheck disable=SC2086 # a list of packages
[ -z "$missing" ] || apt-get install -y -qq --no-install-recommends $missing >/dev/null
