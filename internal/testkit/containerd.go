package testkit

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// Image is the image that NewContainerd imports: busybox, which sleeps unless it
// is told otherwise. No registry knows it.
const Image = "dnshark.test/busybox:1"

// Containerd is a containerd of the test's own.
type Containerd struct {
	*Daemon
	t      testing.TB
	Socket string
	Name   string // a namespace, and the first part of every cgroup's path
}

// NewContainerd starts containerd in a directory of the test's, with Image in
// the namespaces Name and k8s.io, and its CRI plugin. Pods in the network of
// their node are in the host's.
func NewContainerd(t testing.TB, h *Host) *Containerd {
	t.Helper()
	NeedRoot(t)
	NeedPrograms(t, "containerd", "ctr", "runc", "busybox", "nsenter")
	// Short, because a socket's path is; and outside of t.TempDir, which would
	// not be removed while something is mounted there.
	dir, err := os.MkdirTemp("", "dnshark-ctr-")
	if err != nil {
		t.Fatal(err)
	}
	c := &Containerd{t: t, Socket: dir + "/s", Name: fmt.Sprintf("dnshark-%d-%d", os.Getpid(), cgroups.Add(1))}
	// The agent runs as nobody, whose group containerd lets in.
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { sweep(dir, c.Name) })
	config := filepath.Join(dir, "config.toml")
	text := fmt.Sprintf(`version = 2
root = "%[1]s/root"
state = "%[1]s/state"
disabled_plugins = ["io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.zfs",
  "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.aufs"]
[grpc]
  address = "%[1]s/s"
  gid = 65534
[ttrpc]
  address = "%[1]s/t"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "%[2]s"
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "native"
`, dir, Image)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	c.Daemon = Start(t, h.enter("containerd", "--config", config))
	Eventually(t, 30*time.Second, "a containerd that answers", func() bool {
		if c.Ended() {
			t.Fatalf("containerd ended: %s", c.Output)
		}
		return c.Ctr("version").Run() == nil
	})
	c.Import(Image, []string{"/bin/sleep", "600"}, layer(t))
	return c
}

// Import makes an image of one layer, a tar archive, known in the namespaces Name and
// k8s.io.
func (c *Containerd) Import(image string, entrypoint []string, layer []byte) {
	c.t.Helper()
	archive := filepath.Join(filepath.Dir(c.Socket), "image.tar")
	if err := os.WriteFile(archive, imageArchive(c.t, image, entrypoint, layer), 0o600); err != nil {
		c.t.Fatal(err)
	}
	c.ImportFile(archive)
}

// ImportFile makes the images of an archive known there.
func (c *Containerd) ImportFile(archive string) {
	c.t.Helper()
	for _, namespace := range []string{c.Name, "k8s.io"} {
		if out, err := c.Ctr("--namespace", namespace, "image", "import", "--snapshotter", "native", archive).CombinedOutput(); err != nil {
			c.t.Fatalf("importing an image: %v: %s\n%s", err, out, c.Output)
		}
	}
}

// Ctr returns a command of containerd's own client.
func (c *Containerd) Ctr(args ...string) *exec.Cmd {
	return exec.Command("ctr", append([]string{"--address", c.Socket}, args...)...)
}

// Run returns a command that runs a program in a new container in the namespace
// Name, on a host, and ends with it.
func (c *Containerd) Run(h *Host, id string, labels []string, args ...string) *exec.Cmd {
	var options []string
	for _, l := range labels {
		options = append(options, "--label", l)
	}
	return c.RunImage(h, Image, id, options, args...)
}

// RunImage is Run of any image, with options of ctr run.
func (c *Containerd) RunImage(h *Host, image, id string, options []string, args ...string) *exec.Cmd {
	run := []string{"--namespace", c.Name, "run", "--rm", "--snapshotter", "native"}
	if h.name == "" {
		run = append(run, "--net-host")
	} else {
		run = append(run, "--with-ns", "network:/var/run/netns/"+h.name)
	}
	return c.Ctr(slices.Concat(run, options, []string{image, id}, args)...)
}

// sweep ends what would outlive a runtime: shims and monitors that its directory
// is told to, containers in cgroups below name, mounts, and the directory.
func sweep(dir, name string) {
	mounts, _ := os.ReadFile("/proc/self/mounts")
	lines := strings.Split(string(mounts), "\n")
	slices.Reverse(lines)
	for _, pid := range shims(dir) {
		unix.Kill(pid, unix.SIGKILL)
	}
	var groups []string
	filepath.WalkDir("/sys/fs/cgroup", func(path string, entry fs.DirEntry, err error) error {
		if err == nil && entry.IsDir() && strings.Contains(path+"/", "/"+name+"/") {
			groups = append(groups, path)
		}
		return nil
	})
	slices.Reverse(groups)
	for _, g := range groups {
		procs, _ := os.ReadFile(filepath.Join(g, "cgroup.procs"))
		for _, field := range strings.Fields(string(procs)) {
			var pid int
			if fmt.Sscan(field, &pid); pid > 1 {
				unix.Kill(pid, unix.SIGKILL)
			}
		}
	}
	for range 200 {
		left := false
		for _, g := range groups {
			left = unix.Rmdir(g) == unix.EBUSY || left
		}
		if !left {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	for _, line := range lines {
		if f := strings.Fields(line); len(f) > 1 && strings.HasPrefix(f[1], dir+"/") {
			unix.Unmount(f[1], unix.MNT_DETACH)
		}
	}
	os.RemoveAll(dir)
}

// shims returns the processes that watch over containers and whose command line
// names the directory.
func shims(dir string) (pids []int) {
	all, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, file := range all {
		args, _ := os.ReadFile(file)
		program, _, _ := bytes.Cut(args, []byte{0})
		base := filepath.Base(string(program))
		if (base == "conmon" || strings.HasPrefix(base, "containerd-shim")) && bytes.Contains(args, []byte(dir+"/")) {
			var pid int
			if fmt.Sscanf(file, "/proc/%d/", &pid); pid > 1 {
				pids = append(pids, pid)
			}
		}
	}
	return pids
}

// layer returns the files of Image as a tar archive.
func layer(t testing.TB) []byte {
	t.Helper()
	path, err := exec.LookPath("busybox")
	if err != nil {
		t.Fatal(err)
	}
	busybox, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return Archive(t, []tar.Header{
		{Name: "bin/", Typeflag: tar.TypeDir, Mode: 0o755}, {Name: "bin/busybox", Mode: 0o755},
		{Name: "bin/sh", Typeflag: tar.TypeSymlink, Linkname: "busybox"},
		{Name: "bin/nslookup", Typeflag: tar.TypeSymlink, Linkname: "busybox"},
		{Name: "bin/sleep", Typeflag: tar.TypeSymlink, Linkname: "busybox"},
	}, map[string][]byte{"bin/busybox": busybox})
}

// imageArchive returns an OCI image layout as a tar archive, with an image of one layer.
func imageArchive(t testing.TB, image string, entrypoint []string, layer []byte) []byte {
	t.Helper()
	headers := []tar.Header{{Name: "oci-layout", Mode: 0o644}}
	files := map[string][]byte{"oci-layout": []byte(`{"imageLayoutVersion":"1.0.0"}`)}
	blob := func(kind string, content []byte) map[string]any {
		sum := sha256.Sum256(content)
		digest := hex.EncodeToString(sum[:])
		headers = append(headers, tar.Header{Name: "blobs/sha256/" + digest, Mode: 0o644})
		files["blobs/sha256/"+digest] = content
		return map[string]any{"mediaType": "application/vnd.oci.image." + kind, "digest": "sha256:" + digest, "size": len(content)}
	}
	asJSON := func(v any) []byte {
		text, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	layerBlob := blob("layer.v1.tar", layer)
	config := blob("config.v1+json", asJSON(map[string]any{
		"architecture": runtime.GOARCH, "os": "linux",
		"config": map[string]any{"Entrypoint": entrypoint, "Labels": map[string]string{"image.test": "yes"}},
		"rootfs": map[string]any{"type": "layers", "diff_ids": []any{layerBlob["digest"]}},
	}))
	manifest := blob("manifest.v1+json", asJSON(map[string]any{"schemaVersion": 2, "config": config, "layers": []any{layerBlob}}))
	manifest["annotations"] = map[string]string{"io.containerd.image.name": image}
	files["index.json"] = asJSON(map[string]any{"schemaVersion": 2, "manifests": []any{manifest}})
	return Archive(t, append(headers, tar.Header{Name: "index.json", Mode: 0o644}), files)
}

// Archive returns a tar archive of these members, and what is in the files among them.
func Archive(t testing.TB, headers []tar.Header, files map[string][]byte) []byte {
	t.Helper()
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	for _, h := range headers {
		h.Size = int64(len(files[h.Name]))
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(files[h.Name]); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}
