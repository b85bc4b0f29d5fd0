package afpacket

import (
	"context"
	"encoding/hex"
	"errors"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/bpf"

	"github.com/dnshark-io/dnshark/internal/source"
	"github.com/dnshark-io/dnshark/internal/testkit"
)

const (
	ethernet = "ffffffffffff 020000000001 "
	v4       = "0800 45000020 0001%s 4011 0000 c0000201 c0000202 "
	v6       = "86dd 60000000 0008 %s 40 20010db8000000000000000000000001 20010db8000000000000000000000002 "
)

// The filter, run octet by octet as the kernel would.
func TestFilter(t *testing.T) {
	ipv4 := func(fragment string) string { return strings.Replace(v4, "%s", fragment, 1) }
	ipv6 := func(next string) string { return strings.Replace(v6, "%s", next, 1) }
	to53, from53, other := "9c40 0035 000c 0000 ", "0035 9c40 000c 0000 ", "9c40 0050 000c 0000 "
	for _, c := range []struct {
		name, frame string
		want        bool
	}{
		{"IPv4 to 53", ethernet + ipv4("0000") + to53, true},
		{"IPv4 from 53", ethernet + ipv4("0000") + from53, true},
		{"IPv4 to 80", ethernet + ipv4("0000") + other, false},
		{"IPv4 to 5353", ethernet + ipv4("0000") + "9c40 14e9 000c 0000", true},
		{"TCP", ethernet + strings.Replace(ipv4("0000"), "4011", "4006", 1) + to53, true},
		{"ICMP", ethernet + strings.Replace(ipv4("0000"), "4011", "4001", 1) + to53, false},
		{"first fragment", ethernet + ipv4("2000") + to53, true},
		{"first fragment to 80", ethernet + ipv4("2000") + other, false},
		{"later fragment", ethernet + ipv4("2010") + other, true},
		{"IPv4 options", ethernet + strings.Replace(ipv4("0000"), "45000020", "47000028", 1) + "0101010101010101" + to53, true},
		{"IPv4 options to 80", ethernet + strings.Replace(ipv4("0000"), "45000020", "47000028", 1) + "0035003500350035" + other, false},
		{"IPv6 to 53", ethernet + ipv6("11") + to53, true},
		{"IPv6 TCP from 53", ethernet + ipv6("06") + from53, true},
		{"IPv6 to 80", ethernet + ipv6("11") + other, false},
		{"IPv6 fragment", ethernet + ipv6("2c") + other, true},
		{"IPv6 hop-by-hop", ethernet + ipv6("00") + other, true},
		{"IPv6 ICMP", ethernet + ipv6("3a") + to53, false},
		{"VLAN", ethernet + "8100 0064 " + ipv4("0000") + to53, true},
		{"VLAN to 80", ethernet + "8100 0064 " + ipv4("0000") + other, false},
		{"VLAN IPv6", ethernet + "8100 0064 " + ipv6("11") + to53, true},
		{"QinQ", ethernet + "88a8 0064 8100 0065 " + ipv4("0000") + from53, true},
		{"three tags", ethernet + "88a8 0064 8100 0065 8100 0066 " + ipv4("0000") + from53, false},
		{"ARP", ethernet + "0806 00010800060400010035003500350035", false},
		{"short", ethernet + "0800 4500", false},
	} {
		a := &asm{labels: map[string]int{}}
		a.rules(false, []uint16{53, 5353})
		vm, err := bpf.NewVM(a.resolve())
		if err != nil {
			t.Fatal(err)
		}
		frame, err := hex.DecodeString(strings.ReplaceAll(c.frame, " ", ""))
		if err != nil {
			t.Fatal(err)
		}
		n, err := vm.Run(frame)
		if err != nil {
			t.Fatal(err)
		}
		if got := n > 0; got != c.want {
			t.Errorf("%s: accepted %v, want %v", c.name, got, c.want)
		}
	}
}

func TestFilterFitsKernel(t *testing.T) {
	for _, cooked := range []bool{false, true} {
		program, err := filter(cooked, make([]uint16, 16))
		if err != nil || len(program) > 200 {
			t.Errorf("%d instructions, %v", len(program), err)
		}
	}
}

func TestUnknownInterface(t *testing.T) {
	_, err := New(Options{Iface: "nonet0"}).Open(1)
	if !errors.Is(err, ErrNoInterface) || !strings.Contains(err.Error(), "lo") {
		t.Errorf("%v", err)
	}
}

// On loopback, named or not, every packet comes once, whole and with its
// interface; packets of other ports do not come.
func TestLoopback(t *testing.T) {
	testkit.NeedRoot(t)
	for _, iface := range []string{"lo", ""} {
		lanes, err := New(Options{Iface: iface, Ports: []uint16{5399}}).Open(1)
		if err != nil {
			testkit.Unable(t, "%v", err)
		}
		lane := lanes[0]
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		const packets = 5000
		go send(t, packets)
		got, empty := 0, 0
		err = lane.Run(ctx, func(frames []source.Frame) error {
			if len(frames) == 0 {
				if empty++; got > 0 && empty > 2 {
					cancel()
				}
			}
			for _, f := range frames {
				if !strings.Contains(string(f.Data), "hello") || f.Iface != "lo" || f.Dir != source.DirUnknown ||
					time.Since(time.Unix(0, f.Time)) > time.Minute || f.WireLen != len(f.Data) {
					t.Errorf("%+v", f)
				}
				got++
			}
			return nil
		})
		cancel()
		s := lane.Stats()
		if err := lane.Close(); err != nil {
			t.Error(err)
		}
		if err != nil || got != packets || s.Seen != packets || s.Submitted != packets || s.RingFull != 0 {
			t.Errorf("interface %q: %d frames of %d, %+v, %v", iface, got, packets, s, err)
		}
	}
}

func send(t *testing.T, n int) {
	conn, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.MustParseAddrPort("127.0.0.1:0")))
	if err != nil {
		t.Error(err)
		return
	}
	defer conn.Close()
	for range n {
		for _, port := range []uint16{5399, 5398} {
			conn.WriteToUDPAddrPort([]byte("hello"), netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), port))
		}
	}
}
