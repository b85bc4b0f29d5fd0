package suffix

import "testing"

func TestRegistered(t *testing.T) {
	var table Table
	for range 2 { // found, then remembered
		for name, want := range map[string]string{
			"www.example.com": "example.com", "example.com": "example.com", "com": "", "": "", ".": "",
			"a.b.example.co.uk": "example.co.uk", "co.uk": "", "x.y.unknown-tld": "y.unknown-tld",
			"foo.bar.ck": "foo.bar.ck", "www.ck": "www.ck", "bar.ck": "", // a wildcard and its exception
			"me.github.io":    "me.github.io",
			`foo\.victim.com`: `foo\.victim.com`, `x.foo\\.victim.com`: "victim.com", `\.com`: `\.com`,
		} {
			if got := string(table.Registered([]byte(name))); got != want {
				t.Errorf("%s: %q, want %q", name, got, want)
			}
		}
	}
	name := []byte("www.example.co.uk")
	if n := testing.AllocsPerRun(100, func() { table.Registered(name) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
