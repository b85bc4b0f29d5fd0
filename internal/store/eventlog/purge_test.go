package eventlog

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/dnshark-io/dnshark/internal/store"
)

func purge(t *testing.T, dir, text string) Purged {
	t.Helper()
	subject, err := store.ParsePurgeSubject(text)
	if err != nil {
		t.Fatal(err)
	}
	p, err := Purge(t.Context(), dir, subject)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// purgeable writes events into three blocks of two files and the journal, and returns them.
func purgeable(t *testing.T, dir string, lines []string) {
	t.Helper()
	l := openLog(t, dir, Options{})
	n := len(lines) / 4
	for i := range 4 {
		add(t, l, lines[i*n:(i+1)*n]...)
		if i < 3 {
			l.block(t)
		}
		if i == 1 {
			if err := l.Close(); err != nil {
				t.Fatal(err)
			}
			l = openLog(t, dir, Options{})
		}
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if names, err := segmentNames(dir); err != nil || len(names) != 2 {
		t.Fatal(names, err)
	}
}

// octets returns the files with blocks: old events leave the journal as soon as it is
// opened.
func octets(t *testing.T, dir string) map[string]string {
	t.Helper()
	names, err := segmentNames(dir)
	if err != nil {
		t.Fatal(err)
	}
	files := map[string]string{}
	for _, name := range names {
		raw, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		files[name] = string(raw)
	}
	return files
}

func TestPurge(t *testing.T) {
	const name = "private.example.test"
	var lines []string
	for i := range 400 {
		at := noon.Add(time.Duration(i) * time.Second)
		query, answer, comm := fmt.Sprintf("h%d.example.test", i%7), fmt.Sprintf("198.51.100.%d", i%50), "curl"
		switch i % 10 {
		case 1:
			query = "Private.Example.test"
		case 2:
			query = "www." + name
		case 3:
			query = "not" + name
		case 4:
			answer = "it is at <" + name + ">"
		case 5:
			answer = name + "s"
		case 6:
			comm = name
		case 7:
			answer = "203.0.113.7"
		case 8:
			answer = "1 . ipv4hint=203.0.113.7"
		case 9:
			answer = "203.0.113.70"
		}
		line := sample(at, query, answer, comm)
		if i >= 390 {
			line = strings.Replace(line, `"host":"web1"`, `"host":"db.sensors.test"`, 1)
		}
		lines = append(lines, line)
	}
	tried, removed := 0, 0
	for _, test := range []struct {
		text string
		goes func(i int) bool
	}{
		{"PRIVATE.example.test.", func(i int) bool { return slices.Contains([]int{1, 2, 4, 6}, i%10) }},
		{"203.0.113.7", func(i int) bool { return slices.Contains([]int{7, 8}, i%10) }},
		{"198.51.100.10", func(i int) bool { return i%50 == 10 }},
		{"db.sensors.test", func(i int) bool { return i >= 390 }},
		{"sensors.test", func(int) bool { return false }}, // of hosts, only the whole name
		{"a", func(int) bool { return false }},            // a type is no name
		{"test", func(int) bool { return true }},
		{"192.0.2.53", func(int) bool { return true }},
	} {
		dir := t.TempDir()
		purgeable(t, dir, lines)
		reader, err := OpenReader(dir)
		if err != nil {
			t.Fatal(err)
		}
		find(t, reader, Query{}) // it knows what stands where
		before, old := octets(t, dir), time.Now().Add(-time.Hour).Truncate(time.Second)
		for file := range before {
			if err := os.Chtimes(filepath.Join(dir, file), old, old); err != nil {
				t.Fatal(err)
			}
		}
		var want []string
		for i, line := range lines {
			if !test.goes(i) {
				want = append(want, line)
			}
		}
		p := purge(t, dir, test.text)
		if p.Events != len(lines)-len(want) || p.Damaged != 0 {
			t.Errorf("%s: %+v, want %d events", test.text, p, len(lines)-len(want))
		}
		if got := find(t, reader, Query{}); !slices.Equal(got, want) {
			t.Errorf("%s: %d events are left, want %d", test.text, len(got), len(want))
		}
		after := octets(t, dir)
		for file, raw := range before {
			if p.Events == 0 && after[file] != raw {
				t.Errorf("%s: %s has changed", test.text, file)
			}
			info, err := os.Stat(filepath.Join(dir, file))
			if len(want) > 0 && (err != nil || !info.ModTime().Equal(old)) {
				t.Errorf("%s: %s is no longer of %v: %v", test.text, file, old, err)
			}
		}
		if again := purge(t, dir, test.text); again != (Purged{}) {
			t.Errorf("%s: a second time %+v", test.text, again)
		}
		tried, removed = tried+len(lines), removed+p.Events
		// The log goes on where it was.
		l := openLog(t, dir, Options{})
		more := sample(noon.Add(time.Hour), "later.example.org", "192.0.2.1", "dig")
		add(t, l, more)
		if got := find(t, l, Query{}); !slices.Equal(got, append(want, more)) {
			t.Errorf("%s: then %d events, want %d", test.text, len(got), len(want)+1)
		}
		l.Close()
	}
	t.Logf("of %d events %d mentioned a name, an address or a host to be purged: these went, no other did", tried, removed)
}

// What cannot be searched goes, and nothing else.
func TestPurgeDamaged(t *testing.T) {
	dir := t.TempDir()
	lines := traffic(noon, 400)
	purgeable(t, dir, lines)
	names, err := segmentNames(dir)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, names[0])
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	second := bytes.LastIndex(raw, []byte(blockMarker))
	raw[second-10] ^= 1 // data of the first block
	raw = append(raw, "torn"...)
	if err := os.WriteFile(path, raw, 0o600); err != nil {
		t.Fatal(err)
	}
	if p := purge(t, dir, "nothing.example.invalid"); p != (Purged{Damaged: 2}) {
		t.Errorf("%+v", p)
	}
	reader, err := OpenReader(dir)
	if err != nil {
		t.Fatal(err)
	}
	if got := find(t, reader, Query{}); !slices.Equal(got, lines[100:]) {
		t.Errorf("%d events are left, want %d", len(got), 300)
	}
}

// A purge that does not come to its end changes no file, and leaves none.
func TestPurgeEnds(t *testing.T) {
	dir := t.TempDir()
	purgeable(t, dir, traffic(noon, 400))
	before := octets(t, dir)
	subject, err := store.ParsePurgeSubject("test")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Purge(ctx, dir, subject); err == nil {
		t.Error("no error")
	}
	for file, raw := range octets(t, dir) {
		if was, ok := before[file]; ok && was != raw {
			t.Errorf("%s has changed", file)
		}
	}
	left := filepath.Join(dir, "00000000000000000000"+segmentSuffix+newSuffix)
	if err := os.WriteFile(left, []byte("of one that was killed"), 0o600); err != nil {
		t.Fatal(err)
	}
	l := openLog(t, dir, Options{})
	if _, err := os.Stat(left); !os.IsNotExist(err) {
		t.Error("an unfinished file stays")
	}
	if _, err := Purge(t.Context(), dir, subject); err == nil || !strings.Contains(err.Error(), "another dnshark writes here") {
		t.Errorf("beside a writer: %v", err)
	}
	l.Close()
	if p, err := Purge(t.Context(), t.TempDir(), subject); err != nil || p != (Purged{}) {
		t.Errorf("without events: %+v, %v", p, err)
	}
}
