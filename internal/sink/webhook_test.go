package sink

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"
)

// bodyOf returns what a request carries, unpacked. Of a request that was cut off,
// because one of the two ends went away, it returns the beginning.
func bodyOf(t testing.TB, r *http.Request) string {
	packed, err := io.ReadAll(r.Body)
	cut := err != nil
	var in io.Reader = bytes.NewReader(packed)
	switch r.Header.Get("Content-Encoding") {
	case "gzip":
		in, err = gzip.NewReader(in)
	case "zstd":
		var z *zstd.Decoder
		if z, err = zstd.NewReader(in); err == nil {
			defer z.Close()
			in = z
		}
	default:
		err = nil
	}
	var text []byte
	if err == nil {
		text, err = io.ReadAll(in)
	}
	if err != nil && !cut {
		t.Error(err)
	}
	return string(text)
}

// serve starts an HTTP server, with TLS where the address is to begin with https.
func serve(t testing.TB, scheme string, ca *authority, handle http.HandlerFunc) string {
	t.Helper()
	s := httptest.NewUnstartedServer(handle)
	if scheme == "https" {
		s.TLS, s.EnableHTTP2 = ca.server.Clone(), true
		s.StartTLS()
	} else {
		s.Start()
	}
	t.Cleanup(func() {
		s.CloseClientConnections()
		s.Close()
	})
	return scheme + "://" + s.Listener.Addr().String()
}

func TestWebhook(t *testing.T) {
	ca := newAuthority(t)
	t.Setenv("WEBHOOK_PASSWORD", "p a+s:s/@%")
	token := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(token, []byte("t0k\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		scheme, user, options, authorization string
	}{
		{"http", "", "", ""},
		{"http", "", "?form=array", ""},
		{"http", "u:${WEBHOOK_PASSWORD}@", "?compression=gzip", "u p a+s:s/@%"},
		{"https", "", "?compression=zstd&token-file=" + token + "&ca=" + ca.path, "Bearer t0k"},
		{"https", "", "?form=array&user=v&password=${WEBHOOK_PASSWORD}&server-name=sink.example&ca=" + ca.path, "v p a+s:s/@%"},
		{"http", "", "?query=a%3D1%26b%3Dx%2520y&headers=X-Tenant:+ops|X-Other:a:b", ""},
	} {
		t.Run(test.scheme+test.options, func(t *testing.T) {
			var got lines
			url := serve(t, test.scheme, ca, func(w http.ResponseWriter, r *http.Request) {
				text, content := bodyOf(t, r), "application/x-ndjson"
				if strings.Contains(test.options, "array") {
					content = "application/json"
					var list []json.RawMessage
					if err := json.Unmarshal([]byte(text), &list); err != nil {
						t.Error(err)
					}
					for _, e := range list {
						got.add(string(e))
					}
				} else {
					got.read(strings.NewReader(text))
				}
				authorization := r.Header.Get("Authorization")
				if user, password, ok := r.BasicAuth(); ok {
					authorization = user + " " + password
				}
				if authorization != test.authorization || r.Method != "POST" || r.URL.Path != "/in/x" || r.Header.Get("Content-Type") != content {
					t.Errorf("%s %s %s %q", r.Method, r.URL, r.Header, authorization)
				}
				if test.scheme == "https" && r.ProtoMajor != 2 {
					t.Error(r.Proto)
				}
				if strings.Contains(test.options, "query") && (r.URL.RawQuery != "a=1&b=x+y" || r.Header.Get("X-Tenant") != "ops" || r.Header.Get("X-Other") != "a:b") {
					t.Error(r.URL, r.Header)
				}
				if key := r.Header.Get("Idempotency-Key"); key != "host-0123abcd-t-1-100" && key != "host-0123abcd-t-101-100" {
					t.Error(key)
				}
			})
			s, _ := open(t, strings.Replace(url, "://", "://"+test.user, 1)+"/in/x"+test.options)
			if err := errors.Join(deliver(t, s, block(1, 100)), deliver(t, s, block(101, 100)), s.Close()); err != nil {
				t.Fatal(err)
			}
			for i, line := range got.get() {
				var e struct {
					ID string `json:"event_id"`
				}
				if err := json.Unmarshal([]byte(line), &e); err != nil || e.ID != fmt.Sprintf("host-0123abcd-t-%d", i+1) {
					t.Fatalf("%v %s", err, line)
				}
			}
			if n := len(got.get()); n != 200 {
				t.Errorf("%d events", n)
			}
		})
	}
}

// Lines that are no JSON go as text, or as strings of an array.
func TestWebhookText(t *testing.T) {
	var got lines
	url := serve(t, "http", nil, func(w http.ResponseWriter, r *http.Request) {
		got.add(r.Header.Get("Content-Type") + " " + bodyOf(t, r))
	})
	b := &Block{Text: []byte("a,\"b\"\nc\\010\td\n"), Events: 2}
	for _, form := range []string{"ndjson", "array"} {
		s, _ := open(t, url+"/?format=csv&form="+form)
		if err := deliver(t, s, b); err != nil {
			t.Error(err)
		}
	}
	if list := got.get(); len(list) != 2 || list[0] != "text/plain; charset=utf-8 "+string(b.Text) || list[1] != `application/json ["a,\"b\"","c\\010\td"]` {
		t.Errorf("%q", list)
	}
}

func TestWebhookRefusals(t *testing.T) {
	for url, want := range map[string]string{
		"http:///x":                                 "needs a host",
		"http://h/?ca=/x":                           "for TLS",
		"http://h/?server-name=x":                   "for TLS",
		"http://h/?password=x":                      "needs a user",
		"http://u:p@h/?password=x":                  "two passwords",
		"http://u:p@h/?token=x":                     "one too many",
		"http://h/?token-file=/nowhere":             "/nowhere",
		"http://h/?token-file=/dev/null":            "is empty",
		"http://h/?headers=x":                       "NAME:VALUE",
		"http://h/?headers=a%0d%0ab:c":              "NAME:VALUE",
		"http://h/?headers=a:b%0d%0ac:d":            "NAME:VALUE",
		"http://h/?compression=br":                  "one of none, gzip, zstd",
		"http://h/?query=%25x":                      "query",
		"http://h/?token=${DNSHARK_NO_SUCH_SECRET}": "the environment has no",
		"http://h/?toekn=s":                         "did you mean token",
	} {
		if why := refused(url); !strings.Contains(why, want) {
			t.Errorf("%s: %q, want %q", url, why, want)
		}
	}
}

// What a server answers, what becomes of the events, and what is said of it.
func TestWebhookAnswers(t *testing.T) {
	for _, test := range []struct {
		status    int
		header    string // Retry-After or Location
		permanent bool
		want      string
	}{
		{500, "", false, "500 Internal Server Error: no \\027[31m"},
		{429, "7", false, "429 Too Many Requests"},
		{503, "Wed, 21 Oct 2015 07:28:00 GMT", false, "503"},
		{429, "-1 x", false, "429"},
		{401, "", false, "401 Unauthorized"},
		{404, "", false, "404 Not Found"},
		{400, "", true, "400 Bad Request"},
		{413, "", true, "413"},
		{302, "http://elsewhere/", false, "302 Found: it points to"},
		{307, "/there", false, "redirections are not followed"},
	} {
		var requests atomic.Int32
		url := serve(t, "http", nil, func(w http.ResponseWriter, r *http.Request) {
			requests.Add(1)
			if test.status/100 == 3 {
				w.Header().Set("Location", test.header)
			} else if test.header != "" {
				w.Header().Set("Retry-After", test.header)
			}
			w.WriteHeader(test.status)
			fmt.Fprint(w, "no \x1b[31m"+strings.Repeat("x", 1<<20))
		})
		s, _ := open(t, strings.Replace(url, "://", "://user:secret@", 1))
		err := deliver(t, s, block(1, 1))
		var h *httpError
		if err == nil || !errors.As(err, &h) || h.Status != test.status || !strings.Contains(err.Error(), test.want) || len(err.Error()) > 5*maxQuoted ||
			strings.ContainsAny(err.Error(), "\x1b\n") || strings.Contains(err.Error(), "secret") {
			t.Errorf("%d: %v", test.status, err)
		}
		if _, final := refusal(block(1, 1), err); final != test.permanent {
			t.Errorf("%d: final: %v", test.status, final)
		}
		var a *after
		if errors.As(err, &a) != (test.status == 429 || test.status == 503) || a != nil && test.header == "7" && a.wait != 7*time.Second {
			t.Errorf("%d: after %v", test.status, a)
		}
		if requests.Load() != 1 {
			t.Errorf("%d: %d requests", test.status, requests.Load())
		}
	}
}

// One event that the server will never take costs that event alone.
func TestWebhookPoison(t *testing.T) {
	for name, test := range map[string]struct {
		takes   func(numbers map[int]int) bool
		refused uint64
	}{
		"two poisoned": {func(n map[int]int) bool { return n[17] == 0 && n[60] == 0 }, 2},
		"too large":    {func(n map[int]int) bool { return len(n) <= 7 }, 0},
		"nothing ever": {func(map[int]int) bool { return false }, 100},
	} {
		var got lines
		var requests atomic.Int32
		url := serve(t, "http", nil, func(w http.ResponseWriter, r *http.Request) {
			text := bodyOf(t, r)
			// In between it is busy: nothing is sent twice for that.
			if n := requests.Add(1); n == 3 || n == 7 {
				w.WriteHeader(500)
				return
			}
			if !test.takes(numbers(t, strings.Split(strings.TrimSpace(text), "\n"))) {
				w.WriteHeader(413)
				return
			}
			got.read(strings.NewReader(text))
		})
		s, target := open(t, url)
		q := NewQueue(s, 1<<20, false, target.Log)
		q.Put(block(1, 100))
		eventually(t, "all delivered or refused", func() bool { return q.Stats().Waiting == 0 })
		if err := q.Close(testGrace); err != nil {
			t.Error(err)
		}
		if s := q.Stats(); s.Refused != test.refused || s.Delivered != 100-test.refused || len(got.get()) != int(s.Delivered) || len(numbers(t, got.get())) != int(s.Delivered) {
			t.Errorf("%s: %+v, %d lines", name, s, len(got.get()))
		}
		t.Logf("%s: %d requests", name, requests.Load())
		if requests.Load() > 80 {
			t.Errorf("%s: %d requests", name, requests.Load())
		}
	}
}

// Servers that are no servers: each is noticed within the timeout, and the next
// delivery takes another connection.
func TestWebhookBrokenServers(t *testing.T) {
	hold, big := make(chan struct{}), block(1, 20_000)
	answer := "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
	request := func(c net.Conn) {
		if r, err := http.ReadRequest(bufio.NewReader(c)); err == nil {
			_, _ = io.Copy(io.Discard, r.Body)
		}
	}
	for name, handle := range map[string]func(net.Conn){
		"never answers":  func(net.Conn) { <-hold },
		"half-closed":    func(c net.Conn) { _ = c.(*net.TCPConn).CloseWrite(); <-hold },
		"half an answer": func(c net.Conn) { request(c); _, _ = io.WriteString(c, answer[:20]); <-hold },
		"endless header": func(c net.Conn) {
			request(c)
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\n")
			for {
				if _, err := io.WriteString(c, "X: "+strings.Repeat("y", 1000)+"\r\n"); err != nil {
					return
				}
			}
		},
		"endless 100": func(c net.Conn) {
			for {
				if _, err := io.WriteString(c, "HTTP/1.1 100 Continue\r\n\r\n"); err != nil {
					return
				}
			}
		},
		"drips": func(c net.Conn) {
			request(c)
			for _, o := range answer {
				time.Sleep(50 * time.Millisecond)
				if _, err := io.WriteString(c, string(o)); err != nil {
					return
				}
			}
		},
		"not HTTP": func(c net.Conn) { _, _ = io.WriteString(c, "SSH-2.0-x\r\n"); request(c) },
	} {
		broken := atomic.Bool{}
		broken.Store(true)
		r := listen(t, "tcp", nil, func(c net.Conn) {
			if broken.Load() {
				handle(c)
				return
			}
			request(c)
			_, _ = io.WriteString(c, answer)
		})
		s, _ := open(t, "http://"+r.address+"/?timeout=1s")
		begin := time.Now()
		err := deliver(t, s, block(1, 100))
		if err == nil || isPermanent(err) || time.Since(begin) > testGrace {
			t.Errorf("%s: %v after %v", name, err, time.Since(begin))
		}
		t.Logf("%s: %v", name, err)
		broken.Store(false)
		if err := deliver(t, s, block(1, 100)); err != nil {
			t.Errorf("%s: mended: %v", name, err)
		}
		broken.Store(true)
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		begin = time.Now()
		if err := s.Deliver(ctx, big); err == nil || time.Since(begin) > testGrace {
			t.Errorf("%s: %v after %v", name, err, time.Since(begin))
		}
		cancel()
	}
	close(hold)
}

// Killed and started again under load, the server gets every event.
func TestWebhookRestarts(t *testing.T) {
	var got lines
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { got.read(strings.NewReader(bodyOf(t, r))) })
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	server := &http.Server{Handler: handler}
	go server.Serve(l)
	s, _ := open(t, "http://"+address+"/?compression=gzip")
	q := newRestartSpool(t, s)
	for i := range 200 {
		q.Put(block(1+100*i, 100))
		time.Sleep(time.Millisecond)
		if i%50 == 25 {
			server.Close()
			time.Sleep(20 * time.Millisecond)
			if l, err = net.Listen("tcp", address); err != nil {
				t.Fatal(err)
			}
			server = &http.Server{Handler: handler}
			go server.Serve(l)
		}
	}
	q.settle()
	if err := q.Close(testGrace); err != nil {
		t.Error(err)
	}
	server.Close()
	seen := numbers(t, got.get())
	if stats := q.Stats(); len(seen) != 20_000 || stats.Delivered != 20_000 || stats.Events != 20_000 {
		t.Errorf("%d events came, %+v", len(seen), stats)
	}
	t.Logf("%d came twice, %d retries", len(got.get())-len(seen), q.Stats().Retries)
}

// A secret file that changes is read again.
func TestSecretChanges(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x")
	write := func(text string) {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("one\r\n")
	target, err := Parse("http://h/?token-file=" + path)
	if err != nil {
		t.Fatal(err)
	}
	s, err := target.secret("token")
	if err != nil || s.text() != "one" {
		t.Fatal(s, err)
	}
	write("two")
	if s.text() != "one" {
		t.Error("read too often")
	}
	s.read = s.read.Add(-2 * secretAge)
	if s.text() != "two" {
		t.Error(s.text())
	}
	os.Remove(path)
	if s.read = s.read.Add(-2 * secretAge); s.text() != "two" {
		t.Error("the old one is forgotten")
	}
}
