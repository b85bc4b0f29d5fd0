//go:build linux

package afpacket

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dnshark-io/dnshark/internal/source"
)

const (
	// The kernel hands a block over when it is full, or when its timer, which
	// does not start anew with every block, finds it with packets in it a
	// second time: after one to two of these.
	retireMillis = 5
	// take must run every 100 ms also when nothing comes.
	waitMillis = 90
)

// Lane reads the ring of one socket.
type Lane struct {
	sock  *socket
	ring  ring
	names names
	event int // an eventfd that interrupts poll

	running sync.Mutex // held by Run
	closing atomic.Bool

	submitted atomic.Uint64
	truncated atomic.Uint64
	unread    atomic.Uint64 // packets in the ring when take wanted no more

	mu     sync.Mutex // the following, and the socket and eventfd against Close
	closed bool
	seen   uint64 // the kernel's counters start anew when they are read
	lost   uint64
}

var _ source.Lane = (*Lane)(nil)

// newLane makes a lane that takes no packets until its socket has a filter. The
// socket is the lane's, also when it fails.
func newLane(s *socket, o Options) (_ *Lane, err error) {
	l := &Lane{sock: s, names: names{fd: s.fd}, event: -1}
	defer func() {
		if err != nil {
			l.Close()
		}
	}()
	if err := s.filter(nothing()); err != nil {
		return nil, err
	}
	mem, err := s.ring(o.BlockBytes, o.Blocks)
	if err != nil {
		return nil, err
	}
	l.ring = ring{mem: mem, blockBytes: o.BlockBytes, frames: make([]source.Frame, maxBatch)}
	if l.event, err = unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK); err != nil {
		return nil, fmt.Errorf("afpacket: eventfd: %w", err)
	}
	return l, nil
}

// Run implements source.Lane. It hands over what was captured before ctx ended.
// On a quiet interface packets come 5 to 10 ms after they were captured. Then,
// and after an error of take's, capture is over: every packet is accounted for.
func (l *Lane) Run(ctx context.Context, take func([]source.Frame) error) error {
	l.running.Lock()
	defer l.running.Unlock()
	defer context.AfterFunc(ctx, l.wake)()
	for {
		switch {
		case l.closing.Load():
			return nil
		case ctx.Err() != nil:
			if err := l.sock.filter(nothing()); err != nil {
				return err
			}
			err := l.finish(take)
			if err != nil {
				l.leave()
			}
			return err
		case l.ring.ready():
			if err := l.block(take); err != nil {
				l.leave()
				return err
			}
			continue
		}
		timeout, err := l.wait(waitMillis, true)
		if err == nil && timeout {
			if err = l.exists(); err == nil {
				if err = take(nil); err != nil {
					l.leave()
				}
			}
		}
		if err != nil {
			return err
		}
	}
}

// leave ends the capture and counts the packets that nobody will read.
func (l *Lane) leave() {
	if l.sock.filter(nothing()) != nil {
		return
	}
	l.finish(func(frames []source.Frame) error {
		l.unread.Add(uint64(len(frames)))
		return nil
	})
}

// finish hands over what the ring holds and the block that the kernel is
// filling, for which it must wait until the kernel closes it. It takes no more
// blocks than there are: on a busy host that would never end.
func (l *Lane) finish(take func([]source.Frame) error) error {
	end := time.Now().Add(3 * retireMillis * time.Millisecond)
	for blocks := l.ring.blocks(); blocks > 0 && !l.closing.Load(); {
		if l.ring.ready() {
			blocks--
			if err := l.block(take); err != nil {
				return err
			}
			continue
		}
		left := time.Until(end)
		if left <= 0 {
			return nil
		}
		if _, err := l.wait(int(left/time.Millisecond)+1, false); err != nil {
			return err
		}
	}
	return nil
}

// block hands over the packets of one block.
func (l *Lane) block(take func([]source.Frame) error) error {
	defer l.ring.release() // also when take fails: its frames are dead
	for at, left := l.ring.first(); left > 0; {
		n, cut := 0, uint64(0)
		for ; n < len(l.ring.frames) && left > 0; left-- {
			f := &l.ring.frames[n]
			next, from := l.ring.frame(at, f)
			if from == nil || next <= at && left > 1 {
				return errors.New("afpacket: the kernel's ring makes no sense")
			}
			at = next
			l.origin(f, from)
			if len(f.Data) < f.WireLen {
				cut++
			}
			n++
		}
		l.truncated.Add(cut)
		l.submitted.Add(uint64(n))
		if err := take(l.ring.frames[:n]); err != nil {
			l.submitted.Add(uint64(left))
			l.unread.Add(uint64(left))
			return err
		}
	}
	return nil
}

// origin fills in where a frame comes from.
func (l *Lane) origin(f *source.Frame, from *unix.RawSockaddrLinklayer) {
	f.Link, f.Iface = source.LinkEthernet, l.sock.name
	if l.sock.cooked {
		f.Link = source.LinkRaw
	}
	if l.sock.index == 0 {
		f.Iface = l.names.of(from.Ifindex, f.Time)
	}
	f.Dir = source.DirUnknown
	if from.Hatype == unix.ARPHRD_LOOPBACK {
		return // both ends are here
	}
	switch from.Pkttype {
	case unix.PACKET_OUTGOING:
		f.Dir = source.DirEgress
	case unix.PACKET_HOST, unix.PACKET_BROADCAST, unix.PACKET_MULTICAST:
		f.Dir = source.DirIngress
	}
}

// wait waits until a block is ready, or time runs out, or, if it may be woken,
// until wake. It reports whether time ran out.
func (l *Lane) wait(millis int, woken bool) (timeout bool, err error) {
	fds := [2]unix.PollFd{
		{Fd: int32(l.sock.fd), Events: unix.POLLIN},
		{Fd: int32(l.event), Events: unix.POLLIN},
	}
	watch := fds[:1]
	if woken {
		watch = fds[:]
	}
	n, err := unix.Poll(watch, millis)
	switch {
	case errors.Is(err, unix.EINTR):
		return false, nil
	case err != nil:
		return false, fmt.Errorf("afpacket: poll: %w", err)
	case fds[0].Revents&unix.POLLERR != 0:
		return false, l.broken()
	}
	return n == 0, nil
}

// exists fails when the interface was removed. The kernel tells only that it
// went down before (packet_notifier in af_packet.c), so a silent one is asked
// for.
func (l *Lane) exists() error {
	if l.sock.gone() {
		return fmt.Errorf("afpacket: %s was removed: %w", l.sock.where(), ErrNoInterface)
	}
	return nil
}

// broken looks at an error of the socket. An interface that goes down may come
// up again, and then the kernel goes on with the socket.
func (l *Lane) broken() error {
	code, err := unix.GetsockoptInt(l.sock.fd, unix.SOL_SOCKET, unix.SO_ERROR) // clears it
	switch {
	case err != nil:
		return fmt.Errorf("afpacket: %s: %w", l.sock.where(), err)
	case code == 0 || unix.Errno(code) == unix.ENETDOWN:
		return l.exists()
	}
	return fmt.Errorf("afpacket: %s: %w", l.sock.where(), unix.Errno(code))
}

// wake ends the reader's wait.
func (l *Lane) wake() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.event >= 0 {
		one := [8]byte{7: 1} // any number but 0 and ^0, in either byte order
		unix.Write(l.event, one[:])
	}
}

// Stats implements source.Lane. After Close it returns the last numbers.
func (l *Lane) Stats() source.Stats {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.count()
	return source.Stats{
		Seen: l.seen, Submitted: l.submitted.Load(), RingFull: l.lost, Truncated: l.truncated.Load(),
		Unread: l.unread.Load(),
	}
}

// count adds up the kernel's counters, which count what passed the filter. The
// lock is held.
func (l *Lane) count() {
	if l.closed {
		return
	}
	if s, err := unix.GetsockoptTpacketStatsV3(l.sock.fd, unix.SOL_PACKET, unix.PACKET_STATISTICS); err == nil {
		l.seen += uint64(s.Packets)
		l.lost += uint64(s.Drops)
	}
}

// Close ends Run and frees everything. It must not be called by take.
func (l *Lane) Close() error {
	l.closing.Store(true)
	l.wake()
	l.running.Lock()
	defer l.running.Unlock()
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return nil
	}
	l.count()
	l.closed = true
	err := l.ring.unmap()
	l.sock.close()
	if l.event >= 0 {
		unix.Close(l.event)
		l.event = -1
	}
	return err
}
