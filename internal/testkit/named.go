package testkit

import (
	"fmt"
	"os"
	"path/filepath"
)

// Named starts BIND on port 53 of the address, as the authority for a zone that
// a file holds. It gives the zone away to whoever asks (AXFR).
func (h *Host) Named(addr, zone, file string) *Daemon {
	h.t.Helper()
	NeedPrograms(h.t, "named", "dig")
	dir := h.t.TempDir()
	// The checks are off because a zone may hold what only tests want. The
	// sizes let answers come in one datagram that would else be cut.
	conf := fmt.Sprintf(`options {
	directory %q; pid-file none; session-keyfile none; lock-file none; memstatistics no;
	listen-on port 53 { %s; }; listen-on-v6 { none; };
	recursion no; dnssec-validation no; empty-zones-enable no; notify no;
	allow-query { any; }; allow-transfer { any; }; minimal-responses yes;
	max-udp-size 4096; edns-udp-size 4096; check-integrity no; check-spf ignore;
};
controls { };
zone %q { type primary; file %q; check-names ignore; check-mx ignore; check-wildcard no; };
`, dir, addr, zone, file)
	name := filepath.Join(dir, "named.conf")
	if err := os.WriteFile(name, []byte(conf), 0o600); err != nil {
		h.t.Fatal(err)
	}
	d := Start(h.t, h.Command("named", "-g", "-u", "root", "-n", "1", "-c", name))
	h.waitForDNS(d, addr, "53")
	return d
}
