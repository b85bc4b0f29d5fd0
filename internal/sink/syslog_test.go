package sink

import (
	"bufio"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/dnshark-io/dnshark/event"
	"github.com/dnshark-io/dnshark/internal/kind"
	"github.com/dnshark-io/dnshark/internal/output"
	"github.com/dnshark-io/dnshark/internal/testkit"
)

// rfc5424 is a message as the RFC's grammar has it, as far as we use it.
var rfc5424 = regexp.MustCompile(`^<(\d{1,3})>1 2026-11-18T11:06:41.000000Z ([!-~]{1,255}) dnshark \d+ ([!-~]{1,32}) \[dnshark@32473 event_id="([A-Za-z0-9._-]+)"\] ([ -~]+)$`)

// octetCounted reads messages of RFC 6587 3.4.1.
func octetCounted(t testing.TB, conn io.Reader, add func(string)) {
	in := bufio.NewReader(conn)
	for {
		digits, err := in.ReadString(' ')
		if err != nil {
			return
		}
		n, err := strconv.Atoi(strings.TrimSpace(digits))
		if err != nil || n > 1<<20 || digits[0] == '0' {
			t.Errorf("length %q", digits)
			return
		}
		message := make([]byte, n)
		if _, err := io.ReadFull(in, message); err != nil {
			return
		}
		add(string(message))
	}
}

func TestSyslog(t *testing.T) {
	ca := newAuthority(t)
	for _, test := range []struct{ name, network, options string }{
		{"syslog", "udp", ""},
		{"syslog+tcp", "tcp", "?facility=local7&severity=debug"},
		{"syslog+tcp", "tcp", "?framing=lines"},
		{"syslog+tls", "tls", "?ca=" + ca.path},
		{"syslog+unix", "unixgram", ""},
		{"syslog+unix", "unix", "?socket=stream"},
	} {
		t.Run(test.name+test.options, func(t *testing.T) {
			var got lines
			address := ""
			switch test.network {
			case "udp", "unixgram":
				address = map[string]string{"udp": "127.0.0.1:0", "unixgram": filepath.Join(t.TempDir(), "s")}[test.network]
				l, err := net.ListenPacket(test.network, address)
				if err != nil {
					t.Fatal(err)
				}
				defer l.Close()
				address = l.LocalAddr().String()
				go func() {
					message := make([]byte, 1<<16)
					for {
						n, _, err := l.ReadFrom(message)
						if err != nil {
							return
						}
						got.add(string(message[:n]))
					}
				}()
			default:
				read := func(c net.Conn) { octetCounted(t, c, got.add) }
				if strings.Contains(test.options, "lines") {
					read = func(c net.Conn) { got.read(c) }
				}
				network, config := test.network, ca.server
				if network == "tls" {
					network = "tcp"
				} else {
					config = nil
				}
				address = listen(t, network, config, read).address
			}
			s, _ := open(t, test.name+"://"+address+test.options)
			if err := deliver(t, s, block(7, 50)); err != nil {
				t.Fatal(err)
			}
			eventually(t, "50 messages", func() bool { return len(got.get()) >= 50 })
			if err := s.Close(); err != nil {
				t.Error(err)
			}
			for i, message := range got.get() {
				m := rfc5424.FindStringSubmatch(message)
				id := fmt.Sprintf("host-0123abcd-t-%d", 7+i)
				var e struct {
					ID string `json:"event_id"`
					N  int
				}
				if m == nil || m[4] != id || m[3] != "json" {
					t.Fatalf("%q", message)
				}
				if err := json.Unmarshal([]byte(m[5]), &e); err != nil || e.ID != id || e.N != 7+i {
					t.Errorf("%v %q", err, message)
				}
				if want := map[bool]string{true: "191", false: "30"}[strings.Contains(test.options, "local7")]; m[1] != want {
					t.Errorf("priority %s, want %s", m[1], want)
				}
			}
		})
	}
}

func TestSyslogRefusals(t *testing.T) {
	for url, want := range map[string]string{
		"syslog://":                           "needs a host",
		"syslog://h?framing=lines":            "for streams",
		"syslog+tcp://h?socket=stream":        "for syslog+unix",
		"syslog://h?facility=mayor":           "one of kern, user",
		"syslog+unix://dev/log":               ":///run/",
		"syslog://h?cert=x":                   "for TLS",
		"syslog+tls://h?max=1Q":               "no size",
		"syslog+tls://h?severity=7":           "one of emerg",
		"syslog+udp://h":                      "unknown kind",
		"syslog+tls://h?ca=/nowhere&format=x": "/nowhere",
	} {
		if why := refused(url); !strings.Contains(why, want) {
			t.Errorf("%s: %q, want %q", url, why, want)
		}
	}
	target, err := Parse("syslog://h?format=dnstap")
	if err != nil {
		t.Fatal(err)
	}
	target.Binary = true
	if _, err := target.Kind.Open(target); err == nil || !strings.Contains(err.Error(), "dnstap is none") {
		t.Error(err)
	}
	for host, want := range map[string]string{"": "-", "a b\n<1>": "a_b_<1>", strings.Repeat("x", 300): strings.Repeat("x", 255), "ü": "_"} {
		if got := syslogHost(host); got != want {
			t.Errorf("%q: %q", host, got)
		}
	}
}

// A message that does not fit is dropped and counted, and the others pass. Nobody
// at the other end of UDP is an error, if the kernel can tell.
func TestSyslogSizes(t *testing.T) {
	var got lines
	r := listen(t, "tcp", nil, func(c net.Conn) { octetCounted(t, c, got.add) })
	s, target := open(t, "syslog+tcp://"+r.address+"?max=1KB")
	b := block(1, 3)
	b.Text = append(b.Text, `{"n":4,"x":"`+strings.Repeat("y", 1024)+"\"}\n"...)
	b.Text = append(b.Text, block(5, 1).Text...)
	b.Events = 5
	q := NewQueue(s, 1<<20, false, target.Log)
	q.Put(b)
	if err := q.Close(testGrace); err != nil {
		t.Error(err)
	}
	if s := q.Stats(); s.Delivered != 4 || s.Refused != 1 || s.Events != 5 {
		t.Errorf("%+v", s)
	}
	eventually(t, "4 messages", func() bool { return len(got.get()) == 4 })

	l, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	u, _ := open(t, "syslog://"+l.LocalAddr().String())
	if err := deliver(t, u, block(1, 1)); err == nil {
		t.Error("delivered to nobody")
	}
}

// rsyslog is Debian's, which writes what it reads into a file at once.
type rsyslog struct {
	t       *testing.T
	address string
	command []string
	out     string
	daemon  *testkit.Daemon
}

func newRsyslog(t *testing.T, transport string, ca *authority) *rsyslog {
	testkit.NeedPrograms(t, "rsyslogd")
	dir := t.TempDir()
	port := fmt.Sprint(testkit.FreePorts(t, 1)[0])
	driver := ""
	if transport == "tls" {
		driver = `StreamDriver.Name="gtls" StreamDriver.Mode="1" StreamDriver.AuthMode="anon"`
	}
	r := &rsyslog{t: t, address: "127.0.0.1:" + port, out: filepath.Join(dir, "out")}
	conf := filepath.Join(dir, "conf")
	if err := os.WriteFile(conf, fmt.Appendf(nil, `
global(workDirectory="%s" maxMessageSize="64k" DefaultNetstreamDriverCAFile="%s" DefaultNetstreamDriverCertFile="%s" DefaultNetstreamDriverKeyFile="%s")
main_queue(queue.type="Direct")
module(load="imtcp" %s)
input(type="imtcp" address="127.0.0.1" port="%s")
template(name="t" type="string" string="%%syslogfacility-text%%.%%syslogseverity-text%% %%app-name%% %%msgid%% %%structured-data%% %%msg%%\n")
action(type="omfile" file="%s" template="t")
`, dir, ca.path, ca.cert, ca.key, driver, port, r.out), 0o600); err != nil {
		t.Fatal(err)
	}
	r.command = []string{"-n", "-f", conf, "-i", filepath.Join(dir, "pid")}
	return r
}

func (r *rsyslog) start() {
	r.t.Helper()
	r.daemon = testkit.Start(r.t, exec.Command("rsyslogd", r.command...))
	eventually(r.t, "rsyslogd", func() bool {
		c, err := net.Dial("tcp", r.address)
		return err == nil && c.Close() == nil
	})
}

// Debian's rsyslog understands us, over TCP and over TLS.
func TestSyslogRsyslog(t *testing.T) {
	ca := newAuthority(t)
	for _, transport := range []string{"tcp", "tls"} {
		for _, confirm := range []string{"no", "close"} {
			r := newRsyslog(t, transport, ca)
			r.start()
			// What it shows as client is what the server shows here: a certificate of the authority.
			s, _ := open(t, "syslog+"+transport+"://"+r.address+"?confirm="+confirm+map[string]string{"tls": "&ca=" + ca.path}[transport])
			if err := deliver(t, s, block(1, 100)); err != nil {
				t.Fatal(transport, err, r.daemon.Output)
			}
			if err := s.Close(); err != nil {
				t.Error(err)
			}
			var written []string
			read := func() bool {
				text, _ := os.ReadFile(r.out)
				written = strings.Split(strings.TrimSpace(string(text)), "\n")
				return len(written) >= 100
			}
			if confirm == "no" {
				eventually(t, "100 lines of rsyslogd", read)
			} else if !read() {
				t.Errorf("%s: %d lines of a block that was confirmed", transport, len(written))
			}
			want := `daemon.info dnshark json [dnshark@32473 event_id="host-0123abcd-t-100"] {"event_id":"host-0123abcd-t-100","time":"2026-11-18T11:06:41.000000005Z","n":100,"name":"a\\010<b>\\\"%.example"}`
			if got := strings.ReplaceAll(written[len(written)-1], "]  {", "] {"); len(written) != 100 || got != want {
				t.Errorf("%s: %d lines\n%s\n%s", transport, len(written), got, want)
			}
			_ = r.daemon.Stop(t)
		}
	}
}

// receiveSyslog is a TLS receiver that appends what comes over a connection to a file when
// the sender has closed it, and then says goodbye.
func receiveSyslog(address, out string, certificate tls.Certificate) error {
	l, err := tls.Listen("tcp", address, &tls.Config{Certificates: []tls.Certificate{certificate}})
	if err != nil {
		return err
	}
	f, err := os.OpenFile(out, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	for {
		c, err := l.Accept()
		if err != nil {
			return err
		}
		text, err := io.ReadAll(c)
		if err == nil {
			_, err = f.Write(text)
		}
		if err == nil {
			c.Close()
		} else {
			c.(*tls.Conn).NetConn().Close()
		}
	}
}

// Killed and started again under load, a TLS receiver gets every event.
func TestSyslogRestarts(t *testing.T) {
	if list := strings.Split(os.Getenv("SYSLOG_RECEIVER"), " "); len(list) == 4 {
		certificate, err := tls.LoadX509KeyPair(list[2], list[3])
		if err == nil {
			err = receiveSyslog(list[0], list[1], certificate)
		}
		t.Fatal(err)
	}
	ca := newAuthority(t)
	address, out := fmt.Sprintf("127.0.0.1:%d", testkit.FreePorts(t, 1)[0]), filepath.Join(t.TempDir(), "out")
	var daemon *testkit.Daemon
	start := func() {
		command := exec.Command(os.Args[0], "-test.run=^TestSyslogRestarts$")
		command.Env = append(os.Environ(), "SYSLOG_RECEIVER="+strings.Join([]string{address, out, ca.cert, ca.key}, " "))
		daemon = testkit.Start(t, command)
	}
	start()
	s, _ := open(t, "syslog+tls://"+address+"?confirm=notify&ca="+ca.path)
	q := newRestartSpool(t, s)
	const blocks, each = 200, 100
	for i := range blocks {
		q.Put(block(1+each*i, each))
		time.Sleep(5 * time.Millisecond)
		if i%50 == 25 {
			daemon.Process.Kill()
			_ = daemon.Wait(t, 10*time.Second)
			start()
		}
	}
	q.settle()
	if err := q.Close(testGrace); err != nil {
		t.Error(err)
	}
	text, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	ids := map[string]bool{}
	lines := 0
	for line := range strings.Lines(string(text)) {
		for _, rest := range strings.Split(line, `[dnshark@32473 event_id="`)[1:] {
			id, _, _ := strings.Cut(rest, `"`)
			ids[id], lines = true, lines+1
		}
	}
	for n := 1; n <= blocks*each; n++ {
		if !ids[fmt.Sprintf("host-0123abcd-t-%d", n)] {
			t.Fatalf("event %d is not there", n)
		}
	}
	if stats := q.Stats(); len(ids) != blocks*each || stats.Delivered != blocks*each {
		t.Errorf("%d events came, %+v", len(ids), stats)
	}
	t.Logf("%d events, %d came twice, %d retries", len(ids), lines-len(ids), q.Stats().Retries)
}

// Alerts have the severity that they say, in all formats that do, and text that looks like one
// is none.
func TestSyslogSeverity(t *testing.T) {
	alert := event.Alert{ID: `"alert":{"id":"`, Threat: "dns_tunnel", Kind: "two_way", Domain: `"class_uid":2004,`}
	for _, format := range []string{"json", "eve", "ecs", "ocsf"} {
		for i, want := range []string{"info", "notice", "warning", "err", "crit"} {
			b := &event.Batch{Host: "h"}
			e := b.Next()
			alert.Severity = event.Severity(i)
			e.Class, e.Alert = event.ClassAlert, &alert
			alerts, err := kind.Parse([]string{kind.SetAlerts})
			if err != nil {
				t.Fatal(err)
			}
			kind.NewMarker(alerts).Process(b)
			f, err := output.FindFormat(format)
			if err != nil {
				t.Fatal(err)
			}
			enc, err := f.New(output.Settings{})
			if err != nil {
				t.Fatal(err)
			}
			if got, ok := alertSeverity(enc.Append(nil, b)); !ok || severities[got] != want {
				t.Errorf("%s, %v: %v, want %s", format, alert.Severity, got, want)
			}
		}
	}
	for _, line := range []string{`{"host":"\"alert\":{\"id\":\"x\",\"severity\":\"high\"}"}`, `{"alert":{"id":"`, `{"class_uid":2004,"severity":[`, "", "alert: high"} {
		if got, ok := alertSeverity([]byte(line)); ok {
			t.Errorf("%s: %v", line, got)
		}
	}
}
