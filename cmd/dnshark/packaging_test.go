package main

import (
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
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

// In a root that has what packaging/Dockerfile puts into the image and nothing else, dnshark
// reads a capture, and tells what it can do there.
func TestImage(t *testing.T) {
	testkit.NeedRoot(t)
	text, err := os.ReadFile("../../packaging/Dockerfile")
	if err != nil {
		t.Fatal(err)
	}
	_, image, ok := strings.Cut(string(text), "\nFROM scratch\n")
	if !ok {
		t.Fatal("the image is not made from scratch")
	}
	entry := regexp.MustCompile(`(?m)^ENTRYPOINT \["([^"]+)"\]$`).FindStringSubmatch(image)
	root := t.TempDir()
	for _, f := range regexp.MustCompile(`(?m)^COPY --from=build /src/(\S+) (\S+)$`).FindAllStringSubmatch(image, -1) {
		from := filepath.Join("../..", f[1])
		if f[1] == "bin/dnshark" {
			from = testkit.Dnshark(t)
		}
		octets, err := os.ReadFile(from)
		if err == nil {
			err = os.WriteFile(filepath.Join(root, f[2]), octets, 0o755)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if entry == nil {
		t.Fatal("the image has no entry point")
	}
	capture, err := os.Open("../../testdata/example.pcap")
	if err != nil {
		t.Fatal(err)
	}
	defer capture.Close()
	run := func(in io.Reader, args ...string) (string, error) {
		c := exec.Command(entry[1], args...)
		c.Path, c.Err = entry[1], nil
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
