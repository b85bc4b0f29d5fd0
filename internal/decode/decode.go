// Package decode turns frames into DNS messages: link layers, IP, fragments,
// UDP, TCP streams and tunnels, a file per layer.
//
// Every octet is an attacker's. Work is linear in the octets of a frame, memory
// is bounded by Options, and what cannot be read is a counter with a reason
// ([Stats]), never an error. Nothing is allocated for a frame once the tables
// have grown to their working size.
package decode

import (
	"encoding/binary"
	"hash/maphash"
	"net/netip"

	"github.com/dnshark-io/dnshark/dnswire"
	"github.com/dnshark-io/dnshark/event"
	"github.com/dnshark-io/dnshark/internal/source"
)

// Options says what to decode. The zero value decodes nothing; Messages or
// Packets must be set.
type Options struct {
	Ports         []uint16 // DNS ports of UDP and TCP; nil means 53
	AnyPort       bool     // find messages on other ports too, by their structure
	Packets       bool     // emit an event of ClassPacket for every IP packet, those inside tunnels included
	Messages      bool     // emit an event of ClassMessage for every DNS message
	Copy          bool     // copy to the batch what events borrow from frames, which it may then outlive
	StreamBytes   int      // memory for TCP streams in octets, at least 1 MiB; 0 means 32 MiB
	FragmentBytes int      // memory for IP fragments in octets, at least 256 KiB; 0 means 4 MiB
	MaxTunnels    int      // how many tunnels may be nested; 0 means 4
	Live          bool     // frames come in the order of their times, unless the host's clock is set back
}

// Defaults and lower bounds of Options.
const (
	defaultStreamBytes   = 32 << 20
	defaultFragmentBytes = 4 << 20
	defaultMaxTunnels    = 4
	minStreamBytes       = 1 << 20
	minFragmentBytes     = 256 << 10
)

// Decoder decodes the frames of one lane. It must not be shared.
type Decoder struct {
	packets, messages bool
	anyPort, copies   bool
	maxTunnels        int
	ports             [1 << 16 / 64]uint64 // bit p set: p is a DNS port
	stats             Stats
	seed              maphash.Seed // of both tables, so that nobody can aim at a bucket
	clock             clock
	frags             fragments
	streams           streams
	scratch           []byte   // where a scattered message or datagram is put together
	ifaces            []string // names of interfaces that waiting octets came from
	passing           [passingSlots]passing
	anyTunnel         bool // one was seen, so packets may pass twice

	// The frame at hand.
	f       *source.Frame
	b       *event.Batch
	missing int // octets that the snaplen cut off the frame's end
	tags    int // of VLANs so far
	tunnels int // around the packet at hand
	wholeAt int // 1 + tunnels around the reassembled datagram at hand, 0 for none
	p       packet
}

// packet is the IP packet at hand: the innermost one that was reached.
type packet struct {
	src, dst     address
	total        uint32 // IP total length, header included
	proto        uint8
	hops         uint8  // IPv4 TTL or hop limit
	id           uint16 // of IPv4, 0 for IPv6
	sport, dport uint16
}

// address is an IP address in the form that hashes and copies best: an IPv4
// address is mapped (RFC 4291 section 2.5.5.2). Halves that are written as such are
// read as such: a copy of what was just written in other parts would wait for
// the writes.
type address struct {
	hi, lo uint64
	v4     bool
}

func address4(b []byte) address {
	return address{0, 0xffff<<32 | uint64(binary.BigEndian.Uint32(b)), true}
}

func address6(b []byte) address {
	return address{binary.BigEndian.Uint64(b), binary.BigEndian.Uint64(b[8:]), false}
}

func (a *address) put(b []byte) {
	binary.LittleEndian.PutUint64(b, a.hi)
	binary.LittleEndian.PutUint64(b[8:], a.lo)
}

func (a *address) ip() netip.Addr {
	if a.v4 {
		return netip.AddrFrom4([4]byte{byte(a.lo >> 24), byte(a.lo >> 16), byte(a.lo >> 8), byte(a.lo)})
	}
	var b [16]byte
	binary.BigEndian.PutUint64(b[:], a.hi)
	binary.BigEndian.PutUint64(b[8:], a.lo)
	return netip.AddrFrom16(b)
}

// New returns a decoder.
func New(o Options) *Decoder {
	d := &Decoder{
		packets:    o.Packets,
		messages:   o.Messages,
		anyPort:    o.AnyPort,
		copies:     o.Copy,
		maxTunnels: o.MaxTunnels,
		clock:      clock{live: o.Live},
		seed:       maphash.MakeSeed(),
	}
	if o.Ports == nil {
		o.Ports = []uint16{53}
	}
	for _, p := range o.Ports {
		d.ports[p>>6] |= 1 << (p & 63)
	}
	if d.maxTunnels == 0 {
		d.maxTunnels = defaultMaxTunnels
	}
	if o.StreamBytes == 0 {
		o.StreamBytes = defaultStreamBytes
	}
	if o.FragmentBytes == 0 {
		o.FragmentBytes = defaultFragmentBytes
	}
	d.frags.init(max(o.FragmentBytes, minFragmentBytes))
	d.streams.init(max(o.StreamBytes, minStreamBytes))
	return d
}

// Frame decodes f and appends what it holds to b. The events borrow from f.
func (d *Decoder) Frame(f *source.Frame, b *event.Batch) {
	d.stats.Frames++
	d.clock.frame(f.Time)
	b.Now = d.clock.now
	if d.streams.overdue {
		d.giveUp(b, false)
	}
	d.f, d.b = f, b
	d.missing = max(f.WireLen-len(f.Data), 0)
	d.tags, d.tunnels, d.wholeAt = 0, 0, 0
	d.link(f.Link, f.Data)
}

// Tick ends fragments and streams that waited for too long. now is the newest
// packet time or, on a silent live lane, the clock, in ns since the Unix epoch.
func (d *Decoder) Tick(now int64) {
	now = d.clock.tick(now)
	d.expireFragments(now)
	d.expireStreams(now)
}

// Flush appends what streams still hold behind holes. It is called at the end of
// a source.
func (d *Decoder) Flush(b *event.Batch) {
	d.giveUp(b, true)
	for _, l := range [...]uint8{listFreshPartial, listUsefulPartial} {
		for i := d.streams.oldest(l); i != 0; i = d.streams.oldest(l) {
			d.forgetStream(i)
		}
	}
	for i := d.frags.oldest(0); i != 0; i = d.frags.oldest(0) {
		d.forget(i, &d.stats.FragTimeout)
	}
}

// Stats returns what was counted so far. Only the goroutine that calls Frame
// may call it.
func (d *Decoder) Stats() Stats { return d.stats }

func (d *Decoder) isDNS(port uint16) bool { return d.ports[port>>6]>>(port&63)&1 != 0 }

// message emits a DNS message, of which missing octets were not captured. raw is
// the frame's or held by the batch.
func (d *Decoder) message(raw []byte, missing int, sender, owner *event.Identity) {
	if len(raw) < dnswire.HeaderLen {
		d.stats.ShortHeader++
		return
	}
	d.stats.Messages++
	if d.copies {
		raw = d.b.Hold(raw)
		sender, owner = d.hold(sender), d.hold(owner)
	}
	e := d.next(event.ClassMessage)
	e.Missing, e.Sender, e.Owner = missing, sender, owner
	d.stats.message(&e.Msg, e.Msg.Unpack(raw), missing)
	// Only what was seen at a socket was seen at an end: a packet that leaves
	// an interface may have been forwarded.
	if d.f.Cookie == 0 {
		return
	}
	switch d.f.Dir {
	case source.DirIngress:
		e.Observer = observers[1-raw[2]>>7]
	case source.DirEgress:
		e.Observer = observers[raw[2]>>7]
	}
}

// hold returns an identity that lives as long as the batch.
func (d *Decoder) hold(id *event.Identity) *event.Identity {
	if id == nil {
		return nil
	}
	return d.b.HoldIdentity(id)
}

// observers says who sends a message, by its QR bit. Who receives it is the
// other one.
var observers = [2]event.Observer{event.Client, event.Server}

// next adds an event for the packet at hand.
func (d *Decoder) next(class event.Class) *event.Event {
	e := d.b.Next()
	f, p := d.f, &d.p
	e.Time = f.Time
	e.Class = class
	e.Meta.SrcIP, e.Meta.DstIP = p.src.ip(), p.dst.ip()
	e.Meta.SrcPort, e.Meta.DstPort = p.sport, p.dport
	e.Meta.Protocol, e.Meta.PacketLen, e.Meta.Iface = p.proto, p.total, f.Iface
	e.Flow.Hops = p.hops
	e.Flow.Cookie, e.Flow.NetNS = f.Cookie, f.NetNS
	e.Flow.Shared, e.Flow.Deferred, e.Flow.Held, e.Flow.Cgroup = f.Shared, f.Deferred, f.Held, f.Cgroup
	e.Other, e.Receiver = f.Other, f.Receiver
	e.Flow.Ingress, e.Flow.Egress = f.Dir == source.DirIngress, f.Dir == source.DirEgress
	return e
}

// clock is the time of the packets, which a few packets with a wrong time do
// not move: a packet of the year 2106 must not end every stream.
type clock struct {
	now    int64 // ns since the Unix epoch
	odd    int64 // time of the last frame, when it was far from now
	frames bool  // since the last tick
	live   bool
}

// clockJump is how far a single frame may move the clock, in ns. Two frames in
// a row that agree may move it anywhere, as a gap in a capture does.
const clockJump = 60e9

// ClockStep is by how much the times of live frames go back, in ns, when the
// host's clock was set back. Processors disagree by less.
const ClockStep = 1e9

// back reports whether the host's clock was set back.
func (c *clock) back(now int64) bool { return c.live && c.now-now > ClockStep }

func (c *clock) frame(t int64) {
	c.frames = true
	switch {
	case c.back(t):
		c.now, c.odd = t, 0
	case near(t, c.now):
		c.now, c.odd = max(c.now, t), 0
	case c.now == 0 || c.odd != 0 && near(t, c.odd):
		c.now, c.odd = t, 0
	default:
		c.odd = t
	}
}

func (c *clock) tick(now int64) int64 {
	if !c.frames && (now > c.now || c.back(now)) {
		c.now = now
	}
	c.frames = false
	return c.now
}

func near(a, b int64) bool { return a-b <= clockJump && b-a <= clockJump }

// expired reports whether an entry last touched at then has waited for limit
// ns. Time may run backwards in files, so any distance counts.
func expired(now, then, limit int64) bool { return now-then > limit || then-now > limit }
