package main

import "github.com/dnshark-io/dnshark/internal/loss"

// watchLosses returns the step that tells of losses, by the counters of the accounts. Where
// the history and the log of events are, is not known yet when it is made.
func watchLosses(r *reporter) *loss.Stage {
	stage := loss.NewStage(
		loss.Place{Where: "source", Reasons: []string{"ring_full", "copy_error"}, Read: func(n []uint64) {
			s := r.lane.Stats()
			n[0], n[1] = s.RingFull, s.CopyError
		}},
		loss.Place{Where: "decoder", Reasons: []string{"ip_frag_evicted", "tcp_memory", "tcp_evicted"}, Read: func(n []uint64) {
			n[0], n[1], n[2] = r.decoder.Evicted()
		}},
		loss.Place{Where: "pairing", Reasons: []string{"forgotten"}, Read: func(n []uint64) { n[0] = r.table.Stats.Evicted }},
		loss.Place{Where: "history", Reasons: []string{"dropped", "failed"}, Read: func(n []uint64) {
			if h := r.history; h != nil {
				_, n[1], _ = h.Stats()
				n[0] = h.Dropped
			}
		}},
		loss.Place{Where: "event_log", Carries: true, Reasons: []string{"dropped", "failed"}, Read: func(n []uint64) {
			if l := r.events; l != nil {
				n[0], n[1] = l.Dropped, l.Failed
			}
		}},
	)
	for _, o := range r.outputs {
		stage.Add(loss.Place{
			Where: "output", Name: o.Target.Name, Carries: true,
			Reasons: []string{"overflow", "refused", "abandoned", "dropped_oldest", "damaged"},
			Read: func(n []uint64) {
				s := o.Queue.Stats()
				n[0], n[1], n[2], n[3], n[4] = s.Overflow, s.Refused, s.Abandoned, s.Dropped, s.Damaged
			},
		})
	}
	return stage
}
