package container

import (
	"bytes"
	"strconv"
	"strings"
)

// Place is what the path of a cgroup tells: of containers, the innermost one
// that the path is in.
type Place struct {
	ID      string // of the container, "" when the path is in none
	Runtime string // docker, containerd, cri-o, podman, lxc, systemd-nspawn or garden; "" when the path does not tell
	Pod     string // UID of the Kubernetes pod, "" when the path is in none
	Unit    string // the innermost systemd unit, where the path is in no container
	// Depth counts the containers around each other: 1 is a container of this host.
	Depth int
	// User is whose systemd instance made the cgroup, 0 for the system's.
	User uint32
}

// maxParts bounds the work that a path makes. Three times nested, Kubernetes in
// Docker has fewer.
const maxParts = 64

// ParsePath reads the path of a cgroup, as it stands in /proc/PID/cgroup. It
// knows the names that runtimes give with their systemd and cgroupfs drivers.
func ParsePath(path []byte) Place {
	var p Place
	var before string // the part before, "" for the first
	kube := false     // below kubepods
	strange := 0      // parts that no runtime of the host puts above containers
	for range maxParts {
		var part []byte
		part, path, _ = bytes.Cut(bytes.TrimLeft(path, "/"), []byte("/"))
		if len(part) == 0 {
			break
		}
		name := string(part)
		kube = kube || strings.Contains(name, "kubepods")
		was := p
		p.part(before, name, kube)
		if p.Depth > was.Depth && strange > 1 && !isSplit(name) && name != "payload" {
			p.Depth++
		}
		switch {
		case strings.HasPrefix(name, "user@"): // whose are told by User
		case runtimes[strings.TrimSuffix(name, ".service")] != "": // a runtime's own
		case strings.HasSuffix(name, ".service"), name == "payload", strings.HasPrefix(name, "machine-") && strings.HasSuffix(name, ".scope"):
			// What is below belongs to the service, or to a machine.
			strange += 2
		case p == was && !kube && !parents[name]:
			// The name of a container as users choose it, or, once, a parent that
			// the runtime was configured with.
			strange++
		}
		before = name
	}
	if p.ID != "" {
		p.Unit = ""
	}
	return p
}

// parents are what runtimes put above containers, beside the keys of runtimes.
var parents = map[string]bool{"ecs": true, "libpod_parent": true}

// isSplit reports whether a runtime puts a container of that name below its own
// service: podman with --cgroups=split, and cgroupfs paths that were meant for
// systemd.
func isSplit(name string) bool {
	return strings.HasPrefix(name, "libpod-payload-") || strings.Contains(name, ":")
}

func (p *Place) part(before, name string, kube bool) {
	// With the cgroupfs driver, a path that was meant for systemd is one part:
	// slice:prefix:id.
	if slice, rest, ok := strings.Cut(name, ":"); ok {
		if prefix, id, ok := strings.Cut(rest, ":"); ok && IsID(id) {
			p.Pod = podOf(slice, p.Pod)
			p.enter(runtimes[prefix], id)
			return
		}
	}
	switch {
	case strings.HasSuffix(name, ".slice"):
		if kube {
			p.Pod = podOf(name, p.Pod)
		}
		p.Unit = name
		if uid, ok := strings.CutPrefix(strings.TrimSuffix(name, ".slice"), "user-"); ok && p.ID == "" && before == "user.slice" {
			if n, err := strconv.ParseUint(uid, 10, 32); err == nil {
				p.User = uint32(n)
			}
		}
		return
	case strings.HasSuffix(name, ".service"):
		p.Unit = name
		return
	case kube && strings.HasPrefix(name, "pod"):
		if uid := podUID(name[len("pod"):]); uid != "" {
			p.Pod = uid
			return
		}
	}
	bare, scope := strings.CutSuffix(name, ".scope")
	if i := len(bare) - idLen; i > 0 && bare[i-1] == '-' && IsID(bare[i:]) {
		// What watches over a container is none.
		if prefix := bare[:i-1]; !strings.HasSuffix(prefix, "conmon") {
			p.enter(runtimes[prefix], bare[i:])
			return
		}
	}
	switch {
	case scope:
		p.Unit = name
	case IsID(name):
		p.enter(runtimes[before], name)
	case before == "lxc" || before == "lxc.payload" || before == "garden":
		p.enter(runtimes[before], name)
	case strings.HasPrefix(name, "lxc.payload.") && name != "lxc.payload.":
		p.enter("lxc", name[len("lxc.payload."):])
	case name == "payload" && machineOf(before) != "":
		p.enter("systemd-nspawn", machineOf(before))
	case isTaskContainer(before, name):
		p.enter("", name)
	}
}

// machineOf returns the name of the machine that a unit is of, or "". systemd
// makes a cgroup payload in there for machines that are containers; what is in
// supervisor, or in a virtual machine's unit, runs on the host.
func machineOf(unit string) string {
	name, ok := strings.CutPrefix(unit, "systemd-nspawn@")
	if ok {
		name, ok = strings.CutSuffix(name, ".service")
	} else if name, ok = strings.CutPrefix(unit, "machine-"); ok {
		name, ok = strings.CutSuffix(name, ".scope")
	}
	if !ok {
		return ""
	}
	return unescapeDash(name)
}

// unescapeDash undoes what systemd does to a dash in a unit's name. A machine's
// name has no other character that is escaped.
func unescapeDash(s string) string { return strings.ReplaceAll(s, `\x2d`, "-") }

func (p *Place) enter(runtime, id string) {
	p.Runtime, p.ID = runtime, id
	p.Depth++
}

// runtimes are the prefixes of systemd scopes, and the parents with the cgroupfs
// driver.
var runtimes = map[string]string{
	"docker": "docker",
	// containerd: its CRI plugin, and nerdctl.
	"cri-containerd": "containerd", "nerdctl": "containerd", "k8s.io": "containerd",
	"crio": "cri-o",
	// With --cgroups=split the payload is below the unit that started podman.
	"libpod": "podman", "libpod-payload": "podman",
	"lxc": "lxc", "lxc.payload": "lxc", "garden": "garden",
}

const idLen = 64

// IsID reports whether s is an id as Docker, containerd's CRI plugin, CRI-O and
// Podman make them: 32 random octets in hex.
func IsID(s string) bool { return len(s) == idLen && isHex(s) }

func isHex(s string) bool {
	for i := range len(s) {
		if c := s[i]; (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}

// podOf returns the pod in the name of a slice, kubepods[-burstable|-besteffort]-podUID.slice,
// or otherwise.
func podOf(slice, otherwise string) string {
	slice = strings.TrimSuffix(slice, ".slice")
	if i := strings.LastIndex(slice, "-pod"); i >= 0 {
		// systemd reads a dash in a slice's name as a level.
		if uid := podUID(strings.ReplaceAll(slice[i+len("-pod"):], "_", "-")); uid != "" {
			return uid
		}
	}
	return otherwise
}

// podUID returns s if it is the UID of a pod: a UUID or, of static pods, a hash.
func podUID(s string) string {
	digits := s
	if len(s) == 36 && s[8] == '-' && s[13] == '-' && s[18] == '-' && s[23] == '-' {
		digits = s[:8] + s[9:13] + s[14:18] + s[19:23] + s[24:]
	}
	if len(digits) == 32 && isHex(digits) {
		return s
	}
	return ""
}

// isTaskContainer knows containers of ECS on Fargate: task/task-number, the task
// being 32 digits.
func isTaskContainer(task, name string) bool {
	if len(task) != 32 || !isHex(task) || !strings.HasPrefix(name, task+"-") {
		return false
	}
	_, err := strconv.ParseUint(name[len(task)+1:], 10, 64)
	return err == nil
}

// ParseProc reads /proc/PID/cgroup (cgroups(7)): of all hierarchies the first
// whose path is in a container, else the first in a unit, else the first that is
// not the root. It returns the path too.
func ParseProc(file []byte) (Place, string) {
	var best Place
	at, rank := "", 0
	for len(file) > 0 {
		var line []byte
		line, file, _ = bytes.Cut(file, []byte("\n"))
		_, line, _ = bytes.Cut(line, []byte(":"))
		controllers, path, ok := bytes.Cut(line, []byte(":"))
		if !ok {
			continue
		}
		p := ParsePath(path)
		r := 0
		switch {
		case p.ID != "":
			return p, string(path)
		case p.Unit != "" && len(controllers) == 0: // cgroup v2
			r = 4
		case p.Unit != "" && string(controllers) == "name=systemd":
			r = 3
		case p.Unit != "":
			r = 2
		case len(path) > 1:
			r = 1
		}
		if r > rank {
			best, at, rank = p, string(path), r
		}
	}
	return best, at
}
