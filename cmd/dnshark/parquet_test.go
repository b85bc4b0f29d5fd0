package main

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/miekg/dns"

	"github.com/dnshark-io/dnshark/internal/testkit"
)

// TestParquetFiles writes Parquet files one after the other: each is whole, none of the
// events is missing, and one that SIGKILL interrupts never gets a file's name.
func TestParquetFiles(t *testing.T) {
	testkit.NeedPrograms(t, "strace")
	const events = 70_000
	var file bytes.Buffer
	capture, err := testkit.NewCapture(&file)
	if err != nil {
		t.Fatal(err)
	}
	src, dst := netip.MustParseAddrPort("192.0.2.53:53"), netip.MustParseAddrPort("192.0.2.1:4000")
	random := rand.New(rand.NewPCG(1, 2))
	for n := range events {
		// Names that cannot be compressed well make files grow.
		q := new(dns.Msg)
		q.SetQuestion(fmt.Sprintf("n%d.%016x%016x%016x.test.", n, random.Uint64(), random.Uint64(), random.Uint64()), dns.TypeA)
		q.Response = true
		message, err := q.Pack()
		if err != nil {
			t.Fatal(err)
		}
		if err := capture.UDP(int64(n)*1e6, src, dst, message); err != nil {
			t.Fatal(err)
		}
	}
	dir := t.TempDir()
	pattern, partial := filepath.Join(dir, "x-*.parquet"), filepath.Join(dir, ".x.parquet.partial")
	files := func() int { return len(glob(t, pattern)) }
	run := func(under ...string) *exec.Cmd {
		args := append(under, testkit.Dnshark(t), "read", "-e", "net_packet_dns_response", "-o", "parquet:"+filepath.Join(dir, "x.parquet")+",rotate=1MB,every=1h", "-")
		cmd := exec.Command(args[0], args[1:]...)
		cmd.Stdin = bytes.NewReader(file.Bytes())
		return cmd
	}

	if out, err := run().CombinedOutput(); err != nil || !strings.Contains(string(out), fmt.Sprintf("%d delivered", events)) {
		t.Fatalf("%v: %s", err, out)
	}
	whole := files()
	if rows := numbers(t, pattern); rows != events || whole < 3 || len(glob(t, partial)) > 0 {
		t.Errorf("%d events in %d files, left %v", rows, whole, glob(t, partial))
	}
	for _, path := range glob(t, pattern) {
		t.Logf("%s: %v events", filepath.Base(path), testkit.DuckDB(t, path, "SELECT count(*)::INT AS n FROM file")[0]["n"])
	}

	// The first file is written and never complete.
	killed := run("strace", "-f", "-qq", "-o", os.DevNull, "-e", "trace=fsync", "-e", "inject=fsync:signal=KILL")
	if out, err := killed.CombinedOutput(); err == nil {
		t.Errorf("it was not killed: %s", out)
	}
	if rows := numbers(t, pattern); rows != events || files() != whole || len(glob(t, partial)) != 1 {
		t.Errorf("%d events in %d files, partial %v", rows, files(), glob(t, partial))
	}

	if out, err := run().CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if files() != 2*whole || len(glob(t, partial)) > 0 {
		t.Errorf("%d files, left %v", files(), glob(t, partial))
	}
}

// numbers returns how many events are in the files, which are numbered from 0 without
// a gap.
func numbers(t *testing.T, pattern string) int {
	t.Helper()
	row := testkit.DuckDB(t, pattern, `SELECT count(*)::INT AS n, count(DISTINCT i)::INT AS different, max(i)::INT AS last
		FROM (SELECT regexp_extract(dns_questions[1].name, '^n(\d+)', 1)::INT AS i FROM file)`)[0]
	n, _ := row["n"].(float64)
	if n > 0 && (row["different"] != n || row["last"] != n-1) {
		t.Errorf("%v", row)
	}
	return int(n)
}

func glob(t *testing.T, pattern string) []string {
	t.Helper()
	list, err := filepath.Glob(pattern)
	if err != nil {
		t.Fatal(err)
	}
	return list
}
