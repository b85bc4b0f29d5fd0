// Package decode is the step from frames to DNS messages: link layers, IP,
// fragments, UDP, TCP streams and tunnels, a file per layer. It never fails:
// what cannot be read is counted by reason.
package decode

import (
	"hash/maphash"
	"math"
	"net/netip"

	"github.com/dnshark-io/dnshark/dnswire"
	"github.com/dnshark-io/dnshark/event"
	"github.com/dnshark-io/dnshark/internal/source"
)

// Options say what to look for. Zero values of bounds mean defaults.
type Options struct {
	Ports         []uint16 // DNS ports, default 53
	AnyPort       bool     // also messages on other ports, told by their structure
	Packets       bool     // also make an event of every IP packet
	Messages      bool     // make events of DNS messages
	Copy          bool     // copy messages to the batch, which then outlives its frames
	StreamBytes   int      // memory for TCP streams, default 32 MiB
	FragmentBytes int      // memory for IP fragments, default 4 MiB
	MaxTunnels    int      // depth of IP headers inside one frame, default 4
}

// Decoder decodes the frames of one lane.
type Decoder struct {
	o         Options
	ports     [1 << 16 / 64]uint64
	stats     Stats
	fragments fragments
	streams   streams

	tunnels bool // one was seen, so packets may pass twice
	seed    maphash.Seed
	passing [passingSlots]passing
}

// New returns a decoder.
func New(o Options) *Decoder {
	if len(o.Ports) == 0 {
		o.Ports = []uint16{53}
	}
	if o.StreamBytes == 0 {
		o.StreamBytes = 32 << 20
	}
	if o.FragmentBytes == 0 {
		o.FragmentBytes = 4 << 20
	}
	if o.MaxTunnels == 0 {
		o.MaxTunnels = 4
	}
	d := &Decoder{o: o, seed: maphash.MakeSeed()}
	for _, p := range o.Ports {
		d.ports[p/64] |= 1 << (p % 64)
	}
	d.fragments.limit = o.FragmentBytes
	d.streams.init(o.StreamBytes)
	return d
}

func (d *Decoder) isDNS(port uint16) bool { return d.ports[port/64]&(1<<(port%64)) != 0 }

// Frame appends the events of a frame to b. Messages borrow from the frame.
func (d *Decoder) Frame(f *source.Frame, b *event.Batch) {
	b.Now = max(b.Now, f.Time)
	d.stats.Frames++
	p := packet{frame: f, batch: b, cut: f.WireLen > len(f.Data)}
	d.link(&p, f.Link, f.Data)
}

// Tick lets time pass: fragments and streams that nothing comes for any more
// are given up. now is in ns since the Unix epoch.
func (d *Decoder) Tick(now int64) {
	d.fragments.expire(now, &d.stats)
	d.streams.expire(now, &d.stats)
}

// Flush appends what streams still hold behind gaps, at the end of a source,
// and counts what stays unfinished.
func (d *Decoder) Flush(b *event.Batch) {
	d.fragments.expire(math.MaxInt64, &d.stats)
	d.streams.flush(d, b)
}

// Stats returns the counters. Only the lane's own goroutine may ask.
func (d *Decoder) Stats() Stats { return d.stats }

// packet is what is known of the packet in hand, filled from the outside in.
type packet struct {
	frame *source.Frame
	batch *event.Batch
	cut   bool // the capture does not hold the whole packet
	depth int  // IP headers so far
	meta  event.PktMeta
	info  event.Packet
}

// ipHeader is done: make an event of the packet, if wanted.
func (d *Decoder) packetEvent(p *packet, transport []byte) {
	if !d.o.Packets {
		return
	}
	e := p.batch.Next()
	e.Class, e.Time, e.Meta, e.Packet = event.ClassPacket, p.frame.Time, p.meta, p.info
	p.flow(e)
	transportInfo(e, transport)
}

func (p *packet) flow(e *event.Event) {
	e.Flow = event.Flow{
		Cookie:  p.frame.Cookie,
		Ingress: p.frame.Dir == source.DirIngress,
		Egress:  p.frame.Dir == source.DirEgress,
	}
}

// message makes an event of a DNS message. raw must live as long as the batch.
func (d *Decoder) message(p *packet, raw []byte, sender *event.Identity) {
	if len(raw) < dnswire.HeaderLen {
		d.stats.ShortHeader++
		return
	}
	if d.o.Copy {
		raw = p.batch.Hold(raw)
	}
	e := p.batch.Next()
	e.Class, e.Time, e.Meta = event.ClassMessage, p.frame.Time, p.meta
	p.flow(e)
	e.Sender, e.Owner = sender, p.frame.Owner
	d.stats.Messages++
	if broken := e.Msg.Unpack(raw); broken != dnswire.None {
		d.stats.Broken[broken]++
	}
	if !e.Msg.Anomalies.Empty() {
		d.stats.count(&e.Msg)
	}
	// Only what was seen at a socket was seen at an end: a packet that leaves
	// an interface may have been forwarded.
	if p.frame.Cookie != 0 {
		e.Observer = event.Server
		if e.Flow.Egress != e.Msg.Flags.Response() {
			e.Observer = event.Client
		}
	}
}

func addr4(b []byte) netip.Addr { return netip.AddrFrom4([4]byte(b)) }

func addr6(b []byte) netip.Addr { return netip.AddrFrom16([16]byte(b)) }
