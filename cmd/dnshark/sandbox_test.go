package main

import (
	"crypto/tls"
	"encoding/pem"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/dnshark-io/dnshark/internal/privilege"
	"github.com/dnshark-io/dnshark/internal/testkit"
)

// confinement is what /proc says of a process in its sandbox.
var confinement = map[string]string{"CapPrm": "0000000000000000", "CapEff": "0000000000000000", "NoNewPrivs": "1", "Seccomp": "2"}

func checkConfined(t *testing.T, pid int) {
	t.Helper()
	if err := privilege.Seccomp(); err != nil {
		testkit.Unable(t, "%v", err)
	}
	testkit.Eventually(t, 20*time.Second, "a sandbox", func() bool {
		// Threads may begin and end while their files are read.
		data, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
		return err == nil && strings.Contains(string(data), "Seccomp:\t2")
	})
	got := status(t, pid, "CapPrm", "CapEff", "NoNewPrivs", "Seccomp")
	if !maps.Equal(got, confinement) {
		t.Errorf("%v, want %v", got, confinement)
	}
	threads, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", pid))
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("every one of %d threads: %v", len(threads), got)
}

// Whoever reads hostile files can do nothing else, also where root runs it.
func TestReadConfined(t *testing.T) {
	dir := t.TempDir()
	cmd := exec.Command(testkit.Dnshark(t), "read", "-o", "json:"+filepath.Join(dir, "out.json"), "--store", filepath.Join(dir, "store"), "-")
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	d := testkit.Start(t, cmd)
	checkConfined(t, d.Process.Pid)
	capture, err := os.ReadFile("../../testdata/example.pcap")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := in.Write(capture); err != nil {
		t.Fatal(err)
	}
	in.Close()
	if err := d.Wait(t, 30*time.Second); err != nil {
		t.Fatalf("%v: %s", err, d.Output.String())
	}
	if out, err := os.ReadFile(filepath.Join(dir, "out.json")); err != nil || len(out) == 0 {
		t.Errorf("%v, %d octets", err, len(out))
	}

	server := testkit.Start(t, exec.Command(testkit.Dnshark(t), "serve", "--no-capture", "--store", filepath.Join(dir, "store"), "--listen", "unix:"+filepath.Join(dir, "socket")))
	checkConfined(t, server.Process.Pid)
	if err := server.Stop(t); err != nil {
		t.Errorf("%v: %s", err, server.Output.String())
	}
}

// A receiver is found by name, and its certificate trusted by the system's list,
// from inside the sandbox; files are rotated there.
func TestConfinedOutputs(t *testing.T) {
	var got atomic.Int64
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		got.Add(int64(len(body)))
	}))
	server.TLS = &tls.Config{}
	server.StartTLS()
	defer server.Close()
	dir := t.TempDir()
	ca := filepath.Join(dir, "ca.pem")
	if err := os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}), 0o644); err != nil {
		t.Fatal(err)
	}
	u, err := url.Parse(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	logs := filepath.Join(dir, "logs")
	if err := os.Mkdir(logs, 0o755); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(testkit.Dnshark(t), "read",
		"-o", "https://localhost:"+u.Port()+"/?server-name=example.com&spool=1MB&spool-dir="+filepath.Join(dir, "spool"),
		"-o", "json:"+filepath.Join(logs, "out.json")+",rotate=1KB,batch=1KB", "../../testdata/example.pcap", "../../testdata/example.pcap")
	cmd.Env = append(os.Environ(), "SSL_CERT_FILE="+ca)
	out, err := cmd.CombinedOutput()
	if err != nil || got.Load() == 0 {
		t.Errorf("%v, %d octets: %s", err, got.Load(), out)
	}
	testkit.Eventually(t, 10*time.Second, "rotated files", func() bool {
		files, _ := filepath.Glob(filepath.Join(logs, "*"))
		return len(files) > 1
	})
	files, _ := filepath.Glob(filepath.Join(logs, "*"))
	t.Logf("%d octets posted; %v", got.Load(), files)
}
