package event

import (
	"net/netip"

	"github.com/dnshark-io/dnshark/dnswire"
)

// For the formats that do not take a field's JSON as it is.

// AppendJSON appends s, any octets, as a JSON string of what AppendSafe makes of
// them.
func AppendJSON(dst []byte, s string) []byte { return appendQuoted(dst, s) }

// EscapeJSON makes dst[at:], which is printable ASCII, fit for a JSON string.
func EscapeJSON(dst []byte, at int) []byte { return escapeTail(dst, at) }

// AppendSafeBytes is AppendSafe for a slice.
func AppendSafeBytes(dst, b []byte) []byte {
	for _, c := range b {
		dst = appendSafeByte(dst, c)
	}
	return dst
}

// AppendSafeUpTo is AppendSafe of as many octets of s as fit limit octets of
// text.
func AppendSafeUpTo(dst []byte, s string, limit int) []byte {
	start := len(dst)
	for i := range len(s) {
		at := len(dst)
		if dst = appendSafeByte(dst, s[i]); len(dst)-start > limit {
			return dst[:at]
		}
	}
	return dst
}

// AppendSeconds appends t, ns since the Unix epoch or a duration in ns, as
// seconds with six digits behind the point; what is finer is cut off.
func AppendSeconds(dst []byte, t int64) []byte {
	v := uint64(t)
	if t < 0 {
		dst, v = append(dst, '-'), -v
	}
	dst = append(AppendUint(dst, v/1e9), ".000000"...)
	digits := dst[len(dst)-6:]
	for i, us := 5, v/1000%1e6; i >= 0; i, us = i-1, us/10 {
		digits[i] += byte(us % 10)
	}
	return dst
}

// Ends returns the addresses of who asks and of who answers. A packet without a
// message is taken for one of the client's.
func (e *Event) Ends() (client, server netip.AddrPort) {
	source := netip.AddrPortFrom(e.Meta.SrcIP, e.Meta.SrcPort)
	target := netip.AddrPortFrom(e.Meta.DstIP, e.Meta.DstPort)
	if e.Class == ClassMessage && e.Msg.Flags.Response() {
		return target, source
	}
	return source, target
}

// QuestionOf returns the index of the question that an answer named n belongs to,
// where several are asked: the one of its name or otherwise, which is that of the
// answer before it.
func QuestionOf(m *dnswire.Message, n dnswire.Name, otherwise int) int {
	if len(m.Questions) < 2 {
		return 0
	}
	return questionOf(m, n, otherwise)
}
