package main

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/dnshark-io/dnshark/internal/source"
)

// count is a number of things and what became of them.
type count struct {
	n    uint64
	name string
}

// account says what came into a step and what became of it. Each count is kept
// by itself where the thing happens; none is what the others leave.
type account struct {
	name string
	in   []count
	out  []count
}

// unaccounted is how much more came in than came out: 0, or something is wrong.
func (a *account) unaccounted() int64 {
	var n int64
	for _, c := range a.in {
		n += int64(c.n)
	}
	for _, c := range a.out {
		n -= int64(c.n)
	}
	return n
}

// String returns "packets: 9 seen: 7 submitted, 2 filtered_pid; 0 unaccounted",
// without the counts that are 0.
func (a account) String() string {
	what := ""
	if out := text(a.out); out != "" {
		what = ": " + out
	}
	in := text(a.in)
	if in == "" {
		in = "0 " + a.in[0].name
	}
	return fmt.Sprintf("%s: %s%s; %d unaccounted", a.name, in, what, a.unaccounted())
}

func text(counts []count) string {
	var list []string
	for _, c := range counts {
		if c.n > 0 {
			list = append(list, fmt.Sprintf("%d %s", c.n, c.name))
		}
	}
	return strings.Join(list, ", ")
}

// accounts are those of all steps, in their order.
func (r *reporter) accounts() []account {
	s, d, p := r.lane.Stats(), r.decoder.Stats(), r.table.Stats
	packets := account{"packets", []count{{s.Seen, "seen"}}, []count{
		{s.Submitted, "submitted"}, {s.RingFull, "ring_full"}, {s.CopyError, "copy_error"},
	}}
	for i, n := range s.Filtered {
		packets.out = append(packets.out, count{n, "filtered_" + source.Rule(i).String()})
	}
	var unmatched, unwanted, alerts, losses uint64
	if r.detect != nil {
		alerts = r.detect.Told
	}
	if r.loss != nil {
		losses = r.loss.Told
	}
	if r.filter != nil {
		unmatched = r.filter.Dropped
	}
	if r.policies != nil {
		unwanted = r.policies.Dropped
	}
	accounts := []account{
		packets,
		{"frames", []count{{s.Submitted, "submitted"}}, []count{
			{d.Frames, "decoded"}, {r.worker.Skipped, "skipped"}, {s.Unread, "unread"},
		}},
		{"payloads", []count{{d.Frames, "frames"}, {d.FragReassembled, "reassembled"}}, []count{
			{d.UDP, "datagrams"}, {d.TCP, "segments"}, {d.Fragments, "fragments"}, {d.Other, "other"}, {d.Dropped, "dropped"},
		}},
		{"messages", []count{{d.Messages, "decoded"}}, []count{
			{d.Whole, "ok"}, {d.Flagged, "flagged"}, {d.Partial, "partial"}, {d.Malformed, "malformed"},
		}},
		{"transactions", []count{{p.Queries, "queries"}}, []count{
			{p.Answered, "answered"}, {p.Unanswered, "unanswered"}, {p.Pending, "waiting"}, {p.Evicted, "forgotten"},
		}},
		{"events", []count{{d.Messages, "messages"}, {d.Packets, "packets"}, {p.Unanswered, "unanswered"}, {alerts, "alerts"}, {losses, "losses"}}, []count{
			{r.tally.Observations, "shown"}, {r.marker.None, "not_selected"}, {r.limit.Cut, "over_count"},
			{r.observer.Dropped, "filtered_observer"}, {r.responses.Dropped, "filtered_responses"}, {r.servers.Dropped, "filtered_server"},
			{r.processes.Dropped, "filtered_process"}, {r.processes.Unknown, "filtered_process_unknown"},
			{unmatched, "filtered_expression"}, {unwanted, "filtered_policy"},
		}},
	}
	if d := r.detect; d != nil {
		accounts = append(accounts, account{"alerts", []count{{d.Raised, "raised"}}, []count{
			{d.Told, "told"}, {d.Suppressed, "suppressed"}, {d.Below, "below_severity"},
		}})
	}
	if h := r.history; h != nil {
		kept, failed, waiting := h.Stats()
		accounts = append(accounts, account{"history", []count{{h.Events, "events"}}, []count{
			{kept, "kept"}, {waiting, "waiting"}, {h.Dropped, "dropped"}, {failed, "failed"}, {h.Other, "no_evidence"},
		}})
	}
	if l := r.events; l != nil {
		written, waiting := l.Stats()
		accounts = append(accounts, account{"event_log", []count{{l.Events, "events"}}, []count{
			{written, "written"}, {waiting, "waiting"}, {l.Dropped, "dropped"}, {l.Failed, "failed"},
		}})
	}
	for _, o := range r.outputs {
		s := o.Queue.Stats()
		accounts = append(accounts, account{"output " + o.Target.Name, []count{{s.Events, "events"}, {s.Recovered, "recovered"}}, []count{
			{s.Delivered, "delivered"}, {s.Waiting, "waiting"}, {s.Spooled, "spooled"}, {s.Overflow, "overflow"}, {s.Refused, "refused"}, {s.Abandoned, "abandoned"},
			{s.Dropped, "dropped_oldest"}, {s.Damaged, "damaged"},
		}})
	}
	return accounts
}

// printJSON prints the accounts as one object on one line, with the counts that
// are 0.
func (r *reporter) printJSON(end bool) {
	object := func(counts []count) map[string]uint64 {
		m := make(map[string]uint64)
		for _, c := range counts {
			m[c.name] = c.n
		}
		return m
	}
	all := map[string]any{"time": time.Now().UTC()}
	for _, a := range r.accounts() {
		if a.name == "frames" && !end {
			continue
		}
		all[a.name] = map[string]any{"in": object(a.in), "out": object(a.out), "unaccounted": a.unaccounted()}
	}
	all["shown"] = object(r.kinds())
	if r.detect != nil {
		all["suppressed_by"] = object(counts(r.detect.SuppressedBy()))
		all["allowed_by"] = object(counts(r.detect.AllowedBy()))
	}
	all["also"] = object(r.also())
	text, err := json.Marshal(all)
	if err == nil {
		fmt.Fprintf(r.out, "%s\n", text)
	}
}

// closes reports whether everything is accounted for.
func (r *reporter) closes() bool {
	for _, a := range r.accounts() {
		if a.unaccounted() != 0 {
			return false
		}
	}
	return true
}
