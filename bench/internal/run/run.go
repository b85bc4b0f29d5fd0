// Package run runs programs and tells what they took.
package run

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"time"
)

// Usage is what one run of a program took.
type Usage struct {
	CPU  float64 `json:"cpu_s"`   // user and system time, s
	Wall float64 `json:"wall_s"`  // s
	RSS  float64 `json:"rss_mib"` // at its peak, MiB
}

// Measure runs a program, its output thrown away. What it takes is what the
// kernel counted for the child (getrusage). The peak of memory is never below
// that of the caller, who must be small.
func Measure(argv []string, env ...string) (Usage, error) {
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return Usage{}, err
	}
	defer null.Close()
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = null, null, null
	cmd.Env = append(os.Environ(), env...)
	start := time.Now()
	err = cmd.Run()
	wall := time.Since(start)
	if err != nil {
		return Usage{}, fmt.Errorf("%s: %w", strings.Join(argv, " "), err)
	}
	s := cmd.ProcessState
	return Usage{
		CPU:  (s.UserTime() + s.SystemTime()).Seconds(),
		Wall: wall.Seconds(),
		RSS:  float64(s.SysUsage().(*syscall.Rusage).Maxrss) / 1024,
	}, nil
}

// Output runs a program and hands its output, both streams in one, to read.
func Output(argv []string, env []string, read func(io.Reader) error) error {
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Env = append(os.Environ(), env...)
	r, w, err := os.Pipe()
	if err != nil {
		return err
	}
	defer r.Close()
	cmd.Stdout, cmd.Stderr = w, w
	err = cmd.Start()
	w.Close()
	if err != nil {
		return err
	}
	failed := read(r)
	if err := cmd.Wait(); err != nil {
		return fmt.Errorf("%s: %w", strings.Join(argv, " "), err)
	}
	return failed
}

// CountLines adds up what count finds in each line. Of lines of more than 1 MiB
// it sees the beginning.
func CountLines(r io.Reader, count func([]byte) int) (int, error) {
	n, rest := 0, false
	b := bufio.NewReaderSize(r, 1<<20)
	for {
		line, err := b.ReadSlice('\n')
		if !rest && len(line) > 0 {
			n += count(bytes.TrimSuffix(line, []byte("\n")))
		}
		rest = err == bufio.ErrBufferFull
		if err == io.EOF {
			return n, nil
		}
		if err != nil && !rest {
			return n, err
		}
	}
}

// Median returns the median of f over all of list, which must not be empty.
func Median[T any](list []T, f func(T) float64) float64 {
	values := make([]float64, len(list))
	for i, v := range list {
		values[i] = f(v)
	}
	slices.Sort(values)
	n := len(values)
	return (values[(n-1)/2] + values[n/2]) / 2
}

// MedianUsage returns the median of each of what list tells.
func MedianUsage(list []Usage) Usage {
	return Usage{
		CPU:  Median(list, func(u Usage) float64 { return u.CPU }),
		Wall: Median(list, func(u Usage) float64 { return u.Wall }),
		RSS:  Median(list, func(u Usage) float64 { return u.RSS }),
	}
}

// Lock is held while something is measured, so that measurements on one machine
// do not disturb each other.
type Lock struct {
	file  *os.File // nil: nobody else measures
	since time.Time
}

// holdFor is how long others wait at most, and one more measurement.
const holdFor = 100 * time.Second

// NewLock takes the lock on the file, or none where name is "".
func NewLock(name string) (l *Lock, err error) {
	l = &Lock{}
	if name == "" {
		return l, nil
	}
	if l.file, err = os.OpenFile(name, os.O_CREATE|os.O_RDWR, 0o666); err != nil {
		return nil, err
	}
	return l, l.take()
}

func (l *Lock) take() error {
	err := syscall.Flock(int(l.file.Fd()), syscall.LOCK_EX)
	l.since = time.Now()
	return err
}

// Pause is called between measurements. It lets others have the lock when it was
// held for long.
func (l *Lock) Pause() error {
	if l.file == nil || time.Since(l.since) < holdFor {
		return nil
	}
	if err := syscall.Flock(int(l.file.Fd()), syscall.LOCK_UN); err != nil {
		return err
	}
	time.Sleep(time.Second) // who waits for it gets it
	return l.take()
}

// Release gives the lock up.
func (l *Lock) Release() {
	if l.file != nil {
		l.file.Close()
	}
}
