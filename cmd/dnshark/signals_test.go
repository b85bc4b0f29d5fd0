package main

import (
	"errors"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/dnshark-io/dnshark/internal/testkit"
)

// Where an output takes nothing, the second interrupt ends dnshark.
func TestSecondInterrupt(t *testing.T) {
	path := filepath.Join(t.TempDir(), "capture.pcap")
	file, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	capture, err := testkit.NewCapture(file)
	if err != nil {
		t.Fatal(err)
	}
	answer := new(dns.Msg)
	answer.SetQuestion("example.test.", dns.TypeA)
	answer.Response = true
	octets, err := answer.Pack()
	if err != nil {
		t.Fatal(err)
	}
	for range 5000 { // more than a pipe holds
		if err := capture.UDP(0, netip.MustParseAddrPort("192.0.2.53:53"), netip.MustParseAddrPort("192.0.2.1:5000"), octets); err != nil {
			t.Fatal(err)
		}
	}
	unread, stdout, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer unread.Close()
	cmd := exec.Command(testkit.Dnshark(t), "read", "-o", "json", path)
	cmd.Stdout = stdout
	d := testkit.Start(t, cmd)
	stdout.Close()
	for began := time.Now(); !d.Ended() && time.Since(began) < 10*time.Second; time.Sleep(100 * time.Millisecond) {
		d.Process.Signal(syscall.SIGINT)
	}
	if !d.Ended() {
		t.Fatal("dnshark does not end")
	}
	var exit *exec.ExitError
	if err := d.Wait(t, time.Second); !errors.As(err, &exit) || exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGINT {
		t.Errorf("%v: %s", err, d.Output)
	}
}
