package privacy

import (
	"encoding/binary"
	"net/netip"

	"github.com/dnshark-io/dnshark/dnswire"
	"github.com/dnshark-io/dnshark/event"
)

// message makes the message anew. What is known to tell of nobody is copied; what
// is neither known nor changed is left out: a record of such a type has no RDATA.
// Counts and anomalies stay those of the message that was seen.
func (s *Stage) message(b *event.Batch, e *event.Event) {
	m := &e.Msg
	var header [dnswire.HeaderLen]byte
	copy(header[:], m.Raw)
	binary.BigEndian.PutUint16(header[4:], uint16(len(m.Questions)))
	var counts [4]int
	for i := range m.Records {
		counts[m.Records[i].Section]++
	}
	for section := dnswire.SectionAnswer; int(section) < len(counts); section++ {
		binary.BigEndian.PutUint16(header[4+2*section:], uint16(counts[section]))
	}
	buf := append(s.buf[:0], header[:]...)
	for i := range m.Questions {
		q := &m.Questions[i]
		buf = s.appendName(buf, m, q.Name)
		buf = binary.BigEndian.AppendUint16(buf, uint16(q.Type))
		buf = binary.BigEndian.AppendUint16(buf, uint16(q.Class))
	}
	for i := range m.Records {
		r := &m.Records[i]
		before := len(buf)
		buf = s.appendName(buf, m, r.Name)
		buf = binary.BigEndian.AppendUint16(buf, uint16(r.Type))
		buf = binary.BigEndian.AppendUint16(buf, uint16(r.Class))
		buf = binary.BigEndian.AppendUint32(buf, r.TTL)
		at := len(buf)
		buf = append(buf, 0, 0)
		if r.Fault == dnswire.None {
			buf = s.appendRData(buf, m, r)
		}
		if len(buf) > dnswire.MaxLen { // names were compressed
			buf = buf[:before]
			break
		}
		binary.BigEndian.PutUint16(buf[at:], uint16(len(buf)-at-2))
	}
	s.buf = buf
	seen := *m
	m.Unpack(b.Hold(buf))
	m.Count, m.Seen, m.Broken, m.Anomalies, m.Trailing = seen.Count, seen.Seen, seen.Broken, seen.Anomalies, seen.Trailing
	m.ID, m.Flags = seen.ID, seen.Flags
	e.Missing = 0
}

// appendRData appends what is left of a record's RDATA.
func (s *Stage) appendRData(dst []byte, m *dnswire.Message, r *dnswire.Record) []byte {
	data, end := m.RData(r), int(r.Off)+int(r.Len)
	// names appends fixed octets, names, and what is behind them if that has a length of rest.
	names := func(fixed, n, rest int) []byte {
		if len(data) < fixed {
			return dst
		}
		out := append(dst, data[:fixed]...)
		off := int(r.Off) + fixed
		for range n {
			name, next, ok := m.NameAt(off, end)
			if !ok {
				return dst
			}
			out, off = s.appendName(out, m, name), next
		}
		if rest >= 0 && end-off != rest {
			return out
		}
		return append(out, m.Raw[off:end]...)
	}
	// Keys and the like may hold anything that somebody wants to say.
	const anything = -1
	signature := anything
	if s.strict() {
		signature = 0
	}
	switch r.Type {
	case dnswire.TypeA, dnswire.TypeAAAA:
		a, ok := netip.AddrFromSlice(data)
		if !ok || a.Is4() != (r.Type == dnswire.TypeA) {
			return dst
		}
		return s.appendAddr(dst, data)
	case dnswire.TypeNS, dnswire.TypeCNAME, dnswire.TypePTR, dnswire.TypeDNAME:
		return names(0, 1, 0)
	case dnswire.TypeMX:
		return names(2, 1, 0)
	case dnswire.TypeSRV:
		return names(6, 1, 0)
	case dnswire.TypeSOA:
		return names(0, 2, 20)
	case dnswire.TypeRRSIG:
		return names(18, 1, signature)
	case dnswire.TypeNSEC:
		return names(0, 1, anything)
	case dnswire.TypeSVCB, dnswire.TypeHTTPS:
		name, next, ok := m.NameAt(int(r.Off)+2, end)
		if !ok {
			return dst
		}
		dst = s.appendName(append(dst, data[:2]...), m, name)
		return s.appendParams(dst, m.Raw[next:end])
	case dnswire.TypeOPT:
		return s.appendOptions(dst, data)
	case dnswire.TypeTXT:
		if s.o.Text {
			return append(append(dst, byte(len(left))), left...)
		}
		return append(dst, data...)
	case dnswire.TypeDS, dnswire.TypeDNSKEY, dnswire.TypeSSHFP, dnswire.TypeTLSA:
		if !s.strict() {
			return append(dst, data...)
		}
	}
	return dst
}

// strict reports whether nothing may pass that could be a text.
func (s *Stage) strict() bool { return s.o.Text || s.o.names() }

// appendAddr appends the pseudonym of an address of 4 or 16 octets, in as many.
func (s *Stage) appendAddr(dst, octets []byte) []byte {
	if !s.o.Addrs {
		return append(dst, octets...)
	}
	a, _ := netip.AddrFromSlice(octets)
	if to := s.addr(a); to.Is4() == (len(octets) == 4) {
		return append(dst, to.AsSlice()...)
	}
	// An IPv4 address that is mapped.
	to := s.addr(a).As16()
	return append(dst, to[:]...)
}

// Parameters of SVCB (RFC 9460 section 14.3.2).
const (
	paramMandatory = 0
	paramALPN      = 1
	paramNoALPN    = 2
	paramPort      = 3
	paramIPv4      = 4
	paramIPv6      = 6
)

func (s *Stage) appendParams(dst, params []byte) []byte {
	for len(params) >= 4 {
		key, n := binary.BigEndian.Uint16(params), int(binary.BigEndian.Uint16(params[2:]))
		if len(params) < 4+n {
			return dst
		}
		value, width := params[4:4+n], 0
		switch key {
		case paramMandatory, paramNoALPN, paramPort:
			dst = append(dst, params[:4+n]...)
		case paramALPN:
			if !s.o.Text {
				dst = append(dst, params[:4+n]...)
			}
		case paramIPv4:
			width = 4
		case paramIPv6:
			width = 16
		}
		if width > 0 && n%width == 0 {
			dst = append(dst, params[:4]...)
			for ; len(value) > 0; value = value[width:] {
				dst = s.appendAddr(dst, value[:width])
			}
		}
		params = params[4+n:]
	}
	return dst
}

// appendOptions appends the EDNS options that tell of nobody, and the client's
// subnet as a pseudonym.
func (s *Stage) appendOptions(dst, options []byte) []byte {
	for len(options) >= 4 {
		code, n := dnswire.OptionCode(binary.BigEndian.Uint16(options)), int(binary.BigEndian.Uint16(options[2:]))
		if len(options) < 4+n {
			return dst
		}
		value := options[4 : 4+n]
		switch code {
		case dnswire.OptionKeepalive, dnswire.OptionExpire:
			if n <= 4 {
				dst = append(dst, options[:4+n]...)
			}
		case dnswire.OptionEDE:
			if s.o.Text && n > 2 {
				value = value[:2]
			}
			dst = appendOption(dst, code, value)
		case dnswire.OptionECS:
			dst = s.appendSubnet(dst, value)
		}
		options = options[4+n:]
	}
	return dst
}

func appendOption(dst []byte, code dnswire.OptionCode, value []byte) []byte {
	dst = binary.BigEndian.AppendUint16(dst, uint16(code))
	dst = binary.BigEndian.AppendUint16(dst, uint16(len(value)))
	return append(dst, value...)
}

// appendSubnet appends a client's subnet (RFC 7871 section 6), if it is a valid one.
func (s *Stage) appendSubnet(dst, value []byte) []byte {
	if !s.o.Addrs {
		return appendOption(dst, dnswire.OptionECS, value)
	}
	if len(value) < 4 {
		return dst
	}
	var octets [16]byte
	width := 0
	switch binary.BigEndian.Uint16(value) {
	case 1:
		width = 4
	case 2:
		width = 16
	}
	bits, given := int(value[2]), value[4:]
	if width == 0 || bits > 8*width || len(given) > width {
		return dst
	}
	copy(octets[:width], given)
	a, _ := netip.AddrFromSlice(octets[:width])
	p, err := s.addr(a).Prefix(bits)
	if err != nil {
		return dst
	}
	dst = appendOption(dst, dnswire.OptionECS, value)
	// The mask has cleared what is behind the prefix.
	copy(dst[len(dst)-len(given):], p.Addr().AsSlice())
	return dst
}
