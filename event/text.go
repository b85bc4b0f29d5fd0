package event

import (
	"encoding/binary"
	"math/bits"
	"net/netip"
	"strconv"
)

// AppendTime appends t, ns since the Unix epoch, as RFC 3339 in UTC with nine
// digits of the second. Years outside 0000-9999 cannot occur: an int64 of ns
// reaches from 1677 to 2262.
func AppendTime(dst []byte, t int64) []byte {
	sec, ns := t/1e9, t%1e9
	if ns < 0 {
		sec, ns = sec-1, ns+1e9
	}
	days, tod := sec/86400, sec%86400
	if tod < 0 {
		days, tod = days-1, tod+86400
	}
	y, m, d := civil(days)
	at := len(dst)
	dst = append(dst, "0000-00-00T00:00:00.000000000Z"...)
	text := (*[30]byte)(dst[at:])
	second := uint(tod)
	put2(text[0:2], uint(y)/100)
	put2(text[2:4], uint(y)%100)
	put2(text[5:7], uint(m))
	put2(text[8:10], uint(d))
	put2(text[11:13], second/3600)
	put2(text[14:16], second/60%60)
	put2(text[17:19], second%60)
	putFraction((*[9]byte)(text[20:]), uint(ns))
	return dst
}

// putFraction writes v, 0 to 999999999, as nine digits.
func putFraction(b *[9]byte, v uint) {
	low := v % 1e5
	put2(b[0:2], v/1e7)
	put2(b[2:4], v/1e5%100)
	put2(b[4:6], low/1000)
	put2(b[6:8], low/10%100)
	b[8] = byte('0' + low%10)
}

// appendTime appends the event's time as AppendTime does. Events that come one after
// the other have the second in common.
func (e *Event) appendTime(dst []byte) []byte {
	t := e.text
	second := e.Time / 1e9
	if t == nil || second <= 0 {
		return AppendTime(dst, e.Time)
	}
	if t.second != second {
		t.second = second
		AppendTime(t.clock[:0], second*1e9)
	}
	dst = append(dst, t.clock[:]...)
	putFraction((*[9]byte)(dst[len(dst)-10:]), uint(e.Time-second*1e9))
	return dst
}

// put2 writes v, 0 to 99, as two digits.
func put2(b []byte, v uint) { binary.LittleEndian.PutUint16(b, digits[v%100]) }

// civil turns days since the Unix epoch into a date of the Gregorian calendar.
// A year is taken to begin in March, so that the leap day is its last one.
func civil(days int64) (year, month, day int) {
	days += 719468 // days from 0000-03-01 to 1970-01-01
	era := days / 146097
	doe := days - era*146097
	yoe := (doe - doe/1460 + doe/36524 - doe/146096) / 365
	doy := doe - (365*yoe + yoe/4 - yoe/100)
	mp := (5*doy + 2) / 153
	day = int(doy - (153*mp+2)/5 + 1)
	month = int(mp + 3)
	if month > 12 {
		month -= 12
	}
	year = int(yoe + era*400)
	if month <= 2 {
		year++
	}
	return year, month, day
}

// digits are the numbers 00 to 99, as two octets each.
var digits = func() (t [100]uint16) {
	for v := range t {
		t[v] = uint16('0'+v/10) | uint16('0'+v%10)<<8
	}
	return t
}()

// small are the numbers 0 to 999: their digits in the lower octets, and how many
// they are in the highest.
var small = func() (t [1000]uint32) {
	for v := range t {
		var b [4]byte
		n := len(strconv.AppendUint(b[:0], uint64(v), 10))
		t[v] = binary.LittleEndian.Uint32(b[:]) | uint32(n)<<24
	}
	return t
}()

// AppendUint appends v in decimal. Most numbers of an event have one digit.
func AppendUint(dst []byte, v uint64) []byte {
	if v < 10 {
		return append(dst, byte('0'+v))
	}
	return appendUint(dst, v)
}

func appendUint(dst []byte, v uint64) []byte {
	n := len(dst)
	switch {
	case cap(dst)-n < 8:
	case v < 1000:
		w := small[v]
		binary.LittleEndian.PutUint32(dst[n:n+4], w)
		return dst[:n+int(w>>24)]
	case v < 100000:
		w := small[v/100]
		binary.LittleEndian.PutUint32(dst[n:n+4], w)
		n += int(w >> 24)
		binary.LittleEndian.PutUint16(dst[n:n+2], digits[v%100])
		return dst[:n+2]
	}
	return strconv.AppendUint(dst, v, 10)
}

// AppendAddr appends a in its canonical text form (RFC 5952), or nothing when
// there is no address.
func AppendAddr(dst []byte, a netip.Addr) []byte {
	if !a.Is4() {
		if !a.IsValid() {
			return dst
		}
		return a.AppendTo(dst)
	}
	for i, o := range a.As4() {
		if i > 0 {
			dst = append(dst, '.')
		}
		dst = AppendUint(dst, uint64(o))
	}
	return dst
}

// escapeTail makes dst[at:], which is printable ASCII, fit for a JSON string.
func escapeTail(dst []byte, at int) []byte {
	i := at
	for ; i+8 <= len(dst); i += 8 {
		if needsEscape(binary.LittleEndian.Uint64(dst[i:])) {
			break
		}
	}
	extra := 0
	for _, c := range dst[i:] {
		if c == '"' || c == '\\' {
			extra++
		}
	}
	if extra == 0 {
		return dst
	}
	from := len(dst)
	for range extra {
		dst = append(dst, 0)
	}
	for to := len(dst); from > i; {
		from--
		to--
		dst[to] = dst[from]
		if c := dst[from]; c == '"' || c == '\\' {
			to--
			dst[to] = '\\'
		}
	}
	return dst
}

// needsEscape reports whether one of eight ASCII octets is a quote or a
// backslash: without its top bit, only an octet 0 borrows from it.
func needsEscape(w uint64) bool {
	const ones, tops = 0x0101010101010101, 0x8080808080808080
	quote, slash := w^('"'*ones), w^('\\'*ones)
	return ((quote-ones)|(slash-ones))&tops != 0
}

// appendQuoted appends s, any octets, as a JSON string. Octets that are no
// printable ASCII become \DDD as in names (RFC 1035 section 5.1) and a
// backslash is doubled, so that the octets can be recovered and no sink ever
// sees a control character.
func appendQuoted(dst []byte, s string) []byte {
	dst = append(dst, '"')
	at := len(dst)
	dst = AppendSafe(dst, s)
	dst = escapeTail(dst, at)
	return append(dst, '"')
}

// AppendSafe appends s, any octets, as printable ASCII: other octets become
// \DDD, and a backslash is doubled.
func AppendSafe(dst []byte, s string) []byte {
	for i := range len(s) {
		dst = appendSafeByte(dst, s[i])
	}
	return dst
}

func appendSafeByte(dst []byte, c byte) []byte {
	switch {
	case c == '\\':
		return append(dst, '\\', '\\')
	case c >= 0x20 && c < 0x7f:
		return append(dst, c)
	default:
		return append(dst, '\\', '0'+c/100, '0'+c/10%10, '0'+c%10)
	}
}

// commLen returns the length of a NUL-padded name.
func commLen(comm *[16]byte) int {
	lo := binary.LittleEndian.Uint64(comm[:])
	if n := zeroByte(lo); n < 8 {
		return n
	}
	return 8 + zeroByte(binary.LittleEndian.Uint64(comm[8:]))
}

func zeroByte(w uint64) int {
	const ones, tops = 0x0101010101010101, 0x8080808080808080
	return bits.TrailingZeros64((w-ones)&^w&tops) / 8
}
