package main

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/dnshark-io/dnshark/internal/source/afpacket"
	"github.com/dnshark-io/dnshark/internal/source/ebpf"
)

func newDoctor(o *options) *cobra.Command {
	return &cobra.Command{
		Use:   "doctor",
		Short: "Say what can be captured here, and why not",
		Long: `doctor tries what live capture needs, with the rights that it was started with, and
says what works and what stands in the way. It ends with 77 when live capture
would not work at all.`,
		Args: atMost(0),
		RunE: func(*cobra.Command, []string) error { return o.doctor() },
	}
}

// finding is what a check found out.
type finding struct {
	what string
	err  error
	good string // what it means when it works
}

func (o *options) doctor() error {
	sockets := finding{"sockets (eBPF)", trySockets(), "every answer of this host, all network namespaces, with processes"}
	interfaces := finding{"interfaces", tryInterfaces(), "what passes the interfaces of this network namespace"}
	for _, f := range []finding{
		{"kernel", nil, kernel()},
		sockets,
		interfaces,
		{"executables", tryOthers(), "of processes that are older than dnshark, all users"},
	} {
		mark, text := "ok  ", f.good
		if f.err != nil {
			mark, text = "no  ", oneLine(f.err)
		}
		fmt.Fprintf(o.std.out, "%s%-15s %s\n", mark, f.what, text)
	}
	switch {
	case sockets.err == nil:
		fmt.Fprintln(o.std.out, "\ndnshark will watch every socket of this host.")
	case interfaces.err == nil:
		fmt.Fprintln(o.std.out, "\ndnshark will watch interfaces; it cannot tell which processes ask.")
	default:
		return withExit(exitNotPermitted, errors.New("live capture does not work here; capture files do: dnshark read FILE"))
	}
	return nil
}

func kernel() string {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return oneLine(err)
	}
	return unix.ByteSliceToString(u.Release[:])
}

func trySockets() error {
	source, err := ebpf.New(ebpf.Options{RingBytes: 1 << 20})
	if err != nil {
		return err
	}
	return source.Close()
}

func tryInterfaces() error {
	lanes, err := afpacket.New(afpacket.Options{Blocks: 2}).Open(1)
	if err != nil {
		return err
	}
	return lanes[0].Close()
}

// tryOthers reads what only CAP_SYS_PTRACE lets one read: the executable of the
// first process.
func tryOthers() error {
	_, err := os.Readlink("/proc/1/exe")
	if errors.Is(err, os.ErrPermission) {
		return errors.New("of older processes of other users cannot be read: CAP_SYS_PTRACE is missing, or a security module refuses")
	}
	if err != nil && strings.Contains(err.Error(), "no such file") {
		return errors.New("/proc is not mounted, or belongs to another pid namespace: share the host's (hostPID)")
	}
	return err
}
