package privacy

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"hash"
	"net/netip"
	"strconv"
	"strings"

	"github.com/dnshark-io/dnshark/dnswire"
)

// hasher makes of a name one label: the first 16 octets of HMAC-SHA256 of its text
// in lower case, in hex.
type hasher struct {
	mac hash.Hash
	sum [sha256.Size]byte
}

func newHasher(s *Secret) *hasher {
	// Another key than that of addresses.
	key := hmac.New(sha256.New, s[:])
	key.Write([]byte("dnshark names"))
	return &hasher{mac: hmac.New(sha256.New, key.Sum(nil))}
}

func (h *hasher) append(dst, name []byte) []byte {
	h.mac.Reset()
	h.mac.Write(name)
	return hex.AppendEncode(dst, h.mac.Sum(h.sum[:0])[:16])
}

// appendName appends, in wire form, what stands for the message's name n.
func (s *Stage) appendName(dst []byte, m *dnswire.Message, n dnswire.Name) []byte {
	if n.Len == 0 {
		return append(dst, 0)
	}
	s.name = m.AppendNameLower(s.name[:0], n)
	changed, ok := s.change(s.name)
	if !ok {
		return m.AppendWire(dst, n)
	}
	out, err := dnswire.AppendWireName(dst, string(changed))
	if err != nil {
		return append(dst, 0)
	}
	return out
}

// textName is appendName of a name in presentation format. It is not ok for what is no name.
func (s *Stage) textName(text string) (string, bool) {
	lower := strings.ToLower(strings.TrimSuffix(text, "."))
	if _, err := dnswire.AppendWireName(nil, lower); err != nil || lower == "" || strings.ContainsAny(lower, " /:=;,") {
		return "", false
	}
	changed, ok := s.change([]byte(lower))
	if !ok {
		return text, true
	}
	return string(changed), true
}

// change returns what stands for a name in presentation format and lower case. It
// is not ok where the name stays as it is.
func (s *Stage) change(name []byte) ([]byte, bool) {
	if len(name) == 0 || string(name) == "." {
		return name, false
	}
	switch {
	case s.o.Hash:
		s.text = s.names.append(s.text[:0], name)
		return s.text, true
	case s.o.Cut:
		// Of a public suffix itself everything.
		if zone := reverseZone(name); zone != "" {
			return []byte(zone), true
		}
		if registered := s.suffixes.Registered(name); len(registered) > 0 {
			return registered, true
		}
	case s.o.Addrs:
		return s.reverse(name)
	}
	return name, false
}

// The zones of names that are addresses (RFC 1035 section 3.5, RFC 3596 section 2.5).
const (
	zone4 = "in-addr.arpa"
	zone6 = "ip6.arpa"
)

// reverseZone returns the zone of a name that tells an address, or "".
func reverseZone(name []byte) string {
	for _, zone := range []string{zone4, zone6} {
		if bytes.HasSuffix(name, []byte("."+zone)) {
			return zone
		}
	}
	return ""
}

// reverse turns a name that is a whole address into that of its pseudonym. Of a part
// of an address the zone is left.
func (s *Stage) reverse(name []byte) ([]byte, bool) {
	zone := reverseZone(name)
	if zone == "" {
		return name, false
	}
	labels := strings.Split(strings.TrimSuffix(string(name), "."+zone), ".")
	for i, j := 0, len(labels)-1; i < j; i, j = i+1, j-1 {
		labels[i], labels[j] = labels[j], labels[i]
	}
	var text strings.Builder
	switch {
	case zone == zone4 && len(labels) == 4:
		text.WriteString(strings.Join(labels, "."))
	case zone == zone6 && len(labels) == 32:
		for i, l := range labels {
			if i > 0 && i%4 == 0 {
				text.WriteByte(':')
			}
			text.WriteString(l)
		}
	}
	a, err := netip.ParseAddr(text.String())
	if err != nil {
		return []byte(zone), true
	}
	octets := s.addr(a).AsSlice()
	s.text = s.text[:0]
	for i := len(octets) - 1; i >= 0; i-- {
		if zone == zone4 {
			s.text = append(strconv.AppendUint(s.text, uint64(octets[i]), 10), '.')
			continue
		}
		const digits = "0123456789abcdef"
		s.text = append(s.text, digits[octets[i]&15], '.', digits[octets[i]>>4], '.')
	}
	s.text = append(s.text, zone...)
	return s.text, true
}
