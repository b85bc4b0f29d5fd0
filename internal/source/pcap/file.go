package pcap

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync/atomic"
	"syscall"

	"golang.org/x/sys/unix"
)

// open opens a regular file. Opening must not hang, as a FIFO without a writer
// would, so it is opened without blocking and looked at first.
func open(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if errors.Is(err, syscall.ENXIO) { // what opening a socket gives
		return nil, fmt.Errorf("%s: is a socket or a device, not a capture file", path)
	}
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err != nil {
		f.Close()
		return nil, err
	}
	what := ""
	switch mode := info.Mode(); {
	case mode.IsRegular():
		return f, nil
	case mode.IsDir():
		what = "is a directory; name the files in it"
	case mode&os.ModeNamedPipe != 0:
		what = "is a FIFO; give it as standard input: dnshark read - < FIFO"
	case mode&os.ModeSocket != 0:
		what = "is a socket, not a capture file"
	default:
		what = "is a device, not a capture file"
	}
	f.Close()
	return nil, fmt.Errorf("%s: %s", path, what)
}

// input reads a file as it comes, counting. Where a read may block, it waits
// for data no longer than ctx lives.
type input struct {
	f     *os.File
	ctx   context.Context
	block bool
	count *atomic.Int64
}

func newInput(ctx context.Context, f *os.File, count *atomic.Int64) (*input, error) {
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	in := &input{f: f, ctx: ctx, block: !info.Mode().IsRegular(), count: count}
	if info.Mode()&os.ModeCharDevice != 0 && isTerminal(f) {
		return nil, errors.New("is a terminal; pipe a capture to it: tcpdump -w - | dnshark read -")
	}
	return in, nil
}

// Read implements io.Reader.
func (in *input) Read(p []byte) (int, error) {
	if in.block {
		if err := in.wait(); err != nil {
			return 0, err
		}
	}
	n, err := in.f.Read(p)
	in.count.Add(int64(n))
	return n, err
}

// wait waits for data. A read that blocks could not be ended: standard input is
// a blocking file, which knows no deadlines.
func (in *input) wait() error {
	conn, err := in.f.SyscallConn()
	if err != nil {
		return err
	}
	for {
		if err := in.ctx.Err(); err != nil {
			return err
		}
		ready := false
		err := conn.Control(func(fd uintptr) {
			fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
			n, err := unix.Poll(fds, 100)
			ready = n > 0 || err != nil && !errors.Is(err, unix.EINTR) // then reading tells
		})
		if err != nil || ready {
			return err
		}
	}
}

// stream reads what somebody else opened, counting.
type stream struct {
	r     io.Reader
	ctx   context.Context
	count *atomic.Int64
}

// Read implements io.Reader.
func (s *stream) Read(p []byte) (int, error) {
	if err := s.ctx.Err(); err != nil {
		return 0, err
	}
	n, err := s.r.Read(p)
	s.count.Add(int64(n))
	return n, err
}

func isTerminal(f *os.File) bool {
	terminal := false
	if conn, err := f.SyscallConn(); err == nil {
		conn.Control(func(fd uintptr) {
			_, err := unix.IoctlGetTermios(int(fd), unix.TCGETS)
			terminal = err == nil
		})
	}
	return terminal
}
