//go:build linux

package ebpf

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"sync"
	"sync/atomic"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/dnshark-io/dnshark/internal/bpf"
	"github.com/dnshark-io/dnshark/internal/source"
)

const (
	// A wake-up for every packet costs more than the rest of the path, so
	// after some traffic the reader naps and looks again by itself. Births tell of
	// processes that are gone by then.
	napMillis = 10
	napsIdle  = 2 // in vain, before it asks to be woken by the next packet
	// take must run every 100 ms also when nothing comes.
	sleepMillis = 90
	// An answer waits this long for its receipt, in ns: sockets are read within
	// tens of microseconds, where somebody waits for the answer.
	settle     = 1e6
	clockEvery = 1e9 // ns; wall clocks are slewed and stepped
)

// Lane reads the ring of one attachment.
type Lane struct {
	objs  *bpf.Objects
	links []io.Closer
	ring  *ring
	batch *batch

	state   []byte // of the reader, in memory shared with the programs
	epoll   int
	event   int // an eventfd that interrupts sleep
	clockAt int64

	running sync.Mutex // held by Run
	closing atomic.Bool
	bad     atomic.Uint64 // samples that no program of ours wrote
	unread  atomic.Uint64 // packets in the ring when Run ended by an error

	mu     sync.Mutex // the following, and the counters' map against Close
	closed bool
	last   bpf.Counters
}

var _ source.Lane = (*Lane)(nil)

func newLane(objs *bpf.Objects) (_ *Lane, err error) {
	l := &Lane{objs: objs, batch: newBatch(), epoll: -1, event: -1}
	defer func() {
		if err != nil {
			l.unmap()
		}
	}()
	if l.ring, err = newRing(objs.Packets.FD(), int(objs.Packets.MaxEntries())); err != nil {
		return nil, err
	}
	if l.state, err = unix.Mmap(objs.Reader.FD(), 0, unix.Getpagesize(), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED); err != nil {
		return nil, fmt.Errorf("mmap: %w", err)
	}
	if l.epoll, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err != nil {
		return nil, fmt.Errorf("epoll_create1: %w", err)
	}
	if l.event, err = unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK); err != nil {
		return nil, fmt.Errorf("eventfd: %w", err)
	}
	for _, fd := range []int{objs.Packets.FD(), l.event} {
		// Edge triggered: what waits in the ring must not cut naps short.
		ev := unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLET, Fd: int32(fd)}
		if err := unix.EpollCtl(l.epoll, unix.EPOLL_CTL_ADD, fd, &ev); err != nil {
			return nil, fmt.Errorf("epoll_ctl: %w", err)
		}
	}
	return l, nil
}

// Run implements source.Lane. It hands over what was captured before ctx ended.
// Then, and after an error, capture is over: every packet is accounted for.
// Packets are handed over at most 15 ms after they were captured, unless take is
// slower than that. Of these, the youngest wait for a receipt.
func (l *Lane) Run(ctx context.Context, take func([]source.Frame) error) error {
	l.running.Lock()
	defer l.running.Unlock()
	defer context.AfterFunc(ctx, l.wake)()
	err := l.run(ctx, take)
	if err != nil {
		l.detach()
		l.leave()
	}
	return err
}

func (l *Lane) run(ctx context.Context, take func([]source.Frame) error) error {
	for idle := 0; ; {
		last := ctx.Err() != nil
		if l.closing.Load() {
			return nil
		}
		if last {
			l.detach()
		}
		got, err := l.drain(take, last)
		if err != nil || last {
			return err
		}
		if got {
			idle = 0
		} else {
			idle++
		}
		if idle < napsIdle {
			err = l.rest(bpf.ReaderNaps, napMillis)
		} else if err = l.rest(bpf.ReaderSleeps, sleepMillis); err == nil && l.ring.pos == l.ring.end() {
			err = take(l.batch.frames[:0])
		}
		if err != nil {
			return err
		}
	}
}

const membarrierGlobal = 1 // MEMBARRIER_CMD_GLOBAL of linux/membarrier.h

// detach takes the programs from their hooks and waits until none runs.
func (l *Lane) detach() error {
	var errs []error
	for _, ln := range l.links {
		errs = append(errs, ln.Close())
	}
	l.links = nil
	// The programs run inside RCU read locks, for all of which this waits
	// (synchronize_rcu in kernel/sched/membarrier.c).
	if _, _, errno := unix.Syscall(unix.SYS_MEMBARRIER, membarrierGlobal, 0, 0); errno != 0 {
		time.Sleep(10 * time.Millisecond)
	}
	return errors.Join(errs...)
}

// leave counts the packets that nobody will read.
func (l *Lane) leave() {
	for end := l.ring.end(); ; {
		sample := l.ring.next(end)
		if sample == nil {
			return
		}
		if isPacket(sample) {
			l.unread.Add(1)
		}
		l.ring.advance(uint64(len(sample)))
	}
}

// drain hands over what is in the ring now, and not what comes meanwhile: on a
// busy host that would never end. It reports whether there was anything, if
// only a record that its program has not finished. At last it leaves nothing.
func (l *Lane) drain(take func([]source.Frame) error, last bool) (bool, error) {
	b, start, end := l.batch, l.ring.pos, l.ring.end()
	if start == end {
		return false, nil
	}
	now := monotonic()
	if now-l.clockAt >= clockEvery || l.clockAt == 0 {
		b.offset, l.clockAt = clockOffset(), now
	}
	young := uint64(math.MaxUint64)
	if !last && l.objs.NoSockets == nil && end-start < bpf.WakeBytes {
		young = uint64(now - settle)
	}
	for l.ring.pos != end {
		b.reset()
		for l.ring.pos != end && !b.full() {
			sample := l.ring.next(end)
			if sample == nil {
				end = l.ring.pos // not finished: wait for it, order counts
				break
			}
			if awaited(sample, young) {
				end = l.ring.pos
				break
			}
			if !b.add(sample) {
				l.bad.Add(1)
			}
			l.ring.advance(uint64(len(sample)))
		}
		if b.n == 0 {
			break
		}
		if err := take(b.frames[:b.n]); err != nil {
			return true, err
		}
	}
	return true, nil
}

// rest waits until the programs or wake end it, or time runs out.
func (l *Lane) rest(state uint32, millis int) error {
	shared := (*uint32)(unsafe.Pointer(&l.state[0]))
	atomic.StoreUint32(shared, state)
	defer atomic.StoreUint32(shared, bpf.ReaderBusy)
	// A program that put a packet into the ring before it could see the new
	// state does not wake us, so look once more. The programs reserve first
	// and read the state afterwards; where their processor lets the load pass
	// the store (arm64), the end of the sleep is the net.
	if state == bpf.ReaderSleeps && l.ring.pos != l.ring.end() {
		return nil
	}
	var events [2]unix.EpollEvent
	_, err := unix.EpollWait(l.epoll, events[:], millis)
	if err != nil && !errors.Is(err, unix.EINTR) {
		return fmt.Errorf("ebpf: epoll_wait: %w", err)
	}
	return nil
}

// wake ends the reader's rest.
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
	c, bad := l.counters(), l.bad.Load()
	return source.Stats{
		Seen: c.Seen, Submitted: c.Submitted - bad, RingFull: c.RingFull,
		CopyError: c.CopyError + bad, Truncated: c.Truncated, Filtered: c.Filtered, Unread: l.unread.Load(),
	}
}

// Fragments counts the IP fragments that were passed over because only the
// first one carries ports. Sockets get datagrams whole, so there are few.
func (l *Lane) Fragments() uint64 { return l.counters().Fragments }

// BirthsLost counts forks and execs that the ring had no room for. What they
// would have told is then read from /proc, or unknown.
func (l *Lane) BirthsLost() uint64 { return l.counters().BirthsLost }

// ReceiptsLost counts receipts that the ring had no room for. Who received these
// answers is unknown.
func (l *Lane) ReceiptsLost() uint64 { return l.counters().ReceiptsLost }

// FollowLost counts processes that could not be followed, because too many were.
func (l *Lane) FollowLost() uint64 { return l.counters().FollowLost }

func (l *Lane) counters() bpf.Counters {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.countersLocked()
}

func (l *Lane) countersLocked() bpf.Counters {
	if l.closed {
		return l.last
	}
	perCPU, err := l.snapshot()
	if err != nil {
		return l.last
	}
	var sum bpf.Counters
	for _, c := range perCPU {
		sum.Seen += c.Seen
		sum.Submitted += c.Submitted
		sum.RingFull += c.RingFull
		sum.CopyError += c.CopyError
		sum.Fragments += c.Fragments
		sum.Truncated += c.Truncated
		sum.BirthsLost += c.BirthsLost
		sum.ReceiptsLost += c.ReceiptsLost
		sum.FollowLost += c.FollowLost
		for i, n := range c.Filtered {
			sum.Filtered[i] += n
		}
	}
	l.last = sum
	return sum
}

// snapshot reads the counters of all processors, each at a moment at which no
// packet is half counted there: a program stays on one processor. On a busy one
// such a moment may not be met; then the sums do not add up, and whoever reports
// them says so.
func (l *Lane) snapshot() ([]bpf.Counters, error) {
	const tries = 16
	var all, now []bpf.Counters
	for range tries {
		if err := l.objs.Counters.Lookup(uint32(0), &now); err != nil {
			return nil, err
		}
		if all == nil {
			all = append(all, now...)
		}
		open := false
		for i := range all {
			if !all[i].Closed() {
				all[i] = now[i]
			}
			open = open || !all[i].Closed()
		}
		if !open {
			break
		}
	}
	return all, nil
}

// Close detaches the programs, waits for Run to return and frees everything.
// It must not be called from take.
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
	err := l.detach()
	l.countersLocked()
	l.closed = true
	l.unmap()
	return errors.Join(err, l.objs.Close())
}

func (l *Lane) unmap() {
	if l.ring != nil {
		l.ring.close()
		l.ring = nil
	}
	if l.state != nil {
		unix.Munmap(l.state)
		l.state = nil
	}
	for _, fd := range []*int{&l.event, &l.epoll} {
		if *fd >= 0 {
			unix.Close(*fd)
			*fd = -1
		}
	}
}
