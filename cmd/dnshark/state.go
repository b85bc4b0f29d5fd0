package main

import (
	"fmt"
	"os"
	"sync/atomic"
	"time"

	"github.com/dnshark-io/dnshark/internal/detect"
)

// stateEvery is how often what detectors know is written.
const stateEvery = 5 * time.Minute

// keeper keeps what detectors know from run to run.
type keeper struct {
	dir     string
	stage   *detect.Stage
	say     func(format string, args ...any)
	due     atomic.Bool
	writing chan struct{} // holds one while a goroutine writes
	failed  atomic.Bool
}

// stateDir returns where what detectors know is kept, "" for nowhere.
func (o *options) stateDir() string {
	if o.state == "" && !o.history.remote() {
		return o.history.dir
	}
	return o.state
}

// keepState puts what an earlier run knew into new detectors, and returns them with what
// keeps their knowledge. Bad state is told and left alone.
func (o *options) keepState(fresh func() *detect.Stage) (*detect.Stage, *keeper, error) {
	stage, dir := fresh(), o.stateDir()
	if dir == "" {
		return stage, nil, nil
	}
	k := &keeper{dir: dir, writing: make(chan struct{}, 1), say: func(format string, args ...any) {
		fmt.Fprintf(o.std.err, "dnshark: "+format+"\n", args...)
	}}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, nil, fmt.Errorf("--state: %w", err)
	}
	b, err := detect.ReadState(dir)
	if err == nil && b != nil {
		err = stage.Load(b, time.Now())
	}
	if err != nil {
		k.say("%s/%s is not used: %s; names are new again", dir, detect.StateFile, oneLine(err))
		stage = fresh()
	}
	k.stage = stage
	return stage, k, nil
}

// save writes the state, in a goroutine of its own where the line goes on. Only the worker
// calls it.
func (k *keeper) save(last bool) {
	if last {
		k.writing <- struct{}{} // after the one before
	} else {
		select {
		case k.writing <- struct{}{}:
		default:
			return
		}
	}
	b := k.stage.Save(time.Now())
	write := func() {
		defer func() { <-k.writing }()
		// A disk that is full is told once.
		if err := detect.WriteState(k.dir, b); err == nil {
			k.failed.Store(false)
		} else if !k.failed.Swap(true) {
			k.say("what detectors know of names is not kept: %s", oneLine(err))
		}
	}
	if last {
		write()
		return
	}
	go write()
}

// every makes the state due from time to time, until the returned function is called.
func (k *keeper) every(d time.Duration) (stop func()) {
	ticker, done := time.NewTicker(d), make(chan struct{})
	go func() {
		for {
			select {
			case <-ticker.C:
				k.due.Store(true)
			case <-done:
				return
			}
		}
	}()
	return func() {
		ticker.Stop()
		close(done)
	}
}
