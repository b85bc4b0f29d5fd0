package bpf

import (
	"github.com/dnshark-io/dnshark/event"
	"github.com/dnshark-io/dnshark/internal/source"
)

// What the programs and their reader agree upon; see record.h.
const (
	MaxBytes    = 128 << 10 // of a packet: one IP datagram, or TCP segments that the device is to split
	HeaderBytes = 128       // of a packet that is not DNS, when those are wanted too

	WhoNobody = 0 // Record.ID is not filled
	WhoSender = 1 // Record.ID sent this very packet
	WhoOwner  = 2 // Record.ID last sent on the socket
	WhoCgroup = 3 // Record.ID.Cgroup made the socket, nothing else is filled

	RecordShared   = 2  // Record.Flags: several processes send on the socket
	RecordDeferred = 4  // packets leave the socket outside of their senders' system calls
	RecordAwaited  = 16 // a receipt may follow
	RecordHeld     = 32 // Record.ID has the socket open, and whether it sends is not known
	RecordDoubt    = 8  // the running task, in Other, is not believed to be the sender

	PathBytes = 768 // of the paths of executable and working directory
	ArgsBytes = 256 // of a command line

	CgroupBytes = 1024 // of a cgroup's path

	BirthFork   = 3 // Birth.Kind; lower ones are the direction of a packet
	BirthExec   = 4
	Receipt     = 5 // a Record: ID took from the socket what came in
	BirthCgroup = 6

	WakeBytes = 64 << 10 // that wait in the ring wake a reader from its nap

	ReaderBusy   = 0 // the reader looks at the ring again by itself
	ReaderNaps   = 1 // the same, in some milliseconds
	ReaderSleeps = 2 // the reader waits to be woken
)

// Record is the header of every packet in the ring. CapLen octets of the
// packet follow, from its IP header on, and then what is left of the size class.
type Record struct {
	Time    uint64 // CLOCK_MONOTONIC
	Cookie  uint64
	Ifindex uint32
	NetNS   uint32
	WireLen uint32
	CapLen  uint32 // of a receipt: the how manieth awaited packet, from the last one; 0 for all
	Iface   [16]byte
	Dir     uint8 // a source.Direction
	Who     uint8
	Flags   uint8
	_       uint8
	// OtherTGID and OtherComm are the process that ran, where RecordDoubt is set.
	OtherTGID uint32
	ID        event.Identity
	OtherComm [16]byte
}

// Birth is the header of a sample about a process. When Kind is BirthExec,
// PathBytes, ArgsBytes and PathBytes octets follow, of which PathLen-1, ArgsLen
// and CwdLen-1 are used; a length of 0 means unknown. Paths are there in
// reverse: file name, directory, and so on up to the root, each with a NUL. When
// Kind is BirthCgroup, CgroupBytes octets follow, of which PathLen are the path of
// the cgroup ID.Cgroup; nothing else of ID is filled.
type Birth struct {
	Time        uint64 // CLOCK_MONOTONIC
	ParentStart uint64
	ParentTGID  uint32
	PathLen     uint32
	ArgsLen     uint32
	CwdLen      uint32
	_           [16]byte
	Kind        uint8 // where Record has Dir
	_           [7]byte
	ID          event.Identity
	_           [2]uint64
}

// Closed reports whether every packet that was seen became something.
func (c *Counters) Closed() bool {
	n := c.Submitted + c.RingFull + c.CopyError
	for _, f := range c.Filtered {
		n += f
	}
	return c.Seen == n
}

// Counters are kept per CPU. Seen is the sum of the next three and
// of Filtered, once the programs are quiet.
type Counters struct {
	Seen      uint64
	Submitted uint64
	RingFull  uint64
	CopyError uint64
	Fragments uint64 // passed over: without ports, because not the first
	Truncated uint64 // submitted, but longer than MaxBytes
	// BirthsLost counts what the ring had no room for.
	BirthsLost   uint64
	ReceiptsLost uint64                  // the same
	FollowLost   uint64                  // children that there was no room for among the traced
	Filtered     [source.NumRules]uint64 // not wanted, by the first rule that says so
}
