package testkit

import (
	"os"
	"os/exec"
	"path/filepath"
)

// A Forwarder starts a resolver on port 53 of addr that asks upstream whatever it
// is asked. Nothing is cached.
type Forwarder func(h *Host, addr, upstream string) *Daemon

// Forwarders are the resolvers that hosts have, by the name of their program.
var Forwarders = map[string]Forwarder{
	"dnsmasq": func(h *Host, addr, upstream string) *Daemon {
		NeedPrograms(h.t, "dnsmasq", "dig")
		return h.forward(addr, h.Command("dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--no-resolv",
			"--no-hosts", "--no-daemon", "--bind-interfaces", "--user=root", "--pid-file=", "--cache-size=0",
			"--listen-address="+addr, "--server="+upstream))
	},
	"unbound": func(h *Host, addr, upstream string) *Daemon {
		NeedPrograms(h.t, "unbound", "dig")
		conf := "server:\n chroot: \"\"\n username: \"\"\n pidfile: \"\"\n use-syslog: no\n do-daemonize: no\n" +
			" num-threads: 1\n module-config: iterator\n local-zone: \"test.\" nodefault\n cache-max-ttl: 0\n" +
			" interface: " + addr + "\nremote-control:\n control-enable: no\n" +
			"forward-zone:\n name: \".\"\n forward-addr: " + upstream + "\n"
		file := filepath.Join(h.t.TempDir(), "unbound.conf")
		if err := os.WriteFile(file, []byte(conf), 0o600); err != nil {
			h.t.Fatal(err)
		}
		return h.forward(addr, h.Command("unbound", "-d", "-c", file))
	},
	"systemd-resolved": func(h *Host, addr, upstream string) *Daemon {
		NeedPrograms(h.t, "unshare", "dig")
		dir := unpacked(h.t, "systemd-resolved")
		// Its places in the file system, in a mount namespace of its own. It
		// lives without D-Bus.
		return h.forward(addr, h.Command("unshare", "-m", "sh", "-ec", `
			mount -t tmpfs none /run
			mkdir -p /run/systemd/resolve /run/systemd/netif/links /run/etc
			printf '[Resolve]\nDNS=%s\nDNSSEC=no\nLLMNR=no\nMulticastDNS=no\nDomains=~.\nCache=no\nDNSStubListener=no\nDNSStubListenerExtra=%s\n' "$2" "$1" >/run/etc/resolved.conf
			(cat /etc/passwd; echo systemd-resolve:x:0:0::/:/bin/false) >/run/passwd
			mkdir -p /etc/systemd
			mount --bind /run/etc /etc/systemd
			mount --bind /run/passwd /etc/passwd
			export LD_LIBRARY_PATH="$3/usr/lib/x86_64-linux-gnu/systemd"
			exec "$3/lib/systemd/systemd-resolved"`, "sh", addr, upstream, dir))
	},
}

func (h *Host) forward(addr string, cmd *exec.Cmd) *Daemon {
	h.t.Helper()
	d := Start(h.t, cmd)
	h.waitForDNS(d, addr, "53")
	return d
}
