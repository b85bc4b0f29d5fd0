package sink

import (
	"bytes"
	"compress/gzip"
	"crypto/tls"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tinylib/msgp/msgp"
)

// forwarder is a receiver of the Forward protocol.
type forwarder struct {
	t       testing.TB
	key     string
	user    string // with the password "pass"
	anyTime bool   // of events
	answer  func(n int, chunk string) (ack string, ok bool)

	mu     sync.Mutex
	chunks []string         // in order, again when they came again
	events map[string][]any // of each chunk: the records, at its last time
	raw    map[string]string
	tags   map[string]bool
}

func (f *forwarder) serve(c net.Conn) {
	in, out := msgp.NewReader(c), msgp.NewWriter(c)
	if f.key != "" && !f.greet(in, out) {
		return
	}
	for {
		m, err := in.ReadIntf()
		if err != nil {
			return
		}
		list, ok := m.([]any)
		if !ok || len(list) != 3 {
			f.t.Errorf("%T of %v", m, m)
			return
		}
		packed, _ := list[1].([]byte)
		options, _ := list[2].(map[string]any)
		chunk, _ := options["chunk"].(string)
		ack, ok := f.take(list[0].(string), packed, options, chunk)
		if !ok {
			return
		}
		if ack != "" {
			_ = out.WriteMapStrStr(map[string]string{"ack": ack})
			out.Flush()
		}
	}
}

func (f *forwarder) take(tag string, packed []byte, options map[string]any, chunk string) (string, bool) {
	if options["compressed"] == "gzip" {
		z, err := gzip.NewReader(bytes.NewReader(packed))
		if err != nil {
			f.t.Error(err)
			return "", false
		}
		if packed, err = io.ReadAll(z); err != nil {
			f.t.Error(err)
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.chunks = append(f.chunks, chunk)
	n := len(f.chunks)
	if f.answer != nil {
		if ack, ok := f.answer(n, chunk); !ok || ack != chunk {
			return ack, ok
		}
	}
	if f.events == nil {
		f.events, f.raw, f.tags = map[string][]any{}, map[string]string{}, map[string]bool{}
	}
	if before, again := f.raw[chunk]; again && before != string(packed) {
		f.t.Errorf("%s came again with something else", chunk)
	}
	f.raw[chunk], f.tags[tag] = string(packed), true
	var records []any
	for in := msgp.NewReader(bytes.NewReader(packed)); ; {
		entry, err := in.ReadArrayHeader()
		if errors.Is(err, io.EOF) {
			break
		}
		at := msgp.RawExtension{}
		if err := errors.Join(err, in.ReadExtension(&at)); err != nil || entry != 2 || len(at.Data) != 8 || !f.anyTime && !bytes.Equal(at.Data, binary.BigEndian.AppendUint64(nil, 1795000001<<32|5)) {
			f.t.Errorf("entry: %v, time %v", err, at)
			return "", false
		}
		record, err := in.ReadIntf()
		if err != nil {
			f.t.Error(err)
			return "", false
		}
		records = append(records, record)
	}
	if size, _ := options["size"].(int64); int(size) != len(records) {
		f.t.Errorf("size %v of %d records", options["size"], len(records))
	}
	f.events[chunk] = records
	return chunk, true
}

func (f *forwarder) greet(in *msgp.Reader, out *msgp.Writer) bool {
	auth := ""
	if f.user != "" {
		auth = "authsalt"
	}
	_ = out.WriteIntf([]any{"HELO", map[string]any{"nonce": []byte("nonce\xff"), "auth": auth, "keepalive": true}})
	out.Flush()
	m, err := in.ReadIntf()
	ping, ok := m.([]any)
	if err != nil || !ok || len(ping) != 6 || ping[0] != "PING" {
		f.t.Errorf("%v %v", err, m)
		return false
	}
	salt, host := ping[2].(string), ping[1].(string)
	good := ping[3] == digest(salt, host, "nonce\xff", f.key) && (f.user == "" || ping[4] == f.user && ping[5] == digest(auth, f.user, "pass"))
	_ = out.WriteIntf([]any{"PONG", good, map[bool]string{false: "shared_key mismatch"}[good], "server", digest(salt, "server", "nonce\xff", f.key)})
	out.Flush()
	return good
}

// ids returns how many different events came, and whether each had an id.
func (f *forwarder) ids() map[string]bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	ids := map[string]bool{}
	for _, records := range f.events {
		for _, r := range records {
			id, _ := r.(map[string]any)["event_id"].(string)
			if ids[id] {
				f.t.Errorf("%s is in two chunks", id)
			}
			ids[id] = true
		}
	}
	return ids
}

func TestFluent(t *testing.T) {
	ca := newAuthority(t)
	for _, test := range []struct{ scheme, options, key, user string }{
		{"fluent", "", "", ""},
		{"fluent", "?compression=gzip&tag=dns.x", "", ""},
		{"fluent", "?shared-key=k", "k", ""},
		{"fluent+tls", "?shared-key=k&user=u&password=pass&ca=" + ca.path, "k", "u"},
		{"fluent+unix", "", "", ""},
	} {
		t.Run(test.scheme+test.options, func(t *testing.T) {
			f := &forwarder{t: t, key: test.key, user: test.user}
			network, config := "tcp", (*tls.Config)(nil)
			if strings.HasSuffix(test.scheme, "tls") {
				config = ca.server
			} else if strings.HasSuffix(test.scheme, "unix") {
				network = "unix"
			}
			r := listen(t, network, config, f.serve)
			s, target := open(t, test.scheme+"://"+r.address+test.options)
			if err := errors.Join(deliver(t, s, block(1, 100)), deliver(t, s, block(101, 50)), s.Close()); err != nil {
				t.Fatal(err)
			}
			if n := len(f.ids()); n != 150 || !f.tags[target.Text("tag")] || f.chunks[0] != "host-0123abcd-t-1-100" {
				t.Errorf("%d events, %v, %v", n, f.tags, f.chunks)
			}
			first := f.events[f.chunks[0]][0].(map[string]any)
			if first["n"] != int64(1) || first["name"] != `a\010<b>\"%.example` {
				t.Error(first)
			}
		})
	}
}

// Whatever JSON can say is in the record.
func TestFluentRecord(t *testing.T) {
	text := `{"a":[],"b":{},"c":[1,-2,3.5,18446744073709551615,1e300],"d":null,"e":true,"f":{"g":[{"h":"\u0001\"é"}]},"i":"x"}`
	b := &Block{source: "s-", First: 9}
	packed := appendRecord(nil, b, 0, []byte(text))
	v, rest, err := msgp.ReadIntfBytes(packed)
	if err != nil || len(rest) > 0 {
		t.Fatal(err, rest)
	}
	got, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	var left, right any
	if err := errors.Join(json.Unmarshal(got, &left), json.Unmarshal(b.AppendJSON(nil, 0, []byte(text)), &right)); err != nil || fmt.Sprint(left) != fmt.Sprint(right) {
		t.Errorf("%v\n%v\n%v", err, left, right)
	}
	for _, broken := range []string{"a,b", "", "{", `{"a":`, `{"a":1]`} {
		v, rest, err := msgp.ReadIntfBytes(appendRecord(nil, b, 0, []byte(broken)))
		if m, _ := v.(map[string]any); err != nil || len(rest) > 0 || m["message"] != broken || m["event_id"] != "s-9" {
			t.Errorf("%q: %v %v", broken, v, err)
		}
	}
}

// Acknowledgements that are lost, late or wrong: the chunk comes again under the same
// id, and nothing is missing.
func TestFluentLosesAcks(t *testing.T) {
	f := &forwarder{t: t, answer: func(n int, chunk string) (string, bool) {
		switch n % 5 {
		case 1:
			return "", true // never
		case 2:
			return "other", true
		case 3:
			return "", false // dies
		}
		return chunk, true
	}}
	r := listen(t, "tcp", nil, f.serve)
	s, target := open(t, "fluent://"+r.address+"?timeout=1s")
	q := NewQueue(s, 1<<30, false, target.Log)
	for i := range 4 {
		q.Put(block(1+100*i, 100))
	}
	if err := q.Close(testGrace); err != nil {
		t.Fatal(err)
	}
	if stats := q.Stats(); len(f.ids()) != 400 || stats.Delivered != 400 || stats.Retries < 3 {
		t.Errorf("%d events, %+v", len(f.ids()), stats)
	}
	different := map[string]bool{}
	for _, c := range f.chunks {
		different[c] = true
	}
	if len(different) != 4 || len(f.chunks) <= 4 {
		t.Errorf("chunks %v", f.chunks)
	}
}

func TestFluentRestarts(t *testing.T) {
	f := &forwarder{t: t}
	r := listen(t, "tcp", nil, f.serve)
	s, _ := open(t, "fluent://"+r.address+"?timeout=1s")
	q := newRestartSpool(t, s)
	for i := range 200 {
		q.Put(block(1+100*i, 100))
		time.Sleep(time.Millisecond)
		if i%50 == 25 {
			r.stop()
			time.Sleep(20 * time.Millisecond)
			r.start()
		}
	}
	q.settle()
	if err := q.Close(testGrace); err != nil {
		t.Fatal(err)
	}
	if stats := q.Stats(); len(f.ids()) != 20_000 || stats.Delivered != 20_000 {
		t.Errorf("%d events, %+v", len(f.ids()), stats)
	}
	t.Logf("%d chunks for 200, %d retries", len(f.chunks), q.Stats().Retries)
}

// Receivers that are none, or that do not know the key.
func TestFluentStrangers(t *testing.T) {
	array := func(v ...any) string { b, _ := msgp.AppendIntf(nil, v); return string(b) }
	for _, test := range []struct{ options, answer, want string }{
		{"", "HTTP/1.1 400 Bad Request\r\n\r\n", "no acknowledgement"},
		{"", "\xdf\xff\xff\xff\xff\xa3ack\xdb\xff\xff\xff\xff", "too long"},
		{"", "\x81\xa3ack\xc6\xff\xff\xff\xff", "too long"},
		{"", "\x80", "no ack"},
		{"", "\x81\xa3ack\x01", "no acknowledgement"},
		{"", "\xdf\xff\xff\xff\xff" + strings.Repeat("\xa1x\x01", 9000), "no acknowledgement"},
		{"", "\x81\xa1x" + strings.Repeat("\x91", 9000), "no acknowledgement"},
		{"?shared-key=k", array("HALLO", map[string]any{}), "does not speak"},
		{"?shared-key=k", array("HELO", 1), "HELO"},
		{"?shared-key=k", array("HELO", map[string]any{"nonce": "n"}) + array("PONG", true, "", "server", "x"), "does not know the shared key"},
		{"?shared-key=k", array("HELO", map[string]any{"nonce": "n"}) + array("PONG", false, "bad \x1b key", "server", "x"), "PONG"},
	} {
		hold := make(chan struct{})
		r := listen(t, "tcp", nil, func(c net.Conn) {
			// In two steps, as answers come.
			hello, rest, two := strings.Cut(test.answer, "\x95\xa4PONG")
			_, _ = io.WriteString(c, hello)
			if two {
				_, _ = c.Read(make([]byte, 1))
				_, _ = io.WriteString(c, "\x95\xa4PONG"+rest)
			}
			<-hold
		})
		s, _ := open(t, "fluent://"+r.address+test.options)
		b := block(1, 1)
		err := deliver(t, s, b)
		if err == nil || !strings.Contains(err.Error(), test.want) || len(err.Error()) > 500 {
			t.Errorf("%.40q: %v, want %q", test.answer, err, test.want)
		}
		close(hold)
	}
	for url, want := range map[string]string{
		"fluent://h?user=x":                     "needs a shared-key",
		"fluent://h?shared-key=a&password=b":    "needs a user",
		"fluent://h?shared-key-file=/nowhere":   "/nowhere",
		"fluent://h?compression=zstd":           "one of none, gzip",
		"fluent+tls://h?cert=stream_test.go":    "go together",
		"fluent+tls://h?key=x&cert=/none&tag=x": "/none",
	} {
		if why := refused(url); !strings.Contains(why, want) {
			t.Errorf("%s: %q, want %q", url, why, want)
		}
	}
}
