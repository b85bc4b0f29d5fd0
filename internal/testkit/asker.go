package testkit

import (
	"bufio"
	"fmt"
	"io"
	"strconv"
	"syscall"
	"testing"
)

// Asker is a process that asks what it is told to; see the room asker.
type Asker struct {
	t   testing.TB
	PID int
	in  io.Writer
	out *bufio.Reader
}

// Asker starts one on the host, for the time of the test.
func (h *Host) Asker() *Asker {
	h.t.Helper()
	cmd := h.Command(build(h.t, "./internal/testkit/asker"))
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	in, err := cmd.StdinPipe()
	if err != nil {
		h.t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		h.t.Fatal(err)
	}
	errs := &Buffer{}
	cmd.Stderr = errs
	if err := cmd.Start(); err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() {
		in.Close()
		cmd.Process.Kill()
		cmd.Wait()
	})
	a := &Asker{t: h.t, PID: cmd.Process.Pid, in: in, out: bufio.NewReader(out)}
	if result := a.line(); result != "ok" {
		h.t.Fatalf("asker: %s %s", result, errs)
	}
	return a
}

// Do tells it one command, which must succeed, and returns the result.
func (a *Asker) Do(command string, args ...any) string {
	a.t.Helper()
	result, err := a.Try(command, args...)
	if err != nil {
		a.t.Fatal(err)
	}
	return result
}

// Try is Do for commands that may fail.
func (a *Asker) Try(command string, args ...any) (string, error) {
	line := command
	for _, arg := range args {
		line += " " + fmt.Sprint(arg)
	}
	if _, err := io.WriteString(a.in, line+"\n"); err != nil {
		return "", err
	}
	result := a.line()
	if len(result) >= 5 && result[:5] == "error" {
		return "", fmt.Errorf("asker %d: %s: %s", a.PID, line, result)
	}
	return result, nil
}

// Number is Do for commands whose result is a number.
func (a *Asker) Number(command string, args ...any) int {
	a.t.Helper()
	result := a.Do(command, args...)
	n, err := strconv.Atoi(result)
	if err != nil {
		a.t.Fatalf("asker: %s: %q is no number", command, result)
	}
	return n
}

// Burst runs an asker that asks n questions about tag-0.example.test and so on,
// and returns its process id once it is gone.
func (h *Host) Burst(tag string, n int) (int, error) {
	cmd := h.Command(build(h.t, "./internal/testkit/asker"))
	in, err := cmd.StdinPipe()
	if err != nil {
		return 0, err
	}
	out := &Buffer{}
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Start(); err != nil {
		return 0, err
	}
	fmt.Fprintf(in, "burst %s %d\n", tag, n)
	in.Close()
	if err := cmd.Wait(); err != nil || out.String() != "ok\nok\n" {
		return 0, fmt.Errorf("asker: %w: %s", err, out)
	}
	return cmd.Process.Pid, nil
}

func (a *Asker) line() string {
	line, err := a.out.ReadString('\n')
	if err != nil {
		return "error: the asker is gone: " + err.Error()
	}
	return line[:len(line)-1]
}
