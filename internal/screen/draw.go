package screen

import (
	"fmt"
	"strings"
	"time"

	"github.com/dnshark-io/dnshark/event"
)

// Lines that are not rows: three above the tabs, the tabs, the titles, one below.
const frame = 6

// space is how many rows fit.
func (m *model) space() int { return max(1, m.height-frame) }

// View implements tea.Model. What it shows of the wire is printable ASCII, so no
// control octet of an attacker's reaches the terminal.
func (m *model) View() string {
	if m.help {
		lines := strings.Split(help, "\n")
		for i := range lines {
			lines[i] = m.cut(lines[i], m.width)
		}
		return m.fit(lines)
	}
	lines := append(m.head(), m.tabs())
	if m.page == alertsPage {
		lines = append(lines, m.alertRows()...)
	} else {
		lines = append(lines, m.tableRows()...)
	}
	for len(lines) < m.height-1 {
		lines = append(lines, "")
	}
	return m.fit(append(lines[:max(0, min(len(lines), m.height-1))], m.foot()))
}

// fit leaves out lines that the screen has no place for.
func (m *model) fit(lines []string) string {
	return strings.Join(lines[:min(len(lines), m.height)], "\n")
}

func (m *model) head() []string {
	v := &m.view
	state := "live"
	switch {
	case m.paused:
		state = "PAUSED"
	case v.Over && v.Err != nil:
		state = "ENDED: " + string(event.AppendSafe(nil, v.Err.Error()))
	case v.Over:
		state = "ended"
	case !m.board.Live:
		state = "reading"
	}
	first := fmt.Sprintf("dnshark  %s  %s", m.Title, state)
	if v.Now > 0 {
		clock := time.Unix(0, v.Now).Format("15:04:05")
		first = m.cut(first, m.width-len(clock)-1)
		first += strings.Repeat(" ", max(1, m.width-len(first)-len(clock))) + clock
	}
	t := &v.Total
	second := fmt.Sprintf("%s/s  %d answers  NXDOMAIN %s%%  failed %s%%  p50 %s  p95 %s", short(t.Rate), t.Count, percent(t.Missing, t.Count), percent(t.Failed, t.Count), lag(v.Median), lag(v.P95))
	lost := ""
	if v.Lost > 0 {
		lost = fmt.Sprintf("  %d packets lost", v.Lost)
	}
	lost = m.cut(lost, m.width)
	second = m.cut(second, m.width-len(lost))
	return []string{m.style(bold, m.cut(first, m.width)), second + m.style(red, lost), m.style(cyan, spark(v.Seconds, m.width))}
}

// spark draws the rate of late, the newest at the right.
func spark(seconds []uint32, width int) string {
	label := "peak 0/s "
	seconds = seconds[max(0, len(seconds)-max(0, width-14)):]
	var peak uint32
	for _, n := range seconds {
		peak = max(peak, n)
	}
	if peak > 0 {
		label = fmt.Sprintf("peak %s/s ", short(float64(peak)))
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%-14s", label)
	for _, n := range seconds {
		switch {
		case n == 0:
			b.WriteByte(' ')
		default:
			b.WriteRune([]rune("▁▂▃▄▅▆▇█")[(uint64(n)*8-1)/uint64(peak)])
		}
	}
	if width < 20 {
		return ""
	}
	return b.String()
}

// tabs names all tables, on narrow screens only the one that is shown.
func (m *model) tabs() string {
	var names []string
	length := 0
	for i := range byNames {
		names = append(names, byNames[i].many)
	}
	alerts := "Alerts"
	if n := len(m.view.Alerts); n > 0 {
		alerts = fmt.Sprintf("Alerts:%d", n)
	}
	names = append(names, alerts)
	for i := range names {
		length += len(names[i]) + 2
	}
	var b strings.Builder
	for i, name := range names {
		if length > m.width && i != m.page {
			name = ""
		}
		text := fmt.Sprintf("%d%s", i+1, name)
		switch {
		case i == m.page:
			text = m.style(reverse, m.cut(text, m.width-2*len(names)+2))
		case i == alertsPage && len(m.view.Alerts) > 0:
			text = m.style(red, text)
		}
		if i > 0 {
			b.WriteByte(' ')
		}
		b.WriteString(text)
	}
	return b.String()
}

// column is a part of a row before its value.
type column struct {
	title string
	width int
	order Order
	wide  int // only on screens of this many columns
	text  func(*Row) string
}

var columns = []column{
	{"RATE/s", 7, ByRate, 0, func(r *Row) string { return short(r.Rate) }},
	{"COUNT", 7, ByCount, 0, func(r *Row) string { return short(float64(r.Count)) }},
	{"NX%", 4, ByMissing, 50, func(r *Row) string { return percent(r.Missing, r.Count) }},
	{"FAIL%", 5, ByFailed, 50, func(r *Row) string { return percent(r.Failed, r.Count) }},
	{"LATENCY", 7, ByLatency, 60, func(r *Row) string { return lag(int64(r.Latency)) }},
	{"SLOWEST", 7, BySlowest, 90, func(r *Row) string {
		if r.timed == 0 {
			return "-"
		}
		return lag(r.Slowest)
	}},
	{"LAST", 8, ByLast, 70, func(r *Row) string { return time.Unix(0, r.Last).Format("15:04:05") }},
}

func (m *model) tableRows() []string {
	title := func(text string, order Order) string {
		if order != m.order {
			return text
		}
		if m.reverse {
			return text + "^"
		}
		return text + "*"
	}
	var b strings.Builder
	for i := range columns {
		if c := &columns[i]; m.width >= c.wide {
			fmt.Fprintf(&b, "%*s ", c.width, title(c.title, c.order))
		}
	}
	b.WriteString(title(strings.ToUpper(By(m.page).String()), ByValue))
	if m.view.Gone > 0 {
		fmt.Fprintf(&b, "  (%d more forgotten)", m.view.Gone)
	}
	lines := []string{m.style(bold, m.cut(b.String(), m.width))}
	if len(m.view.Rows) == 0 {
		why := "nothing yet"
		switch {
		case m.match != "":
			why = "nothing has " + m.match + " in it; Esc shows all"
		case m.view.Total.Count > 0:
			why = "not known of these answers"
		}
		return append(lines, m.cut("  "+why, m.width))
	}
	for i := m.top; i < len(m.view.Rows) && i < m.top+m.space(); i++ {
		r := &m.view.Rows[i]
		b.Reset()
		for j := range columns {
			if c := &columns[j]; m.width >= c.wide {
				fmt.Fprintf(&b, "%*s ", c.width, c.text(r))
			}
		}
		b.WriteString(r.Value)
		lines = append(lines, m.row(i, b.String(), rowColour(r)))
	}
	return lines
}

func rowColour(r *Row) string {
	switch {
	case r.Failed*2 > r.Count:
		return red
	case r.Missing*2 > r.Count:
		return yellow
	}
	return ""
}

func (m *model) row(i int, text, colour string) string {
	text = m.cut(text, m.width)
	if i == m.selected {
		return m.style(reverse, text+strings.Repeat(" ", max(0, m.width-len(text))))
	}
	return m.style(colour, text)
}

func (m *model) alertRows() []string {
	lines := []string{m.style(bold, m.cut("LAST     SEVERITY THREAT               SOURCE           WHAT", m.width))}
	if len(m.view.Alerts) == 0 {
		return append(lines, m.cut("  no alert", m.width))
	}
	for i := m.top; i < len(m.view.Alerts) && i < m.top+m.space(); i++ {
		a := &m.view.Alerts[i]
		colour := ""
		if a.Level >= event.SeverityHigh {
			colour = red
		} else if a.Level == event.SeverityMedium {
			colour = yellow
		}
		what := a.Rule
		if a.Domain != "" {
			what = a.Domain + ": " + what
		}
		lines = append(lines, m.row(i, fmt.Sprintf("%s %-8s %-20s %-16s %s", time.Unix(0, a.Last).Format("15:04:05"), a.Severity, a.Threat, a.Src, what), colour))
	}
	return lines
}

func (m *model) foot() string {
	if m.typing {
		return m.cut("/"+m.match+"_   Enter keeps, Esc clears", m.width)
	}
	var path []string
	for _, s := range m.path {
		path = append(path, s.By.String()+" "+s.Value)
	}
	if m.match != "" {
		path = append(path, "/"+m.match)
	}
	left := strings.Join(path, " > ")
	if left != "" {
		left += "  (Esc back)"
	} else if m.Notes != nil {
		left = m.Notes()
	}
	keys := "Enter look into  / find  s sort  p pause  ? help  q quit"
	if left == "" || len(left)+2+len(keys) > m.width {
		keys = "? help  q quit"
	}
	if left == "" {
		keys = "Enter look into  / find  s sort  p pause  ? help  q quit"
	}
	left = m.cut(left, m.width-len(keys)-2)
	return left + strings.Repeat(" ", max(0, m.width-len(left)-len(keys))) + m.cut(keys, m.width)
}

const help = `dnshark top

  1..8  Tab  Shift-Tab   table
  up down  j k  PgUp PgDn  g G
                         row
  Enter                  look into the row: only what belongs to it
  Esc                    back
  /                      find: only rows with this text
  s  <  >                sort by the next or previous column (*)
  r                      the other way round (^)
  p  Space               pause; counting goes on
  c                      clear all counts
  q  Ctrl-C              quit

RATE/s is of the last seconds; all else is since the start.
FAIL% are errors other than NXDOMAIN, and queries without an answer.

Any key goes back.`

// Styles, as parameters of SGR (ECMA-48 section 8.3.117).
const (
	bold    = "1"
	reverse = "7"
	red     = "31"
	yellow  = "33"
	cyan    = "36"
)

func (m *model) style(sgr, text string) string {
	if sgr == "" || text == "" || !m.Colour && sgr != bold && sgr != reverse {
		return text
	}
	return "\x1b[" + sgr + "m" + text + "\x1b[0m"
}

// cut makes printable ASCII fit, and says so.
func (m *model) cut(text string, width int) string {
	if width = max(width, 0); len(text) <= width {
		return text
	}
	if width == 0 {
		return ""
	}
	return text[:width-1] + "~"
}

// short writes a number in at most six columns.
func short(v float64) string {
	switch {
	case v < 0.05:
		return "0"
	case v < 9.95 && v != float64(int64(v)):
		return fmt.Sprintf("%.1f", v)
	case v < 99_999.5:
		return fmt.Sprintf("%.0f", v)
	case v < 999_499:
		return fmt.Sprintf("%.0fk", v/1e3)
	case v < 999.5e6:
		return fmt.Sprintf("%.1fM", v/1e6)
	}
	return fmt.Sprintf("%.0fG", v/1e9)
}

func percent(n, of uint64) string {
	if n == 0 {
		return "0"
	}
	p := float64(n) * 100 / float64(of)
	if p < 9.95 {
		return fmt.Sprintf("%.1f", p)
	}
	return fmt.Sprintf("%.0f", p)
}

// lag writes a latency in at most seven columns.
func lag(ns int64) string {
	switch ms := float64(ns) / 1e6; {
	case ns < 0:
		return "-"
	case ms < 10:
		return fmt.Sprintf("%.2fms", ms)
	case ms < 10_000:
		return fmt.Sprintf("%.0fms", ms)
	default:
		return fmt.Sprintf("%.0fs", ms/1e3)
	}
}
