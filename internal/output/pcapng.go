package output

import (
	"encoding/binary"
	"net/netip"

	"github.com/dnshark-io/dnshark/event"
)

// pcapng is a capture file of DNS messages, with who asked as the packet's
// comment, for Wireshark and its kin.
//
// Frames are not kept, and none are made up: a packet is the message alone, put
// together from fragments and segments, of the link type "upper PDU" (252). Its
// tags tell the addresses, the ports and that it is DNS.
var pcapng = Format{
	Name:   "pcapng",
	Doc:    "capture file of the messages, who asked as a comment",
	Kinds:  kindMessages,
	Binary: true,
	New: (&perEvent{
		kinds: kindMessages, append: appendPcapng,
		header: "\x0a\x0d\x0d\x0a\x2c\x00\x00\x00\x4d\x3c\x2b\x1a\x01\x00\x00\x00\xff\xff\xff\xff\xff\xff\xff\xff" + // section
			"\x04\x00\x07\x00dnshark\x00\x00\x00\x00\x00\x2c\x00\x00\x00" + // written by
			"\x01\x00\x00\x00\x20\x00\x00\x00\xfc\x00\x00\x00\x00\x00\x00\x00" + // interface: upper PDU, no limit
			"\x09\x00\x01\x00\x09\x00\x00\x00\x00\x00\x00\x00\x20\x00\x00\x00", // times in ns
	}).new,
}

// Tags of an upper PDU (Wireshark's exported_pdu_tlvs.h), each with the length of
// its value, a multiple of four.
const (
	pduDissector = "\x00\x0c\x00\x04dns\x00"
	pduIPv4Src   = "\x00\x14\x00\x04"
	pduIPv4Dst   = "\x00\x15\x00\x04"
	pduIPv6Src   = "\x00\x16\x00\x10"
	pduIPv6Dst   = "\x00\x17\x00\x10"
	pduTCP       = "\x00\x18\x00\x04\x00\x00\x00\x02"
	pduUDP       = "\x00\x18\x00\x04\x00\x00\x00\x03"
	pduSrcPort   = "\x00\x19\x00\x04"
	pduDstPort   = "\x00\x1a\x00\x04"
	pduEnd       = "\x00\x00\x00\x00"
)

func appendPcapng(dst []byte, e *event.Event) []byte {
	start := len(dst)
	dst = append(dst, "\x06\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"...) // packet, its length to come, interface 0
	dst = binary.LittleEndian.AppendUint32(dst, uint32(uint64(e.Time)>>32))
	dst = binary.LittleEndian.AppendUint32(dst, uint32(e.Time))
	lengths := len(dst)
	dst = append(dst, "\x00\x00\x00\x00\x00\x00\x00\x00"...)

	packet := len(dst)
	dst = append(dst, pduDissector...)
	dst = pduAddr(dst, e.Meta.SrcIP, pduIPv4Src, pduIPv6Src)
	dst = pduAddr(dst, e.Meta.DstIP, pduIPv4Dst, pduIPv6Dst)
	dst = append(dst, transport(e, pduUDP, pduTCP)...)
	dst = binary.BigEndian.AppendUint32(append(dst, pduSrcPort...), uint32(e.Meta.SrcPort))
	dst = binary.BigEndian.AppendUint32(append(dst, pduDstPort...), uint32(e.Meta.DstPort))
	dst = append(dst, pduEnd...)
	if e.Meta.Protocol == 6 {
		// Over TCP a message has its length before it (RFC 1035 section 4.2.2).
		dst = binary.BigEndian.AppendUint16(dst, uint16(len(e.Msg.Raw)+e.Missing))
	}
	dst = append(dst, e.Msg.Raw...)
	size := len(dst) - packet
	binary.LittleEndian.PutUint32(dst[lengths:], uint32(size))
	binary.LittleEndian.PutUint32(dst[lengths+4:], uint32(size+e.Missing))
	dst = pad4(dst, size)

	option := len(dst)
	dst = append(dst, "\x01\x00\x00\x00"...) // comment
	dst = pcapngComment(dst, e)
	n := len(dst) - option - 4
	binary.LittleEndian.PutUint16(dst[option+2:], uint16(n))
	if dst = pad4(dst, n); n == 0 {
		dst = dst[:option]
	}
	switch {
	case e.Flow.Ingress:
		dst = append(dst, "\x02\x00\x04\x00\x01\x00\x00\x00"...)
	case e.Flow.Egress:
		dst = append(dst, "\x02\x00\x04\x00\x02\x00\x00\x00"...)
	}
	dst = append(dst, "\x00\x00\x00\x00"...)
	total := uint32(len(dst) - start + 4)
	binary.LittleEndian.PutUint32(dst[start+4:], total)
	return binary.LittleEndian.AppendUint32(dst, total)
}

func pduAddr(dst []byte, a netip.Addr, v4, v6 string) []byte {
	if a.Is4() {
		octets := a.As4()
		return append(append(dst, v4...), octets[:]...)
	}
	octets := a.As16()
	return append(append(dst, v6...), octets[:]...)
}

// pad4 fills up what is n octets long.
func pad4(dst []byte, n int) []byte { return append(dst, "\x00\x00\x00"[:-n&3]...) }

// pcapngComment appends who asked, as words with blanks between them.
func pcapngComment(dst []byte, e *event.Event) []byte {
	at := len(dst)
	if id := e.Asker.ID; id != nil && id.Known() {
		dst = event.AppendUint(append(dst, "pid="...), uint64(id.TGID))
		dst = id.AppendComm(append(dst, " comm="...))
		if p := e.Asker.Process; p != nil && p.Exe != "" {
			dst = event.AppendSafeUpTo(append(dst, " exe="...), p.Exe, maxPath)
		}
		dst = event.AppendUint(append(dst, " uid="...), uint64(id.UID))
		dst = append(append(append(dst, " attribution="...), e.Asker.Attribution.String()...), ' ')
	}
	if e.Txn.State != event.StateNone {
		dst = append(append(append(dst, "state="...), e.Txn.State.String()...), ' ')
	}
	return trimBlank(dst, at)
}
