// Package dnshark_test holds what is true of the project as a whole.
package dnshark_test

import (
	"go/parser"
	"go/token"
	"io/fs"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/dnshark-io/dnshark/"

// mayImport lists for every room the rooms that it may import. Arrows point one
// way; members of a room do not import their siblings; only cmd names members.
var mayImport = map[string][]string{
	".": {"event", "internal/container", "internal/decode", "internal/detect", "internal/ends", "internal/filter", "internal/kind", "internal/line", "internal/pair", "internal/policy", "internal/proc", "internal/source", "internal/source/afpacket", "internal/source/ebpf", "internal/source/pcap"},

	"dnswire":                  {},
	"event":                    {"dnswire"},
	"internal/bpf":             {"event", "internal/source"},
	"internal/source":          {"event"},
	"internal/source/pcap":     {"event", "internal/source"},
	"internal/source/afpacket": {"event", "internal/source"},
	"internal/source/ebpf":     {"event", "internal/source", "internal/bpf"},
	"internal/decode":          {"dnswire", "event", "internal/source"},
	"internal/pair":            {"dnswire", "event"},
	"internal/ends":            {"dnswire", "event"},
	"internal/proc":            {"event"},
	"internal/container":       {"event", "internal/proc", "internal/recent"},
	"internal/runtimes":        {"event", "internal/container", "internal/recent"},
	"internal/recent":          {},
	"internal/kind":            {"dnswire", "event", "internal/nearest"},
	"internal/policy":          {"event", "internal/detect", "internal/filter", "internal/kind"},
	"internal/output":          {"dnswire", "event", "internal/kind", "internal/suffix"},
	"internal/namescore":       {},
	"internal/namescore/train": {"internal/namescore"},
	"internal/asn":             {},
	"internal/detect":          {"dnswire", "event", "internal/kind", "internal/namescore", "internal/suffix"},
	"internal/detect/eval":     {"dnswire", "event", "internal/suffix"},
	"internal/sink":            {"event", "internal/filter", "internal/kind", "internal/nearest", "internal/output", "internal/spool"},
	"internal/spool":           {},
	"internal/store":           {"dnswire", "event"},
	"internal/store/eventlog":  {"event", "internal/store"},
	"internal/web":             {"dnswire", "event", "internal/filter", "internal/kind", "internal/output", "internal/sink", "internal/store", "internal/store/eventlog"},
	"internal/screen":          {"dnswire", "event"},
	"internal/privilege":       {},
	"internal/privacy":         {"dnswire", "event", "internal/suffix"},
	"internal/metrics":         {"dnswire", "event", "internal/suffix"},
	"internal/suffix":          {},
	"internal/nearest":         {},
	"internal/filter":          {"dnswire", "event", "internal/nearest", "internal/suffix"},
	"internal/loss":            {"event"},
	"internal/line":            {"dnswire", "event", "internal/source", "internal/decode"},
	"internal/testkit":         {},
	"internal/testkit/asker":   {},
	"packaging/licences":       {},

	// What eventlog says of queries holds for whole events wherever they are.
	"internal/store/clickhouse": {"dnswire", "event", "internal/store", "internal/store/eventlog"},
	"internal/store/storetest":  {"dnswire", "event", "internal/store", "internal/store/eventlog"},
}

func TestImportsPointOneWay(t *testing.T) {
	seen := map[string]bool{}
	err := filepath.WalkDir(".", func(path string, entry fs.DirEntry, err error) error {
		if path == "bench" { // a module of its own
			return fs.SkipDir
		}
		if err != nil || entry.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		room := filepath.ToSlash(filepath.Dir(path))
		if strings.HasPrefix(room, "cmd/") {
			return nil
		}
		seen[room] = true
		allowed, known := mayImport[room]
		if !known {
			t.Errorf("%s: the room %s has no arrows yet; add it here and to ARCHITECTURE.md", path, room)
			return nil
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		for _, spec := range file.Imports {
			imported, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				return err
			}
			if target, ours := strings.CutPrefix(imported, module); ours && !slices.Contains(allowed, target) {
				t.Errorf("%s imports %s, which %s may not", path, target, room)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for room := range mayImport {
		if !seen[room] {
			t.Errorf("the room %s has arrows but no code", room)
		}
	}
}

// Who imports dnshark gets what capturing and decoding take, and no client of brokers,
// databases or container runtimes.
func TestDependenciesOfTheLibrary(t *testing.T) {
	out, err := exec.Command("go", "list", "-deps", "-f", "{{with .Module}}{{.Path}}{{end}}", ".").Output()
	if err != nil {
		t.Fatal(err)
	}
	modules := slices.Compact(slices.Sorted(strings.FieldsSeq(string(out))))
	want := []string{
		"github.com/cilium/ebpf", "github.com/dnshark-io/dnshark", "github.com/klauspost/compress", "github.com/pierrec/lz4/v4",
		"github.com/ulikunitz/xz", "go.yaml.in/yaml/v3", "golang.org/x/net", "golang.org/x/sys",
	}
	if !slices.Equal(modules, want) {
		t.Errorf("modules %v, want %v", modules, want)
	}
}
