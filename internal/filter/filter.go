// Package filter is the language in which users say which events they want:
//
//	dns.rcode == "NXDOMAIN" && process.comm == "curl"
//	answer.ip in 10.0.0.0/8 and not qname.under("example.com")
//
// Its words are the paths of package event. An expression is checked against
// their types once, and becomes functions that allocate nothing.
//
// A comparison with a path of several values holds when it holds for one of
// them. != and "not in" are the opposites of == and in: they hold where there is
// no value.
package filter

import (
	"fmt"
	"strings"

	"github.com/dnshark-io/dnshark/event"
	"github.com/dnshark-io/dnshark/internal/suffix"
)

// Filter is an expression ready for use. It has memory of its own to work in, so
// it belongs to one worker.
type Filter struct {
	Expr    Expr
	Dropped uint64 // observations that Process took all kinds from

	text  string
	match match
	work  work
}

// match decides about an event.
type match func(w *work, e *event.Event) bool

// work is memory that matches write to.
type work struct {
	text     []byte
	suffixes suffix.Table
}

// Bounds of an expression: it may come from a request.
const (
	maxText   = 64 << 10
	maxDepth  = 64
	maxValues = 1 << 20
)

// Parse reads an expression. Its error is an *Error.
func Parse(text string) (*Filter, error) {
	expr, err := parse(text)
	if err != nil {
		return nil, err
	}
	return &Filter{Expr: expr, text: text, match: compile(expr)}, nil
}

// Match reports whether the event is wanted.
func (f *Filter) Match(e *event.Event) bool { return f.match(&f.work, e) }

// Process is a stage of the line, behind the one that says which kinds an event
// is emitted as: it takes these from the events that are not wanted. The others
// are not looked at.
func (f *Filter) Process(b *event.Batch) {
	for i := range b.Events {
		if e := &b.Events[i]; e.Kinds != 0 && !f.match(&f.work, e) {
			e.Kinds = 0
			f.Dropped++
		}
	}
}

// String returns the expression as it was given.
func (f *Filter) String() string { return f.text }

// Error says what is wrong with an expression, and where.
type Error struct {
	Text    string // the expression
	Column  int    // of the octet that is wrong, from 0
	Message string
	Hint    string // what may have been meant, "" when nobody knows
}

// Error returns one line.
func (e *Error) Error() string {
	s := fmt.Sprintf("column %d: %s", e.Column+1, e.Message)
	if e.Hint != "" {
		s += "; did you mean " + e.Hint + "?"
	}
	return s
}

// Point returns the expression, a line of it, with a caret under the place.
func (e *Error) Point() string {
	const width = 100
	text := strings.Map(func(r rune) rune {
		if r < 0x20 || r >= 0x7f {
			return ' '
		}
		return r
	}, e.Text)
	column := e.Column
	if column > width/2 {
		cut := min(column-width/2, len(text))
		text, column = text[cut:], column-cut
	}
	return text[:min(width, len(text))] + "\n" + strings.Repeat(" ", column) + "^"
}
