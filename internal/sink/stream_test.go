package sink

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	tap "github.com/dnstap/golang-dnstap"

	"github.com/dnshark-io/dnshark/internal/output"
	"github.com/dnshark-io/dnshark/internal/testkit"
)

func TestStream(t *testing.T) {
	ca := newAuthority(t)
	for name, url := range map[string]func(*receiver) string{
		"tcp":  func(r *receiver) string { return "tcp://" + r.address },
		"unix": func(r *receiver) string { return "unix://" + r.address },
		"tls":  func(r *receiver) string { return "tls://" + r.address + "?ca=" + ca.path },
		"mtls": func(r *receiver) string {
			return "tls://" + r.address + "?server-name=sink.example&ca=" + ca.path + "&cert=" + ca.cert + "&key=" + ca.key
		},
	} {
		t.Run(name, func(t *testing.T) {
			network, config := "tcp", ca.server.Clone()
			switch name {
			case "tcp":
				config = nil
			case "unix":
				network, config = "unix", nil
			case "mtls":
				config.ClientAuth = tls.RequireAndVerifyClientCert
			}
			var got lines
			r := listen(t, network, config, func(c net.Conn) { got.read(c) })
			s, target := open(t, url(r))
			target.Header = func(dst []byte) []byte { return append(dst, `{"n":-1,}`+"\n"...) }
			if err := deliver(t, s, block(1, 100)); err != nil {
				t.Fatal(err)
			}
			r.stop()
			if err := deliver(t, s, block(101, 1)); err == nil {
				t.Error("delivered to nobody")
			}
			r.start()
			if err := deliver(t, s, block(101, 100)); err != nil {
				t.Fatal(err)
			}
			if err := s.Close(); err != nil {
				t.Error(err)
			}
			eventually(t, "200 lines, 2 headers", func() bool { return len(got.get()) >= 202 })
			seen := numbers(t, got.get())
			if len(got.get()) != 202 || seen[-1] != 2 || len(seen) != 201 {
				t.Errorf("%d lines, %d numbers, %d headers", len(got.get()), len(seen), seen[-1])
			}
		})
	}
}

func TestStreamRefusals(t *testing.T) {
	for url, want := range map[string]string{
		"tcp://192.0.2.1":                   "port",
		"tcp://:99x":                        "not a URL",
		"tcp://h:1?ca=/x":                   "for TLS",
		"unix://run/x":                      "unix:///run/some.socket",
		"unix:///":                          "path",
		"tls://h:1?ca=/nowhere":             "ca: open /nowhere",
		"tls://h:1?cert=/x":                 "go together",
		"tls://h:1?insecure=yes":            `unknown option "insecure"`,
		"tcp://h:1?timeout=5":               "a time is",
		"tpc://h:1":                         "unknown kind of output",
		"tls://u:sec ret@h:1?ca=/dev/null/": "not a URL",
		"tls://h:1?ca=" + "stream_test.go":  "no certificate",
	} {
		if why := refused(url); !strings.Contains(why, want) || strings.Contains(why, "sec ret") {
			t.Errorf("%s: %q, want %q", url, why, want)
		}
	}
}

// A certificate that nobody trusts, or for another name, gets nothing.
func TestStreamVerifies(t *testing.T) {
	ca, other := newAuthority(t), newAuthority(t)
	var got lines
	r := listen(t, "tcp", ca.server, func(c net.Conn) { got.read(c) })
	for _, options := range []string{"", "?ca=" + other.path, "?server-name=other.example&ca=" + ca.path} {
		s, _ := open(t, "tls://"+r.address+options)
		if err := deliver(t, s, block(1, 1)); err == nil || !strings.Contains(err.Error(), "TLS") {
			t.Errorf("%q: %v", options, err)
		}
	}
	// Nor does a server that wants a certificate of ours take lines without.
	strict := ca.server.Clone()
	strict.ClientAuth = tls.RequireAndVerifyClientCert
	r = listen(t, "tcp", strict, func(c net.Conn) { got.read(c) })
	for range 5 {
		s, _ := open(t, "tls://"+r.address+"?ca="+ca.path)
		if err := deliver(t, s, block(1, 1)); err == nil || !strings.Contains(err.Error(), "TLS") {
			t.Errorf("without a certificate: %v", err)
		}
	}
	if len(got.get()) > 0 {
		t.Error("lines for a stranger")
	}
}

// Whoever reads slowly, never, or goes without having read is noticed within the
// timeout, and an end of dnshark is noticed at once.
func TestStreamDeadReceivers(t *testing.T) {
	hold, big := make(chan struct{}), block(1, 20_000)
	defer close(hold)
	for name, handle := range map[string]func(net.Conn){
		"never reads": func(net.Conn) { <-hold },
		"goes":        func(c net.Conn) { _, _ = c.Read(make([]byte, 10)) },
	} {
		r := listen(t, "unix", nil, handle)
		s, _ := open(t, "unix://"+r.address+"?timeout=200ms")
		begin := time.Now()
		if err := deliver(t, s, block(1, 1000)); err == nil {
			t.Errorf("%s: delivered", name)
		} else {
			t.Logf("%s: %v", name, err)
		}
		if took := time.Since(begin); took > testGrace {
			t.Errorf("%s: %v", name, took)
		}
		s, _ = open(t, "unix://"+r.address+"?timeout=1h")
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		begin = time.Now()
		if err := s.Deliver(ctx, big); err == nil || time.Since(begin) > testGrace {
			t.Errorf("%s: %v after %v", name, err, time.Since(begin))
		}
		cancel()
	}
	// Nothing is accepted any more, the address is one that nobody answers at.
	s, _ := open(t, "tcp://192.0.2.1:9?timeout=100ms")
	if err := deliver(t, s, block(1, 1)); err == nil {
		t.Error("delivered to TEST-NET")
	}
}

// A peer that went away between two blocks costs no line: what was written to it
// afterwards goes to the next.
func TestStreamClosedBetween(t *testing.T) {
	var got lines
	var conns atomic.Int32
	r := listen(t, "tcp", nil, func(c net.Conn) {
		conns.Add(1)
		line := make([]byte, len(block(1, 1).Text))
		_, err := io.ReadFull(c, line)
		c.Close() // before anybody knows of the line
		if err == nil {
			got.add(string(bytes.TrimSpace(line)))
		}
	})
	s, _ := open(t, "tcp://"+r.address)
	for i := range 9 {
		if err := deliver(t, s, block(i+1, 1)); err != nil {
			t.Fatal(err)
		}
		eventually(t, "a line each", func() bool { return len(got.get()) == i+1 })
		time.Sleep(5 * time.Millisecond) // for the close to come
	}
	if conns.Load() != 9 {
		t.Errorf("%d connections", conns.Load())
	}
}

// tapBlock returns a block of n dnstap frames, and the format's frame.
func tapTarget(t *testing.T, url string) (Sink, *Block) {
	t.Helper()
	s, target := open(t, url+"?format=dnstap")
	format, err := output.FindFormat("dnstap")
	if err != nil {
		t.Fatal(err)
	}
	encoder, err := format.New(output.Settings{})
	if err != nil {
		t.Fatal(err)
	}
	target.Header, target.Trailer = output.Frame(encoder)
	b := &Block{Events: 3}
	for _, payload := range []string{"\x78\x01", "\x78\x01", "\x78\x01"} { // type = MESSAGE
		b.Text = binary.BigEndian.AppendUint32(b.Text, uint32(len(payload)))
		b.Text = append(b.Text, payload...)
	}
	return s, b
}

func TestDnstapStream(t *testing.T) {
	for _, network := range []string{"unix", "tcp"} {
		frames := make(chan []byte, 100)
		r := listen(t, network, nil, func(c net.Conn) {
			input, err := tap.NewFrameStreamInput(c, true)
			if err != nil {
				t.Error(network, err)
				return
			}
			input.ReadInto(frames)
		})
		s, b := tapTarget(t, network+"://"+r.address)
		for range 2 {
			if err := deliver(t, s, b); err != nil {
				t.Fatal(network, err)
			}
		}
		if err := s.Close(); err != nil {
			t.Error(network, err)
		}
		for i := range 6 {
			select {
			case f := <-frames:
				if string(f) != "\x78\x01" {
					t.Errorf("%s: %q", network, f)
				}
			case <-time.After(testGrace):
				t.Fatalf("%s: %d frames", network, i)
			}
		}
	}
}

// Receivers that do not do their part of the handshake.
func TestDnstapHandshake(t *testing.T) {
	accept := func(content string) string {
		b := binary.BigEndian.AppendUint32(nil, 0)
		for _, v := range []int{12 + len(content), fsAccept, fsContentType, len(content)} {
			b = binary.BigEndian.AppendUint32(b, uint32(v))
		}
		return string(b) + content
	}
	for answer, want := range map[string]string{
		"HTTP/1.1 400 Bad Request\r\n\r\n":                     "does not speak",
		accept("protobuf:other"):                               "does not accept",
		"\x00\x00\x00\x00\xff\xff\xff\xff\x00\x00\x00\x01":     "does not speak",
		"\x00\x00\x00\x00\x00\x00\x00\x04\x00\x00\x00\x01":     "does not accept",
		"\x00\x00\x00\x00\x00\x00\x00\x0c\x00\x00\x00\x01\x00": "longer",
		"": "longer",
	} {
		hold := make(chan struct{})
		r := listen(t, "tcp", nil, func(c net.Conn) {
			_, _ = io.WriteString(c, answer)
			<-hold
		})
		s, b := tapTarget(t, "tcp://"+r.address)
		if want == "longer" {
			s.(*streamSink).peer.timeout = 200 * time.Millisecond
		}
		if err := deliver(t, s, b); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", answer, err, want)
		}
		close(hold)
	}
	// One that never says FINISH may not have everything.
	r := listen(t, "tcp", nil, func(c net.Conn) {
		_, _ = io.WriteString(c, accept(dnstapContent))
		_, _ = io.Copy(io.Discard, c)
	})
	s, b := tapTarget(t, "tcp://"+r.address)
	s.(*streamSink).peer.timeout = 2 * time.Second
	if err := errors.Join(deliver(t, s, b), s.Close()); err == nil || !strings.Contains(err.Error(), "everything") {
		t.Error(err)
	}
}

// fstrm's own receiver takes what we send.
func TestDnstapFstrmCapture(t *testing.T) {
	testkit.NeedPrograms(t, "fstrm_capture", "fstrm_dump")
	dir := t.TempDir()
	socket, file := filepath.Join(dir, "s"), filepath.Join(dir, "f")
	capture := testkit.Start(t, exec.Command("fstrm_capture", "-t", dnstapContent, "-u", socket, "-w", file))
	eventually(t, "a socket", func() bool { c, err := net.Dial("unix", socket); return err == nil && c.Close() == nil })
	s, b := tapTarget(t, "unix://"+socket)
	if err := errors.Join(deliver(t, s, b), s.Close()); err != nil {
		t.Fatal(err, capture.Output)
	}
	_ = capture.Stop(t)
	dump, err := exec.Command("fstrm_dump", file).CombinedOutput()
	if err != nil || strings.Count(string(dump), `"x\x01"`) != 3 {
		t.Errorf("%v %s", err, dump)
	}
}

// With confirm, what the receiver has not read before it goes is not delivered.
func TestStreamConfirm(t *testing.T) {
	ca := newAuthority(t)
	all := func(c net.Conn) { _, _ = io.Copy(io.Discard, c) }
	for _, test := range []struct {
		name, network string
		secure        bool
		handle        func(net.Conn)
		ok            bool
	}{
		{"tcp", "tcp", false, all, true},
		{"unix", "unix", false, all, true},
		{"tls", "tcp", true, all, true},
		{"a part read", "tcp", false, func(c net.Conn) { _, _ = c.Read(make([]byte, 10)); time.Sleep(50 * time.Millisecond) }, false},
		{"no goodbye", "tcp", true, func(c net.Conn) { all(c); c.(*tls.Conn).NetConn().Close() }, false},
		{"talks", "tcp", false, func(c net.Conn) { all(c); _, _ = c.Write(make([]byte, 1<<17)) }, false},
	} {
		scheme, options, config := test.network, "?confirm=close", (*tls.Config)(nil)
		if test.secure {
			scheme, options, config = "tls", "?confirm=notify&ca="+ca.path, ca.server
		}
		r := listen(t, test.network, config, test.handle)
		s, _ := open(t, scheme+"://"+r.address+options)
		for range 3 {
			if err := deliver(t, s, block(1, 1000)); (err == nil) != test.ok {
				t.Errorf("%s: %v", test.name, err)
			}
		}
		if err := s.Close(); err != nil {
			t.Error(test.name, err)
		}
	}
}
