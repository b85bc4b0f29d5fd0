// Package source is the room where packets come from. It holds the vocabulary
// that every source shares; each source is a subroom: pcap (files), afpacket
// (network interfaces) and ebpf (every socket of the host).
package source

import (
	"context"

	"github.com/dnshark-io/dnshark/event"
)

// LinkType says which header a frame starts with: a LINKTYPE_ value of the
// registry at tcpdump.org/linktypes.html.
type LinkType uint16

// The link types that the decoder knows.
const (
	LinkNull     LinkType = 0 // BSD loopback, host byte order
	LinkEthernet LinkType = 1 // Ethernet II and 802.3
	LinkPPP      LinkType = 9 // PPP, with or without HDLC framing
	LinkFDDI     LinkType = 10
	LinkRaw      LinkType = 101 // IPv4 or IPv6, by version nibble
	LinkWiFi     LinkType = 105 // IEEE 802.11
	LinkLoop     LinkType = 108 // OpenBSD loopback, network byte order
	LinkSLL      LinkType = 113 // Linux cooked capture v1
	LinkRadiotap LinkType = 127 // IEEE 802.11 behind a radiotap header
	LinkIPv4     LinkType = 228
	LinkIPv6     LinkType = 229
	LinkSLL2     LinkType = 276 // Linux cooked capture v2
)

// Direction says which way a frame passed the observer's own host.
type Direction uint8

// Directions of a frame.
const (
	DirUnknown Direction = iota // a file or a tap: the observer is neither end
	DirIngress
	DirEgress
)

// Frame is one captured packet. Data, Iface and Identity are the lane's: they
// die when take returns.
type Frame struct {
	Time    int64  // ns since the Unix epoch, the packet's own time
	Data    []byte // from the link-layer header on, as much as was captured
	WireLen int    // octets that were on the wire, >= len(Data)
	Link    LinkType
	Dir     Direction
	Iface   string // interface name, "" when the source does not know it
	Cookie  uint64 // socket cookie, 0 when the source sees no sockets
	NetNS   uint32 // inode of the socket's network namespace, 0 when unknown
	// The following are what is known of the socket; see event.Flow.
	Shared   bool
	Deferred bool
	Held     bool
	Cgroup   uint64
	// Sender is the task that sent the packet, or nil. A source sets it only
	// for packets at which the running task is known to be the sender.
	Sender *event.Identity
	// Owner is the task that last sent on the packet's socket, or nil. Of a
	// packet that leaves it is the sender, who is in another system call by now;
	// of one that comes in it is a fallback, for want of a transaction.
	Owner *event.Identity
	// Other is the task that ran when the packet was sent, when it is not
	// believed to be the sender: of its TGID and Comm alone. Or nil.
	Other *event.Identity
	// Receiver is the task that took the packet's data from the socket, if that
	// is known already, or nil.
	Receiver *event.Identity
	// Birth is set when the frame is no packet but the news of a process,
	// which comes before the packets that the process sends. Only Time is set
	// beside it. It may be kept.
	Birth *event.Birth
	// Cgroup is the same for the news of a cgroup, which comes before the
	// packets of the tasks in there.
	NewCgroup *event.Cgroup
}

// Lane is a stream of frames that stays in order and holds whole flows.
type Lane interface {
	// Run hands batches of frames to take until ctx ends, the source is
	// exhausted (nil) or broken (an error that says what the user can do).
	// Frames die when take returns. Live lanes also call take with no frames
	// at least every 100 ms, so that timeouts fire on a silent network. An
	// error from take ends Run and is returned as it is, or joined to errors
	// that came before.
	Run(ctx context.Context, take func([]Frame) error) error
	// Stats may be called at any time from any goroutine.
	Stats() Stats
	Close() error
}

// Source opens lanes.
type Source interface {
	// Open returns at most n lanes.
	Open(n int) ([]Lane, error)
}

// Stats counts what a lane met, from its opening on.
type Stats struct {
	Seen      uint64 // packets that the source looked at and that match its filter
	Submitted uint64 // packets that the source handed over
	RingFull  uint64 // packets lost because the reader was too slow
	CopyError uint64 // packets lost because they could not be copied
	Truncated uint64 // packets handed over shorter than they were
	Unread    uint64 // packets of Submitted that Run ended before, by an error
	// Filtered counts packets that are not wanted, by the first rule that says so.
	Filtered [NumRules]uint64
}

// Add returns the sums of both counters.
func (s Stats) Add(o Stats) Stats {
	s.Seen += o.Seen
	s.Submitted += o.Submitted
	s.RingFull += o.RingFull
	s.CopyError += o.CopyError
	s.Truncated += o.Truncated
	s.Unread += o.Unread
	for i, n := range o.Filtered {
		s.Filtered[i] += n
	}
	return s
}
