package main

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http/httptest"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"net/http"

	"github.com/miekg/dns"

	"github.com/dnshark-io/dnshark/internal/testkit"
)

// counter takes events over HTTP and counts them.
type counter struct{ lines atomic.Int64 }

func (c *counter) ServeHTTP(_ http.ResponseWriter, r *http.Request) {
	n := int64(0)
	for b := bufio.NewReaderSize(r.Body, 1<<20); ; n++ {
		if _, err := b.ReadSlice('\n'); err != nil {
			break
		}
	}
	c.lines.Add(n)
}

// browse writes n answers and their queries to a capture, as browsers ask: few names often,
// many names seldom, half of them with an alias.
func browse(w io.Writer, n int) error {
	capture, err := testkit.NewCapture(w)
	if err != nil {
		return err
	}
	r := rand.New(rand.NewPCG(17, 18))
	zipf := rand.NewZipf(r, 1.2, 8, 200_000)
	at, answer := int64(1_795_000_000e9), []byte(nil)
	resolver := netip.MustParseAddrPort("192.0.2.53:53")
	for range n {
		name := zipf.Uint64()
		q := new(dns.Msg)
		text := fmt.Sprintf("h%x.site%d.example.", name*2654435761%65521, name/3)
		q.SetQuestion(text, []uint16{dns.TypeA, dns.TypeAAAA}[name%2])
		q.Id = uint16(r.Uint32())
		query, err := q.Pack()
		if err != nil {
			return err
		}
		q.Response, q.RecursionAvailable = true, true
		answer = append(answer[:0], query...)
		binary.BigEndian.PutUint16(answer[2:], 0x8180)
		records := uint16(0)
		owner := []byte{0xc0, 12}
		if name%4 < 2 {
			records++
			target := len(answer) + 12
			label := fmt.Sprintf("edge%d", name%5000)
			answer = append(append(answer, owner...), 0, 5, 0, 1, 0, 0, byte(r.IntN(2)), byte(r.IntN(256)), 0, byte(len(label)+3), byte(len(label)))
			answer = append(append(answer, label...), 0xc0, 12)
			owner = []byte{0xc0 | byte(target>>8), byte(target)}
		}
		for range 1 + name%3 {
			records++
			size := []byte{4, 16}[name%2]
			answer = append(append(answer, owner...), 0, []byte{1, 28}[name%2], 0, 1, 0, 0, byte(r.IntN(2)), byte(r.IntN(256)), 0, size)
			for i := range size {
				answer = append(answer, byte(name>>(i%4*8))^i)
			}
		}
		binary.BigEndian.PutUint16(answer[6:], records)
		client := netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, 2, byte(100 + name%50)}), uint16(1024+r.IntN(60000)))
		at += int64(r.IntN(4e6))
		if err := capture.UDP(at, client, resolver, query); err != nil {
			return err
		}
		if err := capture.UDP(at+int64(r.IntN(80e6)), resolver, client, answer); err != nil {
			return err
		}
	}
	return nil
}

// within is f's error, or that it took too long.
func within(limit time.Duration, f func() error) error {
	done := make(chan error, 1)
	go func() { done <- f() }()
	select {
	case err := <-done:
		return err
	case <-time.After(limit):
		return fmt.Errorf("not done within %v", limit)
	}
}

// A receiver is away for eight hours at 500 events a second, and gets them all, more than five
// times as fast as they came. 1 GiB holds them; what is more than a spool holds,
// TestSpoolWhileSinkIsAway is about. Scaled down: DNSHARK_AWAY says to how many events, of
// 14,400,000. Blocks are as long as those of 500 events a second that are gathered for 200 ms.
func TestAwayForHours(t *testing.T) {
	const hours, rate = 8, 500
	all := hours * 3600 * rate
	n := all / 200
	if text := os.Getenv("DNSHARK_AWAY"); text != "" {
		var err error
		if n, err = strconv.Atoi(text); err != nil {
			t.Fatal(err)
		}
	}
	limit := int64(float64(1<<30) * float64(n) / float64(all))
	receiver := &counter{}
	server := httptest.NewServer(receiver)
	defer server.Close()
	dead := testkit.FreePorts(t, 1)[0]
	dir := t.TempDir()
	start := func(url string) (*testkit.Daemon, io.WriteCloser) {
		cmd := exec.Command(testkit.Dnshark(t), "read", "-e", "net_packet_dns_response", "--stats", "1h",
			"-o", fmt.Sprintf("%s/?name=k&batch=110KB&spool=%d&spool-dir=%s", url, limit, dir), "-")
		stdin, err := cmd.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		return testkit.Start(t, cmd), stdin
	}
	d, stdin := start(fmt.Sprintf("http://127.0.0.1:%d", dead))
	w := bufio.NewWriterSize(stdin, 1<<20)
	if err := within(2*time.Minute, func() error { return browse(w, n) }); err != nil {
		t.Fatalf("%v: %s", err, d.Output)
	}
	if err := w.Flush(); err != nil {
		t.Fatalf("%v: %s", err, d.Output)
	}
	stdin.Close()
	if err := d.Wait(t, 2*time.Minute); err != nil {
		t.Fatalf("%v: %s", err, d.Output)
	}
	spooled := numberBefore(d.Output.String(), " spooled")
	if int(spooled) != n || !strings.Contains(d.Output.String(), fmt.Sprintf("output k: %d events: %d spooled; 0 unaccounted", n, n)) {
		t.Fatalf("%d events, %d in the spool: %s", n, spooled, d.Output)
	}
	var used int64
	entries, err := os.ReadDir(filepath.Join(dir, "json"))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if info, err := e.Info(); err == nil {
			used += info.Size()
		}
	}
	if used > limit {
		t.Errorf("%d octets on disk, want at most %d", used, limit)
	}

	begin := time.Now()
	d, stdin = start(server.URL)
	if _, err := testkit.NewCapture(stdin); err != nil {
		t.Fatal(err)
	}
	// What is at the end still in the spool, dnshark leaves there: so it must not end.
	testkit.Eventually(t, 5*time.Minute, "all to be delivered", func() bool { return receiver.lines.Load() >= int64(n) || d.Ended() })
	caught := float64(n) / time.Since(begin).Seconds()
	stdin.Close()
	if err := d.Wait(t, time.Minute); err != nil {
		t.Errorf("%v: %s", err, d.Output)
	}
	if got := receiver.lines.Load(); got != int64(n) || !regexp.MustCompile(fmt.Sprintf(`output k: %d recovered: %d delivered; 0 unaccounted`, n, n)).MatchString(d.Output.String()) {
		t.Errorf("%d of %d came: %s", got, n, d.Output)
	}
	if caught < 5*rate {
		t.Errorf("%.0f events/s caught up, want %d", caught, 5*rate)
	}
	each := float64(used) / float64(n)
	t.Logf("scale 1:%d, %d events, %.0f octets each on disk: 8 h at %d/s take %.0f MiB, 1 GiB holds %.1f h; caught up at %.0f events/s, %.0f times as fast",
		all/n, n, each, rate, each*float64(all)/(1<<20), (1<<30)/each/rate/3600, caught, caught/rate)
}
