#!/bin/sh
# Runs the live tests of the eBPF programs, and dig's of the whole program, on
# other kernels in qemu: by default the one of Debian 12 for clouds, 6.1. Needs
# Debian, qemu-system-x86, cpio and kmod. ACCEL=kvm is faster, where it works.
#
#     scripts/kernels.sh [PACKAGE...]     such as linux-image-6.1.0-56-cloud-amd64
set -eu
cd "$(dirname "$0")/.."

for program in qemu-system-x86_64 cpio apt-get dpkg-deb insmod dig dnsmasq ip; do
	command -v $program >/dev/null || {
		echo "$program is missing: apt-get install qemu-system-x86 cpio kmod, and scripts/install-test-deps.sh" >&2
		exit 1
	}
done
if [ $# -eq 0 ]; then
	set -- "$(apt-cache depends linux-image-cloud-amd64 | sed -n 's/.*Depends: \(linux-image-6[^ ]*\).*/\1/p' | head -n 1)"
fi

work=$PWD/bin/kernels
root=$work/root
rm -rf "$root"
mkdir -p "$root/bin" "$root/dev" "$root/proc" "$root/sys" "$root/tmp" "$root/run" "$root/etc" "$root/var"
ln -s bin "$root/sbin"
ln -s ../run "$root/var/run"
echo root:x:0:0::/:/bin/sh >"$root/etc/passwd"

# Programs of this machine, each with the libraries that it loads.
for program in sh bash sleep cat mount unshare insmod ip dig dnsmasq; do
	path=$(command -v $program)
	cp -L "$path" "$root/bin/"
	for library in $(ldd "$path" | grep -o '/[^ ]*'); do
		[ -e "$root$library" ] || install -D "$library" "$root$library"
	done
done
export CGO_ENABLED=0
go build -trimpath -ldflags '-s -w' -o "$root/bin/dnshark" ./cmd/dnshark
for package in ./internal/bpf ./internal/source/ebpf ./cmd/dnshark; do
	go test -c -ldflags '-s -w' -o "$root/bin/$(basename $package).test" $package
done

cat >"$root/init" <<'END'
#!/bin/sh
export PATH=/bin DNSHARK_REQUIRE_LIVE=1 DNSHARK_BINARY=/bin/dnshark
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
mount -t tmpfs tmp /tmp
mount -t cgroup2 cgroup /sys/fs/cgroup
ip link set lo up
insmod /veth.ko
echo 8388608 >/proc/sys/net/core/wmem_max # one test sends a megabyte at once
dnshark doctor
status=PASS
bpf.test -test.v -test.timeout 2m || status=FAIL
# The one left out needs tracepoints of 6.3.
ebpf.test -test.v -test.timeout 3m -test.skip '^TestSharedTCPSocket$' || status=FAIL
dnshark.test -test.v -test.timeout 2m -test.run "$TESTS" || status=FAIL
echo "all tests: $status"
echo o >/proc/sysrq-trigger
sleep 10
END
sed -i "s/\$TESTS/${TESTS:-^TestLive(Dig|Drop|Killed|OlderProcess)\$}/" "$root/init"
chmod +x "$root/init"
(cd "$root" && find . | cpio -o -H newc --quiet | gzip -1) >"$work/initramfs"

failed=
for package; do
	dir=$work/$package
	if [ ! -e "$dir/veth.ko" ]; then
		mkdir -p "$dir"
		(cd "$dir" && apt-get download -qq "$package" 2>/dev/null && dpkg-deb -x ./*.deb . && rm ./*.deb &&
			cp lib/modules/*/kernel/drivers/net/veth.ko . && rm -r lib)
	fi
	(cd "$dir" && echo veth.ko | cpio -o -H newc --quiet) | gzip -1 | cat "$work/initramfs" - >"$dir/initramfs"
	echo "== $package"
	log=$dir/log
	timeout 600 qemu-system-x86_64 -accel "${ACCEL:-tcg}" -cpu max -smp 2 -m 2G -nic none -no-reboot -display none \
		-kernel "$dir"/boot/vmlinuz-* -initrd "$dir/initramfs" \
		-append "console=ttyS0 quiet panic=-1" -serial "file:$log" </dev/null || true
	tr -d '\r' <"$log" | grep -v '^=== '
	grep -q '^all tests: PASS' "$log" || failed="$failed $package"
done
if [ -n "$failed" ]; then
	echo "failed:$failed" >&2
	exit 1
fi
