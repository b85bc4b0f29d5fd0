package testkit

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"
)

var cgroups atomic.Uint32

// Cgroup makes a cgroup of version 2, or of a hierarchy of version 1, for the
// time of the test, and returns its directory. The cgroup's path is one part of
// its own and then path.
func Cgroup(t testing.TB, v1Controller, path string) string {
	t.Helper()
	NeedRoot(t)
	mount := ""
	mounts, _ := os.ReadFile("/proc/mounts")
	for _, line := range strings.Split(string(mounts), "\n") {
		if f := strings.Fields(line); len(f) > 3 && (v1Controller == "" && f[2] == "cgroup2" ||
			v1Controller != "" && f[2] == "cgroup" && strings.Contains(","+f[3]+",", ","+v1Controller+",")) {
			mount = f[1]
		}
	}
	if mount == "" {
		Unable(t, "cgroup v2, or v1 with the controller %q, is not mounted", v1Controller)
	}
	top := filepath.Join(mount, fmt.Sprintf("dnshark-%d-%d", os.Getpid(), cgroups.Add(1)))
	dir := filepath.Join(top, path)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		Unable(t, "making a cgroup: %v", err)
	}
	t.Cleanup(func() {
		// What still runs in there would keep the directory.
		os.WriteFile(filepath.Join(dir, "cgroup.kill"), []byte("1"), 0)
		Eventually(t, 10*1e9, "an empty cgroup", func() bool {
			err := unix.Rmdir(dir)
			return err == nil || err == unix.ENOENT
		})
		for dir != top {
			dir = filepath.Dir(dir)
			os.Remove(dir)
		}
	})
	return dir
}
