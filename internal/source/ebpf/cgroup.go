//go:build linux

package ebpf

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// rootInode is the inode of the root of cgroup v2. The root that a process in a
// cgroup namespace sees has another one, and below it the packets of one
// container only.
const rootInode = 1

// openCgroup opens path or, when that is empty, the root of cgroup v2.
func openCgroup(path string) (*os.File, error) {
	if path != "" {
		return openCgroup2(path)
	}
	partial := ""
	// The second view is the host's, for an agent in a container that shares
	// the host's pid namespace.
	for _, view := range []struct{ mounts, prefix string }{
		{"/proc/self/mountinfo", ""},
		{"/proc/1/mountinfo", "/proc/1/root"},
	} {
		f, err := os.Open(view.mounts)
		if err != nil {
			continue
		}
		dirs := cgroup2Mounts(f)
		f.Close()
		for _, dir := range dirs {
			dir = view.prefix + dir
			var st unix.Stat_t
			if unix.Stat(dir, &st) != nil {
				continue
			}
			if st.Ino != rootInode {
				partial = dir
				continue
			}
			if f, err := openCgroup2(dir); err == nil {
				return f, nil
			}
		}
	}
	if partial != "" {
		return nil, fmt.Errorf("ebpf: %w: %s is the cgroup of this container, not of the host: share the host's pid or cgroup namespace, or mount its cgroup v2 root and name it",
			ErrNotSupported, partial)
	}
	return mountCgroup2()
}

func openCgroup2(dir string) (*os.File, error) {
	f, err := os.Open(dir)
	if err != nil {
		return nil, fmt.Errorf("ebpf: opening cgroup: %w", err)
	}
	var fs unix.Statfs_t
	if err := unix.Fstatfs(int(f.Fd()), &fs); err != nil || fs.Type != unix.CGROUP2_SUPER_MAGIC {
		f.Close()
		return nil, fmt.Errorf("ebpf: %s is not a directory of cgroup v2", dir)
	}
	return f, nil
}

// cgroup2Mounts returns the mount points of cgroup v2 in a mountinfo file
// (proc_pid_mountinfo(5)), on hybrid hosts typically /sys/fs/cgroup/unified.
func cgroup2Mounts(mountinfo io.Reader) []string {
	var dirs []string
	for s := bufio.NewScanner(mountinfo); s.Scan(); {
		mount, super, ok := strings.Cut(s.Text(), " - ")
		fields := strings.Fields(mount)
		if ok && len(fields) >= 5 && strings.HasPrefix(super, "cgroup2 ") {
			dirs = append(dirs, unescape.Replace(fields[4]))
		}
	}
	return dirs
}

// The kernel writes these four as octal numbers.
var unescape = strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`)

// mountCgroup2 mounts cgroup v2 where nobody sees it: the mount is in no
// namespace and goes with its last descriptor. Only for hosts on which nobody
// mounted it, because mounting anew resets the options of the hierarchy.
func mountCgroup2() (*os.File, error) {
	fail := func(err error) (*os.File, error) {
		if errors.Is(err, unix.ENODEV) {
			return nil, fmt.Errorf("ebpf: %w: it has no cgroup v2", ErrNotSupported)
		}
		if errors.Is(err, unix.EPERM) {
			return nil, fmt.Errorf("ebpf: %w: cgroup v2 is not mounted, and mounting it needs CAP_SYS_ADMIN", ErrNotPermitted)
		}
		return nil, explain("mounting cgroup v2", err)
	}
	fs, err := unix.Fsopen("cgroup2", unix.FSOPEN_CLOEXEC)
	if err != nil {
		return fail(err)
	}
	defer unix.Close(fs)
	if err := unix.FsconfigCreate(fs); err != nil {
		return fail(err)
	}
	mnt, err := unix.Fsmount(fs, unix.FSMOUNT_CLOEXEC, unix.MOUNT_ATTR_NOSUID|unix.MOUNT_ATTR_NODEV|unix.MOUNT_ATTR_NOEXEC)
	if err != nil {
		return fail(err)
	}
	defer unix.Close(mnt)
	dir, err := unix.Openat(mnt, ".", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fail(err)
	}
	return os.NewFile(uintptr(dir), "(private mount)"), nil
}
