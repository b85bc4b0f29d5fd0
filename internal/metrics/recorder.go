// Package metrics counts events for Prometheus and serves what was counted.
package metrics

import (
	"math/bits"

	"github.com/dnshark-io/dnshark/dnswire"
	"github.com/dnshark-io/dnshark/event"
)

// Recorder is the stage that counts messages. Its counters are the worker's: no
// other goroutine may read them.
type Recorder struct {
	Queries   Types
	Responses RCodes
	Latency   Histogram
	Anomalies [dnswire.NumAnomalies]uint64
	Top       Top
}

// NumRCodes is how many response codes are counted by name: all that IANA
// assigned for messages. The others share the last counter.
const NumRCodes = int(dnswire.RCodeBadCookie) + 2

// RCodes counts responses by response code.
type RCodes [NumRCodes]uint64

// NumTypes is how many types are counted: those below 264 by number, 32768, 32769 and
// all others.
const NumTypes = 264 + 3

// Types counts questions by type. Their number is bounded, whatever is asked.
type Types [NumTypes]uint64

// Process counts the batch's messages.
func (r *Recorder) Process(b *event.Batch) {
	for i := range b.Events {
		e := &b.Events[i]
		if e.Class != event.ClassMessage {
			continue
		}
		m := &e.Msg
		if m.Flags.Response() {
			r.Responses[min(int(m.RCode()), NumRCodes-1)]++
			r.Top.note(e)
			if e.Txn.State == event.StateAnswered {
				r.Latency.add(e.Txn.Latency)
			}
		} else if len(m.Questions) > 0 {
			r.Queries[typeIndex(m.Questions[0].Type)]++
		}
		if !m.Anomalies.Empty() {
			for i := range m.Anomalies.Len() {
				r.Anomalies[m.Anomalies.At(i)]++
			}
		}
	}
}

func typeIndex(t dnswire.Type) int {
	switch {
	case t < 264:
		return int(t)
	case t == dnswire.TypeTA:
		return 264
	case t == dnswire.TypeDLV:
		return 265
	}
	return NumTypes - 1
}

// typeName is the label of a counter of Types.
func typeName(i int) string {
	switch i {
	case 264:
		return dnswire.TypeTA.String()
	case 265:
		return dnswire.TypeDLV.String()
	case NumTypes - 1:
		return "other"
	}
	return dnswire.Type(i).String()
}

// Histogram counts durations in buckets whose bounds double: bucket i holds those
// of at most 2^i times minBound.
type Histogram struct {
	Buckets [numBuckets]uint64 // the last one has no bound
	Sum     uint64             // ns
}

const (
	minBound   = 16_000 // ns
	numBuckets = 22     // up to 33 s
)

func (h *Histogram) add(ns int64) {
	h.Sum += uint64(ns)
	h.Buckets[min(bits.Len64(uint64(max(ns-1, 0))/minBound), numBuckets-1)]++
}

// bound returns the upper bound of a bucket in seconds.
func bound(i int) float64 { return float64(uint64(minBound)<<i) / 1e9 }
