package main

import (
	_ "embed"
	"fmt"
	"maps"
	"os"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/dnshark-io/dnshark/bench/engines/internal/load"
)

//go:embed why.md
var why string

// page is docs/bench/engines.md.
func page(list []*engine, versions map[string]string, events int) string {
	tuples := max(events/50, 4) &^ 3 / 4 * 10
	var b strings.Builder
	fmt.Fprintf(&b, "# Engines for the history\n\nWritten by `make bench-engines ENGINE_EVENTS=%d`: %s, %s, %s (%d processors).\n\n",
		events, time.Now().UTC().Format(time.DateOnly), runtime.Version(), processor(), runtime.NumCPU())
	for _, path := range slices.Sorted(maps.Keys(versions)) {
		fmt.Fprintf(&b, "- %s %s\n", path, versions[path])
	}
	fmt.Fprintf(&b, "\n%d events of %d names, %d tuples. ", events, tuples/10*4, tuples)
	b.WriteString(strings.TrimSpace(strings.ReplaceAll(why, "CHECKED", fmt.Sprint(load.Checked))) + "\n\n")

	row := func(title string, cell func(e *engine) string) {
		b.WriteString("| " + title + " |")
		for _, e := range list {
			b.WriteString(" " + cell(e) + " |")
		}
		b.WriteString("\n")
	}
	row("", func(e *engine) string { return e.title })
	b.WriteString("|---|" + strings.Repeat("---:|", len(list)) + "\n")
	row("events per second", func(e *engine) string { return fmt.Sprintf("%.0f", float64(events)/e.result.Took.Seconds()) })
	row("processor time per event, µs", func(e *engine) string {
		return fmt.Sprintf("%.1f", e.result.CPU.Seconds()*1e6/float64(events))
	})
	row("commits", func(e *engine) string { return fmt.Sprint(e.result.Commits) })
	row("longest commit, ms", func(e *engine) string { return fmt.Sprint(e.result.WorstCommit.Milliseconds()) })
	row("octets on disk per tuple", func(e *engine) string {
		text := fmt.Sprintf("%.0f", float64(e.result.Octets)/float64(tuples))
		if e.result.Beside > 0 {
			text += fmt.Sprintf(" (%.0f without what others do not keep)", float64(e.result.Octets-e.result.Beside)/float64(tuples))
		}
		return text
	})
	row("most memory (RSS) while writing, MiB", func(e *engine) string { return fmt.Sprint(e.result.RSS >> 20) })
	for i, l := range list[0].result.Lookups {
		row(l.Kind+": p50, p99, ms", func(e *engine) string {
			l := e.result.Lookups[i]
			text := fmt.Sprintf("%.2f, %.2f", l.P50.Seconds()*1e3, l.P99.Seconds()*1e3)
			if l.Times < list[0].result.Lookups[i].Times {
				text += fmt.Sprintf(" (of %d)", l.Times)
			}
			return text
		})
	}
	row("program, MiB", func(e *engine) string { return fmt.Sprintf("%.1f", float64(e.binary)/(1<<20)) })
	row("needs cgo", func(e *engine) string { return e.cgo })
	return b.String()
}

// processor is what the kernel calls the machine's.
func processor() string {
	text, _ := os.ReadFile("/proc/cpuinfo")
	for line := range strings.Lines(string(text)) {
		if key, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(key) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return "unknown processor"
}
