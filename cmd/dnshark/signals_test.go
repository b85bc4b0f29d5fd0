package main

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/dnshark-io/dnshark/internal/testkit"
)

// Where an output takes nothing, the second interrupt ends dnshark.
func TestSecondInterrupt(t *testing.T) {
	path := filepath.Join(t.TempDir(), "capture.pcap")
	newCapture(t, path).addAnswers(5000) // more than a pipe holds
	unread, stdout, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer unread.Close()
	cmd := exec.Command(testkit.Dnshark(t), "read", "-o", "json", path)
	cmd.Stdout = stdout
	d := testkit.Start(t, cmd)
	stdout.Close()
	for began := time.Now(); !d.Ended() && time.Since(began) < time.Minute; time.Sleep(100 * time.Millisecond) {
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
