package main

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// drain is for how long answers are awaited that come after their command's end.
const drain = 100 * time.Millisecond

// command is a program that is run and followed. It has our standard input,
// output and error; it ends when it wants to.
type command struct {
	cmd     *exec.Cmd
	signals chan os.Signal
	ended   chan struct{}
	err     error
}

func newCommand(argv []string, std streams) (*command, error) {
	path, err := exec.LookPath(argv[0])
	switch {
	case errors.Is(err, fs.ErrPermission):
		return nil, withExit(exitNotRunnable, err)
	case err != nil:
		return nil, withExit(exitNotFound, err)
	}
	c := &command{
		cmd: &exec.Cmd{Path: path, Args: argv, Stdin: std.in, Stdout: std.out, Stderr: std.err},
		// From now on, so that no signal ends us and leaves the command alone.
		signals: make(chan os.Signal, 16),
		ended:   make(chan struct{}),
	}
	for _, s := range []os.Signal{syscall.SIGINT, syscall.SIGQUIT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGUSR1, syscall.SIGUSR2} {
		if !signal.Ignored(s) { // the command is to ignore it as well, see nohup(1)
			signal.Notify(c.signals, s)
		}
	}
	return c, nil
}

// start runs the command. It gets the rights of whoever started dnshark, but
// not ambient capabilities, which were given to dnshark.
func (c *command) start() error {
	// The thread lost them, so it is not used for anything else: it ends with
	// its goroutine.
	started := make(chan error)
	go func() {
		runtime.LockOSThread()
		err := unix.Prctl(unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0)
		if err == nil {
			err = c.cmd.Start()
		}
		started <- err
	}()
	if err := <-started; err != nil {
		return withExit(exitNotRunnable, err)
	}
	go func() {
		c.err = c.cmd.Wait()
		close(c.ended)
	}()
	go c.forward()
	return nil
}

// forward passes signals on.
func (c *command) forward() {
	for {
		select {
		case s := <-c.signals:
			// The terminal sends these two to the command as well.
			if (s == syscall.SIGINT || s == syscall.SIGQUIT) && foreground() {
				continue
			}
			c.cmd.Process.Signal(s)
		case <-c.ended:
			return
		}
	}
}

// foreground reports whether our process group, which is the command's too, has
// the terminal.
func foreground() bool {
	tty, err := os.Open("/dev/tty")
	if err != nil {
		return false
	}
	defer tty.Close()
	group, err := unix.IoctlGetInt(int(tty.Fd()), unix.TIOCGPGRP)
	return err == nil && group == unix.Getpgrp()
}

// until returns a context that ends shortly after the command.
func (c *command) until(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	go func() {
		select {
		case <-c.ended:
			time.Sleep(drain)
			cancel()
		case <-ctx.Done():
		}
	}()
	return ctx, cancel
}

// wait returns how the command ended: nil, or a *commandEnd.
func (c *command) wait() error {
	if c.cmd.Process == nil {
		return nil // it was never started
	}
	<-c.ended
	var exit *exec.ExitError
	if errors.As(c.err, &exit) {
		return &commandEnd{exit.Sys().(syscall.WaitStatus)}
	}
	return c.err
}

// commandEnd is an end other than with code 0. There is nothing to say about it.
type commandEnd struct{ status syscall.WaitStatus }

func (e *commandEnd) Error() string { return "the command failed" }

// imitate ends dnshark by the signal that ended the command, so that a shell
// which runs both sees the same, or returns the exit code that shells show. By
// other signals Go programs do not end, or not quietly.
func (e *commandEnd) imitate() int {
	if !e.status.Signaled() {
		return e.status.ExitStatus()
	}
	s := e.status.Signal()
	switch s {
	case unix.SIGINT, unix.SIGTERM, unix.SIGHUP, unix.SIGKILL:
		signal.Reset(s)
		unix.Kill(os.Getpid(), s)
		time.Sleep(time.Second) // until it is delivered
	}
	return 128 + int(s)
}
