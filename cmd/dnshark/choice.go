package main

import (
	"errors"
	"io/fs"
	"net/netip"
	"os"
	"os/user"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/pflag"
	"golang.org/x/sys/unix"

	"github.com/dnshark-io/dnshark/internal/source/ebpf"
)

// choiceOptions are the conditions on what is captured, as they were typed.
type choiceOptions struct {
	pids, uids, comms, cgroups, netns, servers []string
	follow, onlyResponses                      bool
}

// addMessages adds what holds for capture files too.
func (o *choiceOptions) addMessages(f *pflag.FlagSet) {
	f.StringSliceVar(&o.servers, "server", nil, "only messages from and to servers with these addresses or `PREFIXES`")
	f.BoolVar(&o.onlyResponses, "responses-only", false, "no queries: half the work, but no latency, nothing unanswered, and processes only by the socket's last sender")
}

func (o *choiceOptions) add(f *pflag.FlagSet) {
	f.StringSliceVar(&o.pids, "pid", nil, "only processes with one of these `IDS`")
	f.BoolVar(&o.follow, "follow", false, "with --pid: also their descendants, those born later included")
	f.StringSliceVar(&o.uids, "uid", nil, "only processes of these `USERS`, by name or number")
	f.StringArrayVar(&o.comms, "comm", nil, "only processes whose name begins with `PREFIX`; may be repeated")
	f.StringArrayVar(&o.cgroups, "cgroup", nil, "only processes in the cgroup (v2) at `PATH` and below; may be repeated")
	f.StringSliceVar(&o.netns, "netns", nil, "only sockets of these network namespaces: an inode number, a `PATH` such as /proc/PID/ns/net, or a name that ip netns knows")
}

// parse returns the conditions for the kernel, and whether any depends on
// knowing sockets.
func (o *choiceOptions) parse() (f ebpf.Filter, sockets bool, err error) {
	f.OnlyResponses = o.onlyResponses
	steps := []struct {
		flag  string
		texts []string
		most  int
		add   func(string) error
	}{
		{"--pid", o.pids, 0, func(s string) error { return addPID(&f, s) }},
		{"--uid", o.uids, ebpf.MaxValues, func(s string) error { return addUID(&f, s) }},
		{"--comm", o.comms, ebpf.MaxValues, func(s string) error { return addComm(&f, s) }},
		{"--cgroup", o.cgroups, 0, func(s string) error { return addCgroup(&f, s) }},
		{"--netns", o.netns, ebpf.MaxValues, func(s string) error { return addNetNS(&f, s) }},
		{"--server", o.servers, ebpf.MaxValues, func(s string) error { return addServer(&f, s) }},
	}
	for _, s := range steps {
		if s.most > 0 && len(s.texts) > s.most {
			return f, false, usagef("%s takes at most %d values", s.flag, s.most)
		}
		for _, text := range s.texts {
			if err := s.add(text); err != nil {
				return f, false, usagef("%s: %w", s.flag, err)
			}
		}
	}
	if o.follow && len(f.PIDs) == 0 {
		return f, false, usagef("--follow needs --pid")
	}
	f.Follow = o.follow
	return f, byProcess(&f) || len(f.NetNS) > 0, nil
}

// byProcess reports whether the filter depends on who asks.
func byProcess(f *ebpf.Filter) bool {
	return f.Follow || len(f.PIDs)+len(f.UIDs)+len(f.Comms)+len(f.Cgroups) > 0
}

func addPID(f *ebpf.Filter, text string) error {
	pid, err := strconv.ParseUint(text, 10, 31)
	if err != nil || pid == 0 {
		return errors.New(strconv.Quote(text) + " is no process id")
	}
	if _, err := os.Stat("/proc/" + strconv.FormatUint(pid, 10)); errors.Is(err, fs.ErrNotExist) {
		return errors.New("no process has the id " + text)
	}
	f.PIDs = append(f.PIDs, uint32(pid))
	return nil
}

func addUID(f *ebpf.Filter, text string) error {
	if n, err := strconv.ParseUint(text, 10, 32); err == nil {
		f.UIDs = append(f.UIDs, uint32(n))
		return nil
	}
	u, err := user.Lookup(text)
	if err != nil {
		return errors.New("no user has the name " + strconv.Quote(text))
	}
	return addUID(f, u.Uid)
}

// maxComm is how long a process name is at most (TASK_COMM_LEN less its NUL).
const maxComm = 15

func addComm(f *ebpf.Filter, text string) error {
	if text == "" || len(text) > maxComm {
		return errors.New("names of processes have 1 to 15 octets; the kernel cuts longer ones")
	}
	f.Comms = append(f.Comms, text)
	return nil
}

func addCgroup(f *ebpf.Filter, text string) error {
	id, err := ebpf.CgroupID(text)
	if err == nil {
		f.Cgroups = append(f.Cgroups, id)
	}
	return err
}

func addNetNS(f *ebpf.Filter, text string) error {
	inode, err := strconv.ParseUint(text, 10, 32)
	if err != nil {
		path := text
		if !strings.Contains(text, "/") {
			path = "/run/netns/" + text
		}
		var st unix.Stat_t
		var in unix.Statfs_t
		if err := errors.Join(unix.Stat(path, &st), unix.Statfs(path, &in)); err != nil || in.Type != unix.NSFS_MAGIC {
			return errors.New(strconv.Quote(text) + " is no network namespace")
		}
		inode = st.Ino
	}
	f.NetNS = append(f.NetNS, uint32(inode))
	return nil
}

func addServer(f *ebpf.Filter, text string) error {
	p, err := netip.ParsePrefix(text)
	if err != nil {
		addr, addrErr := netip.ParseAddr(text)
		if addrErr != nil || addr.Zone() != "" {
			return errors.New(strconv.Quote(text) + " is no address, and no prefix such as 192.0.2.0/24")
		}
		addr = addr.Unmap()
		p = netip.PrefixFrom(addr, addr.BitLen())
	}
	if !slices.Contains(f.Servers, p.Masked()) {
		f.Servers = append(f.Servers, p.Masked())
	}
	return nil
}
