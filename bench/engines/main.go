// Engines measures how databases keep the history of answers, side by side: each gets
// the same aggregates from the same stage, in a process of its own.
package main

import (
	"debug/buildinfo"
	"encoding/json"
	"flag"
	"fmt"
	"log"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/dnshark-io/dnshark/bench/engines/internal/load"
)

// engine is a program beside this one.
type engine struct {
	name, title string
	modules     []string // whose versions are shown
	cgo         string
	result      load.Result
	binary      int64 // octets
}

var engines = []*engine{
	{name: "dnshark", title: "SQLite, packed records (dnshark)", modules: []string{"modernc.org/sqlite"}, cgo: "no"},
	{name: "sqlite", title: "SQLite, a row for each tuple", modules: []string{"modernc.org/sqlite"}, cgo: "no"},
	{name: "duckdb", title: "DuckDB", modules: []string{"github.com/duckdb/duckdb-go/v2"}, cgo: "yes"},
	{name: "pebble", title: "Pebble", modules: []string{"github.com/cockroachdb/pebble/v2"}, cgo: "no"},
	{name: "parquet", title: "Parquet", modules: []string{"github.com/parquet-go/parquet-go"}, cgo: "no"},
}

func main() {
	log.SetFlags(0)
	events := flag.Int("events", 1_000_000, "how many")
	lookups := flag.Int("lookups", 1000, "of each kind")
	only := flag.String("engine", "", "these alone, comma between them")
	out := flag.String("out", "", "the page to write")
	flag.Parse()
	list := engines
	if *only != "" {
		names := strings.Split(*only, ",")
		list = slices.DeleteFunc(slices.Clone(list), func(e *engine) bool { return !slices.Contains(names, e.name) })
		if len(list) != len(names) {
			log.Fatalf("%s: not all of these are engines", *only)
		}
	}
	versions := map[string]string{}
	for _, e := range list {
		begin := time.Now()
		if err := e.run(*events, *lookups, versions); err != nil {
			log.Fatalf("%s: %v", e.name, err)
		}
		log.Printf("%s: %.0f s", e.name, time.Since(begin).Seconds())
		if err := e.agrees(list[0]); err != nil {
			log.Fatal(err)
		}
	}
	page := page(list, versions, *events)
	fmt.Print(page)
	if *out != "" {
		if err := os.WriteFile(*out, []byte(page), 0o666); err != nil {
			log.Fatal(err)
		}
	}
}

// run builds the engine's program and runs it.
func (e *engine) run(events, lookups int, versions map[string]string) error {
	dir, err := os.MkdirTemp("", "engine")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	program, data := filepath.Join(dir, e.name), filepath.Join(dir, "data")
	build := exec.Command("go", "build", "-trimpath", "-ldflags=-s -w", "-o", program, "./"+e.name)
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if e.cgo == "yes" {
		build.Env = append(os.Environ(), "CGO_ENABLED=1")
	}
	if text, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("%w: %s", err, text)
	}
	file, err := os.Stat(program)
	if err != nil {
		return err
	}
	e.binary = file.Size()
	info, err := buildinfo.ReadFile(program)
	if err != nil {
		return err
	}
	for _, m := range info.Deps {
		if slices.Contains(e.modules, m.Path) {
			versions[m.Path] = m.Version
		}
	}
	if err := os.Mkdir(data, 0o700); err != nil {
		return err
	}
	run := exec.Command(program, "-events", fmt.Sprint(events), "-lookups", fmt.Sprint(lookups), "-dir", data)
	run.Env, run.Stderr = append(os.Environ(), "GOGC=50"), os.Stderr // as `make bench-store`
	text, err := run.Output()
	if err != nil {
		return err
	}
	return json.Unmarshal(text, &e.result)
}

// agrees reports how the answers differ.
func (e *engine) agrees(o *engine) error {
	for i, l := range e.result.Lookups {
		if other := o.result.Lookups[i]; l.Sum != other.Sum {
			return fmt.Errorf("%s and %s differ in their answers about %s: %d and %d tuples", e.name, o.name, l.Kind, l.Tuples, other.Tuples)
		}
	}
	return nil
}
