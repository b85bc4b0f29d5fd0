package decode

import (
	"encoding/hex"
	"net/netip"
	"slices"
	"strings"
	"testing"
)

func octets(t *testing.T, text string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(text, " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// Every way of wrapping a packet that is known gives the message inside.
func TestTunnels(t *testing.T) {
	inner := ipPacket(server.Addr(), client.Addr(), protoUDP, udpDatagram(server, client, response(t, 7, "inner.example.test.")))
	inner6 := ipPacket(server6.Addr(), client6.Addr(), protoUDP, udpDatagram(server6, client6, response(t, 7, "inner.example.test.")))
	ethernet := octets(t, "020000000002 020000000001 0800")
	a, b := netip.MustParseAddrPort("198.51.100.1:50000"), netip.MustParseAddr("198.51.100.2")
	wrap := func(proto uint8, header string, payload ...[]byte) []byte {
		return ipPacket(a.Addr(), b, proto, slices.Concat(octets(t, header), slices.Concat(payload...)))
	}
	overUDP := func(port uint16, header string, payload ...[]byte) []byte {
		data := slices.Concat(octets(t, header), slices.Concat(payload...))
		return ipPacket(a.Addr(), b, protoUDP, udpDatagram(a, netip.AddrPortFrom(b, port), data))
	}
	for name, packet := range map[string][]byte{
		"IP in IP":             wrap(protoIPv4, "", inner),
		"IPv6 in IPv4":         wrap(protoIPv6, "", inner6),
		"GRE":                  wrap(protoGRE, "0000 0800", inner),
		"GRE, key, sequence":   wrap(protoGRE, "3000 0800 00000001 00000002", inner),
		"GRE, checksum":        wrap(protoGRE, "8000 86dd 00000000", inner6),
		"GRE, Ethernet":        wrap(protoGRE, "0000 6558", ethernet, inner),
		"PPTP":                 wrap(protoGRE, "3081 880b 0010 0001 00000001 00000002 ff03 0021", inner),
		"ERSPAN I":             wrap(protoGRE, "0000 88be", ethernet, inner),
		"ERSPAN II":            wrap(protoGRE, "1000 88be 00000001 10010001 00000000", ethernet, inner),
		"ERSPAN III":           wrap(protoGRE, "1000 22eb 00000001 20010001 00000000 00000000", ethernet, inner),
		"ERSPAN III, platform": wrap(protoGRE, "1000 22eb 00000001 20010001 00000000 00000001 0000000000000000", ethernet, inner),
		"VXLAN":                overUDP(portVXLAN, "08000000 00000100", ethernet, inner),
		"Geneve":               overUDP(portGeneve, "0000 6558 00000100", ethernet, inner),
		"Geneve, options":      overUDP(portGeneve, "0200 0800 00000100 0102800100000000", inner),
		"GTP-U":                overUDP(portGTPU, "30ff 0020 00000001", inner),
		"GTP-U, sequence":      overUDP(portGTPU, "32ff 0020 00000001 00010000", inner),
		"GTP-U, extension":     overUDP(portGTPU, "34ff 0020 00000001 00000085 01100900", inner),
		"GRE in UDP":           overUDP(portGREinUDP, "0000 0800", inner),
		"VXLAN in GRE":         wrap(protoGRE, "0000 0800", overUDP(portVXLAN, "08000000 00000100", ethernet, inner)),
	} {
		l := newLane(Options{})
		l.see(0, packet)
		if got := l.finish(); !slices.Equal(got, []string{"inner.example.test"}) {
			t.Errorf("%s: %v, %v", name, got, l.d.stats)
		}
	}
}

func TestTunnelDepth(t *testing.T) {
	packet := ipPacket(server.Addr(), client.Addr(), protoUDP, udpDatagram(server, client, response(t, 7, "deep.example.test.")))
	for range 5 {
		packet = ipPacket(server.Addr(), client.Addr(), protoIPv4, packet)
	}
	l := newLane(Options{})
	l.see(0, packet)
	if got := l.finish(); len(got) != 0 || l.d.stats.TunnelDepth != 1 {
		t.Errorf("%v, %v", got, l.d.stats)
	}
}

// A packet that passes wrapped and bare is one packet; a retransmission is not.
func TestTunnelDuplicate(t *testing.T) {
	bare := ipPacket(server.Addr(), client.Addr(), protoUDP, udpDatagram(server, client, response(t, 7, "twice.example.test.")))
	wrapped := ipPacket(server.Addr(), client.Addr(), protoIPv4, bare)
	l := newLane(Options{})
	l.see(0, wrapped)
	l.see(1000, bare)
	if len(l.names) != 1 || l.d.stats.TunnelDuplicate != 1 {
		t.Errorf("%v, %v", l.names, l.d.stats)
	}
	l.see(2000, wrapped)
	l.see(passingTime*2, bare)
	if len(l.names) != 3 {
		t.Errorf("%v, %v", l.names, l.d.stats)
	}
}

// Every link layer gives the message behind it.
func TestLinks(t *testing.T) {
	v4 := ipPacket(server.Addr(), client.Addr(), protoUDP, udpDatagram(server, client, response(t, 7, "link.example.test.")))
	const macs, snap = "020000000002 020000000001 ", "aaaa03 000000 0800"
	for name, c := range map[string]struct {
		link   int
		header string
	}{
		"Ethernet":         {1, macs + "0800"},
		"802.1Q":           {1, macs + "8100 0064 0800"},
		"QinQ":             {1, macs + "88a8 0064 8100 0065 0800"},
		"MPLS":             {1, macs + "8847 00010000 00020140 "},
		"PPPoE":            {1, macs + "8864 1100 0001 0050 0021"},
		"802.3, SNAP":      {1, macs + "0050 " + snap},
		"null, little":     {2, "02000000"},
		"null, big":        {2, "00000002"},
		"loop":             {3, "00000002"},
		"PPP":              {4, "ff03 0021"},
		"PPP, compressed":  {4, "21"},
		"SLL":              {5, "0000 0001 0006 020000000001 0000 0800"},
		"SLL, tagged":      {5, "0000 0001 0006 020000000001 0000 8100 0064 0800"},
		"SLL2":             {6, "0800 0000 00000002 0001 00 06 020000000001 0000"},
		"FDDI":             {7, "50 020000000002 020000000001 " + snap},
		"802.11":           {8, "0802 0000 020000000001 020000000002 020000000003 0000 " + snap},
		"802.11, QoS":      {8, "8802 0000 020000000001 020000000002 020000000003 0000 0000 " + snap},
		"radiotap, 802.11": {9, "00 00 0800 00000000 0802 0000 020000000001 020000000002 020000000003 0000 " + snap},
	} {
		l := newLane(Options{})
		l.frame(links[c.link], append(octets(t, c.header), v4...))
		if got := l.finish(); !slices.Equal(got, []string{"link.example.test"}) {
			t.Errorf("%s: %v, %v", name, got, l.d.stats)
		}
	}
}
