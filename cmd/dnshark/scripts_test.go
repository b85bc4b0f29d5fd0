package main

import (
	"bytes"
	"encoding/hex"
	"errors"
	"io/fs"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/dnshark-io/dnshark/internal/testkit"
)

// cmdExit runs a command that must end with a code: exit CODE PROGRAM ARG...
// Its output may be judged by stdout and stderr as after exec.
func cmdExit(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exit CODE PROGRAM ARG...")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	got := 0
	if err := ts.Exec(args[1], args[2:]...); err != nil {
		var exit *exec.ExitError
		if !errors.As(err, &exit) {
			ts.Fatalf("%v", err)
		}
		got = exit.ExitCode()
	}
	if got != want {
		ts.Fatalf("exit code %d, want %d", got, want)
	}
	stderr := ts.ReadFile("stderr")
	if strings.Contains(stderr, "goroutine ") {
		ts.Fatalf("it panicked")
	}
	if ts.ReadFile("stdout") == "" && strings.Count(stderr, "\n") != 1 {
		ts.Fatalf("not one line:\n%s", stderr)
	}
}

// cmdPcap makes a capture file of UDP packets out of text: pcap TEXT FILE.
// A line is: SECONDS SRC DST HEX... ; lines that begin with # say what the
// octets mean.
func cmdPcap(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: pcap TEXT FILE")
	}
	var file bytes.Buffer
	capture, err := testkit.NewCapture(&file)
	ts.Check(err)
	for line := range strings.Lines(ts.ReadFile(args[0])) {
		fields := strings.Fields(line)
		if len(fields) == 0 || fields[0] == "#" {
			continue
		}
		if len(fields) < 4 {
			ts.Fatalf("%s: %q is no packet", args[0], line)
		}
		seconds, err := strconv.ParseFloat(fields[0], 64)
		ts.Check(err)
		payload, err := hex.DecodeString(strings.Join(fields[3:], ""))
		ts.Check(err)
		src, dst := netip.MustParseAddrPort(fields[1]), netip.MustParseAddrPort(fields[2])
		ts.Check(capture.UDP(int64(seconds*1e6)*1000, src, dst, payload))
	}
	ts.Check(os.WriteFile(ts.MkAbs(args[1]), file.Bytes(), 0o666))
}

func cmdMkfifo(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: mkfifo FILE")
	}
	ts.Check(syscall.Mkfifo(ts.MkAbs(args[0]), 0o666))
}

// cmdHolds looks for octets in files and in all files of directories: holds TEXT PATH...
func cmdHolds(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) < 2 {
		ts.Fatalf("usage: holds TEXT PATH...")
	}
	found := ""
	for _, path := range args[1:] {
		ts.Check(filepath.WalkDir(ts.MkAbs(path), func(path string, entry fs.DirEntry, err error) error {
			if err != nil || entry.IsDir() {
				return err
			}
			data, err := os.ReadFile(path)
			if bytes.Contains(data, []byte(args[0])) {
				found = path
			}
			return err
		}))
	}
	if (found == "") != neg {
		ts.Fatalf("%q: found in %q", args[0], found)
	}
}
