package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/dnshark-io/dnshark/internal/testkit"
)

// Processes that ask once and are gone within milliseconds, long before their
// events are made: all have the right executable.
func TestLiveShortLived(t *testing.T) {
	testkit.NeedRoot(t)
	testkit.NeedPrograms(t, "bash", "ip")
	const programs, rounds = 10, 5
	host := testkit.NewHost(t)
	a := startAgent(t, "--timeout", "1s")
	dir := realPath(t, t.TempDir())
	bash, err := exec.LookPath("bash")
	if err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(bash)
	if err != nil {
		t.Fatal(err)
	}
	ask := func(name string) string {
		msg := fmt.Sprintf(`\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x%02x%s\x07example\x04test\x00\x00\x01\x00\x01`, len(name), name)
		return "printf '" + msg + "' > /dev/udp/127.0.0.1/53"
	}
	// How a program comes to run. The script's own name would be wrong.
	ways := map[string]func(program, name string) *exec.Cmd{
		"path": func(program, name string) *exec.Cmd {
			return host.Command(filepath.Join(dir, program), "-c", ask(name))
		},
		"link": func(program, name string) *exec.Cmd {
			return host.Command(filepath.Join(dir, "link-"+program), "-c", ask(name))
		},
		"relative": func(program, name string) *exec.Cmd { return host.Command("./"+program, "-c", ask(name)) },
		"fork": func(program, name string) *exec.Cmd {
			return host.Command(filepath.Join(dir, program), "-c", "("+ask(name)+"); true")
		},
		// It asks, and then it is another program.
		"before-exec": func(program, name string) *exec.Cmd {
			return host.Command(filepath.Join(dir, program), "-c", ask(name)+"; exec true")
		},
		"script": func(program, name string) *exec.Cmd {
			script := filepath.Join(dir, name)
			os.WriteFile(script, []byte("#!"+filepath.Join(dir, program)+"\n"+ask(name)+"\n"), 0o755)
			return host.Command(script)
		},
	}
	for p := range programs {
		program := filepath.Join(dir, "p"+strconv.Itoa(p))
		if err := os.WriteFile(program, data, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(program, filepath.Join(dir, "link-p"+strconv.Itoa(p))); err != nil {
			t.Fatal(err)
		}
	}
	type asked struct {
		exe string
		pid int
	}
	want := map[string]asked{}
	var mu sync.Mutex
	var wg sync.WaitGroup
	slots := make(chan struct{}, 8)
	var longest time.Duration
	for p := range programs {
		for way, command := range ways {
			for r := range rounds {
				program, name := "p"+strconv.Itoa(p), fmt.Sprintf("%s-p%d-%d", way, p, r)
				slots <- struct{}{}
				wg.Go(func() {
					defer func() { <-slots }()
					cmd := command(program, name)
					cmd.Dir = dir
					began := time.Now()
					if out, err := cmd.CombinedOutput(); err != nil {
						t.Errorf("%s: %v: %s", name, err, out)
					}
					pid := cmd.Process.Pid
					if way == "fork" {
						pid = 0 // it is the child's
					}
					mu.Lock()
					defer mu.Unlock()
					longest = max(longest, time.Since(began))
					want[name+".example.test"] = asked{filepath.Join(dir, program), pid}
				})
			}
		}
	}
	wg.Wait()
	for name, w := range want {
		var e seen
		testkit.Eventually(t, 10*time.Second, "an event about "+name, func() bool {
			list := a.named(name)
			if len(list) > 0 {
				e = list[0]
			}
			return len(list) > 0
		})
		if p := e.Process; p == nil || p.Exe != w.exe || w.pid != 0 && p.PID != w.pid || !strings.HasPrefix(p.Attribution, "query") {
			t.Errorf("%s: %+v, want %+v", name, p, w)
		}
	}
	t.Logf("%d processes, the longest lived %v", len(want), longest)
}

func realPath(t *testing.T, path string) string {
	t.Helper()
	path, err := filepath.EvalSymlinks(path)
	if err != nil {
		t.Fatal(err)
	}
	return path
}
