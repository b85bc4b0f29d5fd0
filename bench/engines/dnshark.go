package main

import (
	"context"
	"errors"
	"net/netip"
	"strings"

	"github.com/dnshark-io/dnshark/event"
	"github.com/dnshark-io/dnshark/internal/store"
)

// own is the store of dnshark. It gets events, as it does from the line.
type own struct {
	store  store.Store
	stage  *store.Stage
	reader store.Store
	dir    string
	batch  event.Batch
}

func openDnshark(dir string) (engine, error) {
	s, err := store.Open(dir, store.Options{})
	if err != nil {
		return nil, err
	}
	g := store.NewStage(s, "sensor1")
	g.Wait = true
	return &own{store: s, stage: g, dir: dir}, nil
}

// write makes events of rows: all rows of a name stand in each of its responses.
func (o *own) write(group []row) error {
	for len(group) > 0 {
		n := 1
		for n < len(group) && group[n].name == group[0].name {
			n++
		}
		raw := response(group[:n])
		for i := range group[0].count {
			e := o.batch.Next()
			e.Msg.Unpack(o.batch.Hold(raw))
			e.Kinds, e.Txn.State, e.Time = 1, event.StateAnswered, group[0].first
			if i > 0 {
				e.Time = group[0].last
			}
			e.Meta.SrcIP, e.Meta.DstIP = netip.AddrFrom4([4]byte{192, 0, 2, 53}), netip.AddrFrom4([4]byte{10, 0, 0, byte(i % 60)})
			e.Asker.ID, e.Asker.Process = &event.Identity{TGID: 100}, &event.Process{Exe: group[0].asker}
			if len(o.batch.Events) == 256 {
				o.stage.Process(&o.batch)
				o.batch.Reset()
			}
		}
		group = group[n:]
	}
	return nil
}

func response(rows []row) []byte {
	raw := []byte{0, 7, 0x81, 0x80, 0, 1, 0, byte(len(rows)), 0, 0, 0, 0}
	for label := range strings.SplitSeq(rows[0].name, ".") {
		raw = append(append(raw, byte(len(label))), label...)
	}
	raw = append(raw, 0, 0, 1, 0, 1)
	for i := range rows {
		raw = append(raw, 0xc0, 12, 0, 1, 0, 1, 0, 0, 1, 44, 0, 4)
		raw = append(raw, netip.MustParseAddr(rows[i].rdata).AsSlice()...)
	}
	return raw
}

func (o *own) finish() error {
	o.stage.Process(&o.batch)
	err := errors.Join(o.stage.Close(), o.store.Close()) // moves the log into the file
	if err == nil {
		o.reader, err = store.OpenReader(o.dir)
	}
	return err
}

func (o *own) ask(text string) (f found, err error) {
	q, err := store.ParseSubject(text)
	if err != nil {
		return f, err
	}
	q.Limit = store.MaxLimit
	_, err = o.reader.Lookup(context.Background(), q, func(t *store.Tuple) error {
		f.Tuples, f.Count = f.Tuples+1, f.Count+t.Count
		return nil
	})
	return f, err
}

func (o *own) name(name string) (found, error)    { return o.ask(name) }
func (o *own) below(name string) (found, error)   { return o.ask("*." + name) }
func (o *own) begins(text string) (found, error)  { return o.ask(text + ".*") }
func (o *own) address(text string) (found, error) { return o.ask(text) }
func (o *own) close() error                       { return o.reader.Close() }
