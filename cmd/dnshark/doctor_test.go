package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/dnshark-io/dnshark/internal/privilege"
	"github.com/dnshark-io/dnshark/internal/testkit"
)

// doctor says what works with no capability, with each one alone, and with
// those that go together.
func TestLiveDoctor(t *testing.T) {
	testkit.NeedRoot(t)
	all := []uintptr{unix.CAP_BPF, unix.CAP_NET_ADMIN, unix.CAP_PERFMON, unix.CAP_SYS_PTRACE, unix.CAP_DAC_READ_SEARCH, unix.CAP_NET_RAW}
	sets := [][]uintptr{nil, socketCaps[:2], socketCaps[:3], socketCaps, all, {unix.CAP_SYS_ADMIN}}
	for i := range all {
		sets = append(sets, all[i:i+1])
	}
	for _, caps := range sets {
		var granted privilege.Set
		for _, c := range caps {
			granted |= privilege.Of(int(c))
		}
		t.Run(granted.String(), func(t *testing.T) {
			if granted.Has(privilege.Of(unix.CAP_SYS_ADMIN)) {
				granted |= privilege.Sockets
			}
			checkDoctor(t, granted, caps)
		})
	}
}

func checkDoctor(t *testing.T, granted privilege.Set, caps []uintptr) {
	cmd := dnsharkAs(t, asNobody(caps...), "doctor", "-o", "json")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	var d struct {
		Version      string `json:"version"`
		Kernel       string `json:"kernel"`
		Architecture string `json:"architecture"`
		UID          int    `json:"uid"`
		Capture      string `json:"capture"`
		Checks       []struct {
			Group  string `json:"group"`
			Name   string `json:"name"`
			State  string `json:"state"`
			Detail string `json:"detail"`

			Runtime any `json:"runtime"`
		} `json:"checks"`
	}
	decoder := json.NewDecoder(bytes.NewReader(out))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&d); err != nil || d.Version == "" || d.Kernel == "" || d.Architecture == "" || d.UID != nobody {
		t.Fatalf("%v: %s", err, out)
	}

	has := func(caps ...int) bool { return granted.Has(privilege.Of(caps...)) }
	sockets, interfaces := granted.Has(privilege.Sockets), has(unix.CAP_NET_RAW)
	want := map[string]bool{
		"cgroup v2": true, "type information": true, "typed packet": true, "process ids": true,
		"ring buffer": has(unix.CAP_BPF), "socket storage": has(unix.CAP_BPF),
		"current task": has(unix.CAP_BPF, unix.CAP_PERFMON), "typed task": has(unix.CAP_BPF, unix.CAP_PERFMON),
		"cgroup/sendmsg4": has(unix.CAP_BPF, unix.CAP_NET_ADMIN), "cgroup/sendmsg6": has(unix.CAP_BPF, unix.CAP_NET_ADMIN),
		"cgroup_skb/egress": sockets, "cgroup_skb/ingress": sockets, "sockets": sockets,
		"interfaces": interfaces, "executables": has(unix.CAP_SYS_PTRACE),
	}
	for _, u := range privilege.Uses {
		want[u.Name] = granted.Has(u.Cap)
	}
	hooks := 0 // that look at tasks
	for _, c := range d.Checks {
		works, ok := want[c.Name]
		if strings.HasPrefix(c.Name, "tp_btf/") || strings.HasPrefix(c.Name, "iter/") {
			works, ok = has(unix.CAP_BPF, unix.CAP_PERFMON), true
			hooks++
		}
		delete(want, c.Name)
		if ok && (c.State == "ok") != works || !slices.Contains([]string{"ok", "no", "none"}, c.State) || c.Detail == "" {
			t.Errorf("%+v, want ok to be %v", c, works)
		}
		if c.State == "no" && c.Group != "capabilities" && c.Group != "runtimes" && !strings.Contains(c.Detail, "missing CAP_") {
			t.Errorf("%+v does not say what is missing", c)
		}
	}
	if len(want) > 0 || hooks == 0 {
		t.Errorf("nothing about %v, %d hooks", want, hooks)
	}

	capture, code := captureNone, exitNotPermitted
	switch {
	case sockets:
		capture, code = captureSockets, exitOK
	case interfaces:
		capture, code = captureInterfaces, exitOK
	}
	if d.Capture != capture || exitOf(err) != code || (code == exitOK) != (stderr.Len() == 0) {
		t.Errorf("capture %s, exit code %d, want %s, %d: %s", d.Capture, exitOf(err), capture, code, &stderr)
	}
}

func exitOf(err error) int {
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return exit.ExitCode()
	}
	return 0
}

// What people read fits a screen and says the same.
func TestLiveDoctorText(t *testing.T) {
	for _, test := range []struct {
		caps []uintptr
		code int
		says []string
	}{
		{socketCaps, exitOK, []string{"  ok   sockets ", "  no   interfaces ", "missing CAP_NET_RAW", "\ndnshark will watch every socket of this host.\n"}},
		{nil, exitNotPermitted, []string{"  no   sockets ", "missing CAP_BPF, CAP_NET_ADMIN, CAP_PERFMON", "dnshark: live capture does not work here"}},
	} {
		out, err := dnsharkAs(t, asNobody(test.caps...), "doctor").CombinedOutput()
		if exitOf(err) != test.code {
			t.Errorf("%v, want exit code %d", err, test.code)
		}
		lines := strings.Split(string(out), "\n")
		for _, line := range lines {
			if len(line) > 120 {
				t.Errorf("too long: %s", line)
			}
		}
		if len(lines) > 40 {
			t.Errorf("%d lines", len(lines))
		}
		for _, text := range test.says {
			if !strings.Contains(string(out), text) {
				t.Errorf("it does not say %q:\n%s", text, out)
			}
		}
	}
}

// Of every runtime, doctor says what it is or why it does not answer.
func TestLiveDoctorRuntimes(t *testing.T) {
	containerd := testkit.NewContainerd(t, testkit.Machine(t))
	ask := func(socket string) (check finding) {
		t.Helper()
		out, err := dnsharkAs(t, asNobody(socketCaps...), "doctor", "-o", "json", "--container-runtime", "unix://"+socket).Output()
		if err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		var d diagnosis
		if err := json.Unmarshal(out, &d); err != nil {
			t.Fatal(err)
		}
		i := slices.IndexFunc(d.Checks, func(f finding) bool { return f.Group == "runtimes" && f.Name == socket })
		if i < 0 {
			t.Fatalf("nothing about %s: %s", socket, out)
		}
		return d.Checks[i]
	}
	if got := ask(containerd.Socket); got.State != works || got.Runtime == nil || got.Runtime.Name != "containerd" || got.Runtime.Version == "" ||
		got.Runtime.API != "containerd API v1" || got.Detail != "containerd "+got.Runtime.Version+", containerd API v1" {
		t.Errorf("%+v", got)
	}
	// Of a group that may write, and of none.
	for mode, detail := range map[os.FileMode]string{
		0o620: "permission refused: run as root, or in the group daemon, whose members can become root by it",
		0o600: "permission refused: run as root",
	} {
		if err := errors.Join(os.Chown(containerd.Socket, 0, 1), os.Chmod(containerd.Socket, mode)); err != nil {
			t.Fatal(err)
		}
		if got := ask(containerd.Socket); got.State != fails || got.Runtime != nil || got.Detail != detail {
			t.Errorf("mode %o: %+v, want %q", mode, got, detail)
		}
	}
}
