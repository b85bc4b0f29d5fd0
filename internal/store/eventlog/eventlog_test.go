package eventlog

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/dnshark-io/dnshark/internal/store"
)

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// sample is an event as live capture makes it.
func sample(at time.Time, name, answer, comm string) string {
	return fmt.Sprintf(`{"time":"%s","event":"net_packet_dns_response","host":"web1","observer":"client","metadata":{"src_ip":"192.0.2.53","dst_ip":"10.1.2.3","src_port":53,"dst_port":%d,"protocol":17,"packet_len":90,"iface":""},"dns_response":[{"query_data":{"query":"%[3]s","query_type":"A","query_class":"IN"},"dns_answer":[{"answer_type":"A","ttl":60,"answer":"%[4]s"}]}],"dns":{"id":%d,"opcode":"QUERY","rcode":"NOERROR","flags":["qr","ra"],"questions":[{"name":"%[3]s","type":"A","class":"IN"}],"answer":[{"name":"%[3]s","type":"A","class":"IN","ttl":60,"data":"%[4]s"}],"authority":[],"additional":[],"counts":{"qd":1,"an":1,"ns":0,"ar":0},"size":62,"incomplete":false,"anomalies":[]},"transaction":{"state":"answered","latency_us":%[6]d,"retransmits":0},"process":{"attribution":"query_egress","pid":4711,"tid":4711,"ppid":1,"uid":1000,"comm":"%[7]s","exe":"/usr/bin/%[7]s","cwd":"/","args":["%[7]s","-s"],"start_time":"2026-03-01T11:00:00.123456789Z","container":{"id":"0123456789abcdef","name":"web"}}}`+"\n",
		at.Format(timeLayout), 1024+at.UnixNano()/997%60000, name, answer, at.UnixNano()/1009%65536, 100+at.UnixNano()/1013%50000, comm)
}

func openLog(t *testing.T, dir string, o Options) *Log {
	t.Helper()
	l, err := Open(dir, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

func add(t *testing.T, l *Log, lines ...string) {
	t.Helper()
	if err := l.AppendWait([]byte(strings.Join(lines, "")), len(lines)); err != nil {
		t.Fatal(err)
	}
}

type finder interface {
	Find(context.Context, *Query, func([]byte) error) (bool, error)
}

func find(t *testing.T, r finder, q Query) (list []string) {
	t.Helper()
	more, err := r.Find(t.Context(), &q, func(line []byte) error {
		list = append(list, string(line))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if more {
		list = append(list, "more")
	}
	return list
}

// block makes a block of what is open.
func (l *Log) block(t *testing.T) {
	t.Helper()
	if err := l.Sync(); err != nil {
		t.Fatal(err)
	}
	l.commit.Lock()
	defer l.commit.Unlock()
	if err := l.writeBlock(l.open); err != nil {
		t.Fatal(err)
	}
}

func TestFind(t *testing.T) {
	dir := t.TempDir()
	l := openLog(t, dir, Options{})
	www := sample(noon, "WWW.Example.test", "192.0.2.80", "curl")
	mail := sample(noon.Add(time.Minute), "mail.example.test", "2001:db8::25", "postfix")
	dot := sample(noon.Add(2*time.Minute), `a\\.example.test`, "198.51.100.7", "odd")
	deep := sample(noon.Add(3*time.Minute), "a.b.c.d.e.f.g.h.i.j.deep.test", "198.51.100.8", "curl")
	alert := `{"time":"2026-03-01T12:04:00.000000000Z","event":"dns_tunnel","host":"web1","alert":{"id":"1","domain":"t.example","src":"10.9.9.9"}}` + "\n"
	none := "not \x01 ours\n"
	add(t, l, www, mail)
	l.block(t)
	add(t, l, dot, deep)
	l.block(t)
	add(t, l, alert, none) // stay in the journal
	r, err := OpenReader(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Sync(); err != nil {
		t.Fatal(err)
	}
	net := netip.MustParsePrefix
	for _, test := range []struct {
		q    Query
		want []string
	}{
		{Query{}, []string{www, mail, dot, deep, alert, none}},
		{Query{Newest: true}, []string{none, alert, deep, dot, mail, www}},
		{Query{Newest: true, Limit: 2}, []string{none, alert, "more"}},
		{Query{Limit: 6}, []string{www, mail, dot, deep, alert, none}},
		{Query{Name: "www.example.TEST."}, []string{www}},
		{Query{Name: "example.test"}, nil},
		{Query{Name: "*.example.test"}, []string{www, mail}},
		{Query{Name: "*.test"}, []string{www, mail, dot, deep}},
		{Query{Name: "*.c.d.e.f.g.h.i.j.deep.test"}, []string{deep}},
		{Query{Name: "*.xample.test"}, nil},
		{Query{Name: `a\.example.test`}, []string{dot}},
		{Query{Name: "t.example"}, []string{alert}},
		{Query{Name: "*.."}, []string{www, mail, dot, deep, alert}},
		{Query{Addr: net("192.0.2.80/32")}, []string{www}},
		{Query{Addr: net("192.0.2.64/26")}, []string{www}},
		{Query{Addr: net("192.0.2.53/32")}, []string{www, mail, dot, deep}},
		{Query{Addr: net("2001:db8::/33")}, []string{mail}},
		{Query{Addr: net("10.0.0.0/8")}, []string{www, mail, dot, deep, alert}},
		{Query{Addr: net("0.0.0.0/0"), Kind: "dns_tunnel"}, []string{alert}},
		{Query{Process: "curl"}, []string{www, deep}},
		{Query{Process: "/usr/bin/postfix"}, []string{mail}},
		{Query{Container: "0123456789ab", Name: "mail.example.test"}, []string{mail}},
		{Query{Container: "0123456789abff"}, nil},
		{Query{RCode: "NOERROR", Process: "odd"}, []string{dot}},
		{Query{RCode: "NXDOMAIN"}, nil},
		{Query{Kind: "dns_tunnel"}, []string{alert}},
		{Query{Range: store.Range{Since: noon.Add(time.Minute).UnixNano(), Until: noon.Add(2 * time.Minute).UnixNano()}}, []string{mail, dot}},
	} {
		for what, f := range map[string]finder{"reader": r, "log": l} {
			if got := find(t, f, test.q); !slices.Equal(got, test.want) {
				t.Errorf("%s: %+v:\n%s\nwant\n%s", what, test.q, strings.Join(got, ""), strings.Join(test.want, ""))
			}
		}
	}
	for _, q := range []Query{{Name: "a.*"}, {Name: "a..b"}, {Container: "short"}, {Addr: netip.PrefixFrom(netip.MustParseAddr("::ffff:1.2.3.4"), 120)}} {
		if _, err := r.Find(t.Context(), &q, nil); !errors.Is(err, ErrQuery) {
			t.Errorf("%+v: %v", q, err)
		}
	}
}

// traffic is what a host with some services asks.
func traffic(at time.Time, n int) []string {
	r := rand.New(rand.NewPCG(1, 2))
	names := rand.NewZipf(r, 1.1, 20, 50_000)
	list := make([]string, n)
	for i := range list {
		at = at.Add(time.Duration(r.IntN(2_000_000)))
		name := names.Uint64()
		list[i] = sample(at, fmt.Sprintf("h%x.d%d.example.test", name*2654435761%(1<<32), name/16), netip.AddrFrom4([4]byte{100, byte(name >> 16), byte(name >> 8), byte(name)}).String(), []string{"curl", "systemd-resolve", "nginx", "python3"}[name%4])
	}
	return list
}

func TestSizeAndBlocks(t *testing.T) {
	dir := t.TempDir()
	l := openLog(t, dir, Options{MaxSize: 1 << 30})
	list := traffic(noon, 40_000)
	for part := range slices.Chunk(list, 100) {
		add(t, l, part...)
	}
	rare := sample(noon.Add(-time.Hour), "rare.example.org", "203.0.113.9", "rare")
	add(t, l, rare)
	l.block(t)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	total := int64(0)
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		info, err := e.Info()
		if err != nil {
			t.Fatal(err)
		}
		total += info.Size()
	}
	if per := total / int64(len(list)); per > 60 {
		t.Errorf("%d octets per event", per)
	} else {
		t.Log(per, "octets per event, with the index")
	}
	r, err := OpenReader(dir)
	if err != nil {
		t.Fatal(err)
	}
	if got := find(t, r, Query{}); !slices.Equal(got, append(list, rare)) {
		t.Errorf("%d events, want %d in order", len(got), len(list)+1)
	}
	opened, blocks := 0, 0
	m, err := newMatcher(&Query{Name: "rare.example.org"})
	if err != nil {
		t.Fatal(err)
	}
	for name, s := range r.segments {
		f, err := os.Open(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		for i := range s.blocks {
			index, err := s.blocks[i].readIndex(f, nil)
			if err != nil {
				t.Fatal(err)
			}
			if blocks++; m.block(index[blockHeader:]) {
				opened++
			}
		}
	}
	if blocks < 8 || opened > 1+blocks/5 {
		t.Errorf("%d of %d blocks are opened for a name that is in one", opened, blocks)
	}
}

func TestRetention(t *testing.T) {
	dir := t.TempDir()
	l := openLog(t, dir, Options{MaxAge: time.Hour})
	old, young := sample(time.Now().Add(-2*time.Hour), "old.test", "192.0.2.1", "curl"), sample(time.Now(), "young.test", "192.0.2.1", "curl")
	add(t, l, old)
	l.block(t)
	names, err := segmentNames(dir)
	if err != nil || len(names) != 1 {
		t.Fatal(names, err)
	}
	add(t, l, young)
	l.block(t)
	past := time.Now().Add(-2 * time.Hour)
	if err := os.Chtimes(filepath.Join(dir, names[0]), past, past); err != nil {
		t.Fatal(err)
	}
	l.commit.Lock()
	err = l.remove()
	l.commit.Unlock()
	if got := find(t, l, Query{}); err != nil || !slices.Equal(got, []string{young}) {
		t.Error(err, got)
	}

	dir = t.TempDir()
	l = openLog(t, dir, Options{MaxSize: MinSize})
	r := rand.New(rand.NewPCG(3, 4)) // nothing to compress
	noise := make([]byte, 1<<20)
	for i := range noise {
		noise[i] = byte('0' + r.IntN(64))
	}
	noise[len(noise)-1] = '\n'
	for range 40 {
		r.Shuffle(len(noise)-1, func(i, j int) { noise[i], noise[j] = noise[j], noise[i] })
		if err := l.AppendWait(noise, 1); err != nil {
			t.Fatal(err)
		}
		if err := l.Sync(); err != nil {
			t.Fatal(err)
		}
	}
	l.commit.Lock()
	err = l.remove()
	l.commit.Unlock()
	left := len(find(t, l, Query{}))
	if err != nil || left < 8 || left > 24 { // of 0.75 MiB each
		t.Error(err, left)
	}
	// Numbers go on where all files are gone.
	l.commit.Lock()
	l.options.MaxSize = 1
	err = l.remove()
	first := l.first
	l.commit.Unlock()
	if err != nil || l.Close() != nil {
		t.Fatal(err)
	}
	if l = openLog(t, dir, Options{}); l.first != first || first == 0 {
		t.Error(l.first, first)
	}
}

// A clock that is set a year forward, or back, makes nothing old.
func TestClockJump(t *testing.T) {
	for _, years := range []int{1, -1} {
		dir := t.TempDir()
		l := openLog(t, dir, Options{MaxAge: time.Hour})
		// It was opened ten minutes ago, when the clock was still right; files that were
		// written since then have both times.
		right := time.Now().AddDate(-years, 0, 0)
		l.commit.Lock()
		l.clock.Opened, l.clock.Passed = right.Add(-10*time.Minute), func() time.Duration { return 10 * time.Minute }
		l.commit.Unlock()
		var want []string
		for i, at := range []time.Time{right.Add(-5 * time.Minute), time.Now()} {
			line := sample(at, fmt.Sprintf("n%d.test", i), "192.0.2.1", "curl")
			want = append(want, line)
			add(t, l, line)
			l.block(t)
			names, err := segmentNames(dir)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.Chtimes(filepath.Join(dir, names[len(names)-1]), at, at); err != nil {
				t.Fatal(err)
			}
		}
		l.commit.Lock()
		err := l.remove()
		l.commit.Unlock()
		if got := find(t, l, Query{}); err != nil || len(got) != len(want) {
			t.Errorf("%d years: %v, %d of %d events are left", years, err, len(got), len(want))
		}
		l.Close()
	}
	t.Log("a clock that was set a year forward and back: 0 of 4 events removed")
}

// What a killed program said to be written is there, once and in order.
func TestKilled(t *testing.T) {
	if dir := os.Getenv("EVENTLOG_KILL"); dir != "" {
		l := openLog(t, dir, Options{})
		begin := len(find(t, l, Query{}))
		padding := strings.Repeat("x", 10_000) // so that blocks end too
		for i := begin; ; i++ {
			add(t, l, sample(noon.Add(time.Duration(i)), fmt.Sprintf("n%d.test", i), "192.0.2.1", "curl"+padding))
			if i%10 == 9 {
				if err := l.Sync(); err != nil {
					t.Fatal(err)
				}
				fmt.Println("written", i)
			}
		}
	}
	dir := t.TempDir()
	for round := range 3 {
		cmd := exec.Command(os.Args[0], "-test.run=^TestKilled$", "-test.v")
		cmd.Env = append(os.Environ(), "EVENTLOG_KILL="+dir)
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		last := -1
		for last < 700*(round+1) {
			var word string
			if _, err := fmt.Fscan(out, &word); err != nil {
				t.Fatal(err)
			}
			if word == "written" {
				fmt.Fscan(out, &last)
			}
		}
		cmd.Process.Kill()
		cmd.Wait()
		r, err := OpenReader(dir)
		if err != nil {
			t.Fatal(err)
		}
		got := find(t, r, Query{})
		if len(got) <= last {
			t.Errorf("round %d: %d events, want more than %d", round, len(got), last)
		}
		for i, line := range got {
			if !strings.Contains(line, fmt.Sprintf(`"n%d.test"`, i)) {
				t.Fatalf("round %d: event %d is %.300s", round, i, line)
			}
		}
	}
	if names, _ := segmentNames(dir); len(names) == 0 {
		t.Error("no block was written")
	}
}

// Killed between a block and the journal that begins anew, and with torn ends.
func TestRecovery(t *testing.T) {
	dir := t.TempDir()
	list := traffic(time.Now().Add(-time.Hour), 300)
	l := openLog(t, dir, Options{})
	add(t, l, list[:100]...)
	if err := l.Sync(); err != nil {
		t.Fatal(err)
	}
	before, err := os.ReadFile(filepath.Join(dir, journalName))
	if err != nil {
		t.Fatal(err)
	}
	l.block(t)
	l.Close()
	if err := os.WriteFile(filepath.Join(dir, journalName), before, 0o600); err != nil {
		t.Fatal(err)
	}
	l = openLog(t, dir, Options{})
	if got := find(t, l, Query{}); !slices.Equal(got, list[:100]) {
		t.Fatal("a journal whose events are in a block:", len(got))
	}
	add(t, l, list[100:200]...)
	l.Close()
	journal, err := os.ReadFile(filepath.Join(dir, journalName))
	if err != nil {
		t.Fatal(err)
	}
	for cut := range 30 {
		if err := os.WriteFile(filepath.Join(dir, journalName), append(journal[:len(journal):len(journal)], journal[40:40+cut]...), 0o600); err != nil {
			t.Fatal(err)
		}
		r, err := OpenReader(dir)
		if err != nil {
			t.Fatal(err)
		}
		if got := find(t, r, Query{}); !slices.Equal(got, list[:200]) {
			t.Fatal("a torn journal:", cut, len(got))
		}
	}
	l = openLog(t, dir, Options{})
	add(t, l, list[200:]...)
	l.block(t)
	l.Close()
	names, err := segmentNames(dir)
	if err != nil || len(names) != 2 {
		t.Fatal(names, err)
	}
	last := filepath.Join(dir, names[1])
	raw, err := os.ReadFile(last)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(last, raw[:len(raw)-7], 0o600); err != nil {
		t.Fatal(err)
	}
	l = openLog(t, dir, Options{})
	if got := find(t, l, Query{}); !slices.Equal(got, list[:100]) {
		t.Error("a torn block:", len(got))
	}
	add(t, l, list[:1]...)
	l.block(t)
	if got := find(t, l, Query{}); len(got) != 101 {
		t.Error("behind a torn block:", len(got))
	}
}

func TestOneWriter(t *testing.T) {
	dir := t.TempDir()
	l := openLog(t, dir, Options{})
	if other, err := Open(dir, Options{}); err == nil {
		other.Close()
		t.Error("two write")
	}
	l.Close()
	openLog(t, dir, Options{})
	if err := os.WriteFile(filepath.Join(dir, "00000000000000000099"+segmentSuffix), append([]byte(magic), 9, 0, 0, 0, 0, 0, 0, 0), 0o600); err != nil {
		t.Fatal(err)
	}
	r, err := OpenReader(dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.Find(t.Context(), &Query{}, nil); !errors.Is(err, errVersion) {
		t.Error(err)
	}
}

// The disk is full: what comes waits, then is dropped; when there is room again,
// all that was taken is written.
func TestFull(t *testing.T) {
	l := openLog(t, t.TempDir(), Options{})
	l.commit.Lock() // the disk takes nothing
	line := []byte(strings.Repeat("x", 1<<20-1) + "\n")
	taken := 0
	for l.Append(line, 1) == nil {
		if taken++; taken > 100 {
			t.Fatal("nothing is ever refused")
		}
	}
	if err := l.Append(line, 1); !errors.Is(err, ErrFull) {
		t.Error(err)
	}
	if written, waiting := l.Stats(); written+waiting != uint64(taken) {
		t.Error(written, waiting, taken)
	}
	l.commit.Unlock()
	if err := l.AppendWait(line, 1); err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if written, waiting := l.Stats(); written != uint64(taken)+1 || waiting != 0 {
		t.Error(written, waiting, taken)
	}
	for _, bad := range []string{"", "no line feed", "two\nlines\n"} {
		if l.Append([]byte(bad), 1) == nil {
			t.Errorf("%q was taken", bad)
		}
	}
}

func FuzzLines(f *testing.F) {
	for _, s := range []string{sample(noon, "www.example.test", "192.0.2.1", "curl"), "{\"a\":\"\\\n", "{\"a\\\"\":[1,-2e5,{\"time\":\"x\"}]}\n", "[[[[[[[[[[[[[[[[[[[[[\n", "\x01\x02\n", "\n\n", `{"time":"2026-03-01T12:00:00.000000001Z"}` + "\n"} {
		f.Add([]byte(s + s))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		lines := append(bytes.Clone(text), '\n')
		p, err := newPacker()
		if err != nil {
			t.Fatal(err)
		}
		_, b := p.append(nil, lines, 1)
		r, err := newRestorer()
		if err != nil {
			t.Fatal(err)
		}
		defer r.z.Close()
		if got, err := r.lines(nil, p.data, b.events, b.raw); err != nil || !bytes.Equal(got, lines) {
			t.Errorf("%v\n%q\n%q", err, got, lines)
		}
		r.lines(nil, text, 10, 100) // says anything, and does not panic
	})
}

// A file says anything: nothing panics, and little is believed.
func FuzzFiles(f *testing.F) {
	p, err := newPacker()
	if err != nil {
		f.Fatal(err)
	}
	line := sample(noon, "www.example.test", "192.0.2.1", "curl")
	raw, _ := p.append(appendFileHeader(nil), []byte(line), 0)
	f.Add(raw, appendRecord(appendFileHeader(nil), []byte(line), 1, 1))
	f.Add(raw[:70], []byte(magic))
	f.Fuzz(func(t *testing.T, segment, journal []byte) {
		dir := t.TempDir()
		os.WriteFile(filepath.Join(dir, "00000000000000000000"+segmentSuffix), segment, 0o600)
		os.WriteFile(filepath.Join(dir, journalName), journal, 0o600)
		l, err := Open(dir, Options{})
		if errors.Is(err, errVersion) {
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		before := len(find(t, l, Query{}))
		add(t, l, line)
		if got := find(t, l, Query{Name: "www.example.test", Newest: true, Limit: 1}); len(got) == 0 || got[0] != line {
			t.Error(got)
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		if got := find(t, l.Reader, Query{}); len(got) != before+1 {
			t.Error(len(got), before)
		}
	})
}
