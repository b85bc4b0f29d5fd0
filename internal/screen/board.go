// Package screen is the live view of a terminal: rates, and tables by name, process,
// server and so on, into each of which one can look.
package screen

import (
	"cmp"
	"math"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/dnshark-io/dnshark/dnswire"
	"github.com/dnshark-io/dnshark/event"
)

// By is what a table has a row for.
type By int

// The tables, in the order of the screen.
const (
	Names By = iota
	Processes
	Containers
	Servers
	Clients
	Types
	RCodes
	numBy
)

var byNames = [numBy]struct{ one, many string }{
	{"name", "Names"}, {"process", "Processes"}, {"container", "Containers"}, {"server", "Servers"},
	{"client", "Clients"}, {"type", "Types"}, {"rcode", "Rcodes"},
}

// String returns what one row is of.
func (b By) String() string { return byNames[b].one }

// Bounds of memory: an attacker can ask for any number of names.
const (
	maxRows    = 8192  // of a table; then the half with the fewest answers goes
	maxRecent  = 32768 // answers that a closer look begins with
	maxAlerts  = 256
	maxSeconds = 300 // of the history of rates
	maxSamples = 2048
	maxValue   = 256 // octets of a value
)

// rateTime is within how long a rate forgets.
const rateTime = 10 * time.Second

type outcome uint8

const (
	good outcome = iota
	missing
	failed
)

// Row is a line of a table.
type Row struct {
	Value   string // printable ASCII
	Count   uint64 // answers, and queries that found none
	Missing uint64 // NXDOMAIN
	Failed  uint64 // any other error, and no answer
	Rate    float64
	Latency float64 // mean, ns; negative when unknown
	Slowest int64   // ns
	Last    int64   // ns since the Unix epoch

	sum, timed int64
}

func (r *Row) note(at, latency int64, o outcome) {
	r.Rate = decay(r.Rate, at-r.Last) + 1/rateTime.Seconds()
	r.Last = max(r.Last, at)
	r.Count++
	switch o {
	case missing:
		r.Missing++
	case failed:
		r.Failed++
	}
	if latency >= 0 {
		r.sum, r.timed, r.Slowest = r.sum+latency, r.timed+1, max(r.Slowest, latency)
	}
}

// decay returns what is left of a rate after a time.
func decay(rate float64, after int64) float64 {
	return rate * math.Exp(-float64(max(after, 0))/float64(rateTime))
}

// answer is what a closer look needs of an event. It refers to rows of the first tables.
type answer struct {
	at, latency int64
	outcome     outcome
	rows        [numBy]*Row // nil where the event has no such value
}

// tables are all that is counted of some of the events.
type tables struct {
	rows    [numBy]map[string]*Row
	gone    [numBy]uint64 // rows that were forgotten
	total   Row
	seconds [maxSeconds]uint32 // events, by the second modulo maxSeconds
	second  int64              // the newest
	samples [maxSamples]int64  // the newest latencies
	sampled uint64
}

func newTables() *tables {
	t := &tables{}
	for by := range t.rows {
		t.rows[by] = map[string]*Row{}
	}
	return t
}

// row returns the row of a value, made when there is none.
func (t *tables) row(by By, value []byte) *Row {
	value = value[:min(len(value), maxValue)]
	if r := t.rows[by][string(value)]; r != nil {
		return r
	}
	if len(t.rows[by]) >= maxRows {
		t.forget(by)
	}
	r := &Row{Value: string(value)}
	t.rows[by][r.Value] = r
	return r
}

// forget makes room: what was asked least, and longest ago, goes.
func (t *tables) forget(by By) {
	list := make([]*Row, 0, len(t.rows[by]))
	for _, r := range t.rows[by] {
		list = append(list, r)
	}
	slices.SortFunc(list, func(a, b *Row) int {
		if a.Count != b.Count {
			return cmp.Compare(a.Count, b.Count)
		}
		return cmp.Compare(a.Last, b.Last)
	})
	for _, r := range list[:len(list)/2] {
		delete(t.rows[by], r.Value)
		t.gone[by]++
	}
}

func (t *tables) note(a *answer) {
	t.total.note(a.at, a.latency, a.outcome)
	for second := a.at / int64(time.Second); t.second < second; {
		// A gap clears what it covers, each second once.
		t.second = max(t.second+1, second-maxSeconds+1)
		t.seconds[t.second%maxSeconds] = 0
	}
	if second := a.at / int64(time.Second); second > t.second-maxSeconds && second >= 0 {
		t.seconds[second%maxSeconds]++
	}
	if a.latency >= 0 {
		t.samples[t.sampled%maxSamples] = a.latency
		t.sampled++
	}
}

// Board counts what passes. The line writes to it, the screen reads.
type Board struct {
	// Lost returns the packets that were lost so far. The line calls it.
	Lost func() uint64
	// Live says that time goes on by itself.
	Live bool

	mu     sync.Mutex
	all    *tables
	focus  *tables // of a closer look, or nil
	path   []Step
	recent []answer
	at     int // of recent, where the next one goes
	alerts []Alert
	now    int64
	lost   uint64
	ended  error // how the line ended
	over   bool

	asked int64 // when Lost was called
	text  []byte
}

// Step is a value that was looked into.
type Step struct {
	By    By
	Value string
}

// Alert is what a detector said last of an incident.
type Alert struct {
	ID, Severity, Threat, Src, Domain, Rule string // printable ASCII
	Last                                    int64  // ns since the Unix epoch
	Level                                   event.Severity
}

// NewBoard returns an empty one.
func NewBoard(live bool) *Board {
	return &Board{Live: live, all: newTables(), Lost: func() uint64 { return 0 }}
}

// Write counts a batch. It locks once.
func (b *Board) Write(batch *event.Batch) (*event.Batch, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.now = max(b.now, batch.Now)
	for i := range batch.Events {
		if e := &batch.Events[i]; e.Kinds != 0 {
			b.note(e)
		}
	}
	if second := batch.Now / int64(time.Second); second != b.asked || batch.Last {
		b.asked, b.lost = second, b.Lost()
	}
	batch.Reset()
	return batch, nil
}

func (b *Board) note(e *event.Event) {
	response := e.Class == event.ClassMessage && e.Msg.Flags.Response()
	switch {
	case e.Class == event.ClassAlert:
		b.alert(e)
		return
	case !response && e.Class != event.ClassUnanswered:
		return
	}
	a := answer{at: e.Time, latency: e.Txn.Latency}
	if e.Txn.State != event.StateAnswered {
		a.latency = -1
	}
	client, server := e.Meta.SrcIP, e.Meta.DstIP
	b.text = b.text[:0]
	if response {
		client, server = server, client
		rcode := e.Msg.RCode()
		switch rcode {
		case dnswire.RCodeNoError:
		case dnswire.RCodeNXDomain:
			a.outcome = missing
		default:
			a.outcome = failed
		}
		b.text = rcode.Append(b.text)
	} else {
		a.outcome = failed
		b.text = append(b.text, "unanswered"...)
	}
	t := b.all
	row := func(by By, value []byte) {
		b.text = value
		if len(value) > 0 {
			a.rows[by] = t.row(by, value)
			a.rows[by].note(a.at, a.latency, a.outcome)
		}
	}
	row(RCodes, b.text)
	if len(e.Msg.Questions) > 0 {
		row(Names, e.Msg.AppendNameLower(b.text[:0], e.Msg.Questions[0].Name))
		row(Types, e.Msg.Questions[0].Type.Append(b.text[:0]))
	}
	row(Clients, event.AppendAddr(b.text[:0], client))
	row(Servers, event.AppendAddr(b.text[:0], server))
	if id := e.Asker.ID; id != nil && id.Known() {
		text := append(id.AppendComm(b.text[:0]), " ("...)
		row(Processes, append(event.AppendUint(text, uint64(id.TGID)), ')'))
	}
	if c := e.Asker.Container; c != nil {
		name := c.Name
		if name == "" {
			name = c.ID
		}
		row(Containers, event.AppendSafe(b.text[:0], name[:min(len(name), maxValue)]))
	}
	t.note(&a)
	if len(b.recent) < maxRecent {
		b.recent = append(b.recent, a)
	} else {
		b.recent[b.at] = a
	}
	b.at = (b.at + 1) % maxRecent
	if b.focus != nil && b.within(&a) {
		b.look(&a)
	}
}

// within reports whether an answer is of what is looked into.
func (b *Board) within(a *answer) bool {
	for _, s := range b.path {
		if r := a.rows[s.By]; r == nil || r.Value != s.Value {
			return false
		}
	}
	return true
}

// look counts an answer in the tables of the closer look.
func (b *Board) look(a *answer) {
	for by, r := range a.rows {
		if r != nil {
			b.text = append(b.text[:0], r.Value...)
			b.focus.row(By(by), b.text).note(a.at, a.latency, a.outcome)
		}
	}
	b.focus.note(a)
}

func (b *Board) alert(e *event.Event) {
	safe := func(s string) string { return string(event.AppendSafe(nil, s[:min(len(s), maxValue)])) }
	a := Alert{ID: e.Alert.ID, Severity: e.Alert.Severity.String(), Level: e.Alert.Severity, Threat: e.Alert.Threat, Rule: safe(e.Alert.Rule), Domain: safe(e.Alert.Domain), Last: e.Alert.End}
	if e.Alert.Src.IsValid() {
		a.Src = string(event.AppendAddr(nil, e.Alert.Src))
	}
	b.alerts = slices.DeleteFunc(b.alerts, func(old Alert) bool { return old.ID == a.ID })
	if len(b.alerts) == maxAlerts {
		b.alerts = slices.Delete(b.alerts, 0, 1)
	}
	b.alerts = append(b.alerts, a)
}

// Look shows from now on only what has the values of the path, beginning with the
// answers of late. An empty path shows all.
func (b *Board) Look(path []Step) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.path, b.focus = slices.Clone(path), nil
	if len(path) == 0 {
		return
	}
	b.focus = newTables()
	older, newer := b.recent[min(b.at, len(b.recent)):], b.recent[:min(b.at, len(b.recent))]
	for _, part := range [][]answer{older, newer} {
		for i := range part {
			if b.within(&part[i]) {
				b.look(&part[i])
			}
		}
	}
}

// Clear begins anew.
func (b *Board) Clear() {
	b.mu.Lock()
	b.all, b.recent, b.at, b.alerts = newTables(), b.recent[:0], 0, nil
	path := b.path
	b.mu.Unlock()
	b.Look(path)
}

// End says that nothing comes any more, and why.
func (b *Board) End(err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.over, b.ended = true, err
}

// View is the board at a moment.
type View struct {
	Now     int64  // ns since the Unix epoch
	Rows    []Row  // in order
	Gone    uint64 // rows that were forgotten
	Total   Row
	Seconds []uint32 // events per second, the oldest first, whole seconds only
	Median  int64    // latency of late, ns; negative when unknown
	P95     int64
	Lost    uint64
	Alerts  []Alert // the newest first
	Over    bool
	Err     error
}

// Order is what rows are ranked by.
type Order int

// The columns.
const (
	ByRate Order = iota
	ByCount
	ByMissing
	ByFailed
	ByLatency
	BySlowest
	ByLast
	ByValue
	numOrders
)

// View returns the rows of a table whose value contains match, in order.
func (b *Board) View(by By, order Order, reverse bool, match string) View {
	b.mu.Lock()
	t := b.all
	if b.focus != nil {
		t = b.focus
	}
	v := View{Now: b.now, Gone: t.gone[by], Total: t.total, Lost: b.lost, Alerts: slices.Clone(b.alerts), Over: b.over, Err: b.ended}
	if b.Live && !b.over {
		v.Now = max(v.Now, time.Now().UnixNano())
	}
	for _, r := range t.rows[by] {
		if match == "" || strings.Contains(strings.ToLower(r.Value), match) {
			v.Rows = append(v.Rows, *r)
		}
	}
	second := v.Now / int64(time.Second)
	for s := second - maxSeconds + 1; s < second; s++ {
		var count uint32
		if s <= t.second && s > t.second-maxSeconds && s >= 0 {
			count = t.seconds[s%maxSeconds]
		}
		v.Seconds = append(v.Seconds, count)
	}
	samples := slices.Clone(t.samples[:min(t.sampled, maxSamples)])
	b.mu.Unlock()

	slices.Reverse(v.Alerts)
	v.Median, v.P95 = -1, -1
	if len(samples) > 0 {
		slices.Sort(samples)
		v.Median, v.P95 = samples[len(samples)/2], samples[len(samples)*95/100]
	}
	finish := func(r *Row) {
		r.Rate, r.Latency = decay(r.Rate, v.Now-r.Last), -1
		if r.timed > 0 {
			r.Latency = float64(r.sum) / float64(r.timed)
		}
	}
	finish(&v.Total)
	for i := range v.Rows {
		finish(&v.Rows[i])
	}
	slices.SortFunc(v.Rows, func(x, y Row) int {
		c := less(&x, &y, order)
		if reverse {
			c = -c
		}
		if c == 0 {
			c = strings.Compare(x.Value, y.Value)
		}
		return c
	})
	return v
}

// less compares so that what matters most comes first.
func less(x, y *Row, order Order) int {
	switch order {
	case ByRate:
		if c := cmp.Compare(y.Rate, x.Rate); c != 0 {
			return c
		}
		return cmp.Compare(y.Count, x.Count)
	case ByCount:
		return cmp.Compare(y.Count, x.Count)
	case ByMissing:
		return cmp.Compare(y.Missing, x.Missing)
	case ByFailed:
		return cmp.Compare(y.Failed, x.Failed)
	case ByLatency:
		return cmp.Compare(y.Latency, x.Latency)
	case BySlowest:
		return cmp.Compare(y.Slowest, x.Slowest)
	case ByLast:
		return cmp.Compare(y.Last, x.Last)
	}
	return strings.Compare(x.Value, y.Value)
}
