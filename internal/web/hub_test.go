package web

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/dnshark-io/dnshark/event"
	"github.com/dnshark-io/dnshark/internal/filter"
	"github.com/dnshark-io/dnshark/internal/sink"
	"github.com/dnshark-io/dnshark/internal/testkit"
)

// answers returns a batch with a response to a question for each name.
func answers(t testing.TB, names ...string) *event.Batch {
	t.Helper()
	b := &event.Batch{Host: "h"}
	for i, name := range names {
		var m dns.Msg
		m.SetQuestion(name, dns.TypeA)
		m.Response = true
		raw, err := m.Pack()
		if err != nil {
			t.Fatal(err)
		}
		e := b.Next()
		e.Msg.Unpack(b.Hold(raw))
		e.Kinds, e.Txn.State = 1, event.StateAnswered
		e.Time = time.Date(2026, 3, 1, 0, 0, i, 0, time.UTC).UnixNano()
	}
	return b
}

func newHub(t testing.TB) *Hub {
	return NewHub("h", true, func(format string, args ...any) { t.Errorf(format, args...) })
}

// tell carries a batch over both ends of the hub.
func tell(t testing.TB, h *Hub, b *event.Batch) {
	t.Helper()
	if err := h.Deliver(t.Context(), blockOf(h, b)); err != nil {
		t.Fatal(err)
	}
}

func blockOf(h *Hub, b *event.Batch) *sink.Block {
	return &sink.Block{Text: h.Append(nil, b), Events: len(b.Events)}
}

func parse(t testing.TB, text string) *filter.Filter {
	t.Helper()
	f, err := filter.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func join(t testing.TB, h *Hub, f *filter.Filter) *Reader {
	t.Helper()
	r, err := h.Join(f)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// named is an event's question.
type named struct {
	DNS struct {
		Questions []struct{ Name string }
	}
}

// names returns the questions of what a reader has.
func names(t testing.TB, r *Reader) string {
	t.Helper()
	lines, lost := r.Take(nil, 1000)
	var list []string
	for line := range strings.Lines(string(lines)) {
		var e named
		if err := json.Unmarshal([]byte(line), &e); err != nil || len(e.DNS.Questions) != 1 {
			t.Fatalf("%v: %s", err, line)
		}
		list = append(list, e.DNS.Questions[0].Name)
	}
	if lost > 0 {
		list = append(list, fmt.Sprint("lost ", lost))
	}
	return strings.Join(list, " ")
}

// Every reader has the events of its own filter, from when it came on.
func TestHub(t *testing.T) {
	h := newHub(t)
	all, some := join(t, h, nil), join(t, h, parse(t, `qname.under("b.test")`))
	tell(t, h, answers(t, "a.test.", "x.b.test.", "c.test."))
	late := join(t, h, nil)
	tell(t, h, answers(t, "b.test."))
	for want, r := range map[string]*Reader{"a.test x.b.test c.test b.test": all, "x.b.test b.test": some, "b.test": late} {
		if got := names(t, r); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
	if h.Readers() != 3 {
		t.Error(h.Readers())
	}
}

// As one of the outputs of the line, the hub has every event.
func TestHubOutput(t *testing.T) {
	h := newHub(t)
	r := join(t, h, nil)
	out := h.Output()
	if err := out.Start(true); err != nil {
		t.Fatal(err)
	}
	out.Write(answers(t, "a.test.", "b.test."))
	out.Write(alertsOf(2))
	if err := out.Close(time.Minute); err != nil {
		t.Fatal(err)
	}
	lines, lost := r.Take(nil, 1000)
	if s := out.Queue.Stats(); strings.Count(string(lines), "\n") != 4 || lost > 0 || s.Events != 4 || s.Delivered != 4 || out.NoForm > 0 {
		t.Errorf("%s%+v, %d without a form", lines, s, out.NoForm)
	}
}

// What was on its way when a reader left is not for whoever has its place now.
func TestHubPlacesAreUsedAgain(t *testing.T) {
	h := newHub(t)
	first := join(t, h, nil)
	b := answers(t, "secret.test.")
	text := h.Append(nil, b)
	first.Leave()
	second := join(t, h, parse(t, `qname == "other.test"`))
	if second.place != first.place {
		t.Fatal("another place")
	}
	if err := h.Deliver(t.Context(), &sink.Block{Text: text, Events: 1}); err != nil {
		t.Fatal(err)
	}
	if got := names(t, second); got != "" {
		t.Errorf("got %s", got)
	}
	for range maxReaders - 1 {
		join(t, h, nil)
	}
	if _, err := h.Join(nil); err != ErrReaders {
		t.Error(err)
	}
	second.Leave()
	if _, err := h.Join(nil); err != nil {
		t.Error(err)
	}
}

// Who does not read loses events, which are counted. The others lose none.
func TestHubSlowReader(t *testing.T) {
	h := newHub(t)
	slow, quick := join(t, h, nil), join(t, h, nil)
	b := answers(t, strings.Repeat("a.test. ", 20)[:7])
	line := len(h.Append(nil, b)) - markSize
	total := maxUnread/line + 100
	for range total {
		tell(t, h, b)
		if lines, lost := quick.Take(nil, 1); len(lines) != line || lost > 0 {
			t.Fatal(len(lines), lost)
		}
	}
	got := 0
	for {
		lines, lost := slow.Take(nil, batchEvents)
		if len(lines) == 0 {
			break
		}
		got += strings.Count(string(lines), "\n") + int(lost)
	}
	if got != total {
		t.Errorf("%d delivered or lost, of %d", got, total)
	}
}

// An expression that takes too much of the line's time is asked no more; who reads
// with others goes on.
func TestHubCostlyFilter(t *testing.T) {
	h := newHub(t)
	h.budget = budget{part: 0, moment: 0, at: time.Now()}
	l := serveWith(t, "127.0.0.1:0", func(s *Server) { s.Hub = h })
	base := "http://" + l.Addr().String() + "/api/v1/stream"
	costly := listen(t.Context(), t, http.DefaultClient, base+"?filter="+url.QueryEscape(`qname matches "(a|b|c)*d"`))
	all := join(t, h, nil)
	tell(t, h, answers(t, "ad.test."))
	for {
		m, ok := <-costly
		if !ok {
			t.Fatal("no error came")
		}
		if m == (message{"error", `{"detail":"the filter takes too long"}`}) {
			break
		}
	}
	testkit.Eventually(t, 30*time.Second, "the reader to leave", func() bool { return h.Readers() == 1 })
	tell(t, h, answers(t, "b.test."))
	if got := names(t, all); got != "ad.test b.test" {
		t.Error(got)
	}

	b := budget{part: time.Second / 5, moment: time.Second / 5, at: time.Unix(0, 0)}
	for i, c := range []struct {
		at    time.Duration
		spent time.Duration
		want  bool
	}{
		{time.Second, 150 * time.Millisecond, false}, {1500 * time.Millisecond, 100 * time.Millisecond, false}, {1600 * time.Millisecond, 100 * time.Millisecond, true},
		{1600 * time.Millisecond, 200 * time.Millisecond, false}, {10 * time.Second, 200 * time.Millisecond, false}, {10 * time.Second, 1, true},
	} {
		if got := b.charge(c.spent, time.Unix(0, int64(c.at))); got != c.want {
			t.Errorf("%d: %v", i, got)
		}
	}
	b.patient = true
	if b.charge(time.Hour, time.Unix(11, 0)) {
		t.Error("who reads files can wait")
	}
}

// The line pays for no memory.
func TestHubNoAllocation(t *testing.T) {
	h := newHub(t)
	join(t, h, nil)
	join(t, h, parse(t, `dns.rcode == "NXDOMAIN" || qname.under("b.test")`))
	b := answers(t, "a.test.", "x.b.test.")
	text := h.Append(nil, b)
	if n := testing.AllocsPerRun(100, func() { text = h.Append(text[:0], b) }); n > 0 {
		t.Errorf("%v allocations", n)
	}
}

// message is one of a stream of events.
type message struct{ event, data string }

// listen reads a stream until ctx ends.
func listen(ctx context.Context, t testing.TB, client *http.Client, url string) <-chan message {
	t.Helper()
	r, err := http.NewRequestWithContext(ctx, "GET", url, nil)
	if err != nil {
		t.Fatal(err)
	}
	response, err := client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	if response.StatusCode != 200 || response.Header.Get("Content-Type") != "text/event-stream" {
		text, _ := io.ReadAll(response.Body)
		t.Fatal(response.Status, string(text))
	}
	list := make(chan message, 1000)
	go func() {
		defer response.Body.Close()
		defer close(list)
		in := bufio.NewReader(response.Body)
		var m message
		for {
			line, err := in.ReadString('\n')
			if err != nil {
				return
			}
			key, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), ": ")
			switch key {
			case "event":
				m.event = value
			case "data":
				m.data = value
			case "":
				if m.event != "" {
					list <- m
				}
				m = message{}
			}
		}
	}()
	return list
}

// next waits for a message.
func next(t testing.TB, list <-chan message) message {
	t.Helper()
	select {
	case m, ok := <-list:
		if !ok {
			t.Fatal("the stream ended")
		}
		return m
	case <-time.After(30 * time.Second):
		t.Fatal("nothing comes")
	}
	panic("not reached")
}

// Readers of a stream see events as JSON, however hostile, and what they lost.
func TestStream(t *testing.T) {
	h := newHub(t)
	l := serveWith(t, "127.0.0.1:0", func(s *Server) { s.Hub = h }, records...)
	base := "http://" + l.Addr().String() + "/api/v1/stream"
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	all := listen(ctx, t, http.DefaultClient, base)
	some := listen(ctx, t, http.DefaultClient, base+"?filter="+url.QueryEscape(`qname.under("b.test")`))
	if h.Readers() != 2 {
		t.Fatal(h.Readers())
	}
	hostile := `a\"\010data:\ \<script>\255.b.test.`
	tell(t, h, answers(t, hostile, "c.test."))
	for n, list := range map[int]<-chan message{2: all, 1: some} {
		m := next(t, list)
		var events []named
		if err := json.Unmarshal([]byte(m.data), &events); m.event != "events" || err != nil || len(events) != n {
			t.Fatalf("%s %v %s", m.event, err, m.data)
		}
		if name := events[0].DNS.Questions[0].Name; name != `a\"\010data:\032<script>\255.b.test` {
			t.Errorf("%q", name)
		}
	}
	for _, r := range h.readers[:2] {
		if r.f == nil {
			r.mu.Lock()
			r.lost = 7
			r.mu.Unlock()
		}
	}
	tell(t, h, answers(t, strings.Split(strings.Repeat(" d.test.", 250)[1:], " ")...))
	if m := next(t, all); m != (message{"lost", `{"count":7}`}) {
		t.Error(m)
	}
	for _, want := range []int{200, 50} {
		var events []named
		if err := json.Unmarshal([]byte(next(t, all).data), &events); err != nil || len(events) != want {
			t.Error(len(events), err)
		}
	}
	cancel()
	testkit.Eventually(t, 30*time.Second, "readers to leave", func() bool { return h.Readers() == 0 })
	if code, body := get(t, base+"?filter=qname+%3D%3D+", ""); code != 400 || !strings.Contains(body, `"column":10`) {
		t.Error(code, body)
	}
	if code, body := get(t, base+"?filter="+strings.Repeat("x", maxFilter+1), ""); code != 400 {
		t.Error(code, body)
	}
}

// A hundred readers that never read hold up nobody.
func TestStreamSlowReaders(t *testing.T) {
	h := newHub(t)
	l := serveWith(t, "127.0.0.1:0", func(s *Server) { s.Hub = h })
	quick := join(t, h, nil)
	refused := 0
	for range 100 {
		response, err := http.Get("http://" + l.Addr().String() + "/api/v1/stream")
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		if response.StatusCode == http.StatusServiceUnavailable {
			refused++
		}
	}
	if refused != 100-(maxReaders-1) {
		t.Errorf("%d refused", refused)
	}
	b := answers(t, strings.Split(strings.Repeat(" d.test.", 250)[1:], " ")...)
	for range 40 {
		tell(t, h, b)
		if lines, lost := quick.Take(nil, 250); strings.Count(string(lines), "\n") != 250 || lost > 0 {
			t.Fatal(len(lines), lost)
		}
	}
}
