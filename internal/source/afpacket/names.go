//go:build linux

package afpacket

import "golang.org/x/sys/unix"

const (
	maxNames  = 4096
	namesLive = 60e9 // ns; interfaces are renamed
)

// names finds the names of interfaces by their numbers. It asks the kernel once
// a minute and interface: containers make new interfaces all day, and a number
// may be gone before its packets are read.
type names struct {
	fd    int
	known map[int32]string
	until int64 // packet time
}

func (n *names) of(index int32, now int64) string {
	if name, ok := n.known[index]; ok && now < n.until {
		return name
	}
	if now >= n.until || len(n.known) >= maxNames {
		n.known, n.until = make(map[int32]string), now+namesLive
	}
	var name string
	nameOf(n.fd, int(index), &name)
	n.known[index] = name
	return name
}

// nameOf asks the socket, whose network namespace need not be the thread's.
func nameOf(fd, index int, name *string) error {
	req, err := unix.NewIfreq("")
	if err != nil {
		return err
	}
	req.SetUint32(uint32(index))
	if err := unix.IoctlIfreq(fd, unix.SIOCGIFNAME, req); err != nil {
		return err
	}
	*name = req.Name()
	return nil
}
