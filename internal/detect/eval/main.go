// Command eval measures the detectors on labelled captures: for every threat what
// was found, what was missed and what was called a threat and is none. Each capture
// X.pcap has its truth in X.json.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io/fs"
	"log"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/dnshark-io/dnshark"
	"github.com/dnshark-io/dnshark/event"
)

// truth is what really happens in a capture.
type truth struct {
	Threats []threat `json:"threats"`
	// Either a list or a single address stands for src.
	threat
}

type threat struct {
	ID      string  `json:"id"`
	Threat  string  `json:"threat"`
	Src     string  `json:"src"`
	Victim  string  `json:"victim"`
	Server  string  `json:"server"`
	Spoofed string  `json:"spoofed_server"`
	Zone    string  `json:"zone"`
	Name    string  `json:"name"`
	Start   float64 `json:"start"`
	End     float64 `json:"end"`
}

// event returns the name of the events that the threat should make.
func (t *threat) event() string {
	switch t.Threat {
	case "dga":
		return "dns_dga"
	case "cache_poisoning", "zone_transfer":
		return "dns_" + t.Threat
	}
	return t.Threat
}

// is reports whether an alert is about the threat.
func (t *threat) is(a *event.Alert) bool {
	const slack = 120e9 // clocks of labels and of captures
	if t.Start != 0 && (float64(a.End) < t.Start*1e9-slack || float64(a.Start) > t.End*1e9+slack) {
		return false
	}
	for _, name := range []string{t.Zone, t.Name} {
		if name != "" && a.Domain != "" && (below(a.Domain, name) || below(name, a.Domain)) {
			return true
		}
	}
	src := a.Src.IsValid() && slices.Contains([]string{t.Src, t.Victim}, a.Src.String())
	server := a.Server.IsValid() && slices.Contains([]string{t.Server, t.Spoofed}, a.Server.String())
	if t.Zone != "" && a.Domain != "" && t.event() == "dns_tunnel" {
		return false // another domain of the same host
	}
	return src || server
}

func below(name, domain string) bool { return name == domain || strings.HasSuffix(name, "."+domain) }

// result is what became of one threat, or of an alert that is none.
type result struct {
	file, name, kind, severity string
	after                      time.Duration // from its first message to the alert
	messages                   int           // of its source until then
	found                      bool
}

func main() {
	log.SetFlags(0)
	corpus := flag.String("corpus", "../shared/corpus/threats", "`DIRECTORY` with captures and their truth")
	events := flag.String("events", "alerts", "`LIST` of events to look for")
	verbose := flag.Bool("v", false, "print every alert")
	flag.Parse()
	for _, noShipped = range []bool{false, true} {
		found, wrong, err := evaluateAll(*corpus, strings.Split(*events, ","), *verbose)
		if err != nil {
			log.Fatal(err)
		}
		if noShipped {
			fmt.Println("\n\nWithout the allow-lists that come with dnshark:")
		} else {
			fmt.Println("With the allow-lists that come with dnshark:")
		}
		report(found, wrong)
	}
	if err := reportBaselines(*corpus); err != nil {
		log.Fatal(err)
	}
}

// noShipped leaves out the lists of domains that come with dnshark.
var noShipped bool

// evaluateAll returns, by event, what became of every threat in the captures of a
// directory, and the alerts that are about none.
func evaluateAll(corpus string, events []string, verbose bool) (found, wrong map[string][]result, err error) {
	found, wrong = map[string][]result{}, map[string][]result{}
	captures := 0
	err = filepath.WalkDir(corpus, func(path string, _ fs.DirEntry, err error) error {
		if err != nil || filepath.Ext(path) != ".pcap" {
			return err
		}
		captures++
		if err := evaluate(path, events, found, wrong, verbose); err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		return nil
	})
	if err == nil && captures == 0 {
		err = fmt.Errorf("no captures in %s", corpus)
	}
	return found, wrong, err
}

// message is what eval remembers of a message, to count those before an alert.
type message struct {
	time           int64
	client, server netip.Addr
}

func evaluate(path string, events []string, found, wrong map[string][]result, verbose bool) error {
	var t truth
	text, err := os.ReadFile(strings.TrimSuffix(path, ".pcap") + ".json")
	if err != nil {
		return err
	}
	if err := json.Unmarshal(text, &t); err != nil {
		return err
	}
	if len(t.Threats) == 0 && t.Threat != "" {
		t.Threats = []threat{t.threat}
	}
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	var messages []message
	var alerts []*event.Event
	for e, err := range dnshark.Read(context.Background(), f, dnshark.Options{Events: append(events, "net_packet_dns"), Host: "eval", NoShippedAllowLists: noShipped}) {
		if err != nil {
			return err
		}
		if e.Class == event.ClassAlert {
			alerts = append(alerts, e.Clone())
			if verbose {
				a := e.Alert
				fmt.Printf("%s %s %s/%s %s src=%v server=%v domain=%s value=%v\n", filepath.Base(path), time.Unix(0, e.Time).UTC().Format("15:04:05"), a.Threat, a.Kind, a.Severity, a.Src, a.Server, a.Domain, a.Value)
			}
			continue
		}
		m := message{e.Time, e.Meta.SrcIP, e.Meta.DstIP}
		if e.Msg.Flags.Response() {
			m.client, m.server = m.server, m.client
		}
		messages = append(messages, m)
	}
	base := strings.TrimSuffix(filepath.Base(path), ".pcap")
	for i := range t.Threats {
		th := &t.Threats[i]
		r := result{file: base, name: th.ID}
		for _, e := range alerts {
			if e.Alert.Threat != th.event() || e.Alert.Severity < event.SeverityMedium || !th.is(e.Alert) {
				continue
			}
			r.found, r.kind, r.severity = true, e.Alert.Kind, e.Alert.Severity.String()
			first := int64(0)
			for _, m := range messages {
				if m.time > e.Time {
					break
				}
				if m.client == e.Alert.Src && m.time >= int64((th.Start-1)*1e9) {
					if first == 0 {
						first = m.time
					}
					r.messages++
				}
			}
			if first > 0 {
				r.after = time.Duration(e.Time - first)
			}
			break
		}
		found[th.event()] = append(found[th.event()], r)
	}
	for _, e := range alerts {
		a := e.Alert
		if a.Severity < event.SeverityMedium || a.Update > 0 || slices.ContainsFunc(t.Threats, func(th threat) bool { return th.is(a) }) {
			continue
		}
		wrong[a.Threat] = append(wrong[a.Threat], result{file: base, name: fmt.Sprint(a.Domain, " ", a.Src), kind: a.Kind, severity: a.Severity.String()})
	}
	return nil
}

func report(found, wrong map[string][]result) {
	names := []string{"dns_tunnel", "dns_dga", "dns_c2", "dns_cache_poisoning", "dns_hijacking", "dns_zone_transfer"}
	for _, name := range names {
		hits := 0
		for _, r := range found[name] {
			if r.found {
				hits++
			}
		}
		fmt.Printf("\n%s: %d of %d found, %d false at medium or above\n", name, hits, len(found[name]), len(wrong[name]))
		for _, r := range found[name] {
			if r.found {
				fmt.Printf("  found   %-26s %-24s %-16s %-8s after %v, %d messages\n", r.file, r.name, r.kind, r.severity, r.after.Round(time.Millisecond), r.messages)
			} else {
				fmt.Printf("  MISSED  %-26s %s\n", r.file, r.name)
			}
		}
		for _, r := range wrong[name] {
			fmt.Printf("  FALSE   %-26s %-24s %-16s %s\n", r.file, r.name, r.kind, r.severity)
		}
	}
}
