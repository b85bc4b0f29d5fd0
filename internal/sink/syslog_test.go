package sink

import (
	"bufio"
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

// Debian's rsyslog understands us, over TCP and over TLS.
func TestSyslogRsyslog(t *testing.T) {
	testkit.NeedPrograms(t, "rsyslogd")
	ca, dir := newAuthority(t), t.TempDir()
	for _, transport := range []string{"tcp", "tls"} {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		_, port, _ := net.SplitHostPort(l.Addr().String())
		l.Close()
		driver := ""
		if transport == "tls" {
			driver = `StreamDriver.Name="gtls" StreamDriver.Mode="1" StreamDriver.AuthMode="anon"`
		}
		conf, out := filepath.Join(dir, transport+".conf"), filepath.Join(dir, transport+".out")
		if err := os.WriteFile(conf, fmt.Appendf(nil, `
global(workDirectory="%s" maxMessageSize="64k" DefaultNetstreamDriverCAFile="%s" DefaultNetstreamDriverCertFile="%s" DefaultNetstreamDriverKeyFile="%s")
module(load="imtcp" %s)
input(type="imtcp" address="127.0.0.1" port="%s")
template(name="t" type="string" string="%%syslogfacility-text%%.%%syslogseverity-text%% %%app-name%% %%msgid%% %%structured-data%% %%msg%%\n")
action(type="omfile" file="%s" template="t")
`, dir, ca.path, ca.cert, ca.key, driver, port, out), 0o600); err != nil {
			t.Fatal(err)
		}
		daemon := testkit.Start(t, exec.Command("rsyslogd", "-n", "-f", conf, "-i", filepath.Join(dir, transport+".pid")))
		eventually(t, "rsyslogd", func() bool {
			c, err := net.Dial("tcp", "127.0.0.1:"+port)
			return err == nil && c.Close() == nil
		})
		// What it shows as client is what the server shows here: a certificate of the authority.
		s, _ := open(t, "syslog+"+transport+"://127.0.0.1:"+port+map[string]string{"tls": "?ca=" + ca.path}[transport])
		if err := deliver(t, s, block(1, 100)); err != nil {
			t.Fatal(transport, err, daemon.Output)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		var written []string
		eventually(t, "100 lines of rsyslogd", func() bool {
			text, _ := os.ReadFile(out)
			written = strings.Split(strings.TrimSpace(string(text)), "\n")
			return len(written) >= 100
		})
		want := `daemon.info dnshark json [dnshark@32473 event_id="host-0123abcd-t-100"] {"event_id":"host-0123abcd-t-100","time":"2026-11-18T11:06:41.000000005Z","n":100,"name":"a\\010<b>\\\"%.example"}`
		if got := strings.ReplaceAll(written[99], "]  {", "] {"); len(written) != 100 || got != want {
			t.Errorf("%s: %d lines\n%s\n%s", transport, len(written), got, want)
		}
		_ = daemon.Stop(t)
	}
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
