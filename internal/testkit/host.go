package testkit

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// Host is a place for programs: a network namespace of the test's own, or the
// machine itself.
type Host struct {
	t    testing.TB
	name string // of the namespace, "" for the machine
}

// Machine is the host that the test runs on.
func Machine(t testing.TB) *Host { return &Host{t: t} }

var hosts atomic.Uint32

// NewHost makes a network namespace with a loopback interface, for the time of
// the test.
func NewHost(t testing.TB) *Host {
	t.Helper()
	NeedRoot(t)
	NeedPrograms(t, "ip")
	h := &Host{t: t, name: fmt.Sprintf("dnshark-%d-%d", os.Getpid(), hosts.Add(1))}
	if out, err := exec.Command("ip", "netns", "add", h.name).CombinedOutput(); err != nil {
		Unable(t, "network namespaces do not work here: %v: %s", err, out)
	}
	t.Cleanup(func() { exec.Command("ip", "netns", "del", h.name).Run() })
	h.Run("ip", "link", "set", "lo", "up")
	return h
}

// Connect lays a cable to another host. The ends are named and have the given
// addresses (with prefix lengths).
func (h *Host) Connect(iface string, addrs []string, peer *Host, peerIface string, peerAddrs []string) {
	h.t.Helper()
	h.Run("ip", "link", "add", iface, "type", "veth", "peer", "name", peerIface, "netns", peer.name)
	h.configure(iface, addrs)
	peer.configure(peerIface, peerAddrs)
}

func (h *Host) configure(iface string, addrs []string) {
	h.t.Helper()
	for _, a := range addrs {
		args := []string{"addr", "add", a, "dev", iface}
		if strings.Contains(a, ":") {
			args = append(args, "nodad")
		}
		h.Run("ip", args...)
	}
	h.Run("ip", "link", "set", iface, "up")
}

// Command returns a command that runs on the host. Its process id is that of
// the program: `ip netns exec` replaces itself.
func (h *Host) Command(name string, args ...string) *exec.Cmd {
	if h.name == "" {
		return exec.Command(name, args...)
	}
	return exec.Command("ip", append([]string{"netns", "exec", h.name, name}, args...)...)
}

// enter is Command for what needs the cgroups, which `ip netns exec` hides behind
// a new /sys.
func (h *Host) enter(name string, args ...string) *exec.Cmd {
	if h.name == "" {
		return exec.Command(name, args...)
	}
	return exec.Command("nsenter", append([]string{"--net=/var/run/netns/" + h.name, name}, args...)...)
}

// Run runs a command on the host, which must succeed, and returns its output.
func (h *Host) Run(name string, args ...string) string {
	h.t.Helper()
	out, err := h.Command(name, args...).CombinedOutput()
	if err != nil {
		h.t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

// Nameserver makes addr the resolver of the programs that the host runs from now
// on. The host must not be the machine.
func (h *Host) Nameserver(addr string) {
	h.t.Helper()
	dir := filepath.Join("/etc/netns", h.name)
	h.t.Cleanup(func() {
		os.RemoveAll(dir)
		os.Remove(filepath.Dir(dir)) // if it is empty
	})
	for name, text := range map[string]string{
		"resolv.conf": "nameserver " + addr + "\n", "nsswitch.conf": "hosts: dns\n", "hosts": "",
	} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			h.t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			h.t.Fatal(err)
		}
	}
}

// Dnsmasq starts a resolver on port 53 of the addresses. It answers every name
// below example.test with 192.0.2.80 and 2001:db8::80, alias.example.test with
// a CNAME, and knows no other name.
func (h *Host) Dnsmasq(addrs ...string) *Daemon {
	h.t.Helper()
	return h.DnsmasqOn("53", addrs...)
}

// DnsmasqOn is Dnsmasq on another port.
func (h *Host) DnsmasqOn(port string, addrs ...string) *Daemon {
	h.t.Helper()
	NeedPrograms(h.t, "dnsmasq", "dig")
	args := []string{
		"--port=" + port, "--keep-in-foreground", "--conf-file=/dev/null", "--no-resolv", "--no-hosts", "--no-daemon",
		"--bind-interfaces", "--user=root", "--pid-file=", "--local-ttl=300", "--local=/test/",
		"--address=/example.test/192.0.2.80", "--address=/example.test/2001:db8::80",
		"--host-record=target.other.test,192.0.2.81", "--cname=alias.other.test,target.other.test",
		"--txt-record=text.other.test,v=spf1 -all", "--mx-host=mail.other.test,mx.other.test,10",
		"--srv-host=_sip._udp.other.test,sip.other.test,5060,1,2",
	}
	for _, a := range addrs {
		args = append(args, "--listen-address="+a)
	}
	d := Start(h.t, h.Command("dnsmasq", args...))
	h.waitForDNS(d, addrs[0], port)
	return d
}

// Unbound starts a resolver on port 53 of the addresses that answers every name
// below example.test with 192.0.2.80.
func (h *Host) Unbound(addrs ...string) *Daemon {
	h.t.Helper()
	NeedPrograms(h.t, "unbound", "dig")
	conf := "server:\n chroot: \"\"\n username: \"\"\n pidfile: \"\"\n use-syslog: no\n do-daemonize: no\n" +
		" access-control: 0.0.0.0/0 allow\n access-control: ::/0 allow\n num-threads: 1\n" +
		" module-config: iterator\n so-rcvbuf: 4m\n" +
		" local-zone: example.test. redirect\n local-data: \"example.test. 300 IN A 192.0.2.80\"\n"
	for _, a := range addrs {
		conf += " interface: " + a + "\n"
	}
	conf += "remote-control:\n control-enable: no\n"
	file := filepath.Join(h.t.TempDir(), "unbound.conf")
	if err := os.WriteFile(file, []byte(conf), 0o600); err != nil {
		h.t.Fatal(err)
	}
	d := Start(h.t, h.Command("unbound", "-d", "-c", file))
	h.waitForDNS(d, addrs[0], "53")
	return d
}

func (h *Host) waitForDNS(d *Daemon, addr, port string) {
	h.t.Helper()
	Eventually(h.t, 10*time.Second, "a resolver that answers", func() bool {
		if d.Ended() {
			h.t.Fatalf("%s ended: %s", d.Path, d.Output)
		}
		return h.Command("dig", "@"+addr, "-p", port, "+time=1", "+tries=1", "ready.example.test").Run() == nil
	})
}
