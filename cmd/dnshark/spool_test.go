package main

import (
	"bufio"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/dnshark-io/dnshark/internal/spool"
	"github.com/dnshark-io/dnshark/internal/store"
	"github.com/dnshark-io/dnshark/internal/testkit"
)

var (
	eventID = regexp.MustCompile(`^\{"event_id":"([^"]+)",`)
	number  = regexp.MustCompile(`"n(\d+)\.t\.test"`)
)

// collector takes events over HTTP.
type collector struct {
	mu     sync.Mutex
	down   bool
	slow   time.Duration
	lines  map[string]string // by event_id
	again  int
	wrongs []string
}

func (c *collector) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.down {
		w.WriteHeader(http.StatusBadGateway)
		return
	}
	if err != nil {
		return // it was killed
	}
	for line := range strings.Lines(string(body)) {
		id := eventID.FindStringSubmatch(line)
		if id == nil {
			c.wrongs = append(c.wrongs, "no event_id: "+line)
			continue
		}
		if old, ok := c.lines[id[1]]; ok {
			c.again++
			if old != line {
				c.wrongs = append(c.wrongs, fmt.Sprintf("%s twice: %s and %s", id[1], old, line))
			}
		}
		c.lines[id[1]] = line
	}
	time.Sleep(c.slow)
}

func (c *collector) set(down bool, slow time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.down, c.slow = down, slow
}

// feed writes numbered questions and their answers to a capture until that is closed. It returns when
// each was written.
func feed(t testing.TB, w io.Writer, first int) (sent []time.Time) {
	q := new(dns.Msg)
	capture, err := testkit.NewCapture(w)
	for n := first; err == nil; n++ {
		q.SetQuestion(fmt.Sprintf("n%d.t.test.", n), dns.TypeA)
		q.Response = true
		q.Answer = []dns.RR{&dns.A{Hdr: dns.RR_Header{Name: q.Question[0].Name, Rrtype: dns.TypeA, Class: dns.ClassINET, Ttl: 60}, A: net.IP{192, 0, 2, 1}}}
		message, packErr := q.Pack()
		if packErr != nil {
			t.Error(packErr)
			return sent
		}
		src, dst := netip.MustParseAddrPort("192.0.2.53:53"), netip.MustParseAddrPort("192.0.2.1:4000")
		q.Response, q.Answer = false, nil
		question, _ := q.Pack()
		err = capture.UDP(int64(n+1)*1e6-1, dst, src, question)
		if err == nil {
			err = capture.UDP(int64(n+1)*1e6, src, dst, message)
		}
		if err == nil {
			sent = append(sent, time.Now())
		}
		if n%5 == 0 {
			time.Sleep(time.Millisecond)
		}
	}
	return sent
}

// inSpool returns the ids of the events in a spool, which nobody has open.
func inSpool(t testing.TB, dir string) map[string]bool {
	t.Helper()
	copied := t.TempDir()
	if err := os.CopyFS(filepath.Join(copied, "s"), os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	s, err := spool.Open(filepath.Join(copied, "s"), 1<<30, uncounted{}, make(chan struct{}, 1))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	ids := map[string]bool{}
	for r := (spool.Record{}); ; {
		found, err := s.Next(&r)
		if err != nil {
			t.Fatal(err)
		}
		if !found {
			return ids
		}
		for i := range strings.Count(string(r.Text), "\n") {
			ids[r.Source+strconv.FormatUint(r.First+uint64(i), 10)] = true
		}
	}
}

type uncounted struct{}

func (uncounted) Stored(uint64)  {}
func (uncounted) Dropped(uint64) {}
func (uncounted) Damaged(uint64) {}

// inHistory returns how many names a history has, 0 where there is none yet.
func inHistory(t testing.TB, dir string) int64 {
	t.Helper()
	s, err := store.OpenReader(dir)
	if err != nil {
		return 0
	}
	defer s.Close()
	c, err := s.Counts(t.Context())
	if err != nil {
		t.Error(err)
	}
	return int64(c.Names)
}

// TestKilled kills dnshark again and again, while it reads numbered events and
// posts them through a spool. DNSHARK_KILLS says how often.
func TestKilled(t *testing.T) {
	testkit.NeedPrograms(t, "strace")
	kills, longest := 20, 1200
	if n, err := strconv.Atoi(os.Getenv("DNSHARK_KILLS")); err == nil {
		kills, longest = n, 3000
	}
	receiver := &collector{lines: map[string]string{}}
	server := httptest.NewServer(receiver)
	defer server.Close()
	dir := t.TempDir()
	output := server.URL + "/?name=k&linger=50ms&spool=64MB&spool-dir=" + dir
	history := filepath.Join(t.TempDir(), "history")
	start := func(under ...string) (*testkit.Daemon, io.WriteCloser) {
		args := append(slices.Clone(under), testkit.Dnshark(t), "read", "-e", "net_packet_dns_response", "--stats", "1h", "-o", output, "--store", history, "-")
		cmd := exec.Command(args[0], args[1:]...)
		cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // strace and what it runs
		stdin, err := cmd.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		return testkit.Start(t, cmd), stdin
	}

	type run struct {
		first  int
		sent   []time.Time
		killed time.Time
	}
	var runs []run
	committed := map[string]bool{}
	next, inStore := 0, int64(0)
	for k := range kills {
		after := time.Duration(5+rand.N(longest-5)) * time.Millisecond
		receiver.set(k%5 == 1, time.Duration(k%4)*time.Millisecond)
		var under []string
		if k%5 == 2 { // inside fsync
			under = []string{"strace", "-f", "-qq", "-o", os.DevNull, "-e", "trace=fdatasync", "-e",
				fmt.Sprintf("inject=fdatasync:signal=KILL:when=%d", 1+rand.N(8))}
		}
		d, stdin := start(under...)
		r := run{first: next}
		done := make(chan struct{})
		go func() {
			defer close(done)
			r.sent = feed(t, stdin, r.first)
		}()
		if under != nil {
			for end := time.Now().Add(5 * time.Second); !d.Ended() && time.Now().Before(end); {
				time.Sleep(time.Millisecond)
			}
		} else {
			time.Sleep(after)
			if k%5 == 4 {
				receiver.set(true, 0)
				time.Sleep(after / 4)
			}
		}
		r.killed = time.Now()
		_ = syscall.Kill(-d.Process.Pid, syscall.SIGKILL)
		for !d.Ended() {
			time.Sleep(time.Millisecond)
		}
		stdin.Close()
		<-done
		next += len(r.sent)
		runs = append(runs, r)
		if entries, err := os.ReadDir(filepath.Join(dir, "json")); err == nil && len(entries) > 0 {
			maps.Copy(committed, inSpool(t, filepath.Join(dir, "json")))
		}
		if n := inHistory(t, history); n < inStore {
			t.Errorf("the history had %d names and has %d after kill %d", inStore, n, k)
		} else {
			inStore = n
		}
	}

	receiver.set(false, 0)
	d, stdin := start()
	if _, err := testkit.NewCapture(stdin); err != nil {
		t.Fatal(err)
	}
	stdin.Close()
	if err := d.Wait(t, time.Minute); err != nil {
		t.Errorf("%v: %s", err, d.Output)
	}
	if !regexp.MustCompile(`output k: (\d+ recovered: \d+ delivered|0 events); 0 unaccounted`).MatchString(d.Output.String()) {
		t.Errorf("the account does not close: %s", d.Output)
	}
	for _, wrong := range receiver.wrongs {
		t.Error(wrong)
	}
	for id := range committed {
		if receiver.lines[id] == "" {
			t.Errorf("%s was in the spool and is lost", id)
		}
	}
	got := map[int]bool{}
	for _, line := range receiver.lines {
		n, err := strconv.Atoi(number.FindStringSubmatch(line)[1])
		if err != nil || got[n] {
			t.Errorf("%d has two ids: %v", n, err)
		}
		got[n] = true
	}
	cut := 0
	for k, r := range runs {
		n := 0
		for n < len(r.sent) && got[r.first+n] {
			n++
		}
		for i := n; i < len(r.sent); i++ {
			if got[r.first+i] {
				t.Errorf("run %d: %d is missing, %d is there", k, r.first+n, r.first+i)
				break
			}
		}
		if cut += len(r.sent) - n; n < len(r.sent) && r.killed.Sub(r.sent[n]) > 2*time.Second && r.killed.Sub(runs[k].sent[0]) > 3*time.Second {
			t.Errorf("run %d: %d is missing, which came %v before the end", k, r.first+n, r.killed.Sub(r.sent[n]))
		}
	}
	if err := store.Verify(t.Context(), history); err != nil {
		t.Errorf("the history after %d kills: %v", kills, err)
	}
	if inStore < int64(len(got)/2) {
		t.Errorf("%d names in the history, of %d", inStore, len(got))
	}
	if len(got) == 0 || len(committed) == 0 || inStore == 0 {
		t.Error("nothing was delivered, or nothing was ever in the spool or in the history")
	}
	t.Logf("%d kills: %d events sent, %d delivered, %d of them were in the spool at a kill, %d came twice, %d not yet gathered; %d names in the history, never fewer",
		kills, next, len(got), len(committed), receiver.again, cut, inStore)
}

// TestHangup: a service opens a file that was moved away at once on SIGHUP.
func TestHangup(t *testing.T) {
	path := filepath.Join(t.TempDir(), "dns.json")
	cmd := exec.Command(testkit.Dnshark(t), "read", "-o", "json:"+path, "-")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true} // no terminal
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	d := testkit.Start(t, cmd)
	testkit.Eventually(t, 5*time.Second, "the file", func() bool { _, err := os.Stat(path); return err == nil })
	if err := os.Rename(path, path+".1"); err != nil {
		t.Fatal(err)
	}
	time.Sleep(100 * time.Millisecond)
	if err := d.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	testkit.Eventually(t, 5*time.Second, "the file to be opened anew", func() bool { _, err := os.Stat(path); return err == nil })
	second := exec.Command(testkit.Dnshark(t), "read", "-o", "json:"+path, "-")
	if out, err := second.CombinedOutput(); err == nil || !strings.Contains(string(out), "in use") {
		t.Errorf("a second dnshark on the same file: %v, %s", err, out)
	}
	w := bufio.NewWriter(stdin)
	if _, err := testkit.NewCapture(w); err != nil {
		t.Fatal(err)
	}
	w.Flush()
	stdin.Close()
	if err := d.Wait(t, 5*time.Second); err != nil {
		t.Errorf("%v: %s", err, d.Output)
	}
}
