// Package recompute holds a test alone: it works out every figure of alerts again, from the
// packets, as docs/alerts.md defines it, with other libraries and none of the code of
// detection, decoding and pairing. Only the scores of names are dnshark's own: they are a model's.
package recompute

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"io/fs"
	"maps"
	"math"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/dnshark-io/dnshark/internal/testkit"
)

// alert is one as dnshark prints it.
type alert struct {
	ID        string
	Update    int
	Threat    string
	Kind      string
	Start     time.Time
	End       time.Time
	Src       netip.Addr
	Server    netip.Addr
	Domain    string
	Value     float64
	Threshold float64
	Window    float64 `json:"window_s"`
	Evidence  map[string]any
}

func (a *alert) end() int64 { return a.End.UnixNano() }

// figures are what an alert should say: numbers, and texts of which it shows some. A
// number that is the alert's own has a name in capitals.
type figures struct {
	numbers map[string]float64
	texts   map[string]func(string) bool
}

const (
	value     = "VALUE"
	threshold = "THRESHOLD"
	window    = "WINDOW" // seconds
	start     = "START"  // µs since the Unix epoch
	end       = "END"
)

// recomputations are what works out the figures, by kind.
var recomputations = map[string]func(*view, *alert) figures{}

// tolerance is how far a figure may be off.
const tolerance = 0.01

type row struct {
	alerts, numbers int
	worst           float64
	of              string
}

// compare returns what is wrong with an alert.
func compare(a *alert, want figures, r *row) (wrong []string) {
	number := func(name string, got float64) {
		should, ok := want.numbers[name]
		if !ok {
			wrong = append(wrong, name+": nothing works it out")
			return
		}
		delete(want.numbers, name)
		off := math.Abs(got-should) / max(math.Abs(should), 1e-9)
		if math.Abs(got-should) < 1e-9 {
			off = 0
		}
		r.numbers++
		if off > r.worst {
			r.worst, r.of = off, name
		}
		if !(off <= tolerance) { // nor is it no number
			wrong = append(wrong, fmt.Sprintf("%s is %v, the packets say %v", name, got, should))
		}
	}
	number(value, a.Value)
	if a.Value < a.Threshold {
		wrong = append(wrong, fmt.Sprintf("the value is %v, less than the threshold %v", a.Value, a.Threshold))
	}
	for name, v := range map[string]float64{threshold: a.Threshold, window: a.Window} {
		if _, ok := want.numbers[name]; ok { // not the rule's own
			number(name, v)
		}
	}
	for name, at := range map[string]time.Time{start: a.Start, end: a.End} {
		if should, ok := want.numbers[name]; !ok || int64(should) != at.UnixNano()/1000 {
			wrong = append(wrong, fmt.Sprintf("%s is %v, the packets say %v", name, at.UnixNano()/1000, int64(should)))
		}
		delete(want.numbers, name)
		r.numbers++
	}
	for name, v := range a.Evidence {
		switch v := v.(type) {
		case float64:
			number(name, v)
		case []any:
			fits, ok := want.texts[name]
			if !ok {
				wrong = append(wrong, name+": nothing finds it")
				continue
			}
			delete(want.texts, name)
			if len(v) > 8 {
				wrong = append(wrong, fmt.Sprintf("%s has %d samples", name, len(v)))
			}
			for _, text := range v {
				if !fits(text.(string)) {
					wrong = append(wrong, fmt.Sprintf("%s: %q is not in the packets", name, text))
				}
			}
		default:
			wrong = append(wrong, fmt.Sprintf("%s is a %T", name, v))
		}
	}
	for name := range want.numbers {
		wrong = append(wrong, name+" is missing")
	}
	for name := range want.texts {
		wrong = append(wrong, name+" is missing")
	}
	slices.Sort(wrong)
	return wrong
}

// dnshark is the program, built for all tests.
var dnshark string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "recompute")
	if err != nil {
		panic(err)
	}
	dnshark = filepath.Join(dir, "dnshark")
	out, err := exec.Command("go", "build", "-o", dnshark, "../../../cmd/dnshark").CombinedOutput()
	status := 1
	if err != nil {
		fmt.Printf("%v: %s", err, out)
	} else {
		status = m.Run()
	}
	os.RemoveAll(dir)
	os.Exit(status)
}

// alerts returns what dnshark says of a capture.
func alerts(t *testing.T, capture string) (list []*alert) {
	t.Helper()
	var problems bytes.Buffer
	read := exec.Command(dnshark, "read", capture, "--events", "alerts", "-o", "json")
	read.Stderr = &problems
	out, err := read.Output()
	if err != nil {
		t.Fatalf("%s: %v: %s", capture, err, &problems)
	}
	for line := range bytes.Lines(out) {
		e := struct{ Alert alert }{}
		if err := json.Unmarshal(line, &e); err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		list = append(list, &e.Alert)
	}
	slices.SortStableFunc(list, func(a, b *alert) int { return a.End.Compare(b.End) }) // last updates come at the end
	return list
}

var only = flag.String("only", "", "look at captures whose path holds this `TEXT` alone")

func TestEvidence(t *testing.T) {
	captures := made(t)
	const corpus = "../../../../shared/corpus/threats"
	filepath.WalkDir(corpus, func(path string, _ fs.DirEntry, err error) error {
		if err == nil && filepath.Ext(path) == ".pcap" {
			captures = append(captures, path)
		}
		return nil
	})
	defined := definitions(t)
	table := map[string]*row{}
	for _, path := range captures {
		if !strings.Contains(path, *only) {
			continue
		}
		list := alerts(t, path)
		if len(list) == 0 {
			continue
		}
		v := pair(packets(t, path))
		for _, a := range list {
			name := a.Threat + "/" + a.Kind
			f := recomputations[a.Kind]
			if table[name] == nil {
				table[name] = &row{}
			}
			table[name].alerts++
			if f == nil {
				t.Errorf("%s: nothing works out %s", filepath.Base(path), name)
				continue
			}
			if !slices.ContainsFunc(v.messages, func(m *message) bool { return m.time/1000 == a.end()/1000 }) {
				t.Errorf("%s: %s update %d: no message is of its end, %v", filepath.Base(path), name, a.Update, a.End)
			}
			for key := range a.Evidence {
				if !defined[name][key] {
					t.Errorf("%s: docs/alerts.md does not say what %s is", name, key)
				}
			}
			for _, wrong := range compare(a, f(v, a), table[name]) {
				t.Errorf("%s: %s %v %s update %d: %s", filepath.Base(path), name, a.Src, a.Domain, a.Update, wrong)
			}
		}
	}
	for name := range defined {
		if table[name] != nil {
			continue
		}
		table[name] = &row{of: "in no capture"}
		// Another model may say something else of the same words.
		if *only == "" && name != "dns_dga/word_lists" {
			t.Errorf("no capture has %s", name)
		}
	}
	report(t, table)
}

// definitions returns the keys of evidence that docs/alerts.md defines, by THREAT/KIND.
func definitions(t *testing.T) map[string]map[string]bool {
	t.Helper()
	page, err := os.ReadFile(filepath.Join(testkit.Root(t), "docs/alerts.md"))
	if err != nil {
		t.Fatal(err)
	}
	defined := map[string]map[string]bool{}
	threat, evidence := "", false
	for line := range strings.Lines(string(page)) {
		if name, ok := strings.CutPrefix(line, "## "); ok {
			threat, evidence = strings.TrimSpace(name), false
		}
		cells := strings.Split(line, "|")
		if len(cells) < 4 {
			continue
		}
		key, of := strings.Trim(cells[1], " `"), strings.TrimSpace(cells[2])
		if evidence = evidence || key == "figure"; !evidence {
			if recomputations[key] != nil {
				defined[threat+"/"+key] = map[string]bool{}
			}
			continue
		}
		for name, keys := range defined {
			of := " " + strings.ReplaceAll(of, ",", " ") + " "
			if own, kind, _ := strings.Cut(name, "/"); own == threat && (of == " all " || strings.Contains(of, " "+kind+" ")) {
				keys[key] = true
			}
		}
	}
	if len(defined) != len(recomputations) {
		t.Fatalf("docs/alerts.md lists %d of %d kinds", len(defined), len(recomputations))
	}
	return defined
}

// A figure that is off, one that nobody knows and one that is missing are found.
func TestEvidenceCanFail(t *testing.T) {
	changed := 0
	for _, path := range made(t) {
		v := pair(packets(t, path))
		for _, a := range alerts(t, path) {
			f := recomputations[a.Kind](v, a)
			same := func() figures { return figures{maps.Clone(f.numbers), maps.Clone(f.texts)} } // compare uses them up
			check := func(what string) {
				t.Helper()
				if changed++; len(compare(a, same(), &row{})) == 0 {
					t.Errorf("%s/%s: %s, and nothing is found", a.Threat, a.Kind, what)
				}
			}
			if wrong := compare(a, same(), &row{}); len(wrong) > 0 {
				t.Fatal(wrong)
			}
			for key, v := range a.Evidence {
				if number, ok := v.(float64); ok {
					a.Evidence[key] = 1.02*number + 0.001
					check(key + " is off by 2 %")
				}
				delete(a.Evidence, key)
				check(key + " is missing")
				a.Evidence[key] = v
			}
			a.Evidence["new"] = 1.0
			check("there is a new key")
			delete(a.Evidence, "new")
			a.Start = a.Start.Add(time.Second)
			check("the start is off")
			a.Start = a.Start.Add(-time.Second)
			a.Value = 1.02*a.Value + 0.001
			check("the value is off")
		}
	}
	t.Logf("%d changes, all found", changed)
}

func report(t *testing.T, table map[string]*row) {
	var b strings.Builder
	fmt.Fprintf(&b, "\n%-44s %7s %8s %16s\n", "kind", "alerts", "numbers", "worst deviation")
	names := []string{}
	for name := range table {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		r := table[name]
		fmt.Fprintf(&b, "%-44s %7d %8d %14.3f %% %s\n", name, r.alerts, r.numbers, 100*r.worst, r.of)
	}
	t.Log(b.String())
}

// some says that a text is one of a set of names.
func some(set map[string]bool) func(string) bool {
	return func(text string) bool {
		name := canonical(strings.ReplaceAll(text, `\\`, `\`))
		for n := range set {
			// Long texts are cut, perhaps in an escape.
			if n == name || len(text) > 500 && strings.HasPrefix(n, name[:len(name)-2]) {
				return true
			}
		}
		return false
	}
}

// anything is for texts that are no samples of a field, with the reason beside.
func anything(string) bool { return true }

// octetsOf undoes the escapes of outputs.
func octetsOf(text string) string {
	var b strings.Builder
	for i := 0; i < len(text); i++ {
		if text[i] != '\\' || i+1 == len(text) {
			b.WriteByte(text[i])
			continue
		}
		if n := 0; i+3 < len(text) {
			if _, err := fmt.Sscanf(text[i+1:i+4], "%03d", &n); err == nil {
				b.WriteByte(byte(n))
				i += 3
				continue
			}
		}
		i++
		b.WriteByte(text[i])
	}
	return b.String()
}
