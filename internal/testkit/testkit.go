// Package testkit is what tests across rooms share: the built program, hosts in
// network namespaces, real servers, and capture files made on the spot.
package testkit

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"
)

// Unable ends a live test that cannot run here. It is a skip for somebody who
// tries the tests as they are, and a failure where live tests are required
// (DNSHARK_REQUIRE_LIVE=1), so that no gap passes for green.
func Unable(t testing.TB, format string, args ...any) {
	t.Helper()
	if os.Getenv("DNSHARK_REQUIRE_LIVE") == "1" {
		t.Fatalf("this live test must run here and cannot: "+format, args...)
	}
	skip(t, fmt.Sprintf(format, args...))
}

// skip skips a test and, where DNSHARK_SKIPS names a file, says so there: go
// test itself tells nobody.
func skip(t testing.TB, why string) {
	t.Helper()
	if file := os.Getenv("DNSHARK_SKIPS"); file != "" {
		f, err := os.OpenFile(file, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o666)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(f, "%s: %s\n", t.Name(), why)
		f.Close()
	}
	t.Skip("skipped: " + why)
}

// NeedRoot ends a live test that is not run by root.
func NeedRoot(t testing.TB) {
	t.Helper()
	if os.Geteuid() != 0 {
		Unable(t, "it needs root")
	}
}

// NeedPrograms ends a live test whose programs are not installed.
func NeedPrograms(t testing.TB, names ...string) {
	t.Helper()
	for _, name := range names {
		if _, err := exec.LookPath(name); err != nil {
			Unable(t, "%s is not installed (scripts/install-test-deps.sh installs it)", name)
		}
	}
}

// unpacked returns the directory of a program that is only unpacked, because it
// would change the machine if it were installed.
func unpacked(t testing.TB, name string) string {
	t.Helper()
	dir := "/usr/local/lib/dnshark-tests/" + name
	if _, err := os.Stat(dir); err != nil {
		Unable(t, "%s is not unpacked (scripts/install-test-deps.sh does it)", name)
	}
	return dir
}

// Root returns the directory of the module.
func Root(t testing.TB) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir
		}
		if parent := filepath.Dir(dir); parent != dir {
			dir = parent
			continue
		}
		t.Fatal("no go.mod above the working directory")
	}
}

// Corpus returns the path of a directory of the corpus of captures that lies
// beside the project, and skips the test where there is none.
func Corpus(t testing.TB, name string) string {
	t.Helper()
	dir := filepath.Join(Root(t), "..", "shared", "corpus", name)
	if _, err := os.Stat(dir); err != nil {
		skip(t, "there is no corpus of "+name+" beside the project")
	}
	return dir
}

var built struct {
	mu  sync.Mutex
	dir string
}

// Dnshark returns the path of the program: DNSHARK_BINARY or, when that is
// empty, what it builds once per test binary.
func Dnshark(t testing.TB) string {
	t.Helper()
	if path := os.Getenv("DNSHARK_BINARY"); path != "" {
		return path
	}
	return build(t, "./cmd/dnshark")
}

// build builds a program of the module, once per test binary.
func build(t testing.TB, room string) string {
	t.Helper()
	built.mu.Lock()
	defer built.mu.Unlock()
	if built.dir == "" {
		dir, err := os.MkdirTemp("", "dnshark-test-")
		if err != nil {
			t.Fatal(err)
		}
		built.dir = dir
	}
	path := filepath.Join(built.dir, filepath.Base(room))
	if _, err := os.Stat(path); err == nil {
		return path
	}
	cmd := exec.Command("go", "build", "-o", path, room)
	cmd.Dir = Root(t)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("building %s: %v\n%s", room, err, out)
	}
	return path
}

// RemoveBuild removes what Dnshark and others built; for TestMain.
func RemoveBuild() {
	if built.dir != "" {
		os.RemoveAll(built.dir)
	}
}

// Daemon is a program that runs until the test ends.
type Daemon struct {
	*exec.Cmd
	Output *Buffer // standard output and standard error
	done   chan struct{}
	err    error
}

// Start starts a program and ends it with the test. It dies with the test
// process, even if that is killed.
func Start(t testing.TB, cmd *exec.Cmd) *Daemon {
	t.Helper()
	d := &Daemon{Cmd: cmd, Output: &Buffer{}, done: make(chan struct{})}
	if cmd.Stdout == nil {
		cmd.Stdout = d.Output
	}
	if cmd.Stderr == nil {
		cmd.Stderr = d.Output
	}
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Pdeathsig = syscall.SIGKILL
	if err := cmd.Start(); err != nil {
		t.Fatalf("starting %s: %v", cmd.Path, err)
	}
	go func() {
		d.err = cmd.Wait()
		close(d.done)
	}()
	t.Cleanup(func() {
		d.Process.Kill()
		<-d.done
	})
	return d
}

// Stop asks the program to end and waits for it.
func (d *Daemon) Stop(t testing.TB) error {
	t.Helper()
	d.Process.Signal(syscall.SIGTERM)
	return d.Wait(t, 10*time.Second)
}

// Wait waits for the program's end, at most for limit.
func (d *Daemon) Wait(t testing.TB, limit time.Duration) error {
	t.Helper()
	select {
	case <-d.done:
		return d.err
	case <-time.After(limit):
		t.Fatalf("%s does not end within %v:\n%s", d.Path, limit, d.Output)
		return nil
	}
}

// Ended reports whether the program has ended.
func (d *Daemon) Ended() bool {
	select {
	case <-d.done:
		return true
	default:
		return false
	}
}

// FreePorts returns ports of loopback on which nobody listens.
func FreePorts(t testing.TB, n int) (ports []int) {
	t.Helper()
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		ports = append(ports, l.Addr().(*net.TCPAddr).Port)
	}
	return ports
}

// Eventually waits until ok, at most for limit.
func Eventually(t testing.TB, limit time.Duration, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(limit); !ok(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%s: not within %v", what, limit)
		}
	}
}

// Buffer gathers output and may be read while it grows.
type Buffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

// Write implements io.Writer.
func (b *Buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

// String returns what was written so far.
func (b *Buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}
