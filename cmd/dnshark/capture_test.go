package main

import (
	"net/netip"
	"os"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/dnshark-io/dnshark/internal/testkit"
)

// captureFile is a capture that a test makes.
type captureFile struct {
	t       *testing.T
	capture *testkit.Capture
}

func newCapture(t *testing.T, path string) *captureFile {
	t.Helper()
	file, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { file.Close() })
	capture, err := testkit.NewCapture(file)
	if err != nil {
		t.Fatal(err)
	}
	return &captureFile{t, capture}
}

// add writes a message between a client and 192.0.2.53, in the direction that it has.
func (c *captureFile) add(at time.Time, client netip.AddrPort, m *dns.Msg) {
	c.t.Helper()
	octets, err := m.Pack()
	if err != nil {
		c.t.Fatalf("%s: %v", m.Question[0].Name, err)
	}
	src, dst := client, netip.MustParseAddrPort("192.0.2.53:53")
	if m.Response {
		src, dst = dst, src
	}
	if err := c.capture.UDP(at.UnixNano(), src, dst, octets); err != nil {
		c.t.Fatal(err)
	}
}

// addAnswers writes n equal answers, a second apart.
func (c *captureFile) addAnswers(n int) {
	c.t.Helper()
	m := new(dns.Msg)
	m.SetQuestion("example.test.", dns.TypeA)
	m.Response = true
	for i := range n {
		c.add(time.Unix(int64(1_767_323_045+i), 0), netip.MustParseAddrPort("192.0.2.1:5000"), m)
	}
}
