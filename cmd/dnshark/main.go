// Command dnshark shows every DNS answer that this host, an interface or a
// capture file sees, and the process that asked.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/dnshark-io/dnshark/internal/filter"
)

// Exit codes. They are documented in the README.
const (
	exitOK           = 0
	exitError        = 1  // something could not be opened, read or written
	exitUsage        = 2  // the command line is wrong
	exitCut          = 3  // a capture file ends too early; all events before its end were shown
	exitNotPermitted = 77 // a capability is missing
	exitNotRunnable  = 126
	exitNotFound     = 127
)

// exitCode is an error that knows how the program ends.
type exitCode struct {
	code int
	err  error
}

func (e *exitCode) Error() string { return e.err.Error() }
func (e *exitCode) Unwrap() error { return e.err }

func withExit(code int, err error) error { return &exitCode{code, err} }

func usagef(format string, args ...any) error {
	return withExit(exitUsage, fmt.Errorf(format, args...))
}

func main() {
	ownProcess = true
	os.Exit(mainExit(os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}

func mainExit(args []string, stdin *os.File, stdout, stderr *os.File) int {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	// A reader that has seen enough, such as head, is no failure. Not ignored:
	// that would pass on to a command that we run.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE)

	root := newRoot(streams{stdin, stdout, stderr})
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	return report(stderr, err)
}

func report(stderr io.Writer, err error) int {
	if err == nil || errors.Is(err, syscall.EPIPE) {
		return exitOK
	}
	if end := (*commandEnd)(nil); errors.As(err, &end) {
		return end.imitate()
	}
	if !errors.As(err, new(alreadyTold)) {
		tell(stderr, err)
	}
	var e *exitCode
	if errors.As(err, &e) {
		return e.code
	}
	return exitError
}

// alreadyTold is an error that the user knows.
type alreadyTold struct{ error }

func (t alreadyTold) Unwrap() error { return t.error }

func tell(stderr io.Writer, err error) {
	fmt.Fprintln(stderr, "dnshark:", oneLine(err))
	if wrong := (*filter.Error)(nil); errors.As(err, &wrong) {
		fmt.Fprintln(stderr, wrong.Point())
	}
}
