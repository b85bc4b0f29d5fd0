//go:build linux

package afpacket

import (
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Errors of Open. Their text names what the user can do.
var (
	ErrNotPermitted = errors.New("not permitted to read packets from interfaces")
	ErrNoInterface  = errors.New("no such interface")
	ErrDown         = errors.New("interface is down")
	ErrUnsupported  = errors.New("unsupported interface")
)

// explain wraps what the kernel said about doing.
func explain(doing string, err error) error {
	switch {
	case errors.Is(err, unix.EPERM), errors.Is(err, unix.EACCES):
		return fmt.Errorf("afpacket: %s: %w: it takes the capability CAP_NET_RAW; run with sudo, or once: sudo setcap cap_net_raw+ep %s (%w)",
			doing, ErrNotPermitted, program(), err)
	case errors.Is(err, unix.ENOMEM):
		return fmt.Errorf("afpacket: %s: not enough memory for the ring; make it smaller (%w)", doing, err)
	case errors.Is(err, unix.EAFNOSUPPORT), errors.Is(err, unix.ENOPROTOOPT):
		return fmt.Errorf("afpacket: %s: this kernel has no packet sockets of that kind: it must be Linux 4.12 or newer with CONFIG_PACKET (%w)",
			doing, err)
	}
	return fmt.Errorf("afpacket: %s: %w", doing, err)
}

func program() string {
	if path, err := os.Executable(); err == nil {
		return path
	}
	return os.Args[0]
}

// noInterface names the interfaces that there are.
func noInterface(name string) error {
	var names []string
	all, _ := net.Interfaces() // nil when it fails: then the list is missing
	for i, one := range all {
		if i == 32 {
			names = append(names, "and more")
			break
		}
		names = append(names, quote(one.Name))
	}
	if len(names) == 0 {
		return fmt.Errorf("%w: %s", ErrNoInterface, quote(name))
	}
	return fmt.Errorf("%w: %s; this host has: %s", ErrNoInterface, quote(name), strings.Join(names, ", "))
}

// quote leaves usual names alone. The kernel allows any octet but white space,
// slash and colon, so a name can hold what a terminal would obey.
func quote(name string) string {
	if q := strconv.QuoteToASCII(name); name == "" || len(q) != len(name)+2 || strings.ContainsAny(name, " ,;") {
		return q
	}
	return name
}
