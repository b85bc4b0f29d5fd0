package asn

import (
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/dnshark-io/dnshark/internal/testkit"
)

func TestNumber(t *testing.T) {
	table, err := Open(testkit.ASNs(t, map[string]uint32{"198.51.100.0/24": 64496, "2001:db8:1::/48": 64497}))
	if err != nil {
		t.Fatal(err)
	}
	for address, want := range map[string]uint32{"198.51.100.7": 64496, "2001:db8:1::53": 64497, "203.0.113.1": 0, "2001:db8:2::1": 0} {
		if n := table.Number(netip.MustParseAddr(address)); n != want {
			t.Errorf("%s: %d, want %d", address, n, want)
		}
	}
}

// A file that is none, of something else, or damaged is refused or answers nothing, and ends
// nothing.
func TestBadFiles(t *testing.T) {
	good, err := os.ReadFile(testkit.ASNs(t, map[string]uint32{"198.51.100.0/24": 64496}))
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "table.mmdb")
	write := func(octets []byte) {
		if err := os.WriteFile(path, octets, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	try := func(octets []byte) {
		write(octets)
		if table, err := Open(path); err == nil {
			table.Number(netip.MustParseAddr("198.51.100.7"))
		}
	}
	for i := range good {
		try(good[:i])
		good[i] ^= 0xff
		try(good)
		good[i] ^= 0xff
	}
	write([]byte("no table"))
	if _, err := Open(path); err == nil {
		t.Error("a text is taken for a table")
	}
	other, err := Open(testkit.ASNs(t, nil))
	if err == nil || !strings.Contains(err.Error(), "autonomous_system_number") {
		t.Errorf("%v, %v", other, err)
	}
}
