//go:build linux

package privilege

import (
	"errors"
	"os"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/dnshark-io/dnshark/internal/testkit"
)

func TestUnaided(t *testing.T) {
	testkit.NeedRoot(t)
	// Of another user, and closed to everybody else.
	closed := t.TempDir()
	if err := errors.Join(os.Chmod(closed, 0o700), os.Chown(closed, 65534, 65534)); err != nil {
		t.Fatal(err)
	}
	open := func() error {
		_, err := os.ReadDir(closed)
		return err
	}
	if err := open(); err != nil {
		t.Fatalf("with all capabilities: %v", err)
	}
	if err := Unaided(open); !errors.Is(err, os.ErrPermission) {
		t.Errorf("without any: %v", err)
	}
	for range 100 {
		if err := Unaided(func() error { return nil }); err != nil {
			t.Fatal(err)
		}
		if err := open(); err != nil {
			t.Fatalf("with all capabilities again: %v", err)
		}
	}
}

func TestString(t *testing.T) {
	s := Of(unix.CAP_SYS_PTRACE, unix.CAP_BPF, unix.CAP_CHOWN)
	if got := s.String(); got != "CAP_BPF, CAP_SYS_PTRACE, 0x1" {
		t.Error(got)
	}
	if got := Set(0).String(); got != "" {
		t.Error(got)
	}
}
