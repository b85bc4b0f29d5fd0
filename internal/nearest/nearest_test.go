package nearest

import "testing"

func TestName(t *testing.T) {
	known := []string{"dns.rcode", "dns.id", "process.comm", "qname"}
	for text, want := range map[string]string{
		"dns.rcod": "dns.rcode", "proces.comm": "process.comm", "qnmae": "qname", "dns.id": "dns.id",
		"something.else": "", "": "", "xyz": "",
	} {
		if got := Name(text, known); got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}
