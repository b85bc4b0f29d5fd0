// Package store keeps the history of answers: passive DNS tuples with when and how
// often they were seen and who asked, and counts per hour and day.
package store

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/dnshark-io/dnshark/dnswire"
	"github.com/dnshark-io/dnshark/event"
)

// Store is a history. Look-ups may run while something is written.
type Store interface {
	// Write adds an aggregate, all of it or nothing. What was written survives the
	// end of the program, however that comes.
	Write(context.Context, *Aggregate) error
	// Lookup calls f for every tuple that q wants, the newest first. It reports
	// whether there are more than q.Limit.
	Lookup(ctx context.Context, q *Query, f func(*Tuple) error) (more bool, err error)
	// Top returns the most frequent values, by whole hours.
	Top(ctx context.Context, w What, r Range, n int) ([]Ranked, error)
	// New returns names that were first asked for within r, the newest first.
	New(ctx context.Context, r Range, n int) ([]Ranked, error)
	Counts(context.Context) (Counts, error)
	Close() error
}

// Tuple is what passive DNS knows of a record.
type Tuple struct {
	Name      string // presentation format, lower case, without final dot
	Type      dnswire.Type
	RData     string // presentation format
	Bailiwick string // owner of the SOA or NS records that came with it, "" when there were none
	Sensor    string // host that saw it
	First     int64  // ns since the Unix epoch
	Last      int64
	Count     int64
}

// Ranked is a value and how often it was seen.
type Ranked struct {
	Value string
	Count int64
	First int64 // ns since the Unix epoch; only of names
}

// Counts says how much there is.
type Counts struct {
	Tuples, Names int64
	Octets        int64 // of the pages in use
}

// Range is a span of time, ns since the Unix epoch; 0 is open.
type Range struct{ Since, Until int64 }

// Query says which tuples are wanted.
type Query struct {
	By   By
	Text string       // name, process or container
	Net  netip.Prefix // of ByNet
	// Rest of the name, for By*Name.
	Wild Wild

	Type      dnswire.Type // 0: any
	Bailiwick string       // "": any
	// Tuples seen within: Last at or after Since, First at or before Until.
	Range
	// Fences, inclusive: First and Last within them.
	First, Last Range

	Limit  int // at most; 0: DefaultLimit
	Offset int
}

// By is what Query.Text stands for.
type By uint8

// What tuples are found by.
const (
	ByName      By = iota // owner name
	ByTarget              // the name in the RDATA: NS, CNAME, MX, ...
	ByNet                 // the address in the RDATA: A, AAAA
	ByProcess             // comm, or with a slash in it the path of the executable
	ByContainer           // id or its beginning, 12 digits or more
)

// Wild is which part of a name may be anything.
type Wild uint8

// Wildcards.
const (
	Exact Wild = iota
	Left       // *.example.test, example.test included
	Right      // www.example.*
)

// Bounds of answers.
const (
	DefaultLimit = 1000
	MaxLimit     = 1_000_000
	maxOffset    = 10_000_000
)

// What is ranked.
type What uint8

// What is counted per hour and day.
const (
	Names What = iota
	Clients
	Processes
	Servers
	RCodes
	NXDomain
	numWhat
)

// isName reports whether values are domain names.
func (w What) isName() bool { return w == Names || w == NXDomain }

var whatNames = [numWhat]string{"names", "clients", "processes", "servers", "rcodes", "nxdomain"}

// WhatNames lists what can be ranked.
func WhatNames() []string { return whatNames[:] }

// ParseWhat is the inverse of WhatNames.
func ParseWhat(text string) (What, error) {
	for i, name := range whatNames {
		if name == text {
			return What(i), nil
		}
	}
	return 0, fmt.Errorf("%q cannot be ranked; want one of %s", text, strings.Join(whatNames[:], ", "))
}

// Check refuses what would want too much.
func (q *Query) Check() error {
	switch {
	case q.By == ByContainer && len(q.Text) < 12:
		return fmt.Errorf("%w: at least 12 digits of a container's id are needed", ErrQuery)
	case q.Limit > MaxLimit || q.Offset < 0 || q.Offset > maxOffset:
		return fmt.Errorf("%w: at most %d tuples, after at most %d others", ErrQuery, MaxLimit, maxOffset)
	}
	return nil
}

// ErrQuery is the error of a query that cannot be asked.
var ErrQuery = errors.New("not a query")

// ParseSubject reads what a history is asked about: NAME, *.NAME, NAME.*, an address,
// a range of addresses, process:NAME or container:ID.
func ParseSubject(text string) (*Query, error) {
	q := &Query{}
	if name, ok := strings.CutPrefix(text, "process:"); ok && name != "" {
		q.By, q.Text = ByProcess, string(event.AppendSafe(nil, name))
		return q, nil
	}
	if id, ok := strings.CutPrefix(text, "container:"); ok {
		q.By, q.Text = ByContainer, id
		return q, q.Check()
	}
	if q.ParseNet(text) == nil {
		return q, nil
	}
	return q, q.ParseName(text)
}

// ParseName reads NAME, *.NAME or NAME.* into a query.
func (q *Query) ParseName(text string) error {
	switch {
	case strings.HasPrefix(text, "*."):
		q.Wild, text = Left, text[2:]
	case strings.HasSuffix(text, ".*"):
		q.Wild, text = Right, text[:len(text)-2]
	}
	name, err := canonical(text)
	if err != nil || q.Wild == Right && name == "." {
		return fmt.Errorf("%w: %q is no domain name", ErrQuery, text)
	}
	q.Text = name
	return nil
}

// ParseNet reads an address or a range of addresses into a query.
func (q *Query) ParseNet(text string) error {
	if a, err := netip.ParseAddr(text); err == nil && a.Zone() == "" {
		q.By, q.Net = ByNet, netip.PrefixFrom(a.Unmap(), a.Unmap().BitLen())
		return nil
	}
	p, err := netip.ParsePrefix(text)
	if err != nil || p.Addr().Is4In6() {
		return fmt.Errorf("%w: %q is no address and no range of addresses", ErrQuery, text)
	}
	q.By, q.Net = ByNet, p.Masked()
	return nil
}

// ParseRange reads times before now, as 24h or 7d, or absolute, as 2026-01-31 or
// 2026-01-31T12:00:00Z. Empty texts are open.
func ParseRange(since, until string, now time.Time) (r Range, err error) {
	if r.Since, err = parseTime(since, now); err == nil {
		r.Until, err = parseTime(until, now)
	}
	if err == nil && r.Since != 0 && r.Until != 0 && r.Since > r.Until {
		err = fmt.Errorf("%w: %s is after %s", ErrQuery, since, until)
	}
	return r, err
}

func parseTime(text string, now time.Time) (int64, error) {
	if text == "" {
		return 0, nil
	}
	if d, err := ParseAge(text); err == nil {
		return now.Add(-d).UnixNano(), nil
	}
	for _, layout := range []string{time.RFC3339Nano, time.DateTime, time.DateOnly} {
		if t, err := time.Parse(layout, text); err == nil && t.Year() >= 1970 && t.Year() < 2262 {
			return t.UnixNano(), nil
		}
	}
	return 0, fmt.Errorf("%w: %q is no time; want a time ago, as 24h or 7d, or one as 2026-01-31T12:00:00Z", ErrQuery, text)
}

// ParseAge reads a duration, of which the unit may be d.
func ParseAge(text string) (time.Duration, error) {
	scale := time.Duration(1)
	if days, ok := strings.CutSuffix(text, "d"); ok {
		text, scale = days+"h", 24
	}
	d, err := time.ParseDuration(text)
	if err != nil || d < 0 || d > 100*365*24*time.Hour/scale {
		return 0, fmt.Errorf("%w: %q is no time span; want one as 24h or 7d", ErrQuery, text)
	}
	return d * scale, nil
}

// canonical returns a name as it is kept: what dnswire makes of its wire form.
func canonical(text string) (string, error) {
	wire, err := dnswire.AppendWireName(make([]byte, 12, 12+256+4), text)
	if err != nil {
		return "", err
	}
	return fromWire(wire[12:])
}

// fromWire reads a name in wire form, which must be all there is.
func fromWire(name []byte) (string, error) {
	if len(name) > 255 {
		return "", ErrQuery
	}
	raw := append(make([]byte, 12, 12+len(name)+4), name...)
	raw[5] = 1
	var m dnswire.Message
	if m.Unpack(append(raw, 0, 1, 0, 1)); m.Broken != dnswire.None || m.Trailing > 0 || len(m.Questions) != 1 || int(m.Questions[0].Name.Len) != len(name) {
		return "", ErrQuery
	}
	return string(m.AppendNameLower(nil, m.Questions[0].Name)), nil
}

// NameFromWire reads a name from its wire form.
func NameFromWire(wire []byte) (string, error) {
	name, err := fromWire(wire)
	if err != nil {
		return "", fmt.Errorf("%w: these octets are no domain name", ErrQuery)
	}
	return name, nil
}

// appendKey appends a name's labels from the last to the first, a NUL after each:
// what is below a name begins with its key. name is in presentation format.
func appendKey(dst []byte, name string) []byte {
	if name == "." || name == "" {
		return dst
	}
	for end := len(name); end > 0; {
		begin := end
		for begin > 0 && !(name[begin-1] == '.' && !escaped(name, begin-1)) {
			begin--
		}
		dst = append(append(dst, name[begin:end]...), 0)
		end = begin - 1
	}
	return dst
}

// escaped reports whether an odd number of backslashes stands before name[i].
func escaped(name string, i int) bool {
	n := 0
	for i > n && name[i-n-1] == '\\' {
		n++
	}
	return n%2 == 1
}

// targets tells which field of the RDATA is a name: NS, CNAME, SOA, PTR, MX, SRV,
// DNAME, SVCB, HTTPS.
var targets = map[dnswire.Type]int{2: 0, 5: 0, 6: 0, 12: 0, 15: 1, 33: 3, 39: 0, 64: 1, 65: 1}

// DottedRData returns the RDATA with final dots on its names, as master files have
// them.
func (t *Tuple) DottedRData() string {
	field, ok := targets[t.Type]
	list := strings.Fields(t.RData)
	if !ok || field >= len(list) {
		return t.RData
	}
	dot := func(i int) {
		if i < len(list) && list[i] != "." {
			list[i] += "."
		}
	}
	dot(field)
	if t.Type == dnswire.TypeSOA {
		dot(1)
	}
	return strings.Join(list, " ")
}

// target is the name in the text of RDATA, "" when its type has none.
func target(t dnswire.Type, rdata string) string {
	field, ok := targets[t]
	if !ok {
		return ""
	}
	if list := strings.Fields(rdata); field < len(list) {
		return strings.ToLower(list[field])
	}
	return ""
}
