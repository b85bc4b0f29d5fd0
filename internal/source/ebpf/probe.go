//go:build linux

package ebpf

import (
	"os"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"

	"github.com/dnshark-io/dnshark/internal/bpf"
)

// Probes tries everything that New needs, one by one, and leaves nothing
// behind. The root of cgroup v2 is the first; its error ends New.
func Probes() []bpf.Probe {
	cgroup, err := openCgroup("")
	place := bpf.Probe{Name: "cgroup v2", Err: err, Need: true, Free: true}
	if err == nil {
		defer cgroup.Close()
		place.Good = cgroup.Name() + ", " + cgroupLayout()
	}
	return append([]bpf.Probe{place}, bpf.Probes(func(prog *ebpf.Program, spec *ebpf.ProgramSpec) error {
		ln, err := tryAttach(cgroup, prog, spec)
		if err != nil {
			return err
		}
		return ln.Close()
	})...)
}

func tryAttach(cgroup *os.File, prog *ebpf.Program, spec *ebpf.ProgramSpec) (link.Link, error) {
	switch {
	case spec.AttachType == ebpf.AttachTraceIter:
		return link.AttachIter(link.IterOptions{Program: prog})
	case spec.Type == ebpf.Tracing:
		return link.AttachTracing(link.TracingOptions{Program: prog})
	case cgroup == nil:
		return nil, errNoCgroup
	}
	return link.AttachRawLink(link.RawLinkOptions{Target: int(cgroup.Fd()), Program: prog, Attach: spec.AttachType})
}

// cgroupLayout says how the host mounts its control groups.
func cgroupLayout() string {
	var fs unix.Statfs_t
	if unix.Statfs("/sys/fs/cgroup", &fs) == nil && fs.Type == unix.CGROUP2_SUPER_MAGIC {
		return "unified"
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	switch {
	case err != nil:
		return "unknown layout"
	case strings.Contains(string(mounts), " - cgroup2 "):
		return "hybrid"
	}
	return "v1 only, so mounted for dnshark alone"
}
