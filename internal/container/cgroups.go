package container

import (
	"bufio"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// Cgroups finds the paths of cgroups of version 2 that are older than the agent,
// by their ids, which are the inode numbers of their directories. The kernel
// opens a directory by its id too, but only for those who may read every file.
type Cgroups struct {
	dir     string // where the hierarchy is mounted, "" when it is not
	index   atomic.Pointer[map[uint64]string]
	walking atomic.Bool
	next    atomic.Int64 // when the tree may be read again, Unix time in ns
}

const (
	// walkEvery bounds how often the tree is read, if something is missing.
	walkEvery = time.Second
	// walkShare is the share of time that it may take.
	walkShare = 50
	// maxCgroups bounds how much is read.
	maxCgroups = 1 << 16
)

// OpenCgroups reads the tree of cgroups. Without one every path is unknown.
func OpenCgroups() *Cgroups {
	c := &Cgroups{}
	// The second view is the host's, for an agent in a container.
	for _, view := range []struct{ mounts, root string }{
		{"/proc/self/mountinfo", ""}, {"/proc/1/mountinfo", "/proc/1/root"},
	} {
		for _, dir := range cgroup2Mounts(view.mounts) {
			var st unix.Stat_t
			if unix.Stat(view.root+dir, &st) != nil {
				continue
			}
			c.dir = view.root + dir
			if st.Ino == rootInode {
				c.walk()
				return c
			}
		}
	}
	c.walk()
	return c
}

// rootInode is that of the root of the hierarchy. What a process in a cgroup
// namespace sees as root has another one, and not every cgroup below it.
const rootInode = 1

// cgroup2Mounts reads a file as in proc_pid_mountinfo(5).
func cgroup2Mounts(mountinfo string) (dirs []string) {
	f, err := os.Open(mountinfo)
	if err != nil {
		return nil
	}
	defer f.Close()
	for s := bufio.NewScanner(f); s.Scan(); {
		mount, super, ok := strings.Cut(s.Text(), " - ")
		fields := strings.Fields(mount)
		if ok && len(fields) >= 5 && strings.HasPrefix(super, "cgroup2 ") {
			dirs = append(dirs, octal.Replace(fields[4]))
		}
	}
	return dirs
}

// octal undoes what the kernel does to these four.
var octal = strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`)

// path returns the path of a cgroup below the mount. It does not wait: what is
// missing may be there next time.
func (c *Cgroups) path(id uint64) (string, bool) {
	if index := c.index.Load(); index != nil {
		if path, ok := (*index)[id]; ok {
			return path, true
		}
	}
	if c.dir != "" && time.Now().UnixNano() > c.next.Load() && c.walking.CompareAndSwap(false, true) {
		go func() {
			defer c.walking.Store(false)
			c.walk()
		}()
	}
	return "", false
}

func (c *Cgroups) walk() {
	if c.dir == "" {
		return
	}
	began := time.Now()
	index := map[uint64]string{}
	filepath.WalkDir(c.dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.IsDir() {
			return nil // a directory that is gone, or a file
		}
		if len(index) == maxCgroups {
			return fs.SkipAll
		}
		var st unix.Stat_t
		if unix.Stat(path, &st) == nil {
			index[st.Ino] = "/" + strings.TrimPrefix(strings.TrimPrefix(path, c.dir), "/")
		}
		return nil
	})
	c.index.Store(&index)
	c.next.Store(began.Add(max(walkEvery, walkShare*time.Since(began))).UnixNano())
}
