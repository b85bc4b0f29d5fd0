package pair

import (
	"encoding/binary"
	"math/bits"
	"net/netip"

	"github.com/dnshark-io/dnshark/dnswire"
	"github.com/dnshark-io/dnshark/event"
)

// tuple tells one transaction from another: RFC 5452 section 3 (addresses,
// ports, id), the protocol and the socket. It is written, hashed and compared in
// words of 64 bits: a wider read would wait for the writes.
type tuple struct {
	ends
	cookie uint64 // or the network namespace: see socket
	netns  uint32
}

// ends are what a tuple is where no sockets are seen.
type ends struct {
	client, server         [2]uint64
	clientPort, serverPort uint16
	id                     uint16
	protocol               uint8
	observer               event.Observer
}

// of makes t the tuple of a message; the sender of a query is the client.
func (t *tuple) of(e *event.Event) {
	m := &e.Meta
	client, server := &m.SrcIP, &m.DstIP
	t.clientPort, t.serverPort = m.SrcPort, m.DstPort
	if e.Msg.Flags.Response() {
		client, server = server, client
		t.clientPort, t.serverPort = m.DstPort, m.SrcPort
	}
	a, b := client.As16(), server.As16()
	t.client[0], t.client[1] = binary.BigEndian.Uint64(a[:]), binary.BigEndian.Uint64(a[8:])
	t.server[0], t.server[1] = binary.BigEndian.Uint64(b[:]), binary.BigEndian.Uint64(b[8:])
	t.cookie, t.netns = socket(e), e.Flow.NetNS
	t.id, t.protocol, t.observer = e.Msg.ID, m.Protocol, e.Observer
}

const (
	protoTCP = 6
	protoUDP = 17
)

// socket returns what both messages of a transaction have in common beside
// addresses: the socket or, at the server's end of TCP, its network namespace.
// There, a query that comes with the end of the handshake comes in at the
// listening socket, and the answer leaves from the accepted one.
func socket(e *event.Event) uint64 {
	if e.Observer == event.Server && e.Meta.Protocol == protoTCP && e.Flow.NetNS != 0 {
		return uint64(e.Flow.NetNS)
	}
	return e.Flow.Cookie
}

// equal is written out: the compiler would call memequal.
func (t *ends) equal(o *ends) bool {
	return t.client[0] == o.client[0] && t.client[1] == o.client[1] &&
		t.server[0] == o.server[0] && t.server[1] == o.server[1] &&
		t.clientPort == o.clientPort && t.serverPort == o.serverPort &&
		t.id == o.id && t.protocol == o.protocol && t.observer == o.observer
}

// hash mixes the tuple, but for the socket, with secret seeds, one in each factor, so that nobody can
// choose tuples that collide.
func (t *tuple) hash(seed [2]uint64) uint64 {
	h := mix(seed[0]^t.client[0], seed[1]^t.client[1])
	h = mix(h^seed[0]^t.server[0], seed[1]^t.server[1])
	return mix(h^seed[0]^uint64(t.netns), seed[1]^(uint64(t.clientPort)<<48|uint64(t.serverPort)<<32|uint64(t.id)<<16|
		uint64(t.protocol)<<8|uint64(t.observer)))
}

func mix(a, b uint64) uint64 {
	hi, lo := bits.Mul64(a, b)
	return hi ^ lo
}

// typeAndClass are the octets behind a question's name.
const typeAndClass = 4

// question returns the octets of a message's first question, or nil. The first
// name of a message has nothing before it to point at, so it lies in one piece.
func question(m *dnswire.Message) []byte {
	if len(m.Questions) == 0 {
		return nil
	}
	n := m.Questions[0].Name
	end := int(n.Off) + int(n.Len) + typeAndClass
	if n.Off != dnswire.HeaderLen || end > len(m.Raw) {
		return nil
	}
	return m.Raw[n.Off:end]
}

// sameQuestion compares names without case (RFC 4343), types and classes.
func sameQuestion(a, b []byte) bool {
	if len(a) != len(b) || len(a) < 4 {
		return false
	}
	if string(a) == string(b) { // as nearly always
		return true
	}
	name := len(a) - 4
	for i := range name {
		if lower(a[i]) != lower(b[i]) {
			return false
		}
	}
	return string(a[name:]) == string(b[name:])
}

// lower folds ASCII letters. A label's length octet is below 64 and thus no
// letter.
func lower(c byte) byte {
	if c-'A' < 26 {
		return c + 'a' - 'A'
	}
	return c
}

// questionHash is the same for questions that sameQuestion calls equal.
func questionHash(q []byte, seed uint64) uint64 {
	h := seed ^ uint64(len(q))
	for len(q) > 12 {
		h = mix(h^fold(binary.LittleEndian.Uint64(q)), 0x9e3779b97f4a7c15)
		q = q[8:]
	}
	var tail [16]byte
	n := copy(tail[:], q)
	if n >= 4 {
		// Type and class are compared as they are.
		for i := range n - 4 {
			tail[i] |= 0x20
		}
	}
	return mix(h^binary.LittleEndian.Uint64(tail[:]), binary.LittleEndian.Uint64(tail[8:])^seed)
}

// fold maps upper and lower case of a letter to one value. It maps some other
// octets together too, which a hash may do.
func fold(w uint64) uint64 { return w | 0x2020202020202020 }

func addr(a [2]uint64) netip.Addr {
	var b [16]byte
	binary.BigEndian.PutUint64(b[:], a[0])
	binary.BigEndian.PutUint64(b[8:], a[1])
	return netip.AddrFrom16(b).Unmap()
}
