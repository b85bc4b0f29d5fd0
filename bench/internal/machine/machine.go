// Package machine names what measurements were made on.
package machine

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"time"
)

// Machine is a computer at a moment, and the code that was measured on it.
type Machine struct {
	Date     string            `json:"date"`
	Commit   string            `json:"commit"`
	CPU      string            `json:"cpu"`
	Cores    int               `json:"cores"`
	Memory   string            `json:"memory"`
	Kernel   string            `json:"kernel"`
	System   string            `json:"system"`
	Go       string            `json:"go"`
	Programs map[string]string `json:"programs"` // versions
}

// Here describes this machine. Versions are the first lines of what the commands
// print.
func Here(versions map[string][]string) Machine {
	m := Machine{
		Date:     time.Now().UTC().Format(time.DateOnly),
		Commit:   first("git", "describe", "--always", "--dirty"),
		CPU:      field("/proc/cpuinfo", "model name", ":"),
		Cores:    runtime.NumCPU(),
		Memory:   memory(),
		Kernel:   field("/proc/sys/kernel/osrelease", "", ""),
		System:   strings.Trim(field("/etc/os-release", "PRETTY_NAME", "="), `"`),
		Go:       runtime.Version(),
		Programs: map[string]string{},
	}
	for name, argv := range versions {
		m.Programs[name] = first(argv[0], argv[1:]...)
	}
	return m
}

// first returns the first line on standard output of a command.
func first(name string, args ...string) string {
	out, _ := exec.Command(name, args...).Output()
	line, _, _ := strings.Cut(strings.TrimSpace(string(out)), "\n")
	return line
}

func memory() string {
	var kib float64
	if _, err := fmt.Sscan(field("/proc/meminfo", "MemTotal", ":"), &kib); err != nil {
		return "unknown"
	}
	return fmt.Sprintf("%.0f GiB", kib/(1<<20))
}

// field returns what follows key and sep in a file, or the first line without a
// key.
func field(file, key, sep string) string {
	f, err := os.Open(file)
	if err != nil {
		return "unknown"
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if key == "" {
			return lines.Text()
		}
		if name, value, ok := strings.Cut(lines.Text(), sep); ok && strings.TrimSpace(name) == key {
			return strings.TrimSpace(value)
		}
	}
	return "unknown"
}

// Markdown returns a sentence.
func (m Machine) Markdown() string {
	return fmt.Sprintf("%s, commit `%s`: %s, %d cores, %s memory, Linux %s, %s, %s.", m.Date, m.Commit, m.CPU, m.Cores, m.Memory, m.Kernel, m.System, m.Go)
}
