package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// net is a server and a client, each in a network namespace of its own, and the
// cable between them. Its MTU is Ethernet's, so long answers come in fragments.
type net struct {
	server, client string // namespaces
	dir            string
	daemons        []*exec.Cmd
}

const (
	server4 = "10.53.0.1"
	server6 = "fd53::1"
)

func ip(args ...string) error {
	if out, err := exec.Command("ip", args...).CombinedOutput(); err != nil {
		return fmt.Errorf("ip %s: %w: %s", strings.Join(args, " "), err, bytes.TrimSpace(out))
	}
	return nil
}

func newNet(dir string) (*net, error) {
	n := &net{dir: dir, server: fmt.Sprintf("dnsbench-s%d", os.Getpid()), client: fmt.Sprintf("dnsbench-c%d", os.Getpid())}
	for _, args := range [][]string{
		{"netns", "add", n.server},
		{"netns", "add", n.client},
		{"-n", n.server, "link", "add", "eth0", "type", "veth", "peer", "name", "eth0", "netns", n.client},
		{"-n", n.server, "addr", "add", server4 + "/24", "dev", "eth0"},
		{"-n", n.server, "addr", "add", server6 + "/64", "dev", "eth0", "nodad"},
		{"-n", n.client, "addr", "add", "10.53.0.2/24", "dev", "eth0"},
		{"-n", n.client, "addr", "add", "fd53::2/64", "dev", "eth0", "nodad"},
		{"-n", n.server, "link", "set", "lo", "up"},
		{"-n", n.client, "link", "set", "lo", "up"},
		{"-n", n.server, "link", "set", "eth0", "up"},
		{"-n", n.client, "link", "set", "eth0", "up"},
	} {
		if err := ip(args...); err != nil {
			return nil, errors.Join(err, n.close())
		}
	}
	return n, nil
}

// close ends the daemons and removes both namespaces.
func (n *net) close() error {
	for _, d := range n.daemons {
		d.Process.Kill()
		d.Wait()
	}
	return errors.Join(exec.Command("ip", "netns", "del", n.client).Run(), exec.Command("ip", "netns", "del", n.server).Run())
}

func (n *net) command(namespace, name string, args ...string) *exec.Cmd {
	cmd := exec.Command("ip", append([]string{"netns", "exec", namespace, name}, args...)...)
	// Whoever kills the generator leaves no server behind.
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	return cmd
}

// serve starts Knot DNS, which signs one of the zones when it starts.
func (n *net) serve() error {
	conf := fmt.Sprintf(`server:
    rundir: %[1]q
    listen: [ %[2]s@53, %[3]s@53 ]
    udp-workers: 1
    tcp-workers: 1
    udp-max-payload: 4096
    tcp-max-clients: 1000
    tcp-idle-timeout: 60
    tcp-io-timeout: 0
log:
  - target: stderr
    any: warning
database:
    storage: %[1]q
policy:
  - id: bench
    algorithm: ecdsap256sha256
    single-type-signing: on
template:
  - id: default
    storage: %[1]q
    zonefile-sync: -1
    journal-content: none
zone:
  - domain: %[4]s
    file: %[4]szone
  - domain: %[5]s
    file: %[5]szone
    dnssec-signing: on
    dnssec-policy: bench
  - domain: %[6]s
    file: %[6]szone
`, n.dir, server4, server6, plainZone, signedZone, reverseZone)
	file := filepath.Join(n.dir, "knot.conf")
	if err := os.WriteFile(file, []byte(conf), 0o644); err != nil {
		return err
	}
	knot := n.command(n.server, "knotd", "-c", file)
	var log bytes.Buffer
	knot.Stdout, knot.Stderr = &log, &log
	if err := knot.Start(); err != nil {
		return err
	}
	n.daemons = append(n.daemons, knot)
	probe := filepath.Join(n.dir, "probe")
	if err := os.WriteFile(probe, []byte(signedZone+" DNSKEY\n"+plainZone+" SOA\n"), 0o644); err != nil {
		return err
	}
	for range 60 {
		if r, err := n.ask(phase{args: []string{"-D", "-t", "1", "-s", server4}}, probe); err == nil && r.noerror == 2 {
			return nil
		}
		time.Sleep(500 * time.Millisecond)
	}
	knot.Process.Kill()
	knot.Wait()
	return fmt.Errorf("knotd does not serve its zones: %s", log.String())
}

// phase is one run of dnsperf.
type phase struct {
	share int // of all queries, in percent
	args  []string
}

type result struct{ completed, lost, noerror int }

var (
	completed = regexp.MustCompile(`Queries completed:\s+(\d+)`)
	lost      = regexp.MustCompile(`Queries lost:\s+(\d+)`)
	noerror   = regexp.MustCompile(`NOERROR (\d+)`)
)

// ask asks every question of a file once.
func (n *net) ask(p phase, file string) (r result, err error) {
	out, err := n.command(n.client, "dnsperf", append([]string{"-d", file, "-n", "1"}, p.args...)...).CombinedOutput()
	if err != nil {
		return r, fmt.Errorf("dnsperf: %w: %s", err, out)
	}
	number := func(re *regexp.Regexp) int {
		if m := re.FindSubmatch(out); m != nil {
			i, _ := strconv.Atoi(string(m[1]))
			return i
		}
		return 0
	}
	return result{number(completed), number(lost), number(noerror)}, nil
}

var dropped = regexp.MustCompile(`(\d+) packets dropped by kernel`)

// capture records what passes the client's end of the cable until the returned
// function is called, which returns how many packets are missing.
func (n *net) capture(file string) (stop func() (dropped int, err error), err error) {
	cmd := n.command(n.client, "tcpdump", "-i", "eth0", "-n", "-s", "0", "-B", "262144", "-Z", "root", "-w", file, "ip or ip6")
	stderr, err := cmd.StderrPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	log := bufio.NewReader(stderr)
	for line := ""; !strings.Contains(line, "listening on"); {
		if line, err = log.ReadString('\n'); err != nil {
			return nil, errors.Join(errors.New("tcpdump does not listen"), cmd.Wait())
		}
	}
	return func() (int, error) {
		time.Sleep(time.Second) // what the socket still holds
		cmd.Process.Signal(syscall.SIGINT)
		rest, _ := io.ReadAll(log)
		if err := cmd.Wait(); err != nil {
			return 0, fmt.Errorf("tcpdump: %w: %s", err, rest)
		}
		m := dropped.FindSubmatch(rest)
		if m == nil {
			return 0, fmt.Errorf("tcpdump does not tell what it dropped: %s", rest)
		}
		return strconv.Atoi(string(m[1]))
	}, nil
}
