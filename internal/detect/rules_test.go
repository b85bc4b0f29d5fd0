package detect

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/miekg/dns"

	"github.com/dnshark-io/dnshark/event"
)

// transfers makes an alert of every client.
func transfers(l *lab, clients ...string) {
	for _, c := range clients {
		l.now += 1e9
		l.see(talk{client: netip.MustParseAddr(c), m: reply("intra.example.com", dns.TypeAXFR, dns.RcodeRefused), tcp: true})
	}
}

func parse(t *testing.T, text string) Suppression {
	t.Helper()
	s, err := ParseSuppression(text)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// Each condition holds for what it says and for nothing else.
func TestSuppress(t *testing.T) {
	who := event.Party{
		ID: &event.Identity{TGID: 7, Comm: [16]byte{'d', 'i', 'g'}}, Process: &event.Process{Exe: "/usr/bin/dig"},
		Container: &event.Container{ID: "c0ffee", Name: "web-7d9f", Image: "docker.io/library/nginx:1", Pod: &event.Pod{Namespace: "prod", Name: "web-0"}},
	}
	e := &event.Event{Observation: event.Observation{Asker: who}}
	e.Alert = &event.Alert{Threat: "dns_tunnel", Kind: "two_way", Domain: "t.example.com", Src: netip.MustParseAddr("192.0.2.10"), Server: netip.MustParseAddr("2001:db8::53")}
	bare := &event.Event{}
	bare.Alert = &event.Alert{Threat: "dns_dga", Kind: "made_up_names"}
	for text, want := range map[string]bool{
		"threat=dns_tunnel": true, "threat=dns_tunnel/two_way": true, "threat=dns_tunnel/odd_types": false, "threat=dns_dga,dns_tunnel": true,
		"domain=example.com": true, "domain=T.example.COM.": true, "domain=ample.com": false, "domain=x.t.example.com": false,
		"client=192.0.2.10": true, "client=192.0.2.0/24": true, "client=198.51.100.0/24": false, "server=2001:db8::/32": true, "server=192.0.2.10": false,
		"process=dig": true, "process=di*": true, "process=di": false, "process=/usr/bin/dig": true, "process=/usr/*": true, "process=/bin/dig": false,
		"container=web-*": true, "container=c0ff*": true, "container=docker.io/library/nginx:*": true, "container=prod/web-0": true, "container=prod": false,
		"threat=dns_tunnel client=192.0.2.10 process=dig domain=example.com": true, "threat=dns_tunnel process=curl": false,
	} {
		s := parse(t, text)
		if s.match(e) != want {
			t.Errorf("%s: matches %v", text, !want)
		}
		if !strings.HasPrefix(text, "threat=dns_dga") && s.match(bare) {
			t.Errorf("%s matches an alert that says nothing of it", text)
		}
	}
	for text, why := range map[string]string{
		"": "needs a condition", "reason=none": "needs a condition", "dig": `"dig" is no KEY=VALUE`, "colour=red": `unknown key "colour"`,
		"threat=dns_tunel": "did you mean dns_tunnel?", "client=192.0.2.300": "is no address", "domain=a..b": "is no domain", "domain=": "is no domain",
		"domain=bücher.example": "xn--", "process=*": "is no name", "container=a*b": "may end with *", "name=" + strings.Repeat("x", 200): "1 to 128",
	} {
		if _, err := ParseSuppression(text); err == nil || !strings.Contains(err.Error(), why) {
			t.Errorf("%q: %v, want %s", text, err, why)
		}
	}
}

// What is suppressed is counted by rule, alerts go on for others, and rules can change.
func TestRules(t *testing.T) {
	r := &Rules{Suppress: []Suppression{parse(t, "name=scanner client=192.0.2.66"), parse(t, "domain=other.example")}}
	l := newLab(t, Options{Rules: r})
	transfers(l, "192.0.2.66", "192.0.2.10", "192.0.2.66")
	s := l.stage
	if len(l.all) != 1 || l.all[0].Src != labClient || s.Suppressed != 1 || s.Raised != 2 || s.Told != 1 {
		t.Errorf("%d alerts, raised %d, told %d, suppressed %d", len(l.all), s.Raised, s.Told, s.Suppressed)
	}
	if got := fmt.Sprint(s.SuppressedBy()); got != "[{scanner 1} {domain=other.example 0}]" {
		t.Error(got)
	}
	// A new rule, and one that stays with its count.
	next := &Rules{Suppress: []Suppression{parse(t, "client=192.0.2.67"), parse(t, "name=scanner client=192.0.2.66")}}
	if err := next.SetSeverity("dns_zone_transfer", "info"); err != nil {
		t.Fatal(err)
	}
	if err := next.SetMinimum("low"); err != nil {
		t.Fatal(err)
	}
	s.Use(next)
	transfers(l, "192.0.2.67", "192.0.2.68")
	if got := fmt.Sprint(s.SuppressedBy()); got != "[{client=192.0.2.67 1} {scanner 1}]" || s.Below != 1 {
		t.Errorf("%s, %d below", got, s.Below)
	}
	s.Use(&Rules{})
	transfers(l, "192.0.2.67")
	if s.Raised != s.Told+s.Suppressed+s.Below {
		t.Errorf("raised %d, told %d, suppressed %d, below %d", s.Raised, s.Told, s.Suppressed, s.Below)
	}
}

func TestSecondaries(t *testing.T) {
	r := &Rules{}
	if err := r.AddSecondary("192.0.2.64/26"); err != nil {
		t.Fatal(err)
	}
	l := newLab(t, Options{Rules: r})
	transfers(l, "192.0.2.66", "192.0.2.10")
	if len(l.all) != 2 || l.all[0].Severity != event.SeverityInfo || l.all[1].Severity != event.SeverityMedium {
		t.Errorf("%v", l.all)
	}
}

// exfiltrate asks for long new names of a domain and returns the alert.
func exfiltrate(l *lab, domain string) *event.Alert {
	for i := range 200 {
		l.now += 1e9
		l.see(talk{m: reply(fmt.Sprintf("%032x-%08x.%s", uint64(i)*0x9e3779b97f4a7c15, i, domain), dns.TypeA, 0, "A 192.0.2.1")})
	}
	return l.has("dns_tunnel", "exfiltration")
}

func TestAllow(t *testing.T) {
	for domain, want := range map[string]bool{
		"quiet.example": false, "a.b.quiet.example": false, "quiet.example.net": true, "noquiet.example": true,
		"elsewhere.example": true, // allowed for another threat
		"avqs.mcafee.com":   false,
		"x.co.uk":           false, "co.jp.example": true, // below a public suffix that is allowed
	} {
		for _, shipped := range []bool{true, false} {
			r := &Rules{}
			if err := r.AddAllowed("Quiet.example.", nil); err != nil {
				t.Fatal(err)
			}
			if err := r.AddAllowed("elsewhere.example", []string{"dns_dga"}); err != nil {
				t.Fatal(err)
			}
			if domain == "x.co.uk" { // or it would be asked about everything
				if err := r.AddAllowed("co.uk", nil); err != nil {
					t.Fatal(err)
				}
			}
			l := newLab(t, Options{Rules: r, NoShipped: !shipped})
			want := want || domain == "avqs.mcafee.com" && !shipped
			if a := exfiltrate(l, domain); (a != nil) != want {
				t.Errorf("%s, shipped %v: %v", domain, shipped, a)
			}
			messages := uint64(0)
			for _, c := range l.stage.AllowedBy() {
				messages += c.N
			}
			if (messages == 0) != (want && domain != "elsewhere.example") {
				t.Errorf("%s: %v", domain, l.stage.AllowedBy())
			}
		}
	}
	// A dot within a label divides nothing.
	list := (&Rules{Allow: []Allowed{{Domain: "quiet.example"}}}).compile([]slot{{Detector: &broken{}}}, func(string) (uint64, bool) { return 0, true }, &allowList{})
	if got, _ := list.find([]byte(`x\.quiet.example`)); got != 0 {
		t.Error("a label with a dot in it is taken for a domain")
	}
	if got, _ := list.find([]byte(`x.quiet.example`)); got != 1 {
		t.Error("a name below it is not found")
	}
}

func TestThresholds(t *testing.T) {
	for i := range Thresholds {
		th := &Thresholds[i]
		if th.Doc == "" || th.Default < th.Min || th.Default > th.Max || th.Min <= 0 {
			t.Errorf("%+v", th)
		}
		r := &Rules{}
		for value, ok := range map[string]bool{
			fmt.Sprint(th.Min): true, fmt.Sprintf("%.0f", th.Max): true, fmt.Sprintf("%.0f", th.Max+1): false, "0": false, "-1": false,
			"many": false, "NaN": false, "Inf": false, "": false, fmt.Sprintf("%v.5", int64(th.Default)): false,
		} {
			if err := r.SetThreshold(th.String(), value); (err == nil) != ok {
				t.Errorf("%s = %s: %v", th, value, err)
			}
		}
	}
	r := &Rules{}
	if err := r.SetThreshold("dns_tunnel.height", "1"); err == nil || !strings.Contains(err.Error(), "there are dns_tunnel.octets-up, ") {
		t.Error(err)
	}
	if err := r.SetThreshold("dns_tunnel.octets-up", "100000"); err != nil {
		t.Fatal(err)
	}
	if a := exfiltrate(newLab(t, Options{Rules: r}), "t.example"); a != nil {
		t.Errorf("%+v", a)
	}
	if a := exfiltrate(newLab(t, Options{}), "t.example"); a == nil || a.Threshold != upMin {
		t.Errorf("%+v", a)
	}
	if err := r.SetThreshold("dns_tunnel.octets-up", "3000"); err != nil {
		t.Fatal(err)
	}
	if a := exfiltrate(newLab(t, Options{Rules: r}), "t.example"); a == nil || a.Threshold != 3000 || a.Value < 3000 {
		t.Errorf("%+v", a)
	}
}

// What users set holds for what is told as an update, too.
func TestSeverities(t *testing.T) {
	r := &Rules{}
	for threat, level := range map[string]string{"dns_zone_transfer": "low", "dns_zone_transfer/guesses": "critical"} {
		if err := r.SetSeverity(threat, level); err != nil {
			t.Fatal(err)
		}
	}
	l := newLab(t, Options{Rules: r})
	for i := range 40 {
		l.now += 1e9
		l.see(talk{m: reply(fmt.Sprintf("intra%d.example.com", i), dns.TypeAXFR, dns.RcodeRefused), tcp: true})
	}
	if a := l.has("dns_zone_transfer", "transfer"); a == nil || a.Severity != event.SeverityLow {
		t.Errorf("%+v", a)
	}
	if a := l.has("dns_zone_transfer", "guesses"); a == nil || a.Severity != event.SeverityCritical {
		t.Errorf("%+v", a)
	}
	if err := r.SetSeverity("dns_zone_transfer", "urgent"); err == nil {
		t.Error("urgent is no severity")
	}
}

// The lists that come with dnshark say of each domain why and where from.
func TestShipped(t *testing.T) {
	files, err := allowFiles.ReadDir("allow")
	if err != nil {
		t.Fatal(err)
	}
	domains := map[string]bool{}
	for _, f := range files {
		text, err := allowFiles.ReadFile("allow/" + f.Name())
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(text)) {
			entry, comment, _ := strings.Cut(line, "#")
			words := strings.Fields(entry)
			if len(words) == 0 {
				continue
			}
			reason, source, _ := strings.Cut(comment, "; ")
			if strings.TrimSpace(reason) == "" || strings.TrimSpace(source) == "" || domains[words[0]] {
				t.Errorf("%s: %s wants a reason and a source, once", f.Name(), line)
			}
			domains[words[0]] = true
		}
	}
	for _, bad := range []string{"example.com", "example.com dns_tunel", "example..com dns_c2", "a b c"} {
		if _, err := readAllowed("x", "# head\n"+bad+"\n"); err == nil || !strings.HasPrefix(err.Error(), "x:2: ") {
			t.Errorf("%s: %v", bad, err)
		}
	}
	t.Logf("%d domains in %d lists", len(domains), len(files))
}
