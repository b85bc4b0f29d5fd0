package pair

import (
	"encoding/binary"
	"math/bits"
	"net/netip"

	"github.com/dnshark-io/dnshark/dnswire"
	"github.com/dnshark-io/dnshark/event"
)

// tuple tells one transaction from another: RFC 5452 section 3 (addresses,
// ports, id), the protocol and the socket.
type tuple struct {
	client, server         [16]byte
	cookie                 uint64
	clientPort, serverPort uint16
	id                     uint16
	protocol               uint8
	observer               event.Observer
}

// tupleOf returns the tuple of a message; the sender of a query is the client.
func tupleOf(e *event.Event) tuple {
	m := &e.Meta
	t := tuple{
		client: m.SrcIP.As16(), server: m.DstIP.As16(), clientPort: m.SrcPort, serverPort: m.DstPort,
		cookie: e.Flow.Cookie, id: e.Msg.ID, protocol: m.Protocol, observer: e.Observer,
	}
	if e.Msg.Flags.Response() {
		t.client, t.server = t.server, t.client
		t.clientPort, t.serverPort = t.serverPort, t.clientPort
	}
	return t
}

// hash mixes the tuple with secret seeds, one in each factor, so that nobody can
// choose tuples that collide.
func (t *tuple) hash(seed [2]uint64) uint64 {
	le := binary.LittleEndian
	h := mix(seed[0]^le.Uint64(t.client[:]), seed[1]^le.Uint64(t.client[8:]))
	h = mix(h^seed[0]^le.Uint64(t.server[:]), seed[1]^le.Uint64(t.server[8:]))
	return mix(h^seed[0]^t.cookie, seed[1]^(uint64(t.clientPort)<<48|uint64(t.serverPort)<<32|uint64(t.id)<<16|
		uint64(t.protocol)<<8|uint64(t.observer)))
}

func mix(a, b uint64) uint64 {
	hi, lo := bits.Mul64(a, b)
	return hi ^ lo
}

// question returns the octets of a message's first question, or nil. The first
// name of a message has nothing before it to point at, so it lies in one piece.
func question(m *dnswire.Message) []byte {
	if len(m.Questions) == 0 {
		return nil
	}
	n := m.Questions[0].Name
	end := int(n.Off) + int(n.Len) + 4
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

func addr(a [16]byte) netip.Addr { return netip.AddrFrom16(a).Unmap() }
