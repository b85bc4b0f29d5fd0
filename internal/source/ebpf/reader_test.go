//go:build linux

package ebpf

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os/exec"
	"sync"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/dnshark-io/dnshark/internal/source"
)

// As fast as one sender can.
func TestNoLoss(t *testing.T) {
	inNewNetNS(t, func() {
		const packets = 20000
		src, err := New(Options{Ports: []uint16{testPort}})
		if err != nil {
			t.Fatal(err)
		}
		defer src.Close()
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan error)
		next, got := uint32(0), 0
		go func() {
			done <- src.lane.Run(ctx, func(frames []source.Frame) error {
				for _, f := range frames {
					if f.Birth != nil {
						continue
					}
					got++
					if f.Dir != source.DirEgress {
						continue
					}
					if n := binary.BigEndian.Uint32(f.Data[28:]); n != next {
						return fmt.Errorf("packet %d after %d", n, next)
					}
					next++
				}
				return nil
			})
		}()
		server, client := udpPair(t, "udp4", "127.0.0.1")
		defer server.Close()
		defer client.Close()
		began := time.Now()
		for i := range packets {
			if _, err := client.Write(binary.BigEndian.AppendUint32(nil, uint32(i))); err != nil {
				t.Fatal(err)
			}
		}
		took := time.Since(began)
		cancel()
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		src.Close()
		s := src.lane.Stats()
		if next != packets || s.Seen != s.Submitted || s.Submitted != uint64(got) || s.RingFull+s.CopyError != 0 {
			t.Errorf("%d sent, %d at egress, %d frames, %+v", packets, next, got, s)
		}
		t.Logf("%.0f packets/s sent, %+v", packets/took.Seconds(), s)
	})
}

// A reader that never reads: the numbers add up when the ring is full.
func TestRingFull(t *testing.T) {
	inNewNetNS(t, func() {
		src, err := New(Options{Ports: []uint16{testPort}, RingBytes: 1})
		if err != nil {
			t.Fatal(err)
		}
		defer src.Close()
		server, client := udpPair(t, "udp4", "127.0.0.1")
		defer server.Close()
		defer client.Close()
		for range 2000 {
			client.Write(make([]byte, 500))
		}
		s := src.lane.Stats()
		if s.Seen != 4000 || s.RingFull == 0 || s.Seen != s.Submitted+s.RingFull+s.CopyError {
			t.Errorf("%+v", s)
		}
		src.Close()
		if after := src.lane.Stats(); after != s {
			t.Errorf("after Close %+v, before %+v", after, s)
		}
		t.Logf("%d packets seen by the kernel: %d handed over, %d lost and counted", s.Seen, s.Submitted, s.RingFull+s.CopyError)
	})
}

// Whoever starts processes faster than they are read hides no packet by that.
func TestBirthsLeaveRoom(t *testing.T) {
	inNewNetNS(t, func() {
		src, err := New(Options{Ports: []uint16{testPort}, RingBytes: 1})
		if err != nil {
			t.Fatal(err)
		}
		defer src.Close()
		for src.lane.BirthsLost() == 0 {
			if err := exec.Command("true").Run(); err != nil {
				t.Fatal(err)
			}
		}
		server, client := udpPair(t, "udp4", "127.0.0.1")
		defer server.Close()
		defer client.Close()
		for range 100 {
			client.Write(make([]byte, 500))
		}
		if s := src.lane.Stats(); s.Seen != 200 || s.RingFull != 0 {
			t.Errorf("%+v", s)
		}
	})
}

// From a sleeping and from a napping reader a packet must be handed over soon,
// and a silent network must not keep the reader busy.
func TestLatencyAndIdle(t *testing.T) {
	inNewNetNS(t, func() {
		src, err := New(Options{Ports: []uint16{testPort}})
		if err != nil {
			t.Fatal(err)
		}
		defer src.Close()
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		arrived := make(chan time.Time, 1000)
		var empty int
		var mu sync.Mutex
		go src.lane.Run(ctx, func(frames []source.Frame) error {
			now := time.Now()
			for _, f := range frames {
				if f.Birth == nil {
					arrived <- now
				}
			}
			if len(frames) == 0 || frames[0].Birth != nil {
				mu.Lock()
				empty++
				mu.Unlock()
			}
			return nil
		})
		server, client := udpPair(t, "udp4", "127.0.0.1")
		defer server.Close()
		defer client.Close()
		var worst, sum time.Duration
		const rounds = 100
		for i := range rounds {
			time.Sleep(time.Duration(i%10) * time.Millisecond)
			sent := time.Now()
			client.Write([]byte("x"))
			d := (<-arrived).Sub(sent)
			<-arrived // the same at ingress
			worst, sum = max(worst, d), sum+d
		}
		// The machine is shared, so the bound of the test is generous.
		if worst > 50*time.Millisecond {
			t.Errorf("%v from send to take", worst)
		}
		t.Logf("from send to take: mean %v, worst %v", sum/rounds, worst)

		time.Sleep(50 * time.Millisecond)
		mu.Lock()
		empty = 0
		mu.Unlock()
		time.Sleep(time.Second)
		mu.Lock()
		defer mu.Unlock()
		if empty < 9 || empty > 20 {
			t.Errorf("%d empty batches in a second, want one each 90 ms", empty)
		}
		t.Logf("idle: %d wake-ups per second", empty)
	})
}

func TestRunEnds(t *testing.T) {
	c := start(t, Options{})
	boom := errors.New("boom")
	c.cancel()
	if err := <-c.done; err != nil {
		t.Error(err)
	}
	if err := c.lane.Run(context.Background(), func([]source.Frame) error { return boom }); err != boom {
		t.Errorf("%v, want what take returned", err)
	}
	go func() { c.done <- c.lane.Run(context.Background(), c.take) }()
	time.Sleep(10 * time.Millisecond)
	if err := c.src.Close(); err != nil {
		t.Error(err)
	}
	if err := c.lane.Run(context.Background(), c.take); err != nil {
		t.Errorf("Run after Close: %v", err)
	}
	if err := c.lane.Close(); err != nil {
		t.Errorf("Close again: %v", err)
	}
}

// When take fails, be it in silence, capture is over and every packet accounted for.
func TestErrorEndsCapture(t *testing.T) {
	inNewNetNS(t, func() {
		src, err := New(Options{Ports: []uint16{testPort}})
		if err != nil {
			t.Fatal(err)
		}
		defer src.Close()
		boom := errors.New("boom")
		if err := src.lane.Run(t.Context(), func(frames []source.Frame) error {
			if len(frames) == 0 {
				return boom
			}
			return nil
		}); err != boom {
			t.Fatalf("%v, want what take returned", err)
		}
		before := src.lane.Stats()
		server, client := udpPair(t, "udp4", "127.0.0.1")
		defer server.Close()
		defer client.Close()
		client.Write([]byte("after the end"))
		if s := src.lane.Stats(); s != before {
			t.Errorf("before a packet %+v, after it %+v", before, s)
		}
	})
}

// What the programs cost, by the kernel's own clock.
func BenchmarkPrograms(b *testing.B) {
	for _, bench := range []struct {
		name string
		port int
		o    Options
	}{
		{"dns", testPort, Options{}},
		{"dns,helpers", testPort, Options{helpers: true}},
		{"other", testPort + 1, Options{}},
	} {
		b.Run(bench.name, func(b *testing.B) {
			inNewNetNS(b, func() {
				stats, err := ebpf.EnableStats(uint32(unix.BPF_STATS_RUN_TIME))
				if err != nil {
					b.Fatal(err)
				}
				defer stats.Close()
				bench.o.Ports = []uint16{testPort}
				src, err := New(bench.o)
				if err != nil {
					b.Fatal(err)
				}
				defer src.Close()
				ctx, cancel := context.WithCancel(context.Background())
				defer cancel()
				go src.lane.Run(ctx, func([]source.Frame) error { return nil })
				at := &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: bench.port}
				server, err := net.ListenUDP("udp4", at)
				if err != nil {
					b.Fatal(err)
				}
				defer server.Close()
				client, err := net.DialUDP("udp4", nil, at)
				if err != nil {
					b.Fatal(err)
				}
				defer client.Close()
				msg := make([]byte, 45)
				for b.Loop() {
					client.Write(msg)
				}
				for name, prog := range map[string]*ebpf.Program{
					"egress": src.lane.objs.Egress, "ingress": src.lane.objs.Ingress,
				} {
					s, err := prog.Stats()
					if err != nil {
						b.Fatal(err)
					}
					b.ReportMetric(float64(s.Runtime.Nanoseconds())/float64(s.RunCount), name+"-ns/run")
				}
			})
		})
	}
}
