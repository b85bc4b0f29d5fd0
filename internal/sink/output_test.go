package sink

import (
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/dnshark-io/dnshark/event"
	"github.com/dnshark-io/dnshark/internal/kind"
	"github.com/dnshark-io/dnshark/internal/output"
)

// start returns a started output of the URL, in the target's format.
func start(t testing.TB, url string) *Output {
	t.Helper()
	s, target := open(t, url)
	target.Log = func(string, ...any) {}
	format, err := output.FindFormat(target.Format)
	if err != nil {
		t.Fatal(err)
	}
	o := &Output{Target: target, Sink: s, Kinds: ^kind.Set(0), Carried: format.Carries(^kind.Set(0)), Host: "h"}
	if o.Encoder, err = format.New(output.Settings{}); err != nil {
		t.Fatal(err)
	}
	target.Header, target.Trailer = output.Frame(o.Encoder)
	if err := o.Start(false); err != nil {
		t.Fatal(err)
	}
	return o
}

// batch fills b with n answers.
func batch(b *event.Batch, n int) {
	for range n {
		e := b.Next()
		e.Kinds = 1 << 2
		e.Msg.Unpack(b.Hold([]byte("\x00\x07\x81\x80\x00\x01\x00\x01\x00\x00\x00\x00\x03www\x07example\x00\x00\x01\x00\x01\xc0\x0c\x00\x01\x00\x01\x00\x00\x00\x3c\x00\x04\xc0\x00\x02\x50")))
	}
}

// An output whose receiver accepts and never answers delays neither the line nor
// another output; what it loses is counted.
func TestDeadOutput(t *testing.T) {
	const batches, each = 1500, 64
	hold := make(chan struct{})
	dead := listen(t, "tcp", nil, func(net.Conn) { <-hold })
	t.Cleanup(func() { close(hold) }) // before the listener waits
	path := filepath.Join(t.TempDir(), "alive")
	// The encoding of a second output costs, whether it is dead or alive: what is
	// compared has one that takes everything at once.
	alive, other := "file://"+path+"?queue=1GB", "file:///dev/null?queue=1GB"
	run := func(urls ...string) time.Duration {
		outputs := &Outputs{Grace: 200 * time.Millisecond}
		for _, url := range urls {
			outputs.List = append(outputs.List, start(t, url))
		}
		b := &event.Batch{}
		begin := time.Now()
		for range batches {
			batch(b, each)
			if _, err := outputs.Write(b); err != nil {
				t.Fatal(err)
			}
		}
		took := time.Since(begin)
		eventually(t, "the one alive has all but the last", func() bool { return outputs.List[0].Queue.Stats().Waiting == 0 })
		err := outputs.Close()
		for i, o := range outputs.List {
			s := o.Queue.Stats()
			if s.Events != batches*each || !accounted(s) || s.Waiting != 0 {
				t.Errorf("%s: %+v", urls[i], s)
			}
			if i == 0 && s.Delivered != s.Events {
				t.Errorf("%s: %+v", urls[i], s)
			}
			if i > 0 && urls[i] != other && (s.Delivered != 0 || s.Overflow == 0 || s.Abandoned == 0 || err == nil) {
				t.Errorf("%s: %+v, %v", urls[i], s, err)
			}
		}
		return took
	}
	for _, url := range []string{"http://" + dead.address, "fluent://" + dead.address, "redis://" + dead.address} {
		best := 0.0
		// Other work on the machine slows down one of the two now and then. What really
		// waits for the dead one does so every time.
		for round := 0; round < 10 && best < 0.8; round++ {
			with, without := run(alive, url+"?queue=1MB&timeout=1m"), run(alive, other)
			best = max(best, float64(without)/float64(with))
		}
		t.Logf("%s: throughput with the dead one is %.2f of that with one alive", url, best)
		if best < 0.8 {
			t.Errorf("%s delays the line: %.2f", url, best)
		}
	}
	if info, err := os.Stat(path); err != nil || info.Size() == 0 {
		t.Error(info, err)
	}
}
