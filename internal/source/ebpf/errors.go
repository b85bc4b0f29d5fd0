//go:build linux

package ebpf

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
	"golang.org/x/sys/unix"
)

// Errors of New after which another source may do better.
var (
	ErrNotPermitted = errors.New("not permitted to observe sockets with eBPF")
	ErrNotSupported = errors.New("this kernel cannot observe sockets with eBPF")
)

var errNoCgroup = errors.New("there is no cgroup to attach to")

// explain wraps what the kernel said about doing into one of the room's errors
// and a sentence that tells what is missing.
func explain(doing string, err error) error {
	var verifier *ebpf.VerifierError
	rejected := errors.As(err, &verifier) // also an EACCES
	unsupported := errors.Is(err, ebpf.ErrNotSupported) || errors.Is(err, unix.EINVAL) ||
		errors.Is(err, unix.ENOSYS)
	refused := errors.Is(err, unix.EPERM) || errors.Is(err, unix.EACCES)
	missing := missingCaps()
	switch {
	case missing != "" && (refused || rejected || unsupported):
		return fmt.Errorf("ebpf: %s: %w: missing %s (%w)", doing, ErrNotPermitted, missing, err)
	case errors.Is(err, btf.ErrNotFound):
		return fmt.Errorf("ebpf: %s: %w: it has no type information in /sys/kernel/btf/vmlinux, build it with CONFIG_DEBUG_INFO_BTF (%w)",
			doing, ErrNotSupported, err)
	case rejected || unsupported:
		return fmt.Errorf("ebpf: %s: %w: it must be Linux 5.8 or newer with CONFIG_CGROUP_BPF (%w)", doing, ErrNotSupported, err)
	case refused:
		return fmt.Errorf("ebpf: %s: %w: all capabilities are there, so look for a user namespace, seccomp, kernel lockdown, or a program attached to the cgroup that allows no others (%w)",
			doing, ErrNotPermitted, err)
	}
	return fmt.Errorf("ebpf: %s: %w", doing, err)
}

// missingCaps names the needed capabilities that this thread does not have.
func missingCaps() string {
	effective, ok := effectiveCaps()
	if !ok || effective&(1<<unix.CAP_SYS_ADMIN) != 0 { // it implies the others
		return ""
	}
	var missing []string
	for _, c := range []struct {
		bit  int
		name string
	}{
		{unix.CAP_BPF, "CAP_BPF"},
		{unix.CAP_PERFMON, "CAP_PERFMON"},
		{unix.CAP_NET_ADMIN, "CAP_NET_ADMIN"},
	} {
		if effective&(1<<c.bit) == 0 {
			missing = append(missing, c.name)
		}
	}
	return strings.Join(missing, " and ")
}

func effectiveCaps() (uint64, bool) {
	f, err := os.Open("/proc/thread-self/status")
	if err != nil {
		return 0, false
	}
	defer f.Close()
	for s := bufio.NewScanner(f); s.Scan(); {
		if hex, ok := strings.CutPrefix(s.Text(), "CapEff:\t"); ok {
			caps, err := strconv.ParseUint(hex, 16, 64)
			return caps, err == nil
		}
	}
	return 0, false
}
