package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"sort"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/dnshark-io/dnshark/event"
	"github.com/dnshark-io/dnshark/internal/detect"
	"github.com/dnshark-io/dnshark/internal/kind"
)

// told is an alert as it stands in JSON. All of it may be an attacker's.
type told struct {
	Time    time.Time
	Host    string
	Process *struct {
		PID       uint32
		Comm, Exe string
		User      string
		Container *struct{ Name, Image string }
	}
	Alert *struct {
		ID         string
		Update     int
		Threat     string
		Kind       string
		Severity   string
		Confidence float64
		Rule       string
		Technique  string
		Start, End time.Time
		Src        string
		Server     string
		Domain     string
		Value      float64
		Threshold  float64
		Window     float64 `json:"window_s"`
		Evidence   map[string]any
		Rejected   []string `json:"benign_explanations_rejected"`
	}
}

// maxAlertLine is more than any event of dnshark's is long.
const maxAlertLine = 1 << 20

func newExplain(o *options) *cobra.Command {
	return &cobra.Command{
		Use:   "explain [FILE... | -]",
		Short: "Tell alerts in words",
		Long: `explain reads events as JSON, one in a line, and tells the alerts among them in words:
what was seen, by whom, what it was compared with, and what to look at next. Without
a file it reads standard input. Other events are passed over.`,
		Example: `  dnshark read -e alerts -o json capture.pcap | dnshark explain
  dnshark explain /var/log/dnshark-alerts.json`,
		RunE: func(_ *cobra.Command, files []string) error {
			if len(files) == 0 {
				files = []string{"-"}
			}
			w := bufio.NewWriter(o.std.out)
			n := 0
			for _, name := range files {
				in := o.std.in
				if name != "-" {
					f, err := os.Open(name)
					if err != nil {
						return err
					}
					defer f.Close()
					in = f
				}
				k, err := explain(w, in, n)
				if n += k; err != nil {
					return fmt.Errorf("%s: %w", name, err)
				}
			}
			if n == 0 {
				fmt.Fprintln(o.std.err, "dnshark: no alerts")
			}
			return w.Flush()
		},
	}
}

// explain tells the alerts of in, of which before were told already, and returns how
// many there were.
func explain(w io.Writer, in io.Reader, before int) (n int, err error) {
	lines := bufio.NewScanner(in)
	lines.Buffer(make([]byte, 64<<10), maxAlertLine)
	at := 0
	for lines.Scan() {
		at++
		var e told
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
			return n, usagef("line %d is no event: %w", at, err)
		}
		if e.Alert == nil {
			continue
		}
		if before+n > 0 {
			fmt.Fprintln(w)
		}
		n++
		e.write(w)
	}
	return n, lines.Err()
}

// what says what a threat is, and next what to look at.
var explanations = map[string]struct{ what, next string }{
	"dns_tunnel": {"data was carried in DNS messages",
		"Find the program that asks, and what else it connects to. Ask who runs the domain's name servers. Block the domain at the resolver; the tunnel then shows by its errors."},
	"dns_dga": {"a program looked for its controller under made-up names",
		"Isolate the client. The name that resolved, if any, leads to the controller: find who else asked for it (filter alert.domain and answer.ip)."},
	"dns_c2": {"malware was controlled through DNS",
		"Find the program that asks, and since when. Compare the texts of the answers; who else asks about the domain?"},
	"dns_cache_poisoning": {"somebody forged answers",
		"Check what the resolver has in its cache for the names, and flush it. Forged answers need spoofed addresses: look for where they enter the network. Validate DNSSEC."},
	"dns_hijacking": {"answers led elsewhere than they should",
		"Ask another resolver for the names and compare. Look at the resolver's and the client's settings, and at what runs at the address that the names were given."},
	"dns_zone_transfer": {"somebody copied a zone, or tried to",
		"Allow transfers to secondaries only, by address and by key (TSIG). If the client is a secondary, name it one (--alert-secondary)."},
}

// clean returns text that is safe to print.
func clean(s string) string { return string(event.AppendSafeUpTo(nil, s, 512)) }

func (e *told) write(w io.Writer) {
	a := e.Alert
	x := explanations[a.Threat]
	if x.what == "" {
		x.what = "something was detected"
	}
	fmt.Fprintf(w, "%s: %s (%s, %s severity, %.0f %% sure)\n", clean(a.ID), x.what, clean(a.Threat+"/"+a.Kind), clean(a.Severity), 100*a.Confidence)
	fmt.Fprintf(w, "  what      %s\n", clean(a.Rule))
	if a.Domain != "" {
		fmt.Fprintf(w, "  about     %s\n", clean(a.Domain))
	}
	if a.Src != "" {
		fmt.Fprintf(w, "  who       %s\n", clean(a.Src)+e.process())
	}
	if a.Server != "" {
		fmt.Fprintf(w, "  server    %s\n", clean(a.Server))
	}
	fmt.Fprintf(w, "  when      %s to %s, %v", a.Start.UTC().Format(time.RFC3339), a.End.UTC().Format(time.RFC3339), a.End.Sub(a.Start).Round(time.Second))
	if e.Host != "" {
		fmt.Fprintf(w, ", seen by %s", clean(e.Host))
	}
	fmt.Fprintln(w)
	fmt.Fprintf(w, "  because   %s, where %s is the limit", figure(a.Value), figure(a.Threshold))
	if a.Window > 0 {
		fmt.Fprintf(w, " within %v", time.Duration(a.Window*1e9).Round(time.Second))
	}
	fmt.Fprintln(w)
	for _, name := range sortedKeys(a.Evidence) {
		fmt.Fprintf(w, "            %s: %s\n", strings.ReplaceAll(clean(name), "_", " "), evidence(a.Evidence[name]))
	}
	for i, why := range a.Rejected {
		label := "          "
		if i == 0 {
			label = "  and not "
		}
		fmt.Fprintf(w, "%s  %s\n", label, clean(why))
	}
	if in := kind.FindIncident(a.Threat, a.Kind); in != nil {
		fmt.Fprintf(w, "  alike     %s\n", in.Alike)
	}
	if a.Technique != "" {
		fmt.Fprintf(w, "  attack    https://attack.mitre.org/techniques/%s\n", strings.ReplaceAll(clean(a.Technique), ".", "/"))
	}
	if x.next != "" {
		fmt.Fprintf(w, "  next      %s\n", x.next)
	}
	fmt.Fprintf(w, "  unwanted  %s\n", suppression(a.Threat, a.Kind, a.Domain, a.Src))
	if a.Update > 0 {
		fmt.Fprintf(w, "  this is update %d of the incident\n", a.Update)
	}
}

// suppression returns the flag with which the alert would not be told, as a shell takes it.
func suppression(threat, what, domain, src string) string {
	text := "threat=" + threat + "/" + what
	if domain != "" {
		text += " domain=" + domain
	}
	if src != "" {
		text += " client=" + src
	}
	if _, err := detect.ParseSuppression(text); err != nil {
		return "docs/alerts.md says how to suppress it" // what is in there is no alert of ours
	}
	return "--alert-suppress '" + text + "'"
}

// process says which process it was, with a comma before it.
func (e *told) process() string {
	p := e.Process
	if p == nil || p.PID == 0 {
		return ""
	}
	s := fmt.Sprintf(", process %s (%d)", clean(p.Comm), p.PID)
	if p.Exe != "" {
		s += " of " + clean(p.Exe)
	}
	if p.User != "" {
		s += ", user " + clean(p.User)
	}
	if p.Container != nil && p.Container.Name != "" {
		s += ", container " + clean(p.Container.Name)
	}
	return s
}

func sortedKeys(m map[string]any) []string {
	var keys []string
	for k := range m {
		keys = append(keys, k)
	}
	// Figures before samples.
	sort.Slice(keys, func(i, j int) bool {
		_, a := m[keys[i]].([]any)
		_, b := m[keys[j]].([]any)
		if a != b {
			return b
		}
		return keys[i] < keys[j]
	})
	const most = 32
	return slices.Clip(keys[:min(len(keys), most)])
}

func evidence(v any) string {
	list, ok := v.([]any)
	if !ok {
		if n, ok := v.(float64); ok {
			return figure(n)
		}
		return clean(fmt.Sprint(v))
	}
	var texts []string
	for _, item := range list[:min(len(list), 8)] {
		texts = append(texts, clean(fmt.Sprint(item)))
	}
	return strings.Join(texts, ", ")
}

// figure returns a figure with as many digits as a reader wants.
func figure(v float64) string { return strconv.FormatFloat(v, 'g', 8, 64) }
