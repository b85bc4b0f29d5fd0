// Package sink delivers encoded events to whoever takes them: files, sockets,
// brokers, stores. Each kind of sink is one file, listed in kinds.go. Between the
// line and a sink is a queue, so that a sink that is slow or gone delays neither
// the line nor another sink.
package sink

import (
	"bytes"
	"context"
	"errors"
	"iter"
	"strconv"
	"time"
)

// Block is a run of events in one format, in order.
type Block struct {
	// Text is what the format's encoder wrote. Of formats of lines, which are
	// all but those that Format.Binary names, an event is one line or, as in
	// passive DNS formats, none or several; each ends with a newline.
	Text []byte
	// First is the sequence number of the first line; the others follow it.
	First uint64
	// Events is how many events are in there.
	Events int

	source string // what every id of the output begins with
}

// Lines returns the lines without their newlines, with their numbers in the
// block.
func (b *Block) Lines() iter.Seq2[int, []byte] {
	return func(yield func(int, []byte) bool) {
		rest := b.Text
		for i := 0; len(rest) > 0; i++ {
			line, after, _ := bytes.Cut(rest, []byte{'\n'})
			if !yield(i, line) {
				return
			}
			rest = after
		}
	}
}

// AppendID appends the id of line i. It is the same whenever the line is delivered
// again, and no other line of any host, boot or output has it:
// HOST-BOOT-OUTPUT-SEQUENCE, of letters, digits, '.', '_' and '-'.
func (b *Block) AppendID(dst []byte, i int) []byte {
	dst = append(dst, b.source...)
	return strconv.AppendUint(dst, b.First+uint64(i), 10)
}

// AppendJSON appends line i, which is a JSON object, with its id as event_id. Other
// lines are appended as they are.
func (b *Block) AppendJSON(dst []byte, i int, line []byte) []byte {
	if len(line) < 2 || line[0] != '{' {
		return append(dst, line...)
	}
	dst = append(dst, `{"event_id":"`...)
	dst = b.AppendID(dst, i)
	dst = append(dst, '"')
	if line[1] != '}' {
		dst = append(dst, ',')
	}
	return append(dst, line[1:]...)
}

// Sink is where blocks go. One goroutine uses it.
type Sink interface {
	// Deliver returns when the receiver has the block. After an error it is
	// called with the same block again, unless the error is Permanent. It
	// opens what it needs itself, also again after an error, and gives up when
	// ctx ends. It keeps nothing of the block.
	Deliver(ctx context.Context, b *Block) error
	// Close closes what Deliver opened.
	Close() error
}

// Permanent marks an error that stays however often the block is delivered: the
// block is counted as refused.
func Permanent(err error) error { return &permanent{err} }

type permanent struct{ error }

func (p *permanent) Unwrap() error { return p.error }

func isPermanent(err error) bool {
	var p *permanent
	return errors.As(err, &p)
}

// Partly says that n of the block's events were refused for good and the others
// delivered.
func Partly(n int, why error) error { return &partly{why, n} }

type partly struct {
	error
	refused int
}

func (p *partly) Unwrap() error { return p.error }

// After marks an error of a receiver that wants to be left alone for a while. The
// queue waits at most maxAfter.
func After(err error, wait time.Duration) error { return &after{err, wait} }

type after struct {
	error
	wait time.Duration
}

func (a *after) Unwrap() error { return a.error }
