//go:build linux

package ebpf

import (
	"fmt"
	"github.com/dnshark-io/dnshark/internal/testkit"
	"reflect"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestCgroup2Mounts(t *testing.T) {
	const hybrid = `31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
34 31 0:31 / /sys/fs/cgroup/memory rw,relatime shared:9 master:2 - cgroup cgroup rw,memory
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
50 31 0:38 /a /mnt/with\040space rw shared:7 - cgroup2 none rw,nsdelegate
51
`
	want := []string{"/sys/fs/cgroup/unified", "/mnt/with space"}
	if got := cgroup2Mounts(strings.NewReader(hybrid)); !reflect.DeepEqual(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestOpenCgroup(t *testing.T) {
	if _, err := openCgroup(t.TempDir()); err == nil || !strings.Contains(err.Error(), "cgroup v2") {
		t.Errorf("a directory of another file system: %v", err)
	}
}

func TestMountCgroup2(t *testing.T) {
	testkit.NeedRoot(t)
	f, err := mountCgroup2()
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil || st.Ino != rootInode {
		t.Errorf("inode %d, %v", st.Ino, err)
	}
	// It serves as well as a mount that has a name.
	inNewNetNS(t, func() {
		c := start(t, Options{CgroupPath: fmt.Sprintf("/proc/self/fd/%d", f.Fd())})
		server, client := udpPair(t, "udp4", "127.0.0.1")
		defer server.Close()
		defer client.Close()
		client.Write([]byte("x"))
		if frames := c.stop(); len(frames) != 2 {
			t.Errorf("%d frames, want 2", len(frames))
		}
	})
}
