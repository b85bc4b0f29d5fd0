package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/dnshark-io/dnshark/internal/testkit"
)

// terminal is a terminal of 80 columns and 24 lines, in tmux.
type terminal struct {
	t      *testing.T
	socket string
}

func newTerminal(t *testing.T) *terminal {
	testkit.NeedPrograms(t, "tmux")
	term := &terminal{t: t, socket: filepath.Join(t.TempDir(), "tmux")}
	testkit.Start(t, exec.Command("tmux", "-D", "-S", term.socket, "-f", "/dev/null"))
	testkit.Eventually(t, 20*time.Second, "a tmux that listens", func() bool {
		_, err := os.Stat(term.socket)
		return err == nil
	})
	return term
}

func (term *terminal) tmux(args ...string) string {
	term.t.Helper()
	out, err := exec.Command("tmux", append([]string{"-S", term.socket}, args...)...).CombinedOutput()
	if err != nil {
		term.t.Fatalf("tmux %q: %v: %s", args, err, out)
	}
	return string(out)
}

// run starts a command, which leaves its exit code and a word when it ends.
func (term *terminal) run(command string, args ...string) {
	line := command
	for _, a := range args {
		line += " '" + a + "'"
	}
	term.tmux("new-session", "-d", "-x", "80", "-y", "24", line+`; echo "ended with $?"; sleep 600`)
}

// keys presses keys by their names in tmux.
func (term *terminal) keys(names ...string) {
	term.t.Helper()
	for _, name := range names {
		term.tmux("send-keys", name)
	}
}

// shows waits until the screen has all the patterns.
func (term *terminal) shows(patterns ...string) string {
	term.t.Helper()
	var screen string
	for _, p := range patterns {
		want := regexp.MustCompile(p)
		for end := time.Now().Add(30 * time.Second); ; time.Sleep(50 * time.Millisecond) {
			if screen = term.tmux("capture-pane", "-p"); want.MatchString(screen) {
				break
			}
			if time.Now().After(end) {
				term.t.Fatalf("the screen does not show %q:\n%s", p, screen)
			}
		}
	}
	return screen
}

func TestLiveTop(t *testing.T) {
	testkit.NeedRoot(t)
	testkit.NeedPrograms(t, "dig", "dnsmasq", "ip")
	host := testkit.NewHost(t)
	host.Dnsmasq("127.0.0.1")
	term := newTerminal(t)
	term.run(testkit.Dnshark(t), "top", "--netns", netns(t, host), "--container-runtime", "none")
	term.shows(`dnshark .* live`, `1Names 2Processes`, `nothing yet`, `watching every socket`)

	dig := func(name string, n int) {
		for range n {
			host.Run("dig", "+tries=1", "@127.0.0.1", name)
		}
	}
	dig("often.example.test", 3)
	dig("once.example.test", 1)
	dig("nowhere.test", 2)
	screen := term.shows(`(?m)^ +[0-9.]+ +3 +0 +0 .*often\.example\.test$`, ` 1 +0 +0 .*once\.example\.test`, ` 2 +100 +0 .*nowhere\.test`, `6 answers  NXDOMAIN 33%`)
	t.Logf("\n%s", screen)
	term.keys("s") // by count
	screen = term.shows(`COUNT\*`)
	if strings.Index(screen, "often.") > strings.Index(screen, "once.") {
		t.Errorf("not by count:\n%s", screen)
	}
	term.keys("/", "o", "n", "c", "e", "Enter")
	if screen = term.shows(`/once`); strings.Contains(screen, "often.example.test") {
		t.Errorf("found too much:\n%s", screen)
	}
	term.keys("Enter") // into the name: who asked
	term.shows(`name once\.example\.test`, `dig \(\d+\)`, `1 answers`)
	term.keys("Escape")
	term.shows(`often\.example\.test`)
	term.keys("4")
	term.shows(` 6 +33 +0 .*127\.0\.0\.1`)
	term.keys("7")
	term.shows(` 4 .*NOERROR`, ` 2 .*NXDOMAIN`)
	term.keys("p")
	term.shows(`PAUSED`)
	dig("later.example.test", 1)
	term.keys("1", "p")
	term.shows(`later\.example\.test`)
	term.tmux("resize-window", "-x", "40", "-y", "10")
	term.shows(`(?m)^1Names 2 3 4 5 6 7 8$`)
	term.keys("q")
	term.shows(`ended with 0`)
}

// A capture is shown with everything that it has, and the screen stays until it is left.
func TestTopOfCapture(t *testing.T) {
	path := filepath.Join(t.TempDir(), "capture.pcap")
	newCapture(t, path).addAnswers(42)
	term := newTerminal(t)
	term.run(testkit.Dnshark(t), "top", "-r", path)
	term.shows(`ended`, `42 answers`, ` 42 .*example\.test`)
	term.keys("q")
	term.shows(`ended with 0`)
}

func netns(t *testing.T, h *testkit.Host) string {
	t.Helper()
	inode := strings.TrimSpace(h.Run("stat", "-L", "-c", "%i", "/proc/self/ns/net"))
	if inode == "" {
		t.Fatal("no network namespace")
	}
	return inode
}
