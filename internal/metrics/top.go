package metrics

import (
	"hash/maphash"

	"github.com/dnshark-io/dnshark/event"
	"github.com/dnshark-io/dnshark/internal/suffix"
)

// Top counts responses by domain, process and server, as far as these have labels of
// their own. Labels cost whoever keeps metrics, and what is asked for is anybody's choice: so
// there are at most N of each, for what was seen often, and a label stays for good.
type Top struct {
	N int // labels of each; 0 counts nothing

	tables [numBy]table
	suffix suffix.Table
	text   []byte
}

const (
	byDomain = iota
	byProcess
	byServer
	numBy
)

var byNames = [numBy]string{"domain", "process", "server"}

// Often is how many responses more than others of its place a value must have for a label.
const (
	often  = 32
	places = 1024
)

type table struct {
	labels map[string]*uint64
	others uint64
	seed   maphash.Seed
	wait   [places]struct {
		hash uint64
		n    int32
	}
}

// note counts a response.
func (t *Top) note(e *event.Event) {
	if t.N == 0 {
		return
	}
	if t.tables[0].labels == nil {
		for i := range t.tables {
			t.tables[i].labels, t.tables[i].seed = map[string]*uint64{}, maphash.MakeSeed()
		}
	}
	if len(e.Msg.Questions) > 0 {
		t.text = e.Msg.AppendNameLower(t.text[:0], e.Msg.Questions[0].Name)
		value := t.suffix.Registered(t.text)
		if len(value) == 0 {
			value = t.text
		}
		t.tables[byDomain].add(value, t.N)
	}
	if id := e.Asker.ID; id != nil && id.Known() {
		t.text = id.AppendComm(t.text[:0])
		t.tables[byProcess].add(t.text, t.N)
	}
	t.text = event.AppendAddr(t.text[:0], e.Meta.SrcIP)
	t.tables[byServer].add(t.text, t.N)
}

func (t *table) add(value []byte, most int) {
	if n := t.labels[string(value)]; n != nil {
		*n++
		return
	}
	t.others++
	if len(t.labels) >= most {
		return
	}
	// Majority vote: who is seen more often than all others of its place together gets
	// through, a flood of values that come once does not.
	hash := maphash.Bytes(t.seed, value)
	w := &t.wait[hash%places]
	switch {
	case w.hash == hash:
		if w.n++; w.n >= often {
			t.labels[string(value)] = new(uint64)
			w.n = 0
		}
	case w.n > 0:
		w.n--
	default:
		w.hash, w.n = hash, 1
	}
}

// Counts returns what has labels, and with an empty What all that has none.
func (t *Top) Counts() (list []Count) {
	if t.N == 0 {
		return nil
	}
	for by := range t.tables {
		for value, n := range t.tables[by].labels {
			list = append(list, Count{Side: byNames[by], What: value, N: *n})
		}
		list = append(list, Count{Side: byNames[by], N: t.tables[by].others})
	}
	return list
}
