package main

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/dnshark-io/dnshark/internal/testkit"
)

// The service's exposure, as systemd counts it from 0 to 10, is at most 2.7, and its
// configuration is one.
func TestService(t *testing.T) {
	testkit.NeedPrograms(t, "systemd-analyze")
	out, err := exec.Command("systemd-analyze", "security", "--offline=true", "--no-pager", "../../packaging/dnshark.service").CombinedOutput()
	m := regexp.MustCompile(`Overall exposure level for dnshark.service: ([0-9.]+)`).FindSubmatch(out)
	if m == nil {
		t.Fatalf("%v: %s", err, out)
	}
	level, err := strconv.ParseFloat(string(m[1]), 64)
	if err != nil || level > 2.7 {
		t.Errorf("exposure level %s, want at most 2.7: %s", m[1], out)
	}
	t.Logf("exposure level %s", m[1])
	if out, err := exec.Command(testkit.Dnshark(t), "config", "check", "--config", "../../packaging/dnshark.yaml").CombinedOutput(); err != nil {
		t.Errorf("%v: %s", err, out)
	}
}

// imageFiles returns what packaging/Dockerfile puts into the image, by its name there, and
// the image's entry point.
func imageFiles(t *testing.T) (files map[string][]byte, entry string) {
	t.Helper()
	text, err := os.ReadFile("../../packaging/Dockerfile")
	if err != nil {
		t.Fatal(err)
	}
	_, image, ok := strings.Cut(string(text), "\nFROM scratch\n")
	if !ok {
		t.Fatal("the image is not made from scratch")
	}
	files = map[string][]byte{}
	for _, f := range regexp.MustCompile(`(?m)^COPY --from=build /src/(\S+) (\S+)$`).FindAllStringSubmatch(image, -1) {
		from := filepath.Join("../..", f[1])
		if f[1] == "bin/dnshark" {
			from = testkit.Dnshark(t)
		}
		if files[f[2]], err = os.ReadFile(from); err != nil {
			t.Fatal(err)
		}
	}
	m := regexp.MustCompile(`(?m)^ENTRYPOINT \["([^"]+)"\]$`).FindStringSubmatch(image)
	if m == nil || files[m[1]] == nil {
		t.Fatal("the image has no entry point")
	}
	return files, m[1]
}

// In a root that has what packaging/Dockerfile puts into the image and nothing else, dnshark
// reads a capture, and tells what it can do there.
func TestImage(t *testing.T) {
	testkit.NeedRoot(t)
	files, entry := imageFiles(t)
	root := t.TempDir()
	for name, octets := range files {
		if err := os.WriteFile(filepath.Join(root, name), octets, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	capture, err := os.Open("../../testdata/example.pcap")
	if err != nil {
		t.Fatal(err)
	}
	defer capture.Close()
	run := func(in io.Reader, args ...string) (string, error) {
		c := exec.Command(entry, args...)
		c.Path, c.Err = entry, nil
		c.Env, c.Dir, c.Stdin = []string{}, "/", in
		c.SysProcAttr = &syscall.SysProcAttr{Chroot: root}
		out, err := c.CombinedOutput()
		return string(out), err
	}
	if out, err := run(capture, "read", "-q", "-o", "json", "-"); err != nil || strings.Count(out, `"event":"net_packet_dns_response"`) == 0 {
		t.Errorf("%v: %s", err, out)
	}
	out, err := run(nil, "doctor")
	var ended *exec.ExitError // something is missing there, /proc among it
	if err != nil && (!errors.As(err, &ended) || !ended.Exited()) || !strings.HasPrefix(out, "dnshark ") {
		t.Errorf("%v: %s", err, out)
	}
	t.Log(strings.SplitN(out, "\n", 2)[0])
}

// A container of the image, with the rights that the Helm chart gives it and no others, sees
// the answers of the host, and who asked.
func TestLiveImage(t *testing.T) {
	testkit.NeedRoot(t)
	testkit.NeedPrograms(t, "dig", "dnsmasq", "ip")
	host := testkit.NewHost(t)
	host.Dnsmasq("127.0.0.1")
	runtime := testkit.NewContainerd(t, host)
	files, entry := imageFiles(t)
	const image = "dnshark.test/dnshark:1"
	if archive := os.Getenv("DNSHARK_IMAGE"); archive != "" { // make image-test
		runtime.ImportFile(archive)
	} else {
		var members []tar.Header
		for name := range files {
			members = append(members, tar.Header{Name: name, Mode: 0o755})
		}
		runtime.Import(image, []string{entry}, testkit.Archive(t, members, files))
	}

	chart, err := os.ReadFile("../../packaging/helm/dnshark/templates/daemonset.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{"hostNetwork: true", "hostPID: true", "readOnlyRootFilesystem: true", "allowPrivilegeEscalation: false", "type: RuntimeDefault", "drop: [ALL]"} {
		if !bytes.Contains(chart, []byte(text)) {
			t.Fatalf("the chart no longer says %s", text)
		}
	}
	m := regexp.MustCompile(`add: \[([A-Z_, ]+)\{`).FindSubmatch(chart)
	if m == nil {
		t.Fatal("the chart adds no capabilities")
	}
	rights := strings.Split(string(m[1]), ", ")
	with := func(rights []string) (options []string) {
		options = []string{
			"--read-only", "--seccomp", "--with-ns", "pid:/proc/self/ns/pid",
			"--mount", "type=bind,src=/sys/fs/cgroup,dst=/sys/fs/cgroup,options=rbind:ro",
			"--mount", "type=tmpfs,dst=/var/lib/dnshark,options=rw",
		}
		for _, c := range []string{"AUDIT_WRITE", "CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "MKNOD", "NET_BIND_SERVICE", "NET_RAW", "SETFCAP", "SETGID", "SETPCAP", "SETUID", "SYS_CHROOT"} {
			options = append(options, "--cap-drop", "CAP_"+c) // what ctr gives by itself
		}
		for _, c := range rights {
			options = append(options, "--cap-add", "CAP_"+c)
		}
		return options
	}
	const content = "dnshark will watch every socket of this host"
	out, err := runtime.RunImage(host, image, "doctor", with(rights), entry, "doctor").CombinedOutput()
	if err != nil || !bytes.Contains(out, []byte(content)) {
		t.Errorf("with the chart's rights: %v: %s", err, out)
	}
	for i, right := range rights {
		if right == "SYS_PTRACE" { // of executables that are older than dnshark
			continue
		}
		out, err := runtime.RunImage(host, image, "without-"+right, with(slices.Delete(slices.Clone(rights), i, i+1)), entry, "doctor").CombinedOutput()
		if err == nil && bytes.Contains(out, []byte(content)) {
			t.Errorf("%s is not needed: %s", right, out)
		}
	}

	a := watch(t, runtime.RunImage(host, image, "agent", with(rights), entry, "live", "-o", "json", "--store", "/var/lib/dnshark"))
	host.Run("dig", "@127.0.0.1", "image.example.test")
	p := a.one("image.example.test").Process
	if p == nil || p.Comm != "dig" || !strings.HasSuffix(p.Exe, "/dig") {
		t.Errorf("asked by %+v, want dig", p)
	}
	if err := a.Stop(t); err != nil {
		t.Errorf("%v: %s", err, a.Output)
	}
	t.Logf("image with %v, root file system read-only: %s", rights, content)
}
