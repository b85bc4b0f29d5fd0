package line_test

import (
	"context"
	"io"
	"net/netip"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/dnshark-io/dnshark/dnswire"
	"github.com/dnshark-io/dnshark/event"
	"github.com/dnshark-io/dnshark/internal/decode"
	"github.com/dnshark-io/dnshark/internal/kind"
	"github.com/dnshark-io/dnshark/internal/line"
	"github.com/dnshark-io/dnshark/internal/output"
	"github.com/dnshark-io/dnshark/internal/pair"
	"github.com/dnshark-io/dnshark/internal/policy"
	"github.com/dnshark-io/dnshark/internal/proc"
	"github.com/dnshark-io/dnshark/internal/source"
	"github.com/dnshark-io/dnshark/internal/testkit"
)

// replay is a lane that hands over the same conversations again and again, so
// much later each time that what has no answer by then gets none. 300 rounds last
// less than the 5 s after which /etc/passwd is looked at again, which allocates.
type replay struct {
	frames []source.Frame
	take   func([]source.Frame) error
}

// Run only remembers take: the test is who says when frames come.
func (r *replay) Run(_ context.Context, take func([]source.Frame) error) error {
	r.take = take
	return nil
}

func (r *replay) Stats() source.Stats { return source.Stats{} }
func (r *replay) Close() error        { return nil }

func (r *replay) round(t testing.TB) {
	for i := range r.frames {
		r.frames[i].Time += int64(10 * time.Millisecond)
	}
	if err := r.take(r.frames); err != nil {
		t.Fatal(err)
	}
}

// lastPacket is a writer that keeps the last packet written to it.
type lastPacket []byte

func (l *lastPacket) Write(p []byte) (int, error) {
	*l = append([]byte(nil), p[16:]...) // behind the record header
	return len(p), nil
}

const conversations = 100

// conversed returns queries and answers as the eBPF source hands them over: with
// the socket and the task of each.
func conversed(t testing.TB) []source.Frame {
	t.Helper()
	var last lastPacket
	capture, err := testkit.NewCapture(&last)
	if err != nil {
		t.Fatal(err)
	}
	server := netip.MustParseAddrPort("198.51.100.53:53")
	task := &event.Identity{TGID: 1 << 30, TID: 1 << 30, Start: 1, ExeIno: 2, Comm: [16]byte{'c', 'u', 'r', 'l'}}
	records := []string{
		"CNAME web.example.test.", "A 192.0.2.1", "AAAA 2001:db8::1", "MX 10 mail.example.test.", `TXT "v=spf1 \"-all\""`,
		"SRV 1 2 443 web.example.test.", `HTTPS 1 . alpn="h2,h3" ipv4hint="192.0.2.7"`,
		"RRSIG A 13 3 300 20260101000000 20250101000000 1 example.test. c2lnbmF0dXJl",
	}
	var frames []source.Frame
	for i := range conversations {
		client := netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, 2, byte(i)}), uint16(20000+i))
		if i%3 == 2 {
			client = netip.AddrPortFrom(netip.AddrFrom16([16]byte{0x20, 1, 0xd, 0xb8, 15: byte(i)}), uint16(20000+i))
		}
		from := server
		if client.Addr().Is6() {
			from = netip.MustParseAddrPort("[2001:db8::53]:53")
		}
		q := new(dns.Msg)
		q.SetQuestion("www.example.test.", dns.TypeA)
		q.SetEdns0(1232, true)
		r := new(dns.Msg)
		r.SetReply(q)
		r.SetEdns0(1232, true)
		for _, text := range records[i%len(records):] {
			rr, err := dns.NewRR("www.example.test. 300 IN " + text)
			if err != nil {
				t.Fatal(err)
			}
			r.Answer = append(r.Answer, rr)
		}
		send := func(m *dns.Msg, src, dst netip.AddrPort, f source.Frame) {
			payload, err := m.Pack()
			if err != nil {
				t.Fatal(err)
			}
			if err := capture.UDP(0, src, dst, payload); err != nil {
				t.Fatal(err)
			}
			f.Time = 1_700_000_000e9 + int64(len(frames))*1000
			f.Data, f.WireLen, f.Link, f.Cookie = last, len(last), source.LinkEthernet, uint64(1+i)
			last = nil
			frames = append(frames, f)
		}
		send(q, client, from, source.Frame{Dir: source.DirEgress, Sender: task})
		if i%10 != 9 { // the others get no answer
			send(r, from, client, source.Frame{Dir: source.DirIngress, Owner: task})
		}
	}
	return frames
}

// counted is a writer that counts events on their way.
type counted struct {
	line.Writer
	events int
}

func (c *counted) Write(b *event.Batch) (*event.Batch, error) {
	for i := range b.Events {
		if b.Events[i].Kinds != 0 {
			c.events++
		}
	}
	return c.Writer.Write(b)
}

// From the frame to the octets written, no event costs an allocation: neither a
// live one nor one of a file, which other goroutines encode.
func TestNoAllocation(t *testing.T) {
	kinds, err := kind.Parse([]string{kind.SetDefault})
	if err != nil {
		t.Fatal(err)
	}
	for _, w := range []struct {
		name     string
		parallel bool
		batch    float64 // allocations for a batch
		writer   line.Writer
	}{
		{"json, live", false, 0, output.NewWriter(output.NewJSON(), io.Discard, true)},
		{"table, live", false, 0, output.NewWriter(output.NewTable(120, true), io.Discard, true)},
		{"json, files", true, 0, output.NewParallel(output.NewJSON(), io.Discard, 2)},
	} {
		processes := &proc.Table{}
		processes.Birth(&event.Birth{ID: event.Identity{TGID: 1 << 30, Start: 1, ExeIno: 2}, Exe: "/usr/bin/curl", Args: "curl\x00"})
		lane := &replay{frames: conversed(t)}
		writer := &counted{Writer: w.writer}
		worker := line.Worker{
			Lane:    lane,
			Decoder: decode.New(decode.Options{Messages: true, Copy: w.parallel}),
			Stages: []line.Stage{
				&policy.Observer{Client: true}, pair.NewTable(int64(time.Millisecond), 0), processes, kind.NewMarker(kinds),
			},
			Writer: writer,
			Host:   "host",
			Limits: dnswire.Limits{},
		}
		const rounds = 100
		measure := func() error {
			if err := worker.Run(t.Context()); err != nil {
				return err
			}
			for range 200 { // tables, batches and buffers grow to their size
				lane.round(t)
			}
			writer.events = 0
			if n := testing.AllocsPerRun(rounds, func() { lane.round(t) }); n > w.batch {
				t.Errorf("%s: %v allocations for %d frames", w.name, n, len(lane.frames))
			}
			return nil
		}
		var err error
		if p, ok := w.writer.(*output.Parallel); ok {
			err = p.Run(measure)
		} else {
			err = measure()
		}
		if err != nil {
			t.Fatal(err)
		}
		// AllocsPerRun runs once more than it counts. A tenth of the queries
		// finds no answer, which is an event too.
		if want := conversations * (rounds + 1); writer.events != want {
			t.Errorf("%s: %d events, want %d", w.name, writer.events, want)
		}
	}
}

// When the clock of the host is set back, the time limit of queries still is
// what it was.
func TestClockSetBack(t *testing.T) {
	lane := &replay{frames: conversed(t)}
	table := pair.NewTable(int64(5*time.Second), 0)
	worker := line.Worker{
		Lane: lane, Decoder: decode.New(decode.Options{Messages: true, Live: true}), Stages: []line.Stage{table},
		Writer: output.NewWriter(output.NewJSON(), io.Discard, true),
	}
	worker.Clock = func() int64 { return lane.frames[len(lane.frames)-1].Time }
	if err := worker.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	lane.round(t)
	for _, step := range []time.Duration{30 * time.Second, time.Hour} {
		before := table.Stats
		for i := range lane.frames {
			lane.frames[i].Time -= int64(step)
			lane.frames[i].Cookie += conversations // new sockets
		}
		if err := lane.take(nil); err != nil {
			t.Fatal(err)
		}
		for i := range lane.frames { // few packets, and silence
			if err := lane.take(lane.frames[i : i+1]); err != nil {
				t.Fatal(err)
			}
		}
		s := table.Stats
		if s.Unanswered != before.Unanswered || s.Late != before.Late || s.Answered-before.Answered != conversations*9/10 {
			t.Errorf("set back by %v: before %+v, after %+v", step, before, s)
		}
	}
}
