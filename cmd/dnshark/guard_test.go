package main

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/dnshark-io/dnshark/internal/testkit"
)

// Instructions are counted because they hardly vary from run to run, on whatever
// machine: a slower step is seen here before any clock can tell it from noise.

const (
	guardResponses = 20_000
	guardSlack     = 1.05
	guardFigures   = "../../testdata/instructions.tsv"
)

var guardLoads = []struct {
	name  string
	write func(*testing.T, *testkit.Capture, int)
	args  []string
}{
	{"udp-json", guardUDP, []string{"-e", "net_packet_dns_response", "-o", "json"}},
	{"udp-table", guardUDP, []string{"-e", "net_packet_dns_response", "-o", "table"}},
	{"udp-none", guardUDP, []string{"-e", "net_packet_dns_response", "-o", "none"}},
	{"udp-detect", guardUDP, []string{"-o", "none"}},
	{"tcp-json", guardTCP, []string{"-e", "net_packet_dns_response", "-o", "json"}},
}

func TestGuardInstructions(t *testing.T) {
	testkit.NeedPrograms(t, "valgrind")
	version := regexp.MustCompile(`^go1\.\d+`).FindString(runtime.Version())
	machine := version + "\t" + runtime.GOARCH
	figures := readFigures(t)
	update := os.Getenv("UPDATE_GUARD") != ""
	for _, load := range guardLoads {
		empty := instructions(t, guardCapture(t, load.write, 0), load.args)
		file := guardCapture(t, load.write, guardResponses)
		if n := countLines(t, exec.Command(testkit.Dnshark(t), "read", "-q", "-o", "json", file)); n != guardResponses {
			t.Fatalf("%s: %d responses, want %d", load.name, n, guardResponses)
		}
		all := instructions(t, file, load.args)
		got := float64(all-empty) / guardResponses
		key := machine + "\t" + load.name
		want, known := figures[key]
		t.Logf("%s: %.0f instructions per response, committed %.0f", load.name, got, want)
		switch {
		case update:
			figures[key] = got
		case !known:
			testkit.Unable(t, "%s has no figure for %s and %s; `make guard UPDATE=1` adds it", guardFigures, version, runtime.GOARCH)
		case got > want*guardSlack:
			t.Errorf("%s: %.0f instructions per response, %.1f %% more than the committed %.0f. "+
				"If that is the price of what the change does, `make guard UPDATE=1` commits it", load.name, got, 100*(got/want-1), want)
		case got < want/guardSlack:
			t.Logf("%s: %.1f %% fewer than committed: `make guard UPDATE=1` keeps the gain", load.name, 100*(1-got/want))
		}
	}
	if update {
		writeFigures(t, figures)
	}
}

var collected = regexp.MustCompile(`Collected : (\d+)`)

// instructions returns how many a run of dnshark takes.
func instructions(t *testing.T, file string, args []string) uint64 {
	t.Helper()
	cmd := exec.Command("valgrind", append([]string{"--tool=callgrind", "--callgrind-out-file=/dev/null",
		testkit.Dnshark(t), "read", "-q", "--no-sandbox", "--host", "h", file}, args...)...)
	// One thread of work and no collector: both would count differently each time.
	// Signals that preempt goroutines end callgrind.
	cmd.Env = append(os.Environ(), "GOMAXPROCS=1", "GOGC=off", "GODEBUG=asyncpreemptoff=1")
	null, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	errs := &testkit.Buffer{}
	cmd.Stdout, cmd.Stderr = null, errs
	if err := cmd.Run(); err != nil {
		t.Fatalf("valgrind: %v: %s", err, errs)
	}
	m := collected.FindStringSubmatch(errs.String())
	if m == nil {
		t.Fatalf("valgrind counted nothing: %s", errs)
	}
	n, err := strconv.ParseUint(m[1], 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func guardCapture(t *testing.T, write func(*testing.T, *testkit.Capture, int), responses int) string {
	t.Helper()
	f, err := os.Create(filepath.Join(t.TempDir(), "guard.pcap"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	w := bufio.NewWriter(f)
	c, err := testkit.NewCapture(w)
	if err != nil {
		t.Fatal(err)
	}
	write(t, c, responses)
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	return f.Name()
}

var (
	guardServer = netip.MustParseAddrPort("198.51.100.53:53")
	guardStart  = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC).UnixNano()
)

const guardDistinct = 1000

func guardClient(i int) netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}), uint16(1024+i))
}

func guardUDP(t *testing.T, c *testkit.Capture, responses int) {
	t.Helper()
	for i := range responses {
		query, response := exchange(t, i%guardDistinct)
		binary.BigEndian.PutUint16(query, uint16(i))
		binary.BigEndian.PutUint16(response, uint16(i))
		now := guardStart + int64(i)*10_000
		if err := c.UDP(now, guardClient(i), guardServer, query); err != nil {
			t.Fatal(err)
		}
		if err := c.UDP(now+3_000, guardServer, guardClient(i), response); err != nil {
			t.Fatal(err)
		}
	}
}

// guardTCP writes connections of 50 pipelined queries, whose answers come in
// segments that end anywhere.
func guardTCP(t *testing.T, c *testkit.Capture, responses int) {
	t.Helper()
	const pipelined = 50
	now := guardStart
	send := func(src, dst netip.AddrPort, flags uint8, seq, ack uint32, payload []byte) {
		now += 2_000
		if err := c.TCP(now, src, dst, flags, seq, ack, payload); err != nil {
			t.Fatal(err)
		}
	}
	for first := 0; first < responses; first += pipelined {
		client := guardClient(first)
		var asked, answered []byte
		for i := first; i < first+pipelined; i++ {
			query, response := exchange(t, i%guardDistinct)
			binary.BigEndian.PutUint16(query, uint16(i))
			binary.BigEndian.PutUint16(response, uint16(i))
			asked = append(binary.BigEndian.AppendUint16(asked, uint16(len(query))), query...)
			answered = append(binary.BigEndian.AppendUint16(answered, uint16(len(response))), response...)
		}
		send(client, guardServer, testkit.SYN, 0, 0, nil)
		send(guardServer, client, testkit.SYN|testkit.ACK, 0, 1, nil)
		for at := 0; at < len(asked); at += 1400 {
			send(client, guardServer, testkit.ACK, uint32(1+at), 1, asked[at:min(at+1400, len(asked))])
		}
		for at, step := 0, 0; at < len(answered); at += step {
			step = min(100+at*7919%1300, len(answered)-at)
			send(guardServer, client, testkit.ACK, uint32(1+at), uint32(1+len(asked)), answered[at:at+step])
		}
		send(guardServer, client, testkit.ACK|testkit.FIN, uint32(1+len(answered)), uint32(1+len(asked)), nil)
		send(client, guardServer, testkit.ACK|testkit.FIN, uint32(1+len(asked)), uint32(2+len(answered)), nil)
	}
}

// readFigures returns instructions per response by Go version, architecture and
// load.
func readFigures(t *testing.T) map[string]float64 {
	t.Helper()
	text, err := os.ReadFile(guardFigures)
	if err != nil {
		t.Fatal(err)
	}
	figures := map[string]float64{}
	for line := range strings.Lines(string(text)) {
		at := strings.LastIndexByte(line, '\t')
		if strings.HasPrefix(line, "#") || at < 0 {
			continue
		}
		if figures[line[:at]], err = strconv.ParseFloat(strings.TrimSpace(line[at+1:]), 64); err != nil {
			t.Fatalf("%s: %v", guardFigures, err)
		}
	}
	return figures
}

func writeFigures(t *testing.T, figures map[string]float64) {
	t.Helper()
	var b strings.Builder
	b.WriteString("# go\tarchitecture\tload\tinstructions per response; written by `make guard UPDATE=1`\n")
	for _, key := range slices.Sorted(maps.Keys(figures)) {
		fmt.Fprintf(&b, "%s\t%.0f\n", key, figures[key])
	}
	if err := os.WriteFile(guardFigures, []byte(b.String()), 0o644); err != nil {
		t.Fatal(err)
	}
}
