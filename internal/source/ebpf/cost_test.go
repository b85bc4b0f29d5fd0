//go:build linux

package ebpf

import (
	"context"
	"fmt"
	"testing"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/dnshark-io/dnshark/internal/source"
	"github.com/dnshark-io/dnshark/internal/testkit"
)

// What the programs cost those who ask nothing: a message through a socket, with
// and without them. The runs alternate, because machines are noisy.
func BenchmarkOtherSockets(b *testing.B) {
	testkit.NeedRoot(b)
	for _, network := range []string{"unix", "tcp", "udp"} {
		for i := range 6 {
			with := []string{"nothing", "packets", "all"}[i%3]
			b.Run(fmt.Sprintf("%s/%s", network, with), func(b *testing.B) {
				here, there := connected(b, network)
				if with != "nothing" {
					defer observe(b, with == "all")()
				}
				buf := make([]byte, 512)
				for b.Loop() {
					unix.Write(here, buf)
					unix.Read(there, buf)
				}
			})
		}
	}
}

// BenchmarkHooks tells, by the kernel's own clock, what a run of each program
// takes where there is no DNS. The clock itself takes some of it.
func BenchmarkHooks(b *testing.B) {
	testkit.NeedRoot(b)
	stats, err := ebpf.EnableStats(uint32(unix.BPF_STATS_RUN_TIME))
	if err != nil {
		b.Fatal(err)
	}
	defer stats.Close()
	src, err := New(Options{})
	if err != nil {
		b.Fatal(err)
	}
	defer src.Close()
	here, there := connected(b, "tcp")
	buf := make([]byte, 512)
	for b.Loop() {
		unix.Write(here, buf)
		unix.Read(there, buf)
	}
	o := src.lane.objs
	for name, prog := range map[string]*ebpf.Program{"egress": o.Egress, "ingress": o.Ingress, "sent": o.Sent, "received": o.Received} {
		s, err := prog.Stats()
		if err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(float64(s.Runtime.Nanoseconds())/float64(max(s.RunCount, 1)), name+"-ns/run")
	}
}

// observe runs the programs until the returned function is called.
func observe(b *testing.B, sockets bool) func() {
	src, err := New(Options{})
	if err != nil {
		b.Fatal(err)
	}
	if n := len(src.lane.links); !sockets {
		for _, ln := range src.lane.links[n-4:] { // what attachSockets attached
			ln.Close()
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		src.lane.Run(ctx, func([]source.Frame) error { return nil })
	}()
	return func() {
		cancel()
		<-done
		src.Close()
	}
}

// connected returns the ends of a connection that has nothing to do with DNS.
func connected(b *testing.B, network string) (here, there int) {
	b.Helper()
	must := func(fd int, err error) int {
		b.Helper()
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { unix.Close(fd) })
		return fd
	}
	bound := func(fd int) unix.Sockaddr {
		b.Helper()
		err := unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}})
		at, nameErr := unix.Getsockname(fd)
		if err != nil || nameErr != nil {
			b.Fatal(err, nameErr)
		}
		return at
	}
	connect := func(fd int, to unix.Sockaddr) {
		b.Helper()
		if err := unix.Connect(fd, to); err != nil {
			b.Fatal(err)
		}
	}
	switch network {
	case "unix":
		fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM, 0)
		return must(fds[0], err), must(fds[1], err)
	case "udp":
		here, there = must(unix.Socket(unix.AF_INET, unix.SOCK_DGRAM, 0)), must(unix.Socket(unix.AF_INET, unix.SOCK_DGRAM, 0))
		at := bound(here)
		connect(there, at)
		other, err := unix.Getsockname(there)
		if err != nil {
			b.Fatal(err)
		}
		connect(here, other)
		return here, there
	}
	listener := must(unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0))
	at := bound(listener)
	if err := unix.Listen(listener, 1); err != nil {
		b.Fatal(err)
	}
	here = must(unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0))
	connect(here, at)
	fd, _, err := unix.Accept(listener)
	return here, must(fd, err)
}
