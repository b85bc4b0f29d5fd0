//go:build linux

package afpacket

import (
	"encoding/hex"
	"fmt"
	"strings"
	"testing"

	"golang.org/x/net/bpf"
)

const (
	ethernet = "ffffffffffff 020000000001 "
	v4       = "0800 45000020 0001%s 4011 0000 c0000201 c0000202 "
	v6       = "86dd 60000000 0008 %s 40 20010db8000000000000000000000001 20010db8000000000000000000000002 "

	to53   = "9c40 0035 000c 0000 "
	from53 = "0035 9c40 000c 0000 "
	other  = "9c40 0050 000c 0000 "
)

func ipv4(fragment string) string { return fmt.Sprintf(v4, fragment) }
func ipv6(next string) string     { return fmt.Sprintf(v6, next) }

func packet(t *testing.T, text string) []byte {
	t.Helper()
	p, err := hex.DecodeString(strings.ReplaceAll(text, " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func run(t *testing.T, program []bpf.Instruction, packet []byte) int {
	t.Helper()
	vm, err := bpf.NewVM(program)
	if err != nil {
		t.Fatal(err)
	}
	n, err := vm.Run(packet)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

var filterCases = []struct {
	name, frame string // behind the Ethernet addresses
	dns, other  bool   // passes as DNS; would pass with AllPackets
}{
	{"IPv4 to 53", ipv4("0000") + to53, true, true},
	{"IPv4 from 53", ipv4("0000") + from53, true, true},
	{"IPv4 to 80", ipv4("0000") + other, false, true},
	{"IPv4 to 5353", ipv4("0000") + "9c40 14e9 000c 0000", true, true},
	{"TCP", strings.Replace(ipv4("0000"), "4011", "4006", 1) + to53, true, true},
	{"TCP to 80", strings.Replace(ipv4("0000"), "4011", "4006", 1) + other, false, true},
	{"ICMP", strings.Replace(ipv4("0000"), "4011", "4001", 1) + to53, false, true},
	{"do not fragment", ipv4("4000") + to53, true, true},
	{"first fragment", ipv4("2000") + to53, true, true},
	{"first fragment to 80", ipv4("2000") + other, false, true},
	{"later fragment", ipv4("2010") + other, true, true},
	{"last fragment", ipv4("0010") + other, true, true},
	{"last fragment of TCP", strings.Replace(ipv4("0010"), "4011", "4006", 1) + other, true, true},
	{"last fragment of ICMP", strings.Replace(ipv4("0010"), "4011", "4001", 1) + to53, false, true},
	{"IPv4 options", strings.Replace(ipv4("0000"), "45000020", "47000028", 1) + "0101010101010101" + to53, true, true},
	{"IPv4 options to 80", strings.Replace(ipv4("0000"), "45000020", "47000028", 1) + "0035003500350035" + other, false, true},
	{"IPv6 to 53", ipv6("11") + to53, true, true},
	{"IPv6 TCP from 53", ipv6("06") + from53, true, true},
	{"IPv6 to 80", ipv6("11") + other, false, true},
	{"IPv6 ICMP", ipv6("3a") + to53, false, true},
	{"IPv6 first fragment", ipv6("2c") + "1100 0001 00000007" + to53, true, true},
	{"IPv6 first fragment to 80", ipv6("2c") + "1100 0001 00000007" + other, false, true},
	{"IPv6 later fragment", ipv6("2c") + "1100 0008 00000007" + other, true, true},
	{"IPv6 later fragment of ICMP", ipv6("2c") + "3a00 0008 00000007" + to53, false, true},
	{"IPv6 later fragment behind options", ipv6("00") + "2c00 010400000000" + "1100 0008 00000007" + other, true, true},
	{"IPv6 hop-by-hop", ipv6("00") + "1100 010400000000" + to53, true, true},
	{"IPv6 hop-by-hop to 80", ipv6("00") + "1100 010400000000" + other, false, true},
	{"IPv6 long routing header", ipv6("2b") + "3c02 000000000000 0035003500350035 0035003500350035" + "0600 010400000000" + from53, true, true},
	{"IPv6 multicast listener report", ipv6("00") + "3a00 050200000100" + "8f00003500350035", false, true},
	{"IPv6 five extension headers", ipv6("3c") + strings.Repeat("3c00 010400000000", 4) + "1100 010400000000" + to53, false, true},
	{"ARP", "0806 00010800060400010035003500350035", false, false},
	{"short", "0800 4500", false, false},
	{"IPX", "8137 ffff002200110035003500350035", false, false},
}

// The filter, run octet by octet as the kernel would, on every packet behind
// different link headers.
func TestFilter(t *testing.T) {
	ports := []uint16{53, 5353}
	for _, link := range []struct {
		before string
		seen   bool
	}{
		{"", true}, {"8100 0064 ", true}, {"88a8 2064 ", true}, {"88a8 0064 8100 0065 ", true}, {"9100 0064 8100 0065 ", true},
		{"88a8 0064 8100 0065 8100 0066 ", false},
	} {
		for _, c := range filterCases {
			frame := packet(t, ethernet+link.before+c.frame)
			if got, want := run(t, choose(ports, false, false), frame) == whole, c.dns && link.seen; got != want {
				t.Errorf("%s behind %q: passes %v, want %v", c.name, link.before, got, want)
			}
			n, want := run(t, choose(ports, false, true), frame), 0
			if link.seen && c.other {
				want = head + etherHeader
			}
			if link.seen && c.dns {
				want = whole
			}
			if n != want && c.name != "short" {
				t.Errorf("%s behind %q: %d octets with all packets, want %d", c.name, link.before, n, want)
			}
		}
	}
	for _, c := range filterCases {
		if typ := c.frame[:4]; typ != "0800" && typ != "86dd" {
			continue // the kernel's part of the filter
		}
		if got := run(t, choose(ports, true, false), packet(t, c.frame[4:])) == whole; got != c.dns {
			t.Errorf("%s without link header: passes %v, want %v", c.name, got, c.dns)
		}
	}
}

// Every list of ports makes a program that the kernel loads (4096 instructions
// at most) and that knows the first and the last of them.
func TestFilterPorts(t *testing.T) {
	for n := 1; n <= maxPorts; n++ {
		ports := make([]uint16, n)
		for i := range ports {
			ports[i] = uint16(1000 + i)
		}
		for _, cooked := range []bool{false, true} {
			for _, all := range []bool{false, true} {
				raw, err := bpf.Assemble(filter(ports, cooked, all))
				if err != nil || len(raw) > 4096 {
					t.Fatalf("%d ports: %d instructions, %v", n, len(raw), err)
				}
			}
		}
		program := choose(ports, false, false)
		for port, want := range map[int]bool{999: false, 1000: true, 999 + n: true, 1000 + n: false} {
			for _, ends := range []string{fmt.Sprintf("0001 %04x 000c 0000", port), fmt.Sprintf("%04x 0001 000c 0000", port)} {
				if got := run(t, program, packet(t, ethernet+ipv4("0000")+ends)) > 0; got != want {
					t.Errorf("%d ports, packet %s: %v, want %v", n, ends, got, want)
				}
			}
		}
	}
}

func TestSpreadAssembles(t *testing.T) {
	if _, err := bpf.Assemble(spread()); err != nil {
		t.Error(err)
	}
}

func FuzzFilter(f *testing.F) {
	for _, c := range filterCases {
		p, _ := hex.DecodeString(strings.ReplaceAll(ethernet+c.frame, " ", ""))
		f.Add(p)
	}
	raw, err := bpf.NewVM(choose([]uint16{53}, false, true))
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, frame []byte) {
		if _, err := raw.Run(frame); err != nil {
			t.Error(err)
		}
	})
}
