package testkit

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// Engine is a Docker or a Podman of the test's own, with Image.
type Engine struct {
	*Daemon
	Socket string   // of the Engine API
	client []string // the program that runs containers, and its options
	env    []string
	run    []string // options for `run`
}

// NewPodman starts podman's Engine API. Containers are on the host, which must
// not be the machine.
func NewPodman(t testing.TB, h *Host) *Engine {
	t.Helper()
	NeedRoot(t)
	NeedPrograms(t, "runc", "busybox")
	lib := unpacked(t, "podman")
	dir, name := engineDir(t)
	e := &Engine{Socket: dir + "/s"}
	libraries, err := filepath.Glob(lib + "/usr/lib/*-linux-gnu*")
	if err != nil {
		t.Fatal(err)
	}
	// Its files of settings are where the user's would be. What conmon runs in the
	// end has these settings and no others.
	paths, settings := strings.Join(libraries, ":"), dir+"/.config/containers"
	if err := os.MkdirAll(settings, 0o755); err != nil {
		t.Fatal(err)
	}
	for file, text := range map[string]string{
		"policy.json": `{"default":[{"type":"insecureAcceptAnything"}]}`,
		"containers.conf": fmt.Sprintf("[engine]\nconmon_path = [%q]\nconmon_env_vars = [%q, %q]\n",
			lib+"/usr/bin/conmon", "LD_LIBRARY_PATH="+paths, "PATH="+os.Getenv("PATH")),
	} {
		if err := os.WriteFile(filepath.Join(settings, file), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	e.env = []string{"HOME=" + dir, "CONTAINERS_CONF=" + settings + "/containers.conf", "LD_LIBRARY_PATH=" + paths}
	e.client = []string{
		lib + "/usr/bin/podman", "--root", dir + "/root", "--runroot", dir + "/run", "--tmpdir", dir + "/tmp", "--storage-driver", "vfs",
		"--runtime", "runc", "--cgroup-manager", "cgroupfs", "--events-backend", "file",
	}
	e.run = []string{
		"--network", "ns:/var/run/netns/" + h.name, "--cgroup-parent", "/" + name,
		// Podman's own limits may be above the machine's.
		"--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1024:1024",
	}
	e.start(t, dir, e.command("system", "service", "--time", "0", "unix://"+e.Socket))
	return e
}

// NewDocker starts dockerd on a containerd. Containers are in the network of the
// host.
func NewDocker(t testing.TB, h *Host, c *Containerd) *Engine {
	t.Helper()
	NeedPrograms(t, "nsenter")
	lib := unpacked(t, "docker")
	dir, name := engineDir(t)
	e := &Engine{Socket: dir + "/s"}
	e.client = []string{lib + "/usr/bin/docker", "--host", "unix://" + e.Socket}
	e.run = []string{"--network", "host", "--cgroup-parent", "/" + name}
	e.start(t, dir, h.enter(lib+"/usr/sbin/dockerd", "--containerd", c.Socket, "--data-root", dir+"/root", "--exec-root", dir+"/exec", "--pidfile", dir+"/pid",
		"--host", "unix://"+e.Socket, "--storage-driver", "vfs", "--bridge", "none", "--iptables=false", "--ip6tables=false", "--ip-forward=false", "--ip-masq=false"))
	return e
}

// engineDir returns a directory for an engine and the first part of its cgroups'
// paths.
func engineDir(t testing.TB) (dir, name string) {
	t.Helper()
	dir, err := os.MkdirTemp("", "dnshark-eng-")
	if err != nil {
		t.Fatal(err)
	}
	name = fmt.Sprintf("dnshark-%d-%d", os.Getpid(), cgroups.Add(1))
	t.Cleanup(func() { sweep(dir, name) })
	// The agent runs as nobody.
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir, name
}

func (e *Engine) start(t testing.TB, dir string, daemon *exec.Cmd) {
	t.Helper()
	e.Daemon = Start(t, daemon)
	Eventually(t, 30*time.Second, "an engine that listens", func() bool {
		if e.Ended() {
			t.Fatalf("%s ended: %s", daemon.Path, e.Output)
		}
		return os.Chmod(e.Socket, 0o666) == nil && e.command("version").Run() == nil
	})
	file := filepath.Join(dir, "layer.tar")
	if err := os.WriteFile(file, layer(t), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := e.command("import", "--change", "LABEL image.test=yes", file, Image).CombinedOutput(); err != nil {
		t.Fatalf("importing an image: %v: %s", err, out)
	}
}

func (e *Engine) command(args ...string) *exec.Cmd {
	cmd := exec.Command(e.client[0], append(e.client[1:len(e.client):len(e.client)], args...)...)
	cmd.Env = append(os.Environ(), e.env...)
	return cmd
}

// Run returns a command that runs a program in a new container and ends with it.
func (e *Engine) Run(name string, labels []string, args ...string) *exec.Cmd {
	run := append([]string{"run", "--rm", "--pull", "never", "--name", name}, e.run...)
	for _, l := range labels {
		run = append(run, "--label", l)
	}
	return e.command(append(append(run, Image), args...)...)
}
