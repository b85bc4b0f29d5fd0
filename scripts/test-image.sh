#!/usr/bin/env bash
# Builds the image of packaging/Dockerfile twice, which must give the same, and runs it in containerd
# with the rights of the Helm chart. In the place of golang:1.26 stands the Go of this machine, so no
# registry is needed. Needs root, and apt-get where buildah is not installed.
set -euo pipefail
cd "$(dirname "$0")/.."
command -v buildah >/dev/null || apt-get install -y -qq --no-install-recommends buildah >/dev/null
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export BUILDAH_ISOLATION=chroot STORAGE_DRIVER=vfs
b() { buildah --root "$work/root" --runroot "$work/run" "$@"; }

container=$(b from scratch)
mkdir -m 1777 "$(b mount "$container")/tmp"
b umount "$container" >/dev/null
b config --env "PATH=$(go env GOROOT)/bin:/usr/bin:/bin" --env GOMODCACHE=/modules --env GOCACHE=/cache "$container"
b commit -q --rm "$container" localhost/go >/dev/null

mkdir "$work/cache"
git clone -q . "$work/source"
for image in first second; do
	b bud -q --from localhost/go --timestamp 1 -t "localhost/$image" -f packaging/Dockerfile \
		-v /usr:/usr:ro -v /bin:/bin:ro -v /lib:/lib:ro -v /lib64:/lib64:ro -v /etc:/etc:ro \
		-v "$(go env GOMODCACHE):/modules" -v "$work/cache:/cache" "$work/source" >"$work/$image"
done
cmp "$work/first" "$work/second"
echo "reproducible: built twice, image $(cut -c1-12 "$work/first")"
b push -q localhost/first "docker-archive:$work/image.tar:dnshark.test/dnshark:1" >/dev/null
DNSHARK_IMAGE=$work/image.tar DNSHARK_REQUIRE_LIVE=1 CGO_ENABLED=0 go test -count=1 -v -run '^TestLiveImage$' ./cmd/dnshark >"$work/log" 2>&1 || {
	cat "$work/log" >&2
	exit 1
}
grep -o 'image with .*' "$work/log"
