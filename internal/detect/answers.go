package detect

import (
	"bytes"
	"net/netip"

	"github.com/dnshark-io/dnshark/dnswire"
)

// answerSet is the addresses of an answer, without order.
type answerSet struct {
	rcode dnswire.RCode
	n     uint8 // of addrs
	addrs [8]netip.Addr
}

func (a *answerSet) fill(s *Seen) {
	a.rcode, a.n = s.Msg.RCode(), 0
	for i := range s.Msg.Answer() {
		if ip := addressOf(&s.Msg, &s.Msg.Answer()[i]); ip.IsValid() && int(a.n) < len(a.addrs) {
			a.addrs[a.n] = ip
			a.n++
		}
	}
}

// near reports whether any two addresses are in one network of the size that one
// operator uses: /24, or /48 of IPv6.
func (a *answerSet) near(b *answerSet) bool {
	for _, x := range a.addrs[:a.n] {
		for _, y := range b.addrs[:b.n] {
			if network(x) == network(y) {
				return true
			}
		}
	}
	return false
}

// samples adds the addresses to a list of samples.
func (a *answerSet) samples(list []string) []string {
	if a.n == 0 {
		return sample(list, string(a.rcode.Append(nil)))
	}
	for _, x := range a.addrs[:a.n] {
		if len(list) < maxSamples {
			list = sample(list, x.String())
		}
	}
	return list
}

// network is the /24 of an IPv4 address, the /48 of an IPv6 one.
func network(a netip.Addr) netip.Addr {
	n := 48
	if a.Is4() {
		n = 24
	}
	p, err := a.Prefix(n)
	if err != nil {
		return a
	}
	return p.Addr()
}

// addressOf returns the address of an A or AAAA record; it is not valid for others.
// IPv4 is not mapped.
func addressOf(m *dnswire.Message, r *dnswire.Record) netip.Addr {
	if r.Class != dnswire.ClassIN || r.Fault != dnswire.None || r.Type != dnswire.TypeA && r.Type != dnswire.TypeAAAA {
		return netip.Addr{}
	}
	a, _ := netip.AddrFromSlice(m.RData(r))
	return a.Unmap()
}

// within reports whether a name is the domain or below it. Both are in lower case
// and without final dot.
func within(name, domain []byte) bool {
	if len(domain) == 0 || len(domain) == 1 && domain[0] == '.' {
		return true
	}
	return bytes.HasSuffix(name, domain) && (len(name) == len(domain) || name[len(name)-len(domain)-1] == '.')
}

// lower makes a name of presentation format lower case in place, without its final
// dot.
func lower(name []byte) []byte {
	for i, c := range name {
		if 'A' <= c && c <= 'Z' {
			name[i] = c + 'a' - 'A'
		}
	}
	return bytes.TrimSuffix(name, []byte{'.'})
}

// rate counts what happens in a sliding window, of which it keeps two halves: it
// errs by the share of the older one that has passed.
type rate struct {
	begin     int64
	now, past uint64
}

// add counts one and returns how many there are in the window, about.
func (r *rate) add(t int64, window int64) uint64 {
	half := window / 2
	switch since := t - r.begin; {
	case since >= window || since < 0:
		r.begin, r.now, r.past = t, 0, 0
	case since >= half:
		r.begin, r.past, r.now = r.begin+half, r.now, 0
	}
	r.now++
	return r.now + r.past
}

// mixed spreads the bits of a sum of hashes.
func mixed(h uint64) uint64 {
	h ^= h >> 32
	h *= 0x9e3779b97f4a7c15
	return h ^ h>>29
}
