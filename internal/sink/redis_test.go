package sink

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/dnshark-io/dnshark/internal/testkit"
)

// redisServer runs Debian's server; its data outlives a kill.
type redisServer struct {
	t      testing.TB
	dir    string
	port   string
	args   []string
	daemon *testkit.Daemon
}

func newRedis(t testing.TB, args ...string) *redisServer {
	t.Helper()
	testkit.NeedPrograms(t, "redis-server", "redis-cli")
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_, port, _ := net.SplitHostPort(l.Addr().String())
	l.Close()
	r := &redisServer{t: t, dir: t.TempDir(), port: port, args: args}
	r.start()
	return r
}

func (r *redisServer) start() {
	args := append([]string{"--port", r.port, "--bind", "127.0.0.1", "--dir", r.dir, "--appendonly", "yes", "--appendfsync", "always", "--save", ""}, r.args...)
	r.daemon = testkit.Start(r.t, exec.Command("redis-server", args...))
	eventually(r.t, "redis-server", func() bool {
		c, err := net.Dial("tcp", "127.0.0.1:"+r.port)
		return err == nil && c.Close() == nil
	})
}

func (r *redisServer) kill() {
	_ = r.daemon.Cmd.Process.Kill()
	_ = r.daemon.Wait(r.t, 5*time.Second)
}

func (r *redisServer) cli(args ...string) string {
	r.t.Helper()
	out, err := exec.Command("redis-cli", append([]string{"--no-auth-warning", "-p", r.port}, args...)...).CombinedOutput()
	if err != nil {
		r.t.Fatalf("%v: %s", err, out)
	}
	return string(out)
}

// Killed and started again under load, the stream holds every event.
func TestRedis(t *testing.T) {
	server := newRedis(t)
	s, _ := open(t, "redis://127.0.0.1:"+server.port+"/3?stream=dns+events&maxlen=0&timeout=2s")
	q := newRestartSpool(t, s)
	for i := range 300 {
		q.Put(block(1+100*i, 100))
		time.Sleep(time.Millisecond)
		if i%100 == 25 {
			server.kill()
			server.start()
		}
	}
	q.settle()
	if err := q.Close(30 * time.Second); err != nil {
		t.Fatal(err)
	}
	ids, events := map[string]bool{}, 0
	entries := strings.Split(server.cli("-n", "3", "--raw", "XRANGE", "dns events", "-", "+"), "\n")
	for i := 0; i+4 < len(entries); i += 5 {
		if entries[i+1] != "event_id" || entries[i+3] != "event" || !strings.HasPrefix(entries[i+4], `{"event_id":"`+entries[i+2]+`",`) {
			t.Fatalf("%q", entries[i:i+5])
		}
		ids[entries[i+2]] = true
		events++
	}
	if stats := q.Stats(); len(ids) != 30_000 || stats.Delivered != 30_000 || stats.Retries == 0 {
		t.Errorf("%d ids, %+v", len(ids), stats)
	}
	t.Logf("%d came twice, %d retries", events-len(ids), q.Stats().Retries)
}

func TestRedisTLSAndPasswords(t *testing.T) {
	ca := newAuthority(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_, tlsPort, _ := net.SplitHostPort(l.Addr().String())
	l.Close()
	socket := filepath.Join(t.TempDir(), "s")
	server := newRedis(t, "--requirepass", "main secret",
		"--tls-port", tlsPort, "--tls-cert-file", ca.cert, "--tls-key-file", ca.key, "--tls-ca-cert-file", ca.path, "--unixsocket", socket)
	server.cli("-a", "main secret", "ACL", "SETUSER", "writer", "on", ">other", "~dns*", "+xadd")
	t.Setenv("REDIS_PASSWORD", "main secret")
	file := filepath.Join(t.TempDir(), "p")
	if err := os.WriteFile(file, []byte("other\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for url, want := range map[string]string{
		"redis://:${REDIS_PASSWORD}@127.0.0.1:" + server.port + "?stream=dns1":                                              "",
		"redis+unix://" + socket + "?stream=dns1&password=${REDIS_PASSWORD}":                                                "",
		"redis://writer@127.0.0.1:" + server.port + "?stream=dns1&password-file=" + file:                                    "",
		"rediss://writer:other@127.0.0.1:" + tlsPort + "?stream=dns1&cert=" + ca.cert + "&key=" + ca.key + "&ca=" + ca.path: "",
		"rediss://writer:other@127.0.0.1:" + tlsPort + "?stream=dns1":                                                       "TLS",
		"redis://127.0.0.1:" + server.port:                                                                                  "NOAUTH",
		"redis://:wrong@127.0.0.1:" + server.port:                                                                           "AUTH: WRONGPASS",
		"redis://:${REDIS_PASSWORD}@127.0.0.1:" + server.port + "/99":                                                       "SELECT: ERR",
		"redis://writer@127.0.0.1:" + server.port + "?stream=other&password-file=" + file:                                   "NOPERM",
	} {
		s, _ := open(t, url)
		err := errors.Join(deliver(t, s, block(1, 10)), s.Close())
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: %v, want %q", url, err, want)
		}
	}
	if n := server.cli("-a", "main secret", "--raw", "XLEN", "dns1"); n != "40\n" {
		t.Errorf("%s entries", n)
	}
	// About maxlen entries are kept.
	s, _ := open(t, "redis://:${REDIS_PASSWORD}@127.0.0.1:"+server.port+"?maxlen=500")
	for i := range 20 {
		if err := deliver(t, s, block(i*100, 100)); err != nil {
			t.Fatal(err)
		}
	}
	var n int
	if _, err := fmt.Sscan(server.cli("-a", "main secret", "--raw", "XLEN", "dnshark"), &n); err != nil || n < 500 || n > 700 {
		t.Errorf("%d entries, %v", n, err)
	}
}

func TestRedisStrangers(t *testing.T) {
	for answer, want := range map[string]string{
		"HTTP/1.1 400 Bad Request\r\n":                       "does not speak",
		"-ERR \x1b[31m" + strings.Repeat("x", 2000) + "\r\n": "ERR",
		strings.Repeat("x", 1<<20):                           "does not speak",
		"$99999999999\r\n":                                   "does not speak",
		"$-1\r\n":                                            "does not speak",
		"\r\n":                                               "does not speak",
		"+":                                                  "longer",
		"$3\r\n1":                                            "longer",
	} {
		hold := make(chan struct{})
		r := listen(t, "tcp", nil, func(c net.Conn) {
			_, _ = c.Read(make([]byte, 1))
			_, _ = io.WriteString(c, answer)
			<-hold
		})
		timeout := "10s"
		if want == "longer" {
			timeout = "200ms"
		}
		s, _ := open(t, "redis://"+r.address+"?timeout="+timeout)
		if err := deliver(t, s, block(1, 1)); err == nil || isPermanent(err) || !strings.Contains(err.Error(), want) || len(err.Error()) > 2*maxQuoted {
			t.Errorf("%.40q: %v, want %q", answer, err, want)
		}
		close(hold)
	}
	for url, want := range map[string]string{
		"redis://h/x":                  "no number of a database",
		"redis://h?ca=/x":              "for TLS",
		"redis://h?maxlen=-1":          "maxlen",
		"redis://h?password-file=/non": "/non",
		"redis+unix://h":               ":///run/",
	} {
		if why := refused(url); !strings.Contains(why, want) {
			t.Errorf("%s: %q, want %q", url, why, want)
		}
	}
}
