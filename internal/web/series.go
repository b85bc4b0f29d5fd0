package web

import (
	"context"
	"math"
	"math/bits"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/dnshark-io/dnshark/dnswire"
	"github.com/dnshark-io/dnshark/event"
	"github.com/dnshark-io/dnshark/internal/store"
)

// sample is what a series takes of an event, in one word: its latency in
// microseconds, its response code, and what of these it has.
type sample uint64

const (
	sampleEvent   sample = 1 << 63 // the first line of an event
	sampleRCode   sample = 1 << 62
	sampleLatency sample = 1 << 61
)

func sampleOf(e *event.Event) sample {
	s := sampleEvent
	if e.Class == event.ClassMessage && e.Msg.Flags.Response() {
		s |= sampleRCode | sample(e.Msg.RCode()&0xfff)<<32
		if e.Txn.Latency >= 0 {
			s |= sampleLatency | sample(min(e.Txn.Latency/1000, math.MaxUint32))
		}
	}
	return s
}

// Bounds of a series: it has a day, in steps of ten seconds. What is older is told by
// the store, by the hour.
const (
	seriesStep = 10 // seconds
	seriesSize = 24 * 3600 / seriesStep
	maxPoints  = 2000
)

// series counts events over time.
type series struct {
	mu    sync.Mutex
	steps [seriesSize]*step // by their time
}

// step is what there was in a span of time. They are added up.
type step struct {
	time                       int64 // since the Unix epoch, in seriesStep
	events, nxdomain, servfail uint64
	latency                    [numLatencies]uint32
}

func (s *series) note(at int64, what sample) {
	if what&sampleEvent == 0 {
		return
	}
	at /= seriesStep * 1e9
	if at < 0 {
		return
	}
	p := &s.steps[at%seriesSize]
	switch {
	case *p == nil:
		*p = &step{time: at}
	case (*p).time < at:
		**p = step{time: at}
	case (*p).time > at:
		return // more than a day ago
	}
	(*p).events++
	if what&sampleRCode != 0 {
		switch dnswire.RCode(what >> 32 & 0xfff) {
		case dnswire.RCodeNXDomain:
			(*p).nxdomain++
		case dnswire.RCodeServFail:
			(*p).servfail++
		}
	}
	if what&sampleLatency != 0 {
		(*p).latency[latencyIndex(uint32(what))]++
	}
}

func (p *step) add(other *step) {
	p.events, p.nxdomain, p.servfail = p.events+other.events, p.nxdomain+other.nxdomain, p.servfail+other.servfail
	for i, n := range other.latency {
		p.latency[i] += n
	}
}

// Latencies are counted in four classes per power of two, so a percentile is at most
// an eighth off.
const numLatencies = 4 * 31

func latencyIndex(us uint32) int {
	if us < 4 {
		return int(us)
	}
	exp := bits.Len32(us) - 3
	return 4*exp + int(us>>exp)
}

// latencyOf returns the middle of a class, in ms.
func latencyOf(i int) float64 {
	if i < 4 {
		return float64(i) / 1000
	}
	exp := i/4 - 1
	return float64(uint64(4+i%4)<<exp)*1000/1e6 + float64(uint64(1)<<exp-1)/2000
}

// appendPercentile appends a latency in ms that so many of a hundred do not exceed, or
// null.
func (p *step) appendPercentile(dst []byte, percent uint64) []byte {
	var total, below uint64
	for _, n := range p.latency {
		total += uint64(n)
	}
	if total == 0 {
		return append(dst, "null"...)
	}
	i := 0
	for ; i < numLatencies-1; i++ {
		if below += uint64(p.latency[i]); 100*below >= percent*total {
			break
		}
	}
	return strconv.AppendFloat(dst, latencyOf(i), 'f', -1, 64)
}

func (p *step) append(dst []byte, seconds int64) []byte {
	dst = time.Unix(p.time*seconds, 0).UTC().AppendFormat(append(dst, `{"time":"`...), time.RFC3339)
	for _, n := range []struct {
		key string
		n   uint64
	}{{`","events":`, p.events}, {`,"nxdomain":`, p.nxdomain}, {`,"servfail":`, p.servfail}} {
		dst = strconv.AppendUint(append(dst, n.key...), n.n, 10)
	}
	dst = p.appendPercentile(append(dst, `,"latency_p50":`...), 50)
	dst = p.appendPercentile(append(dst, `,"latency_p95":`...), 95)
	dst = p.appendPercentile(append(dst, `,"latency_p99":`...), 99)
	return append(dst, '}')
}

// between returns steps of so many seconds, each with its time in these, from the
// first that something is known of.
func (s *series) between(since, until, seconds int64) []step {
	n := until/seconds - since/seconds + 1
	list := make([]step, n)
	for i := range list {
		list[i].time = since/seconds + int64(i)
	}
	first := n
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range s.steps {
		if p == nil {
			continue
		}
		if i := p.time*seriesStep/seconds - since/seconds; i >= 0 && i < n {
			first = min(first, i)
			list[i].add(p)
		}
	}
	return list[first:]
}

const hour = 3600

// series tells how many events there were over time. Steps of hours are the store's,
// shorter ones are of what this process saw.
func (s *Server) series(w http.ResponseWriter, r *http.Request, p *parameters) error {
	span, seconds := p.span(), int64(60)
	if text := p.text("step"); text != "" {
		n, err := strconv.ParseInt(text, 10, 32)
		if err != nil || n < 1 {
			p.fail("step is a number of seconds")
		}
		seconds = (n + seriesStep - 1) / seriesStep * seriesStep
	}
	if seconds > hour || s.Hub == nil {
		seconds = (seconds + hour - 1) / hour * hour
	}
	until, since := span.Until/1e9, span.Since/1e9
	if until == 0 {
		until = p.now.Unix()
	}
	if since == 0 {
		since = until - 60*seconds
	}
	if n := until/seconds - since/seconds; n < 0 || n >= maxPoints {
		p.fail("that is more than " + strconv.Itoa(maxPoints) + " steps; ask for longer ones")
	}
	if p.err != nil {
		return p.err
	}
	var list []step
	if s.Hub != nil {
		list = s.Hub.series.between(since, until, seconds)
	}
	if seconds >= hour {
		var err error
		if list, err = s.hours(r.Context(), since, until, seconds, list); err != nil {
			return err
		}
	}
	out := strconv.AppendInt([]byte(`{"step":`), seconds, 10)
	out = append(out, `,"points":[`...)
	for i := range list {
		if i > 0 {
			out = append(out, ',')
		}
		out = list[i].append(out, seconds)
	}
	return answer(w, append(out, ']', '}'))
}

// hours returns steps of the store's answers, with the latencies of recent ones.
func (s *Server) hours(ctx context.Context, since, until, seconds int64, recent []step) ([]step, error) {
	var list []step
	for at := since / seconds; at <= until/seconds; at++ {
		p := step{time: at}
		codes, err := s.Store.Top(ctx, store.RCodes, store.Range{Since: at * seconds * 1e9, Until: (at+1)*seconds*1e9 - 1}, 100)
		if err != nil {
			return nil, err
		}
		for _, c := range codes {
			p.events += uint64(c.Count)
			switch c.Value {
			case dnswire.RCodeNXDomain.String():
				p.nxdomain = uint64(c.Count)
			case dnswire.RCodeServFail.String():
				p.servfail = uint64(c.Count)
			}
		}
		for i := range recent {
			if recent[i].time == at {
				p.latency = recent[i].latency
			}
		}
		if p.events > 0 || len(list) > 0 {
			list = append(list, p)
		}
	}
	return list, nil
}
