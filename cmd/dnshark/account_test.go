package main

import (
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/dnshark-io/dnshark/internal/testkit"
)

var (
	open   = regexp.MustCompile(`[^;]*; -?[1-9]\d* unaccounted`)
	closed = regexp.MustCompile(`; 0 unaccounted`)
)

// Whatever a capture holds and whatever is asked for: everything that comes in
// is accounted for.
func TestAccountsOfCaptures(t *testing.T) {
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	ways := [][]string{
		{},
		{"-e", "network_events", "--ports", "any"},
		{"-e", "net_packet_dns_request", "--count", "3"},
		{"-o", "none", "--server", "0.0.0.0/1,2000::/3", "--stream-memory", "1", "--fragment-memory", "1"},
		{"--responses-only"},
	}
	var files []string
	for _, dir := range []string{"pcaps", "hostile", "threats"} {
		filepath.WalkDir(testkit.Corpus(t, dir), func(path string, entry fs.DirEntry, err error) error {
			if err == nil && !entry.IsDir() && strings.Contains(filepath.Base(path), ".pcap") {
				files = append(files, path)
			}
			return nil
		})
	}
	summaries := 0
	for i, path := range files {
		args := ways[i%len(ways)]
		if i%20 == 0 { // some of them in every way
			args = nil
		}
		for _, way := range ways {
			if args != nil && fmt.Sprint(way) != fmt.Sprint(args) {
				continue
			}
			summary := summaryOf(t, null, append(append([]string{"read", path}, way...), "-w", os.DevNull))
			if open.MatchString(summary) {
				t.Errorf("%s %v:\n%s", path, way, summary)
			}
			if n := len(closed.FindAllString(summary, -1)); n == 6 {
				summaries++
			} else if n != 0 {
				t.Errorf("%s %v: %d accounts, want 6:\n%s", path, way, n, summary)
			}
		}
	}
	t.Logf("%d captures, %d summaries", len(files), summaries)
	if summaries < len(files)/2 { // some are no captures, or cut before the first packet
		t.Errorf("only %d summaries of %d captures", summaries, len(files))
	}
}

// summaryOf runs a command and returns what it says on standard error.
func summaryOf(t *testing.T, null *os.File, args []string) string {
	t.Helper()
	file, err := os.CreateTemp(t.TempDir(), "stderr")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	mainExit(args, null, null, file)
	text, err := os.ReadFile(file.Name())
	if err != nil {
		t.Fatal(err)
	}
	return string(bytes.TrimSpace(text))
}
