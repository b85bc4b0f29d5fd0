package detect

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/miekg/dns"
)

// Addresses in many networks that are all of one autonomous system are a content delivery's;
// without a table nobody knows.
func TestFluxSystems(t *testing.T) {
	for _, test := range []struct {
		name    string
		systems func(netip.Addr) uint32
		want    string // what networks are counted, "" without alert
	}{
		{"no table", nil, "/16"},
		{"one system", func(netip.Addr) uint32 { return 64496 }, ""},
		{"a system each", func(a netip.Addr) uint32 { return uint32(a.As4()[1]) }, "AS"},
		{"none is known", func(netip.Addr) uint32 { return 0 }, "AS"},
	} {
		t.Run(test.name, func(t *testing.T) {
			l := newLab(t, Options{Systems: test.systems})
			for i := range 40 {
				l.now += 300e9
				l.see(talk{m: reply("www.bank-login.example", dns.TypeA, 0, fmt.Sprintf("A 45.%d.7.9", 2*i), fmt.Sprintf("A 45.%d.7.9", 2*i+1))})
			}
			a := l.has("dns_c2", "dns_fast_flux")
			if (a != nil) != (test.want != "") {
				t.Fatalf("alert %+v", a)
			}
			if a == nil {
				return
			}
			for _, e := range a.Evidence {
				if e.Name == "networks_are" && e.Texts[0] != test.want {
					t.Errorf("networks are %s", e.Texts[0])
				}
			}
		})
	}
}
