package main

import (
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/dnshark-io/dnshark/internal/privilege"
)

// ownProcess is set when this process is dnshark's own, and not a test's: what a
// sandbox takes is gone for good.
var ownProcess bool

// sandboxTrap is the variable of the environment that makes a forbidden system call
// end the program and say where it was made. Tests set it.
const sandboxTrap = envPrefix + "SANDBOX_TRAP"

// sandbox is what a command may still do once it has opened what it works on.
type sandbox struct {
	files   privilege.Files
	network bool // connect and listen
	maps    bool // of eBPF
	// processes are looked at in /proc, which Landlock does not let one do.
	processes bool
	// dropped says that capabilities were given up already.
	dropped bool
}

// enter confines the process for good: no capability that its files do not need,
// no system call but those in privilege.FilterCalls, no file but those named. What
// the kernel does not have is left out; doctor says so.
func (o *options) enter(s *sandbox) error {
	if o.noSandbox || !ownProcess {
		return nil
	}
	if !s.dropped {
		if err := privilege.Drop(s.keep()); err != nil {
			return err
		}
	}
	if !s.processes {
		if err := privilege.LockFiles(s.files); err != nil && !errors.Is(err, privilege.ErrNoLandlock) {
			return fmt.Errorf("%w; --no-sandbox does without", err)
		}
	}
	calls := privilege.Calls{Network: s.network, Maps: s.maps, Trap: os.Getenv(sandboxTrap) != ""}
	if err := privilege.FilterCalls(calls); err != nil && !errors.Is(err, privilege.ErrNoSeccomp) {
		return fmt.Errorf("%w; --no-sandbox does without", err)
	}
	return nil
}

// keep returns the capabilities without which the files could not be opened:
// root's capture of a user's file.
func (s *sandbox) keep() (keep privilege.Set) {
	check := func(paths []string, mode uint32, c int) {
		for _, path := range paths {
			err := privilege.Unaided(func() error { return unix.Faccessat(unix.AT_FDCWD, path, mode, unix.AT_EACCESS) })
			if errors.Is(err, fs.ErrPermission) {
				keep |= privilege.Of(c)
			}
		}
	}
	check(s.files.Read, unix.R_OK, unix.CAP_DAC_READ_SEARCH)
	check(s.files.Write, unix.R_OK|unix.W_OK, unix.CAP_DAC_OVERRIDE)
	return keep
}

// sandbox returns what the line needs.
func (o *options) sandbox(live bool) *sandbox {
	s := &sandbox{}
	for _, path := range o.inputs {
		if path != "-" {
			s.files.Read = append(s.files.Read, path)
		}
	}
	for _, path := range o.policyPaths {
		// A policy file may be replaced.
		s.files.Read = append(s.files.Read, path, filepath.Dir(path))
	}
	if o.file != "" {
		s.files.Write = append(s.files.Write, filepath.Dir(o.file))
	}
	for _, t := range o.targets {
		read, write, network := t.Needs()
		s.files.Read, s.files.Write = append(s.files.Read, read...), append(s.files.Write, write...)
		s.network = s.network || network
	}
	if o.serve != nil {
		o.serve.confine(s, o)
	}
	s.store(o.history.dir)
	if dir := o.stateDir(); dir != "" {
		s.files.Write = append(s.files.Write, dir)
	}
	if path, ok := strings.CutPrefix(o.metrics, "unix:"); ok {
		s.files.Write = append(s.files.Write, filepath.Dir(path)) // the socket is removed at the end
	}
	if s.network {
		s.files.Read = append(s.files.Read, resolving()...)
	}
	if live {
		// Container runtimes are sockets; processes are files.
		s.network = true
		s.files.Read = append(s.files.Read, "/proc", "/sys/fs/cgroup", "/etc/passwd")
	}
	return s
}

// store lets the process use a history: a directory, or a server's URL.
func (s *sandbox) store(where string) {
	if u, err := url.Parse(where); err == nil && u.Host != "" {
		s.network = true
		s.files.Read = append(s.files.Read, resolving()...)
		return
	}
	if where != "" {
		s.files.Write = append(s.files.Write, where)
	}
}

// resolving returns what finding a server by name and trusting its certificate
// takes. /etc as a whole, because resolv.conf is replaced when a network changes.
func resolving() []string {
	paths := []string{"/etc", "/usr/share/ca-certificates", "/usr/local/share/ca-certificates", "/usr/share/pki"}
	for _, path := range []string{"/etc/resolv.conf", "/etc/hosts", "/etc/nsswitch.conf"} {
		if real, err := filepath.EvalSymlinks(path); err == nil && real != path {
			paths = append(paths, filepath.Dir(real))
		}
	}
	for _, name := range []string{"SSL_CERT_FILE", "SSL_CERT_DIR"} {
		if path := os.Getenv(name); path != "" {
			paths = append(paths, strings.Split(path, ":")...)
		}
	}
	return paths
}
