package loss

import (
	"testing"
	"time"

	"github.com/dnshark-io/dnshark/event"
)

// world is a step that loses, and the time.
type world struct {
	stage *Stage
	time  time.Time
	batch event.Batch
	lost  [2]uint64
}

func newWorld() *world {
	w := &world{time: time.Unix(1_700_000_000, 0)}
	w.stage = NewStage(Place{Where: "output", Name: "a", Reasons: []string{"overflow", "refused"}, Carries: true,
		Read: func(n []uint64) { copy(n, w.lost[:]) }})
	w.stage.clock = func() time.Time { return w.time }
	return w
}

// after lets time pass and returns what is told then.
func (w *world) after(d time.Duration) []*event.Loss {
	w.time = w.time.Add(d)
	w.batch.Reset()
	w.batch.Now = w.time.UnixNano()
	w.stage.Process(&w.batch)
	var told []*event.Loss
	for i := range w.batch.Events {
		if e := &w.batch.Events[i]; e.Class != event.ClassLoss || e.Time != w.batch.Now {
			panic("not an event of now")
		}
		told = append(told, w.batch.Events[i].Loss)
	}
	return told
}

func TestEpisode(t *testing.T) {
	w := newWorld()
	if told := w.after(0); told != nil {
		t.Fatalf("told %+v though nothing was lost", told[0])
	}
	w.lost[0] = 5
	told := w.after(every)
	if len(told) != 1 || told[0].Ends || told[0].Where != "output" || told[0].Name != "a" || told[0].Count() != 5 {
		t.Fatalf("told %+v, want one beginning with 5", told)
	}
	for range 20 {
		w.lost[1]++
		if told := w.after(every); told != nil {
			t.Fatalf("told %+v in the middle", told[0])
		}
	}
	if told := w.after(quiet - time.Millisecond); told != nil {
		t.Fatalf("told %+v before it was quiet", told[0])
	}
	told = w.after(every)
	if len(told) != 1 || !told[0].Ends || told[0].Unfinished {
		t.Fatalf("told %+v, want the end", told)
	}
	end := told[0]
	if end.Reason[0] != (event.LossReason{Name: "overflow", N: 5}) || end.Reason[1] != (event.LossReason{Name: "refused", N: 20}) {
		t.Errorf("reasons %+v, want 5 overflow and 20 refused", end.Reason)
	}
	if d := time.Duration(end.Duration); d != 20*every || time.Duration(end.End-end.Start) != d {
		t.Errorf("lasted %v, from %d to %d, want 2s", d, end.Start, end.End)
	}
	w.after(2 * reach)
	w.lost[0]++
	if told := w.after(every); len(told) != 1 || told[0].Count() != 1 {
		t.Errorf("told %+v of a second episode, want 1 lost", told)
	}
	t.Logf("25 losses in 2 s: one loss_start, one loss_end with %d overflow and %d refused in %v", end.Reason[0].N, end.Reason[1].N, time.Duration(end.Duration))
	if w.stage.Told != 3 {
		t.Errorf("counted %d events, want 3", w.stage.Told)
	}
}

// An output that refuses everything refuses loss events too.
func TestOwnLossIsNoEpisode(t *testing.T) {
	w := newWorld()
	w.lost[1] = 3
	told := len(w.after(0))
	for range 600 {
		n := len(w.after(every))
		w.lost[1] += uint64(n)
		told += n
	}
	if told != 2 {
		t.Errorf("%d events in a minute after three losses, want a beginning and an end", told)
	}
}

func TestUnfinished(t *testing.T) {
	w := newWorld()
	w.lost[0] = 1
	w.after(0)
	w.batch.Last = true
	if told := w.after(time.Millisecond); len(told) != 1 || !told[0].Ends || !told[0].Unfinished {
		t.Errorf("told %+v at the end, want an unfinished episode", told)
	}
}

// A clock that is set to another year neither ends an episode nor makes it long.
func TestClockJump(t *testing.T) {
	w := newWorld()
	w.lost[0] = 1
	w.after(0)
	for _, years := range []int64{-1, 1} {
		w.lost[0]++
		w.time = w.time.Add(every)
		w.batch.Reset()
		w.batch.Now = w.time.UnixNano() + years*365*24*int64(time.Hour)
		if w.stage.Process(&w.batch); len(w.batch.Events) > 0 {
			t.Errorf("%+v at a jump of %d years", w.batch.Events[0].Loss, years)
		}
	}
	told := w.after(quiet)
	if len(told) != 1 || time.Duration(told[0].Duration) != 2*every || told[0].Count() != 3 {
		t.Errorf("told %+v, want 3 lost in 200ms", told)
	}
}

func TestNoAllocation(t *testing.T) {
	w := newWorld()
	w.after(0)
	n := testing.AllocsPerRun(1000, func() { // looks each time
		w.batch.Now += int64(every)
		w.stage.Process(&w.batch)
	})
	if n != 0 {
		t.Errorf("%v allocations a look", n)
	}
}
