package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync/atomic"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/dnshark-io/dnshark/event"
	"github.com/dnshark-io/dnshark/internal/screen"
	"github.com/dnshark-io/dnshark/internal/store"
)

func newTop(o *options) *cobra.Command {
	var s span
	var files []string
	cmd := &cobra.Command{
		Use:   "top [names|clients|processes|servers|rcodes|nxdomain]",
		Short: "Show who and what asks most, live on a screen or out of the history",
		Long: `top shows on a terminal what is asked right now: rates, and tables of names, processes,
containers, servers, clients, types and response codes, and the alerts. Enter looks into
a row, ? lists the keys. What is captured is chosen as without a command, and -r shows a
capture file.

With an argument, top ranks what dnshark --store DIR has seen, by the number of answers.
Times are taken by whole hours. nxdomain ranks names that do not exist.`,
		Example: `  sudo dnshark top
  sudo dnshark top --filter 'dns.rcode != "NOERROR"'
  dnshark top -r capture.pcap
  dnshark top --store /var/lib/dnshark names --since 24h`,
		ValidArgs: store.WhatNames(),
		Args:      atMost(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return o.screenOf(cmd.Context(), files)
			}
			what, err := store.ParseWhat(args[0])
			if err != nil {
				return usagef("%w", err)
			}
			return o.list(&s, func(h store.Store, r store.Range) ([]store.Ranked, error) {
				return h.Top(cmd.Context(), what, r, s.limit)
			}, func(w io.Writer, r *store.Ranked) { fmt.Fprintf(w, "%8d  %s\n", r.Count, r.Value) })
		},
	}
	s.add(cmd, 10)
	o.addLive(cmd.Flags())
	cmd.Flags().StringArrayVarP(&files, "read", "r", nil, "show a capture `FILE` instead, - for standard input")
	return cmd
}

// screenOf shows what is captured, or what files hold, on the terminal.
func (o *options) screenOf(ctx context.Context, files []string) error {
	if _, err := unix.IoctlGetWinsize(int(o.std.out.Fd()), unix.TIOCGWINSZ); err != nil {
		return usagef("top needs a terminal; `dnshark top names --store DIR` does not")
	}
	if len(o.outputs) > 0 || o.file != "" {
		return usagef("top has the screen as its only output; leave out -o and -w")
	}
	in := o.std.in
	if len(files) > 0 {
		// The capture may come from standard input, so keys come from the terminal.
		tty, err := os.Open("/dev/tty")
		if err != nil {
			return fmt.Errorf("top reads keys from the terminal: %w", err)
		}
		defer tty.Close()
		in = tty
	}
	board := screen.NewBoard(len(files) == 0)
	note, restore, err := o.collectNotes()
	if err != nil {
		return err
	}
	o.screen = board
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	done := make(chan error, 1)
	go func() {
		var err error
		if len(files) > 0 {
			err = runRead(ctx, o, files)
		} else {
			err = runLive(ctx, o)
		}
		board.End(err)
		done <- err
		if len(files) == 0 && err != nil {
			cancel() // nothing was captured, or nothing more will be
		}
	}()
	shown := screen.Run(ctx, board, screen.Options{
		In: in, Out: o.std.out, Colour: os.Getenv("NO_COLOR") == "",
		Title: string(event.AppendSafe(nil, o.host)), Notes: note,
	})
	cancel()
	err = <-done
	restore()
	return errors.Join(shown, err)
}

// collectNotes takes what would be printed on standard error, where it would spoil
// the screen, until restore is called. note returns the last line.
func (o *options) collectNotes() (note func() string, restore func(), err error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, nil, err
	}
	var last atomic.Pointer[string]
	done := make(chan struct{})
	go func() {
		defer close(done)
		lines := bufio.NewScanner(r)
		lines.Buffer(nil, 64<<10)
		for lines.Scan() {
			text := strings.TrimPrefix(string(event.AppendSafe(nil, lines.Text())), "dnshark: ")
			text = strings.TrimSuffix(text, "; Ctrl-C ends")
			last.Store(&text)
		}
		io.Copy(io.Discard, r)
	}()
	before := o.std.err
	o.std.err = w
	note = func() string {
		if text := last.Load(); text != nil {
			return *text
		}
		return ""
	}
	return note, func() {
		o.std.err = before
		w.Close()
		<-done
		r.Close()
	}, nil
}
