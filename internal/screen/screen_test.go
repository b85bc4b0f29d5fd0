package screen

import (
	"errors"
	"fmt"
	"net/netip"
	"regexp"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	tea "github.com/charmbracelet/bubbletea"
	"github.com/miekg/dns"

	"github.com/dnshark-io/dnshark/dnswire"
	"github.com/dnshark-io/dnshark/event"
)

// say writes an answer to the board as the line does.
func say(t testing.TB, b *Board, at time.Time, name, comm, client string, rcode int, latency time.Duration) {
	t.Helper()
	m := new(dns.Msg)
	m.SetQuestion(name, dns.TypeA)
	m.Response, m.Rcode = true, rcode
	octets, err := m.Pack()
	if err != nil {
		t.Fatal(err)
	}
	batch := &event.Batch{Limits: dnswire.Limits{Records: 16}, Now: at.UnixNano()}
	e := batch.Next()
	e.Msg.Unpack(octets)
	e.Kinds, e.Time = 1, at.UnixNano()
	e.Meta.SrcIP, e.Meta.DstIP = netip.MustParseAddr("192.0.2.53"), netip.MustParseAddr(client)
	e.Txn.State, e.Txn.Latency = event.StateAnswered, int64(latency)
	if comm != "" {
		e.Asker.ID = &event.Identity{TGID: 7}
		copy(e.Asker.ID.Comm[:], comm)
	}
	if back, err := b.Write(batch); err != nil || len(back.Events) != 0 {
		t.Fatalf("%d events come back, %v", len(back.Events), err)
	}
}

var noon = time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC)

func values(v View) (list []string) {
	for i := range v.Rows {
		list = append(list, fmt.Sprintf("%s %d", v.Rows[i].Value, v.Rows[i].Count))
	}
	return list
}

func TestBoard(t *testing.T) {
	b := NewBoard(false)
	b.Lost = func() uint64 { return 3 }
	for i := range 30 {
		say(t, b, noon.Add(time.Duration(i)*time.Second), "A.example.", "curl", "192.0.2.1", dns.RcodeSuccess, 2*time.Millisecond)
	}
	say(t, b, noon.Add(30*time.Second), "b.example.", "curl", "192.0.2.1", dns.RcodeNameError, 4*time.Millisecond)
	say(t, b, noon.Add(30*time.Second), "a.example.", "wget", "192.0.2.2", dns.RcodeServerFailure, 100*time.Millisecond)

	for _, test := range []struct {
		by      By
		order   Order
		reverse bool
		match   string
		want    string
	}{
		{Names, ByCount, false, "", "a.example 31,b.example 1"},
		{Names, ByCount, true, "", "b.example 1,a.example 31"},
		{Names, ByMissing, false, "", "b.example 1,a.example 31"},
		{Names, ByCount, false, "b.", "b.example 1"},
		{Processes, ByCount, false, "", "curl (7) 31,wget (7) 1"},
		{Processes, ByFailed, false, "", "wget (7) 1,curl (7) 31"},
		{Processes, BySlowest, false, "", "wget (7) 1,curl (7) 31"},
		{Clients, ByValue, false, "", "192.0.2.1 31,192.0.2.2 1"},
		{Servers, ByRate, false, "", "192.0.2.53 32"},
		{RCodes, ByCount, false, "", "NOERROR 30,NXDOMAIN 1,SERVFAIL 1"},
		{Types, ByCount, false, "", "A 32"},
		{Containers, ByCount, false, "", ""},
	} {
		if got := strings.Join(values(b.View(test.by, test.order, test.reverse, test.match)), ","); got != test.want {
			t.Errorf("%v by %v: %s, want %s", test.by, test.order, got, test.want)
		}
	}
	v := b.View(Names, ByCount, false, "")
	if v.Total.Count != 32 || v.Total.Missing != 1 || v.Total.Failed != 1 || v.Lost != 3 || v.Median != int64(2*time.Millisecond) || v.P95 != int64(4*time.Millisecond) {
		t.Errorf("%+v", v)
	}
	// One a second, forgotten within ten: e⁻¹ of it is of what was before.
	if r := v.Rows[0].Rate; r < 0.8 || r > 1.2 {
		t.Errorf("rate %v", r)
	}
	if got := v.Seconds[len(v.Seconds)-30:]; got[0] != 1 || got[29] != 1 {
		t.Errorf("seconds %v", got)
	}

	// A closer look has what was before, and what comes.
	b.Look([]Step{{Processes, "curl (7)"}})
	say(t, b, noon.Add(31*time.Second), "c.example.", "curl", "192.0.2.1", dns.RcodeSuccess, -1)
	say(t, b, noon.Add(31*time.Second), "d.example.", "wget", "192.0.2.1", dns.RcodeSuccess, -1)
	if got := strings.Join(values(b.View(Names, ByCount, false, "")), ","); got != "a.example 30,b.example 1,c.example 1" {
		t.Error(got)
	}
	b.Look([]Step{{Processes, "curl (7)"}, {Names, "b.example"}})
	if got := strings.Join(values(b.View(RCodes, ByCount, false, "")), ","); got != "NXDOMAIN 1" {
		t.Error(got)
	}
	b.Look(nil)
	if v := b.View(Names, ByCount, false, ""); v.Total.Count != 34 {
		t.Error(v.Total.Count)
	}
	b.Clear()
	if v := b.View(Names, ByCount, false, ""); v.Total.Count != 0 || len(v.Rows) != 0 {
		t.Errorf("%+v", v)
	}
	b.End(errors.New("x"))
	if v := b.View(Names, ByCount, false, ""); !v.Over || v.Err == nil {
		t.Errorf("%+v", v)
	}
}

// Whoever asks for ever new names takes no memory, and does not hide who asks often.
func TestManyNames(t *testing.T) {
	b := NewBoard(false)
	for i := range 3 * maxRows {
		say(t, b, noon, fmt.Sprintf("n%d.example.", i), "", "192.0.2.1", dns.RcodeNameError, 0)
		if i%100 == 0 {
			say(t, b, noon, "often.example.", "", "192.0.2.1", dns.RcodeNameError, 0)
		}
	}
	v := b.View(Names, ByCount, false, "")
	if len(v.Rows) > maxRows || v.Gone == 0 || v.Rows[0].Value != "often.example" || v.Rows[0].Count < 200 {
		t.Errorf("%d rows, %d forgotten, first %+v", len(v.Rows), v.Gone, v.Rows[0])
	}
}

// An answer of another time neither breaks the history nor takes time.
func TestStrangeTimes(t *testing.T) {
	b := NewBoard(false)
	for _, at := range []time.Time{noon, {}, time.Unix(0, 1<<62), time.Unix(0, -1<<62), noon} {
		say(t, b, at, "a.example.", "", "192.0.2.1", dns.RcodeSuccess, 0)
	}
	if v := b.View(Names, ByRate, false, ""); v.Total.Count != 5 {
		t.Error(v.Total.Count)
	}
}

var sgr = regexp.MustCompile("\x1b\\[[0-9;]*m")

// Whatever names hold, the screen has its size and nothing but text and our own colours.
func TestScreen(t *testing.T) {
	b := NewBoard(false)
	for i, name := range []string{`\027[2J\007.example.`, `\195\164.example.`, strings.Repeat(strings.Repeat("x", 60)+".", 4), "plain.example."} {
		say(t, b, noon.Add(time.Duration(i)*time.Second), name, "e\x1b[31mvil", "192.0.2.1", i%4, time.Duration(i)*time.Second)
	}
	batch := &event.Batch{}
	e := batch.Next()
	e.Kinds, e.Class = 1, event.ClassAlert
	e.Alert = &event.Alert{ID: "1", Threat: "dns_tunnel", Severity: event.SeverityHigh, Domain: "\x1b[2Jx", Rule: "r\n"}
	b.Write(batch)
	for _, size := range [][2]int{{80, 24}, {200, 60}, {40, 10}, {20, 8}, {10, 3}, {1, 1}} {
		m := &model{board: b, Options: Options{Title: "host", Colour: true}}
		m.Update(tea.WindowSizeMsg{Width: size[0], Height: size[1]})
		m.update()
		for _, key := range strings.Fields("2 enter down j k pgdown end home s s s s s s s s r 8 1 enter esc esc ? x / p c") {
			lines := strings.Split(m.View(), "\n")
			if len(lines) > size[1] {
				t.Fatalf("%v after %s: %d lines", size, key, len(lines))
			}
			for _, line := range lines {
				plain := sgr.ReplaceAllString(line, "")
				if n := utf8.RuneCountInString(plain); n > size[0] && size[0] >= 20 {
					t.Errorf("%v before %s: %d columns: %q", size, key, n, line)
				}
				for _, r := range plain {
					if (r < ' ' || r > '~') && !(r >= '▁' && r <= '█') {
						t.Errorf("%q has %q", line, r)
					}
				}
			}
			if end := m.press(key); end {
				t.Fatal(key)
			}
			m.scroll()
		}
	}
}

func TestKeys(t *testing.T) {
	b := NewBoard(true)
	now := time.Now()
	for i := range 3 {
		say(t, b, now, fmt.Sprintf("n%d.example.", i), "curl", "192.0.2.1", dns.RcodeSuccess, 0)
	}
	say(t, b, now, "n2.example.", "wget", "192.0.2.1", dns.RcodeSuccess, 0)
	m := &model{board: b, width: 80, height: 24}
	m.update()
	press := func(keys string) string {
		for _, key := range strings.Fields(keys) {
			if len(key) == 1 {
				m.Update(tea.KeyMsg{Type: tea.KeyRunes, Runes: []rune(key)})
				continue
			}
			m.Update(tea.KeyMsg{Type: map[string]tea.KeyType{"enter": tea.KeyEnter, "esc": tea.KeyEsc, "down": tea.KeyDown, "tab": tea.KeyTab, "back": tea.KeyBackspace}[key]})
		}
		return strings.Join(values(m.view), ",")
	}
	for _, test := range []struct{ keys, want string }{
		{"s", "n2.example 2,n0.example 1,n1.example 1"},
		{"/ N 1 enter", "n1.example 1"},
		{"esc", "n2.example 2,n0.example 1,n1.example 1"},
		{"enter", "curl (7) 1,wget (7) 1"}, // of the first name: both asked
		{"down enter", "n2.example 1"},
		{"esc", "curl (7) 1,wget (7) 1"},
		{"esc", "n2.example 2,n0.example 1,n1.example 1"},
		{"2", "curl (7) 3,wget (7) 1"},
		{"r", "wget (7) 1,curl (7) 3"},
	} {
		if got := press(test.keys); got != test.want {
			t.Errorf("%s: %s, want %s", test.keys, got, test.want)
		}
	}
	// Paused, the screen stands still.
	press("p")
	say(t, b, now, "late.example.", "perl", "192.0.2.1", dns.RcodeSuccess, 0)
	m.Update(tick{})
	if got := strings.Join(values(m.view), ","); strings.Contains(got, "perl") || !strings.Contains(m.View(), "PAUSED") {
		t.Error(got)
	}
	press("p")
	m.Update(tick{})
	if got := strings.Join(values(m.view), ","); !strings.Contains(got, "perl") {
		t.Error(got)
	}
	if _, cmd := m.Update(tea.KeyMsg{Type: tea.KeyRunes, Runes: []rune("q")}); cmd == nil {
		t.Error("q does not quit")
	}
}

func BenchmarkBoard(b *testing.B) {
	board := NewBoard(false)
	m := new(dns.Msg)
	m.SetQuestion("www.example.com.", dns.TypeA)
	m.Response = true
	octets, _ := m.Pack()
	batch := &event.Batch{Limits: dnswire.Limits{Records: 16}}
	b.ReportAllocs()
	for b.Loop() {
		e := batch.Next()
		e.Msg.Unpack(octets)
		e.Kinds, e.Time = 1, 1
		e.Meta.SrcIP, e.Meta.DstIP = netip.MustParseAddr("192.0.2.53"), netip.MustParseAddr("192.0.2.1")
		batch, _ = board.Write(batch)
	}
}
