// Package recompute holds a test alone: it works out every figure of alerts again, from the
// packets, as docs/alerts.md defines it, with other libraries and none of the code of
// detection, decoding and pairing.
package recompute

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"io/fs"
	"math"
	"net/netip"
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

func (a *alert) start() int64 { return a.Start.UnixNano() }
func (a *alert) end() int64   { return a.End.UnixNano() }

// figures are what an alert should say: numbers, and texts of which it shows some. A
// number that is the alert's own has a name in capitals.
type figures struct {
	numbers map[string]float64
	texts   map[string]func(string) bool
}

const (
	value = "VALUE"
	start = "START" // ns
	end   = "END"
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
		if off > tolerance {
			wrong = append(wrong, fmt.Sprintf("%s is %v, the packets say %v", name, got, should))
		}
	}
	number(value, a.Value)
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

// build builds dnshark.
func build(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "dnshark")
	build := exec.Command("go", "build", "-tags", "grpcnotrace", "-o", path, "./cmd/dnshark")
	build.Dir = testkit.Root(t)
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return path
}

// alerts returns what dnshark says of a capture.
func alerts(t *testing.T, dnshark, capture string) (list []*alert) {
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
	return list
}

var only = flag.String("only", "", "look at captures whose path holds this `TEXT` alone")

func TestEvidence(t *testing.T) {
	var captures []string
	const corpus = "../../../../shared/corpus/threats"
	filepath.WalkDir(corpus, func(path string, _ fs.DirEntry, err error) error {
		if err == nil && filepath.Ext(path) == ".pcap" {
			captures = append(captures, path)
		}
		return nil
	})
	if len(captures) == 0 {
		t.Skip("no captures in ", corpus)
	}
	dnshark := build(t)
	table := map[string]*row{}
	for _, path := range captures {
		if !strings.Contains(path, *only) {
			continue
		}
		var v *view
		for _, a := range alerts(t, dnshark, path) {
			if v == nil {
				v = pair(packets(t, path))
			}
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
			for _, wrong := range compare(a, f(v, a), table[name]) {
				t.Errorf("%s: %s %v %s update %d: %s", filepath.Base(path), name, a.Src, a.Domain, a.Update, wrong)
			}
		}
	}
	report(t, table)
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
