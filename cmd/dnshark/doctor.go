package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/dnshark-io/dnshark/internal/bpf"
	"github.com/dnshark-io/dnshark/internal/privilege"
	"github.com/dnshark-io/dnshark/internal/runtimes"
	"github.com/dnshark-io/dnshark/internal/source/afpacket"
	"github.com/dnshark-io/dnshark/internal/source/ebpf"
)

func newDoctor(o *options) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Say what can be captured here, and why not",
		Long: `doctor tries everything that live capture needs, with the rights that it was started
with, and says what works and what stands in the way; with -o json, as JSON. It ends
with 77 when live capture would not work at all.`,
		Args: atMost(0),
		RunE: func(*cobra.Command, []string) error { return o.doctor() },
	}
	o.addRuntimes(cmd.Flags())
	return cmd
}

// diagnosis is what doctor says. Its JSON keys are for programs, so they stay.
type diagnosis struct {
	Version      string    `json:"version"`
	Kernel       string    `json:"kernel"`
	Architecture string    `json:"architecture"`
	UID          int       `json:"uid"`
	Capture      string    `json:"capture"` // sockets, interfaces or none
	Checks       []finding `json:"checks"`
}

// finding is what a check found out.
type finding struct {
	Group  string `json:"group"` // capabilities, ebpf, host, sandbox or runtimes
	Name   string `json:"name"`
	State  state  `json:"state"`
	Detail string `json:"detail"` // what it is good for, or why it is not there

	Runtime *foundRuntime `json:"runtime,omitempty"` // that answers at a socket
}

// foundRuntime is a container runtime.
type foundRuntime struct {
	Name    string `json:"name"`
	Version string `json:"version"`
	API     string `json:"api"`
}

type state string

const (
	works   state = "ok"
	fails   state = "no"
	nothing state = "none"
)

// The captures that doctor promises.
const (
	captureSockets    = "sockets"
	captureInterfaces = "interfaces"
	captureNone       = "none"
)

func (o *options) doctor() error {
	if err := o.check(); err != nil {
		return err
	}
	r, err := o.containerRuntimes()
	if err != nil {
		return err
	}
	d, err := diagnose(r)
	if err != nil {
		return err
	}
	switch o.format {
	case "json":
		err = json.NewEncoder(o.std.out).Encode(d)
	case "none":
	default:
		err = d.print(o.std.out)
	}
	if err == nil && d.Capture == captureNone {
		return withExit(exitNotPermitted, errors.New("live capture does not work here; capture files do: dnshark read FILE"))
	}
	return err
}

func (d *diagnosis) print(w io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "dnshark %s, Linux %s on %s, user %d\n", d.Version, d.Kernel, d.Architecture, d.UID)
	group := ""
	for _, f := range d.Checks {
		if f.Group != group {
			group = f.Group
			fmt.Fprintf(&b, "%s\n", group)
		}
		fmt.Fprintf(&b, "  %-5s%-26s %s\n", f.State, f.Name, f.Detail)
	}
	switch d.Capture {
	case captureSockets:
		b.WriteString("\ndnshark will watch every socket of this host.\n")
	case captureInterfaces:
		b.WriteString("\ndnshark will watch interfaces; it cannot tell which processes ask.\n")
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func diagnose(r *runtimes.Set) (*diagnosis, error) {
	granted, err := privilege.Effective()
	if err != nil {
		return nil, err
	}
	d := &diagnosis{
		Version: versionText(), Kernel: kernel(), Architecture: runtime.GOARCH, UID: os.Getuid(),
		Capture: captureNone,
	}
	for _, u := range privilege.Uses {
		f := finding{Group: "capabilities", Name: u.Name, State: works, Detail: u.For}
		if !granted.Has(u.Cap) {
			f.State = fails
		}
		d.Checks = append(d.Checks, f)
	}
	for _, p := range ebpf.Probes() {
		d.add("ebpf", p.Name, p.Good, complaint(p, granted))
	}
	sockets, interfaces := trySockets(), tryInterfaces()
	d.add("host", "sockets", "every answer of this host, all network namespaces, with processes",
		lacking(sockets, ebpf.ErrNotPermitted, privilege.Sockets&^granted))
	d.add("host", "interfaces", "what passes those of this network namespace",
		lacking(interfaces, afpacket.ErrNotPermitted, privilege.Of(unix.CAP_NET_RAW)&^granted))
	d.add("host", "process ids", "/proc and this process are in the host's pid namespace", brief(checkPids()))
	executables, err := tryExecutables()
	d.add("host", "executables", executables, brief(err))
	d.surveyRuntimes(r)
	locked := ""
	version, err := privilege.Landlock()
	if err != nil {
		locked = brief(err)
	}
	d.add("sandbox", "landlock", fmt.Sprintf("version %d: only named files can be opened (not while processes are looked at)", version), locked)
	d.add("sandbox", "seccomp", "only known system calls pass", brief(privilege.Seccomp()))
	switch {
	case sockets == nil:
		d.Capture = captureSockets
	case interfaces == nil:
		d.Capture = captureInterfaces
	}
	return d, nil
}

func (d *diagnosis) add(group, name, good, bad string) {
	if bad != "" {
		d.Checks = append(d.Checks, finding{Group: group, Name: name, State: fails, Detail: bad})
		return
	}
	d.Checks = append(d.Checks, finding{Group: group, Name: name, State: works, Detail: good})
}

// lacking says that the capabilities are missing, where that is why.
func lacking(err, notPermitted error, missing privilege.Set) string {
	if errors.Is(err, notPermitted) && missing != 0 {
		return "refused: missing " + missing.String()
	}
	return brief(err)
}

// complaint says why a power is not there.
func complaint(p bpf.Probe, granted privilege.Set) string {
	missing := privilege.Sockets &^ granted
	switch {
	case p.Err == nil:
		return ""
	case missing != 0 && !p.Free:
		return "refused: missing " + missing.String()
	case p.Need:
		return "needed: " + brief(p.Err)
	}
	return brief(p.Err)
}

// brief is the error in a line that fits a screen.
func brief(err error) string {
	if err == nil {
		return ""
	}
	const enough = 160
	text := oneLine(err)
	if len(text) > enough {
		text = text[:enough] + "..."
	}
	return text
}

func kernel() string {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return oneLine(err)
	}
	return unix.ByteSliceToString(u.Release[:])
}

func trySockets() error {
	source, err := ebpf.New(ebpf.Options{RingBytes: 1 << 20})
	if err != nil {
		return err
	}
	return source.Close()
}

func tryInterfaces() error {
	lanes, err := afpacket.New(afpacket.Options{Blocks: 2}).Open(1)
	if err != nil {
		return err
	}
	return lanes[0].Close()
}

// checkPids says whether process ids mean the same here as to the kernel.
func checkPids() error {
	const hostNamespace = 0xEFFFFFFC // PROC_PID_INIT_INO of linux/proc_ns.h
	self, err := os.Readlink("/proc/self")
	if err != nil || self != strconv.Itoa(os.Getpid()) {
		return errors.New("/proc is not mounted, or belongs to another pid namespace: share the host's (hostPID)")
	}
	var own unix.Stat_t
	if err := unix.Stat("/proc/self/ns/pid", &own); err != nil {
		return err
	}
	if own.Ino != hostNamespace {
		return errors.New("this is a container's pid namespace: share the host's (hostPID)")
	}
	if _, err := os.ReadFile("/proc/1/stat"); err != nil {
		return errors.New("/proc is mounted with hidepid and hides the processes of other users")
	}
	return nil
}

// tryExecutables reads what only CAP_SYS_PTRACE lets one read of other users'
// processes.
func tryExecutables() (good string, err error) {
	proc, err := os.Open("/proc")
	if err != nil {
		return "", err
	}
	defer proc.Close()
	names, err := proc.Readdirnames(4096) // enough to know
	if err != nil {
		return "", err
	}
	known, refused := 0, 0
	for _, name := range names {
		if _, err := strconv.Atoi(name); err != nil {
			continue
		}
		_, err := os.Readlink("/proc/" + name + "/exe")
		switch {
		case err == nil:
			known++
		case errors.Is(err, os.ErrPermission):
			refused++
		}
	}
	granted, _ := privilege.Effective()
	if refused > 0 && !granted.Has(privilege.Of(unix.CAP_SYS_PTRACE)) {
		return "", fmt.Errorf("refused by %d processes that are older than dnshark: missing CAP_SYS_PTRACE", refused)
	}
	return fmt.Sprintf("of %d processes that are older than dnshark, not of %d", known, refused), nil
}

// surveyRuntimes says of each socket of a container runtime whether it answers.
func (d *diagnosis) surveyRuntimes(r *runtimes.Set) {
	found := r.Survey(context.Background())
	if len(found) == 0 {
		d.Checks = append(d.Checks, finding{Group: "host", Name: "container runtimes", State: nothing, Detail: "no socket of a known one: containers are shown by id, without names"})
	}
	for _, f := range found {
		check := finding{Group: "runtimes", Name: f.Path, State: works, Detail: f.Runtime + " " + f.Version + ", " + f.API}
		if f.Runtime != "" {
			check.Runtime = &foundRuntime{f.Runtime, f.Version, f.API}
		}
		if f.Problem != "" {
			check.State, check.Detail = fails, brief(errors.New(f.Problem))
		}
		d.Checks = append(d.Checks, check)
	}
}
