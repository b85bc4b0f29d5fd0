package testkit

import (
	"net/netip"
	"os"
	"path/filepath"
	"testing"

	"github.com/maxmind/mmdbwriter"
	"github.com/maxmind/mmdbwriter/mmdbtype"
	"go4.org/netipx"
)

// ASNs writes a MaxMind DB of autonomous systems by network, and returns its path. Without
// any it has one network that is of none.
func ASNs(t testing.TB, systems map[string]uint32) string {
	t.Helper()
	tree, err := mmdbwriter.New(mmdbwriter.Options{DatabaseType: "Test-ASN", IncludeReservedNetworks: true})
	if err != nil {
		t.Fatal(err)
	}
	insert := func(network string, record mmdbtype.Map) {
		if err := tree.Insert(netipx.PrefixIPNet(netip.MustParsePrefix(network)), record); err != nil {
			t.Fatal(err)
		}
	}
	for network, system := range systems {
		insert(network, mmdbtype.Map{"autonomous_system_number": mmdbtype.Uint32(system)})
	}
	if len(systems) == 0 {
		insert("198.51.100.0/24", mmdbtype.Map{"country": mmdbtype.String("none")})
	}
	path := filepath.Join(t.TempDir(), "asn.mmdb")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := tree.WriteTo(f); err != nil {
		t.Fatal(err)
	}
	return path
}
