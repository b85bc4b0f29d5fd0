// Command floor is about the least that turning a capture into JSON costs: it
// reads the whole file into memory, decodes each packet where it stands, and
// writes the fields of the net_packet_dns_response contract. It does not pair
// questions with answers, knows no fragments and no TCP streams (a segment is
// read as whole messages, from its first octet), shows no authority, additional
// or EDNS, prints types it does not know as RFC 3597 says, and takes any file for
// a little-endian pcap of Ethernet.
//
// It is written by hand for these captures, independent of dnshark's code.
package main

import (
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"net/netip"
	"os"
	"strconv"
	"time"
)

const block = 64 << 10

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: floor FILE")
		os.Exit(2)
	}
	file, err := os.ReadFile(os.Args[1])
	if err != nil {
		fmt.Fprintln(os.Stderr, "floor:", err)
		os.Exit(1)
	}
	if len(file) < 24 {
		fmt.Fprintln(os.Stderr, "floor: no capture")
		os.Exit(1)
	}
	f := floor{nano: binary.LittleEndian.Uint32(file) == 0xa1b23c4d}
	for at := 24; at+16 <= len(file); {
		r := file[at:]
		n := int(binary.LittleEndian.Uint32(r[8:]))
		if len(r) < 16+n {
			break
		}
		f.sec, f.frac = binary.LittleEndian.Uint32(r), binary.LittleEndian.Uint32(r[4:])
		f.packet(r[16 : 16+n])
		if len(f.out) >= block {
			os.Stdout.Write(f.out)
			f.out = f.out[:0]
		}
		at += 16 + n
	}
	os.Stdout.Write(f.out)
	fmt.Fprintln(os.Stderr, "floor: responses:", f.responses)
}

type floor struct {
	out          []byte
	nano         bool
	sec, frac    uint32
	second       uint32 // the one that clock tells
	clock        [19]byte
	src, dst     []byte
	proto        byte
	sport, dport uint16
	total        int
	responses    int
}

func (f *floor) packet(p []byte) {
	if len(p) < 14+20 {
		return
	}
	var l4 []byte
	switch ip := p[14:]; {
	case p[12] == 0x08 && p[13] == 0x00:
		f.total = int(binary.BigEndian.Uint16(ip[2:]))
		header := int(ip[0]&15) * 4
		if header < 20 || f.total < header || len(ip) < f.total || binary.BigEndian.Uint16(ip[6:])&0x3fff != 0 {
			return
		}
		f.src, f.dst, f.proto, l4 = ip[12:16], ip[16:20], ip[9], ip[header:f.total]
	case p[12] == 0x86 && p[13] == 0xdd && len(ip) >= 40:
		f.total = 40 + int(binary.BigEndian.Uint16(ip[4:]))
		if len(ip) < f.total {
			return
		}
		f.src, f.dst, f.proto, l4 = ip[8:24], ip[24:40], ip[6], ip[40:f.total]
	default:
		return
	}
	if len(l4) < 8 {
		return
	}
	f.sport, f.dport = binary.BigEndian.Uint16(l4), binary.BigEndian.Uint16(l4[2:])
	if f.sport != 53 {
		return
	}
	switch f.proto {
	case 17:
		f.message(l4[8:])
	case 6:
		if len(l4) < 20 || int(l4[12]>>4)*4 > len(l4) {
			return
		}
		for b := l4[l4[12]>>4*4:]; len(b) > 2; {
			n := int(binary.BigEndian.Uint16(b))
			if len(b) < 2+n {
				return
			}
			f.message(b[2 : 2+n])
			b = b[2+n:]
		}
	}
}

// message writes a response, or nothing if it is broken.
func (f *floor) message(m []byte) {
	if len(m) < 12 || m[2]&0x80 == 0 || m[4] != 0 || m[5] != 1 {
		return
	}
	start := len(f.out)
	dst := append(f.out, `{"time":"`...)
	dst = f.time(dst)
	dst = append(dst, `","event":"net_packet_dns_response","metadata":{"src_ip":"`...)
	dst = address(dst, f.src)
	dst = address(append(dst, `","dst_ip":"`...), f.dst)
	dst = strconv.AppendUint(append(dst, `","src_port":`...), uint64(f.sport), 10)
	dst = strconv.AppendUint(append(dst, `,"dst_port":`...), uint64(f.dport), 10)
	dst = strconv.AppendUint(append(dst, `,"protocol":`...), uint64(f.proto), 10)
	dst = strconv.AppendUint(append(dst, `,"packet_len":`...), uint64(f.total), 10)
	dst = append(dst, `,"iface":""},"dns_response":[{"query_data":{"query":"`...)
	dst, at := name(dst, m, 12)
	if at < 0 || at+4 > len(m) {
		f.out = dst[:start]
		return
	}
	dst = rtype(append(dst, `","query_type":"`...), binary.BigEndian.Uint16(m[at:]))
	dst = class(append(dst, `","query_class":"`...), binary.BigEndian.Uint16(m[at+2:]))
	dst = append(dst, `"},"dns_answer":[`...)
	at += 4
	for i := range binary.BigEndian.Uint16(m[6:]) {
		at = skip(m, at)
		if at < 0 || at+10 > len(m) {
			f.out = dst[:start]
			return
		}
		t, end := binary.BigEndian.Uint16(m[at:]), at+10+int(binary.BigEndian.Uint16(m[at+8:]))
		if end > len(m) {
			f.out = dst[:start]
			return
		}
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = rtype(append(dst, `{"answer_type":"`...), t)
		dst = strconv.AppendUint(append(dst, `","ttl":`...), uint64(binary.BigEndian.Uint32(m[at+4:])), 10)
		dst = rdata(append(dst, `,"answer":"`...), m, t, at+10, end)
		if dst == nil {
			f.out = f.out[:start]
			return
		}
		dst = append(dst, `"}`...)
		at = end
	}
	f.out = append(dst, "]}]}\n"...)
	f.responses++
}

func (f *floor) time(dst []byte) []byte {
	if f.sec != f.second {
		f.second = f.sec
		time.Unix(int64(f.sec), 0).UTC().AppendFormat(f.clock[:0], "2006-01-02T15:04:05")
	}
	dst = append(append(dst, f.clock[:]...), '.')
	digits := 6
	if f.nano {
		digits = 9
	}
	at := len(dst)
	dst = append(dst, "000000000Z"[9-digits:]...)
	for n, i := f.frac, at+digits-1; i >= at; i-- {
		dst[i] = byte('0' + n%10)
		n /= 10
	}
	return dst
}

func address(dst, a []byte) []byte {
	if len(a) == 4 {
		dst = append(octet(dst, a[0]), '.')
		dst = append(octet(dst, a[1]), '.')
		dst = append(octet(dst, a[2]), '.')
		return octet(dst, a[3])
	}
	return netip.AddrFrom16([16]byte(a)).AppendTo(dst)
}

func octet(dst []byte, c byte) []byte {
	if c >= 100 {
		dst = append(dst, '0'+c/100)
	}
	if c >= 10 {
		dst = append(dst, '0'+c/10%10)
	}
	return append(dst, '0'+c%10)
}

// skip returns the offset behind the name at at, or -1.
func skip(m []byte, at int) int {
	for at < len(m) {
		switch c := int(m[at]); {
		case c == 0:
			return at + 1
		case c >= 0xc0:
			return at + 2
		case c < 0x40:
			at += 1 + c
		default:
			return -1
		}
	}
	return -1
}

// name appends the name at at in presentation format, ready for JSON, and
// returns the offset behind it, or -1.
func name(dst, m []byte, at int) ([]byte, int) {
	end, start := -1, len(dst)
	for hops := 0; at < len(m) && hops < 128; hops++ {
		c := int(m[at])
		switch {
		case c == 0:
			if end < 0 {
				end = at + 1
			}
			if n := len(dst); n > start {
				return dst[:n-1], end // no dot at the end, as in the contract
			}
			return append(dst, '.'), end
		case c >= 0xc0:
			if at+2 > len(m) {
				return dst, -1
			}
			if end < 0 {
				end = at + 2
			}
			at = c&0x3f<<8 | int(m[at+1])
		case c < 0x40:
			if at+1+c > len(m) {
				return dst, -1
			}
			label := m[at+1 : at+1+c]
			if clean(label) {
				dst = append(dst, label...)
			} else {
				dst = escape(dst, label, '.')
			}
			dst = append(dst, '.')
			at += 1 + c
		default:
			return dst, -1
		}
	}
	return dst, -1
}

// plain marks octets that neither DNS nor JSON escapes.
var plain = func() (t [256]bool) {
	for c := '!'; c <= '~'; c++ {
		t[c] = c != '"' && c != '\\' && c != '.' && c != '$' && c != '(' && c != ')' && c != ';' && c != '@'
	}
	return t
}()

func clean(label []byte) bool {
	for _, c := range label {
		if !plain[c] {
			return false
		}
	}
	return true
}

// escape appends octets with the escapes of a zone file, those escaped for JSON.
func escape(dst, text []byte, special byte) []byte {
	for _, c := range text {
		switch {
		case c == '"':
			dst = append(dst, `\\\"`...)
		case c == '\\':
			dst = append(dst, `\\\\`...)
		case c == special:
			dst = append(dst, '\\', '\\', c)
		case c < ' ' || c > '~':
			dst = append(dst, '\\', '\\', '0'+c/100, '0'+c/10%10, '0'+c%10)
		default:
			dst = append(dst, c)
		}
	}
	return dst
}

var typeNames = func() (t [258]string) {
	for n, s := range map[int]string{1: "A", 2: "NS", 5: "CNAME", 6: "SOA", 12: "PTR", 15: "MX", 16: "TXT", 28: "AAAA", 29: "LOC", 33: "SRV",
		43: "DS", 46: "RRSIG", 47: "NSEC", 48: "DNSKEY", 50: "NSEC3", 64: "SVCB", 65: "HTTPS", 255: "ANY", 257: "CAA"} {
		t[n] = s
	}
	return t
}()

func rtype(dst []byte, t uint16) []byte {
	if int(t) < len(typeNames) && typeNames[t] != "" {
		return append(dst, typeNames[t]...)
	}
	return strconv.AppendUint(append(dst, "TYPE"...), uint64(t), 10)
}

func class(dst []byte, c uint16) []byte {
	if c == 1 {
		return append(dst, "IN"...)
	}
	return strconv.AppendUint(append(dst, "CLASS"...), uint64(c), 10)
}

// rdata appends the data of a record, or returns nil if it is broken.
func rdata(dst, m []byte, t uint16, at, end int) []byte {
	numbers := func(count, n int) bool {
		for ; count > 0; count-- {
			if at+n > end {
				return false
			}
			v := uint64(0)
			for _, c := range m[at : at+n] {
				v = v<<8 | uint64(c)
			}
			dst = append(strconv.AppendUint(dst, v, 10), ' ')
			at += n
		}
		return true
	}
	host := func() bool {
		dst, at = name(dst, m[:end], at)
		return at >= 0
	}
	ok := true
	switch t {
	case 1:
		if ok = end-at == 4; ok {
			dst = address(dst, m[at:end])
		}
	case 28:
		if ok = end-at == 16; ok {
			dst = address(dst, m[at:end])
		}
	case 2, 5, 12:
		ok = host()
	case 15:
		ok = numbers(1, 2) && host()
	case 33:
		ok = numbers(3, 2) && host()
	case 6:
		if ok = host(); ok {
			dst = append(dst, ' ')
			ok = host()
			dst = append(dst, ' ')
			ok = ok && numbers(5, 4)
			dst = dst[:len(dst)-1]
		}
	case 16:
		for at < end {
			n := int(m[at])
			if at+1+n > end {
				return nil
			}
			dst = append(escape(append(dst, `\"`...), m[at+1:at+1+n], 0), `\" `...)
			at += 1 + n
		}
		dst = dst[:len(dst)-1]
	case 46: // RRSIG: most of it is the signature
		if end-at < 18 {
			return nil
		}
		dst = append(rtype(dst, binary.BigEndian.Uint16(m[at:])), ' ')
		at += 2
		numbers(2, 1)
		numbers(3, 4)
		numbers(1, 2)
		if !host() {
			return nil
		}
		dst = base64.StdEncoding.AppendEncode(append(dst, ' '), m[at:end])
	default:
		const digits = "0123456789abcdef"
		dst = append(strconv.AppendUint(append(dst, `\\# `...), uint64(end-at), 10), ' ')
		for _, c := range m[at:end] {
			dst = append(dst, digits[c>>4], digits[c&15])
		}
	}
	if !ok {
		return nil
	}
	return dst
}
