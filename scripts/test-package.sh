#!/usr/bin/env bash
# Builds the packages twice, which must give the same octets, installs the .deb in a
# new Debian root, and runs what it installed. Needs root, apt-get and the network.
set -euo pipefail
cd "$(dirname "$0")/.."
command -v debootstrap >/dev/null || apt-get install -y -qq --no-install-recommends debootstrap >/dev/null
work=$(mktemp -d)
root=$work/root
cleanup() {
	umount "$root/proc" 2>/dev/null || true
	rm -rf "$work"
}
trap cleanup EXIT

rm -f bin/*.deb bin/*.rpm
make packages >/dev/null
toolchain=$(sed -n 's/^toolchain //p' go.mod)
for program in bin/*/dnshark; do go version "$program" | grep -qF " $toolchain"; done
echo "built with $toolchain"
(cd bin && sha256sum ./*.deb ./*.rpm ./*/dnshark) >"$work/first"
# The second time elsewhere, and nothing of the first build is used again.
git clone -q . "$work/source"
(cd "$work/source" && GOCACHE=$work/cache make packages >/dev/null && cd bin && sha256sum -c --quiet "$work/first")
echo "reproducible: $(wc -l <"$work/first") files built twice are the same"

mirror=$(awk '/^URIs:/ {print $2; exit} /^deb / {for (i = 2; i <= NF; i++) if ($i ~ /^http/) {print $i; exit}}' \
	/etc/apt/sources.list.d/*.sources /etc/apt/sources.list 2>/dev/null || true)
debootstrap --variant=minbase bookworm "$root" ${mirror:+"$mirror"} >"$work/log" 2>&1 || {
	tail -5 "$work/log" >&2
	exit 1
}
cp bin/dnshark_*_amd64.deb "$root/tmp/dnshark.deb"
chroot "$root" dpkg -i /tmp/dnshark.deb >/dev/null
test -f "$root/lib/systemd/system/dnshark.service"
zcat -f "$root"/usr/share/man/man1/dnshark.1* | grep -q 'see every DNS answer\|See every DNS answer'
chroot "$root" dnshark config check --config /etc/dnshark/dnshark.yaml | grep -qx ok
mount -t proc proc "$root/proc"
status=0
chroot "$root" dnshark doctor >"$work/doctor" 2>&1 || status=$?
case $status in
0) grep -E '^dnshark will watch ' "$work/doctor" >"$work/says" ;;
77) grep -E '^dnshark: live capture does not work here' "$work/doctor" >"$work/says" ;; # nor outside of the new root
*) cat "$work/doctor" >&2 && exit 1 ;;
esac
if [ $status != 0 ] && bin/amd64/dnshark doctor >/dev/null 2>&1; then
	cat "$work/doctor" >&2
	exit 1
fi
echo "installed: dnshark doctor ended with $status: $(cat "$work/says")"
chroot "$root" dpkg -P dnshark >/dev/null
! test -e "$root/usr/bin/dnshark"
echo "removed: nothing is left"
