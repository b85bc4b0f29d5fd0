package output

import (
	"encoding/binary"
	"net/netip"

	"github.com/dnshark-io/dnshark/dnswire"
	"github.com/dnshark-io/dnshark/event"
)

// dnstap is a stream of dnstap messages: a unidirectional Frame Streams file of
// protobuf Dnstap messages (dnstap.info). A response carries the time of its
// query, when that is known, and not the query itself. Who asked stands in
// "extra", as the JSON of the event's key process.
//
// The type says what kind of conversation it is. A query with RD asks a resolver
// to do the work: CLIENT. One without, or one that a resolver of this host sends
// for somebody else, asks an authoritative server: RESOLVER, or AUTH where it was
// seen at the server. UPDATE has a type of its own.
var dnstap = Format{
	Name:   "dnstap",
	Doc:    "dnstap messages in a Frame Streams file",
	Kinds:  kindMessages,
	Binary: true,
	New: (&perEvent{
		kinds: kindMessages, append: appendDnstap,
		header:  "\x00\x00\x00\x00\x00\x00\x00\x22\x00\x00\x00\x02\x00\x00\x00\x01\x00\x00\x00\x16protobuf:dnstap.Dnstap", // START, with the content type
		trailer: "\x00\x00\x00\x00\x00\x00\x00\x04\x00\x00\x00\x03",                                                       // STOP
	}).new,
}

// Types of messages (dnstap.proto). The response's is the query's and one.
const (
	dnstapAuthQuery     = 1
	dnstapResolverQuery = 3
	dnstapClientQuery   = 5
	dnstapUpdateQuery   = 13
)

// Keys of the fields of Dnstap and Message: the number and the kind of the value.
const (
	pbVarint, pbBytes, pbFixed32 = 0, 2, 5

	tapIdentity = 1<<3 | pbBytes
	tapVersion  = 2<<3 | pbBytes
	tapExtra    = 3<<3 | pbBytes
	tapMessage  = 14<<3 | pbBytes
	tapType     = 15<<3 | pbVarint

	tapMessageType     = 1<<3 | pbVarint
	tapSocketFamily    = 2<<3 | pbVarint
	tapSocketProtocol  = 3<<3 | pbVarint
	tapQueryAddress    = 4<<3 | pbBytes
	tapResponseAddress = 5<<3 | pbBytes
	tapQueryPort       = 6<<3 | pbVarint
	tapResponsePort    = 7<<3 | pbVarint
	tapQuerySec        = 8<<3 | pbVarint
	tapQueryNsec       = 9<<3 | pbFixed32
	tapQuery           = 10<<3 | pbBytes
	tapResponseSec     = 12<<3 | pbVarint
	tapResponseNsec    = 13<<3 | pbFixed32
	tapResponse        = 14<<3 | pbBytes
)

func appendDnstap(dst []byte, e *event.Event) []byte {
	start := len(dst)
	dst = append(dst, 0, 0, 0, 0) // the frame's length
	dst = append(dst, tapIdentity)
	at := len(dst)
	dst = pbLength(event.AppendSafeUpTo(dst, e.Host, maxPath), at)
	dst = append(dst, tapVersion, byte(len("dnshark")))
	dst = append(dst, "dnshark"...)
	if e.Asker.ID != nil {
		dst = append(dst, tapExtra)
		at = len(dst)
		dst = pbLength(event.FieldProcess.Append(dst, e), at)
	}
	dst = append(dst, tapMessage)
	at = len(dst)
	dst = pbLength(dnstapMessage(dst, e), at)
	dst = append(dst, tapType, 1)
	binary.BigEndian.PutUint32(dst[start:], uint32(len(dst)-start-4))
	return dst
}

func dnstapMessage(dst []byte, e *event.Event) []byte {
	m := &e.Msg
	response := m.Flags.Response()
	typ := byte(dnstapResolverQuery)
	switch {
	case m.Flags.Opcode() == dnswire.OpcodeUpdate:
		typ = dnstapUpdateQuery
	case m.Flags&dnswire.FlagRD != 0 && e.Txn.Cause == nil:
		typ = dnstapClientQuery
	case e.Observer == event.Server:
		typ = dnstapAuthQuery
	}
	if response {
		typ++
	}
	family, protocol := byte(1), byte(1) // INET, UDP
	if !e.Meta.SrcIP.Is4() {
		family = 2 // INET6
	}
	if e.Meta.Protocol == 6 {
		protocol = 2 // TCP
	}
	client, server := e.Ends()
	dst = append(dst, tapMessageType, typ, tapSocketFamily, family, tapSocketProtocol, protocol)
	dst = pbAddr(append(dst, tapQueryAddress), client.Addr())
	dst = pbAddr(append(dst, tapResponseAddress), server.Addr())
	dst = binary.AppendUvarint(append(dst, tapQueryPort), uint64(client.Port()))
	dst = binary.AppendUvarint(append(dst, tapResponsePort), uint64(server.Port()))
	if t := queryTime(e); !response || t != e.Time {
		dst = pbTime(dst, tapQuerySec, tapQueryNsec, t)
	}
	key := byte(tapQuery)
	if response {
		dst = pbTime(dst, tapResponseSec, tapResponseNsec, e.Time)
		key = tapResponse
	}
	dst = binary.AppendUvarint(append(dst, key), uint64(len(m.Raw)))
	return append(dst, m.Raw...)
}

// pbLength puts the length of dst[at:] before it.
func pbLength(dst []byte, at int) []byte {
	n := len(dst) - at
	end := len(dst)
	dst = binary.AppendUvarint(dst, uint64(n))
	var length [binary.MaxVarintLen64]byte
	size := copy(length[:], dst[end:])
	copy(dst[at+size:], dst[at:end])
	copy(dst[at:], length[:size])
	return dst
}

func pbAddr(dst []byte, a netip.Addr) []byte {
	if a.Is4() {
		octets := a.As4()
		return append(append(dst, 4), octets[:]...)
	}
	octets := a.As16()
	return append(append(dst, 16), octets[:]...)
}

// pbTime appends t, ns since the Unix epoch; before that nothing was captured.
func pbTime(dst []byte, sec, nsec byte, t int64) []byte {
	t = max(t, 0)
	dst = binary.AppendUvarint(append(dst, sec), uint64(t/1e9))
	return binary.LittleEndian.AppendUint32(append(dst, nsec), uint32(t%1e9))
}
