package main

import (
	"os/exec"
	"regexp"
	"strconv"
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
