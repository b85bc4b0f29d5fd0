package synth

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/pcapgo"
	"github.com/miekg/dns"
)

// Every query is answered once, with its name, and as many wait as was asked for.
func TestWrite(t *testing.T) {
	c := Capture{Responses: 5000, Pending: 70, Names: 300}
	file := filepath.Join(t.TempDir(), "c.pcap")
	if err := c.Write(file); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	r, err := pcapgo.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	type key struct {
		flow gopacket.Flow
		port layers.UDPPort
		id   uint16
	}
	waiting, names := map[key]string{}, map[string]bool{}
	answers, most := 0, 0
	for {
		data, _, err := r.ReadPacketData()
		if err != nil {
			break
		}
		p := gopacket.NewPacket(data, layers.LayerTypeEthernet, gopacket.Default)
		udp, ok := p.TransportLayer().(*layers.UDP)
		if !ok || p.ErrorLayer() != nil && p.ApplicationLayer() == nil {
			t.Fatalf("no UDP: %v", p)
		}
		var m dns.Msg
		if err := m.Unpack(udp.Payload); err != nil {
			t.Fatal(err)
		}
		name, flow := m.Question[0].Name, p.NetworkLayer().NetworkFlow()
		names[name] = true
		if !m.Response {
			k := key{flow, udp.SrcPort, m.Id}
			if _, twice := waiting[k]; twice {
				t.Fatalf("%v asks twice", k)
			}
			waiting[k] = name
			most = max(most, len(waiting))
			continue
		}
		k := key{flow.Reverse(), udp.DstPort, m.Id}
		if waiting[k] != name || len(m.Answer) != 3 || m.Answer[1].Header().Name != m.Answer[0].(*dns.CNAME).Target {
			t.Fatalf("%v is asked and %v answered", waiting[k], &m)
		}
		delete(waiting, k)
		answers++
	}
	if answers != c.Responses || len(waiting) != 0 || len(names) != c.Names || most != c.Pending+1 {
		t.Errorf("%d answers, %d waiting at the end, %d at once, %d names", answers, len(waiting), most, len(names))
	}
}
