package dnshark_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/dnshark-io/dnshark"
	"github.com/dnshark-io/dnshark/event"
	"github.com/dnshark-io/dnshark/internal/testkit"
)

// capture holds n questions, a.test., b.test. and so on, each with its answer but
// the last.
func capture(t testing.TB, n int) []byte {
	t.Helper()
	var file bytes.Buffer
	c, err := testkit.NewCapture(&file)
	if err != nil {
		t.Fatal(err)
	}
	client, server := netip.MustParseAddrPort("192.0.2.1:40000"), netip.MustParseAddrPort("192.0.2.53:53")
	for i := range n {
		q := new(dns.Msg)
		q.SetQuestion(fmt.Sprintf("%c.test.", 'a'+i), dns.TypeA)
		q.Id = uint16(i)
		r := new(dns.Msg)
		r.SetRcode(q, dns.RcodeNameError)
		for j, m := range []*dns.Msg{q, r} {
			raw, err := m.Pack()
			if err != nil {
				t.Fatal(err)
			}
			from, to := client, server
			if j == 1 {
				if from, to = server, client; i == n-1 {
					continue
				}
			}
			if err := c.UDP(int64(i)*int64(10*time.Second)+int64(j)*int64(time.Millisecond), from, to, raw); err != nil {
				t.Fatal(err)
			}
		}
	}
	return file.Bytes()
}

func name(e *event.Event) string {
	return string(e.Msg.AppendName(nil, e.Msg.Questions[0].Name))
}

func TestRead(t *testing.T) {
	var kept []*event.Event
	for e, err := range dnshark.Read(t.Context(), bytes.NewReader(capture(t, 4)), dnshark.Options{Host: "h"}) {
		if err != nil {
			t.Fatal(err)
		}
		kept = append(kept, e.Clone())
	}
	// The last question waits still when the capture ends.
	if len(kept) != 3 {
		t.Fatalf("%d events, want 3 answers", len(kept))
	}
	for i, e := range kept {
		if want := fmt.Sprintf("%c.test", 'a'+i); name(e) != want || e.Host != "h" || e.Txn.State != event.StateAnswered || e.Txn.Latency != int64(time.Millisecond) || e.Msg.RCode() != 3 {
			t.Errorf("event %d: %s %+v", i, name(e), e.Txn)
		}
	}
}

func TestReadLeft(t *testing.T) {
	seen := 0
	for e, err := range dnshark.Read(t.Context(), bytes.NewReader(capture(t, 9)), dnshark.Options{Filter: `qname.under("b.test") or qname == "d.test"`}) {
		if err != nil || name(e) != "b.test" {
			t.Fatal(err, name(e))
		}
		seen++
		break
	}
	if seen != 1 {
		t.Error(seen)
	}
}

// A loop that is left does not wait for a pipe that has gone quiet.
func TestReadLeftPipe(t *testing.T) {
	file := capture(t, 20)
	r, w := io.Pipe()
	defer w.Close()
	go func() {
		z := gzip.NewWriter(w)
		z.Write(file)
		z.Flush()
	}()
	left := make(chan bool, 1)
	go func() {
		for _, err := range dnshark.Read(t.Context(), r, dnshark.Options{}) {
			if err != nil {
				t.Error(err)
			}
			break
		}
		left <- true
	}()
	select {
	case <-left:
	case <-time.After(20 * time.Second):
		t.Error("it still waits")
	}
}

func TestReadErrors(t *testing.T) {
	file := capture(t, 3)
	stopped, stop := context.WithCancel(t.Context())
	stop()
	for _, test := range []struct {
		ctx    context.Context
		file   []byte
		o      dnshark.Options
		events int
		want   error
	}{
		{t.Context(), []byte("this is a text and not a capture of anything"), dnshark.Options{}, 0, dnshark.ErrNotCapture},
		{t.Context(), file[:len(file)-5], dnshark.Options{}, 2, dnshark.ErrCut},
		{stopped, file, dnshark.Options{}, 0, context.Canceled},
		{t.Context(), file, dnshark.Options{Filter: "nonsense"}, 0, nil},
		{t.Context(), file, dnshark.Options{Events: []string{"nonsense"}}, 0, nil},
	} {
		events, errs := 0, 0
		for e, err := range dnshark.Read(test.ctx, bytes.NewReader(test.file), test.o) {
			if err != nil {
				if errs++; e != nil || test.want != nil && !errors.Is(err, test.want) {
					t.Errorf("%v: %v, want %v", e, err, test.want)
				}
				continue
			}
			events++
		}
		if events != test.events || errs != 1 {
			t.Errorf("%v: %d events and %d errors, want %d and 1", test.want, events, errs, test.events)
		}
	}
}

func ExampleRead() {
	file, err := os.Open("testdata/example.pcap")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer file.Close()
	for e, err := range dnshark.Read(context.Background(), file, dnshark.Options{Filter: `dns.rcode == "NXDOMAIN"`}) {
		if err != nil {
			fmt.Println(err)
			return
		}
		q := &e.Msg.Questions[0]
		fmt.Printf("%s %v %v\n", e.Msg.AppendName(nil, q.Name), q.Type, e.Msg.RCode())
	}
	// Output: gone.example.test A NXDOMAIN
}

func TestLive(t *testing.T) {
	testkit.NeedRoot(t)
	testkit.NeedPrograms(t, "dig", "dnsmasq", "ip")
	host := testkit.NewHost(t)
	host.Dnsmasq("127.0.0.1")
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	asked := make(chan int, 1)
	go func() {
		for ctx.Err() == nil { // the first ones may come before capture begins
			dig := host.Command("dig", "+tries=1", "@127.0.0.1", "library.example.test")
			if dig.Run() == nil {
				select {
				case asked <- dig.Process.Pid:
				default:
				}
			}
			time.Sleep(50 * time.Millisecond)
		}
	}()
	for e, err := range dnshark.Live(ctx, dnshark.LiveOptions{Options: dnshark.Options{Filter: `qname == "library.example.test"`}}) {
		if err != nil {
			t.Fatal(err)
		}
		if e.Observer != event.Client || e.Asker.ID == nil || string(e.Asker.ID.AppendComm(nil)) != "dig" || e.Server.ID == nil {
			t.Errorf("asked by %+v, answered by %+v", e.Asker, e.Server)
		}
		break
	}
	cancel()
	if len(asked) == 0 {
		t.Error("no dig was answered")
	}
}
