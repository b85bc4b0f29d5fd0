package output

import (
	"bytes"
	"errors"
	"testing"
	"time"

	"github.com/dnshark-io/dnshark/event"
)

// numbered fills a batch with events that can be told apart.
func numbered(t *testing.T, b *event.Batch, from, n int) {
	for i := range n {
		e := b.Next()
		e.Kinds = 1
		e.Time = int64(from + i)
		e.Msg.Unpack(b.Hold([]byte{byte(i >> 8), byte(i), 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0}))
	}
}

// The output is the same whatever the number of workers.
func TestParallelOrder(t *testing.T) {
	var want bytes.Buffer
	w := NewWriter(NewJSON(), &want, false)
	b := &event.Batch{Host: "h"}
	const batches = 200
	for i := range batches {
		numbered(t, b, i*1000, 1+i*7%50)
		var err error
		if b, err = w.Write(b); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	for _, workers := range []int{1, 2, 3, 5, 16} {
		var got bytes.Buffer
		p := NewParallel(NewJSON(), &got, workers)
		err := p.Run(func() (err error) {
			b := &event.Batch{Host: "h"}
			for i := range batches {
				numbered(t, b, i*1000, 1+i*7%50)
				if b, err = p.Write(b); err != nil {
					return err
				}
				if len(b.Events) != 0 || b.Host != "h" {
					t.Errorf("the next batch has %d events, host %q", len(b.Events), b.Host)
				}
			}
			return nil
		})
		if err := errors.Join(err, p.Close()); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got.Bytes(), want.Bytes()) {
			t.Errorf("%d workers write something else", workers)
		}
	}
}

type brokenSink struct{ writes int }

var errBroken = errors.New("broken")

func (s *brokenSink) Write(p []byte) (int, error) {
	if s.writes++; s.writes > 3 {
		return 0, errBroken
	}
	return len(p), nil
}

// A sink that fails ends the run, and is not asked again.
func TestParallelError(t *testing.T) {
	sink := &brokenSink{}
	p := NewParallel(NewJSON(), sink, 2)
	err := p.Run(func() (err error) {
		b := &event.Batch{}
		for i := 0; i < 1000 && err == nil; i++ {
			numbered(t, b, i, 10)
			b, err = p.Write(b)
		}
		return err
	})
	if !errors.Is(err, errBroken) || !errors.Is(p.Close(), errBroken) {
		t.Errorf("%v", err)
	}
	if sink.writes != 4 {
		t.Errorf("%d writes, want 4", sink.writes)
	}
}

// Whoever waits for work gets it: a sink that takes long, a line that takes long.
// The line's error is that of Run, and comes when everything is written.
func TestParallelSlow(t *testing.T) {
	failed := errors.New("the line failed")
	for _, slow := range []string{"line", "sink"} {
		var got bytes.Buffer
		sink := writerFunc(func(p []byte) (int, error) {
			if slow == "sink" {
				time.Sleep(100 * time.Microsecond)
			}
			return got.Write(p)
		})
		p := NewParallel(NewJSON(), sink, 3)
		err := p.Run(func() (err error) {
			b := &event.Batch{}
			for i := range 300 {
				if slow == "line" {
					time.Sleep(100 * time.Microsecond)
				}
				numbered(t, b, i, 1)
				if b, err = p.Write(b); err != nil {
					return err
				}
			}
			return failed
		})
		if lines := bytes.Count(got.Bytes(), []byte("\n")); !errors.Is(err, failed) || lines != 300 || p.Close() != nil {
			t.Errorf("slow %s: %d lines, %v", slow, lines, err)
		}
	}
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

// What a format begins and ends with comes once, whoever writes, and without
// events only when it is asked for.
func TestFraming(t *testing.T) {
	type writer interface {
		Write(*event.Batch) (*event.Batch, error)
		Begin()
		Close() error
	}
	write := func(w writer, batches int, begin bool) {
		line := func() (err error) {
			b := &event.Batch{Host: "h"}
			for i := range batches {
				numbered(t, b, i*1000, i%3) // some are empty
				if b, err = w.Write(b); err != nil {
					return err
				}
			}
			return nil
		}
		var err error
		if p, ok := w.(*Parallel); ok {
			err = p.Run(line)
		} else {
			err = line()
		}
		if err != nil {
			t.Fatal(err)
		}
		if begin {
			w.Begin()
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"csv", "dnstap", "zeek-tsv"} {
		enc := encoder(t, name)
		for _, batches := range []int{0, 1, 100} {
			events := &event.Batch{Host: "h"}
			for i := range batches {
				numbered(t, events, i*1000, i%3)
			}
			for _, begin := range []bool{false, true} {
				want := whole(enc, events)
				if !begin && len(events.Events) == 0 {
					want = nil
				}
				var one, prompt, many bytes.Buffer
				write(NewWriter(enc, &one, false), batches, begin)
				write(NewWriter(enc, &prompt, true), batches, begin)
				write(NewParallel(enc, &many, 3), batches, begin)
				for who, got := range map[string]*bytes.Buffer{"writer": &one, "prompt": &prompt, "parallel": &many} {
					if !bytes.Equal(got.Bytes(), want) {
						t.Errorf("%s, %d batches, begin %v: %s writes\n%q, want\n%q", name, batches, begin, who, got.Bytes(), want)
					}
				}
			}
		}
	}
}
