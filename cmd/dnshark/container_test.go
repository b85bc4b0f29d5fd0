package main

import (
	"fmt"
	"os/exec"
	"reflect"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/dnshark-io/dnshark/internal/testkit"
)

// seenContainer is process.container as a user's program reads it.
type seenContainer struct {
	ID      string            `json:"id"`
	Runtime string            `json:"runtime"`
	Name    string            `json:"name"`
	Image   string            `json:"image"`
	Labels  map[string]string `json:"labels"`
	Pod     *seenPod          `json:"pod"`
}

type seenPod struct {
	UID       string            `json:"uid"`
	Name      string            `json:"name"`
	Namespace string            `json:"namespace"`
	Labels    map[string]string `json:"labels"`
}

// A query's cgroup is known whether it is older than the agent or new, and gone or
// not. One of cgroup v1 is read from /proc, so it is known while its process lives.
func TestLiveCgroups(t *testing.T) {
	testkit.NeedRoot(t)
	testkit.NeedPrograms(t, "dig", "dnsmasq", "ip", "sh")
	host := testkit.NewHost(t)
	host.Dnsmasq("127.0.0.1")
	const id, uid = "0f99ad5f45163ed14ab8eaf92ed34bb4a631d007f8755a7d79be614bcb0df0ef", "1e597579-417e-482f-bf65-5fe170c3aebd"
	older := testkit.Cgroup(t, "", "docker-"+id+".scope")
	a := startAgent(t)
	for _, test := range []struct {
		name, dir string
		want      seenContainer
		pod, unit string
	}{
		{"older", older, seenContainer{ID: id, Runtime: "docker"}, "", ""},
		{"new", testkit.Cgroup(t, "", "crio-"+id+".scope"), seenContainer{ID: id, Runtime: "cri-o"}, "", ""},
		{"pod", testkit.Cgroup(t, "", "kubepods/burstable/pod"+uid+"/"+id), seenContainer{ID: id}, uid, ""},
		{"unit", testkit.Cgroup(t, "", "system.slice/web.service"), seenContainer{}, "", "web.service"},
		{"v1", testkit.Cgroup(t, "pids", "docker/"+id), seenContainer{ID: id, Runtime: "docker"}, "", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			name := test.name + ".example.test"
			ask := host.Command("dig", "@127.0.0.1", "-f", "-")
			enter := append([]string{"-c", `echo $$ >"$0/cgroup.procs" && exec "$@"`, test.dir}, ask.Args...)
			client := exec.Command("sh", enter...)
			questions, err := client.StdinPipe()
			if err != nil {
				t.Fatal(err)
			}
			testkit.Start(t, client)
			fmt.Fprintln(questions, name)
			if test.name != "v1" {
				questions.Close()
			}
			a.t = t
			p := a.one(name).Process
			questions.Close()
			if p == nil || p.Unit != test.unit {
				t.Fatalf("%+v, want unit %q", p, test.unit)
			}
			got := p.Container
			if test.want.ID == "" {
				if got != nil {
					t.Errorf("container %+v, want none", *got)
				}
				return
			}
			if got == nil || got.ID != test.want.ID || got.Runtime != test.want.Runtime || (got.Pod == nil) != (test.pod == "") || got.Pod != nil && got.Pod.UID != test.pod {
				t.Errorf("container %+v, want %+v", got, test.want)
			}
		})
	}
}

// Containers that live some milliseconds, in one network namespace: every answer
// is one event, with what containerd knows of the container that asked.
func TestLiveContainerd(t *testing.T) {
	testkit.NeedRoot(t)
	testkit.NeedPrograms(t, "dnsmasq", "ip")
	host := testkit.NewHost(t)
	runtime := testkit.NewContainerd(t, host)
	host.Dnsmasq("127.0.0.1")
	// Older than the agent: told apart from the others by the list, not by news.
	const sleeper = "older"
	older := runtime.Run(host, sleeper, []string{"which=older"}, "/bin/sh", "-c",
		"i=0; while [ $i -lt 100 ]; do nslookup -type=a older-$i.example.test 127.0.0.1; i=$((i+1)); sleep 0.2; done")
	client := testkit.Start(t, older)
	var a *agent
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("ctr: %s\ncontainerd: %s\ndnshark: %s", client.Output, runtime.Output, a.Output)
		}
	})
	a = startAgent(t, "--container-runtime", "unix://"+runtime.Socket)
	testkit.Eventually(t, 10*time.Second, "an event of the older container with its name", func() bool {
		a.mu.Lock()
		defer a.mu.Unlock()
		for _, e := range a.events {
			if p := e.Process; p != nil && p.Container != nil && p.Container.Name == sleeper && p.Container.Labels["which"] == "older" {
				return true
			}
		}
		return false
	})
	const containers = 20
	var lived []time.Duration
	for i := range containers {
		id, name := fmt.Sprintf("short-%d", i), fmt.Sprintf("short-%d.example.test", i)
		began := time.Now()
		out, err := runtime.Run(host, id, []string{"n=" + strconv.Itoa(i), "app=web"}, "/bin/nslookup", "-type=a", name, "127.0.0.1").CombinedOutput()
		if err != nil {
			t.Fatalf("%s: %v: %s", id, err, out)
		}
		lived = append(lived, time.Since(began))
	}
	for i := range containers {
		id := fmt.Sprintf("short-%d", i)
		a.t = t
		p := a.one(id + ".example.test").Process
		if p == nil || p.Container == nil {
			t.Errorf("%s: no container: %+v", id, p)
			continue
		}
		got, want := *p.Container, map[string]string{"n": strconv.Itoa(i), "app": "web", "image.test": "yes"}
		for k, v := range want {
			if got.Labels[k] != v {
				t.Errorf("%s: label %s is %q, want %q", id, k, got.Labels[k], v)
			}
		}
		if got.ID != id || got.Name != id || got.Runtime != "containerd" || got.Image != testkit.Image || p.Unit != "" {
			t.Errorf("%s: %+v, unit %q", id, got, p.Unit)
		}
	}
	t.Logf("%d containers, made, run and removed within %v each", containers, slices.Max(lived))
}

// Two pods in the network of their node, which is one for both: every answer
// tells which pod and which container asked, however short they live.
func TestLivePods(t *testing.T) {
	testkit.NeedRoot(t)
	testkit.NeedPrograms(t, "dnsmasq", "ip")
	host := testkit.NewHost(t)
	host.Dnsmasq("127.0.0.1")
	runtime := testkit.NewContainerd(t, host)
	pods := runtime.Pods()
	var a *agent
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("containerd: %s", runtime.Output)
			if a != nil {
				t.Logf("dnshark: %s", a.Output)
			}
		}
	})
	uid := func(n int) string { return fmt.Sprintf("1e597579-417e-482f-bf65-%012d", n) }
	ask := func(name string) []string {
		return []string{"/bin/nslookup", "-type=a", name + ".example.test", "127.0.0.1"}
	}
	// The first is older than the agent, sandbox and all.
	older := pods.Run("shop", "older", uid(0), map[string]string{"app": "older"})
	a = startAgent(t, "--container-runtime", "unix://"+runtime.Socket)
	newer := pods.Run("bank", "newer", uid(1), map[string]string{"app": "newer"})
	type asked struct {
		name, id string
		pod      *testkit.Pod
		want     seenContainer
	}
	var all []asked
	var lived []time.Duration
	start := func(pod *testkit.Pod, namespace, podName, app, podUID, container string) {
		name := podName + "-" + container
		id := pod.Start(container, map[string]string{"tier": container}, ask(name)...)
		lived = append(lived, pod.Wait(id))
		want := seenContainer{Name: container, Pod: &seenPod{UID: podUID, Name: podName, Namespace: namespace, Labels: map[string]string{"app": app}}}
		all = append(all, asked{name, id, pod, want})
	}
	for i := range 5 {
		container := "web-" + strconv.Itoa(i)
		start(older, "shop", "older", "older", uid(0), container)
		start(newer, "bank", "newer", "newer", uid(1), container)
		// The pod itself lives no longer than its only container's query.
		short := "short-" + strconv.Itoa(i)
		pod := pods.Run("jobs", short, uid(10+i), map[string]string{"app": "job"})
		start(pod, "jobs", short, "job", uid(10+i), container)
		pod.Remove()
	}
	for _, one := range all {
		a.t = t
		p := a.one(one.name + ".example.test").Process
		if p == nil || p.Container == nil || p.Container.Pod == nil {
			t.Errorf("%s: no pod: %+v", one.name, p)
			continue
		}
		got := *p.Container
		if got.ID != one.id || got.Name != one.want.Name || got.Runtime != "containerd" || got.Image != testkit.Image || got.Labels["tier"] != one.want.Name || p.Unit != "" {
			t.Errorf("%s: %+v, unit %q", one.name, got, p.Unit)
		}
		if !reflect.DeepEqual(got.Pod, one.want.Pod) {
			t.Errorf("%s: pod %+v, want %+v", one.name, *got.Pod, *one.want.Pod)
		}
	}
	t.Logf("%d containers in %d pods, each ran %v at most", len(all), 7, slices.Max(lived))
}

// What real engines tell of containers, by the Engine API.
func TestLiveEngines(t *testing.T) {
	testkit.NeedRoot(t)
	testkit.NeedPrograms(t, "dnsmasq", "ip")
	for _, test := range []struct {
		runtime string
		start   func(*testing.T, *testkit.Host) (*testkit.Engine, []string)
		// late says that the engine may tell of a container when it asked already:
		// podman reads its own file of events every 250 ms.
		late bool
	}{
		{"docker", func(t *testing.T, h *testkit.Host) (*testkit.Engine, []string) {
			c := testkit.NewContainerd(t, h) // where Docker has its containers, without their names
			return testkit.NewDocker(t, h, c), []string{c.Socket}
		}, false},
		{"podman", func(t *testing.T, h *testkit.Host) (*testkit.Engine, []string) { return testkit.NewPodman(t, h), nil }, true},
	} {
		t.Run(test.runtime, func(t *testing.T) {
			host := testkit.NewHost(t)
			host.Dnsmasq("127.0.0.1")
			engine, sockets := test.start(t, host)
			var args []string
			for _, socket := range append(sockets, engine.Socket) {
				args = append(args, "--container-runtime", "unix://"+socket)
			}
			a := startAgent(t, args...)
			t.Cleanup(func() {
				if t.Failed() {
					t.Logf("%s: %s\ndnshark: %s", test.runtime, engine.Output, a.Output)
				}
			})
			const containers = 5
			for i := range containers {
				name := "c" + strconv.Itoa(i)
				// At once, and when the engine has had its time.
				script := fmt.Sprintf("ask() { nslookup -type=a $1-%s.example.test 127.0.0.1; }; ask first && sleep 0.5 && ask last", name)
				out, err := engine.Run(name, []string{"n=" + strconv.Itoa(i), "name=label"}, "/bin/sh", "-c", script).CombinedOutput()
				if err != nil {
					t.Fatalf("%s: %v: %s", name, err, out)
				}
			}
			early := 0
			for i := range containers {
				name := "c" + strconv.Itoa(i)
				first, last := a.one("first-"+name+".example.test").Process, a.one("last-"+name+".example.test").Process
				if first == nil || last == nil || first.Container == nil || last.Container == nil {
					t.Errorf("%s: no container: %+v, %+v", name, first, last)
					continue
				}
				got := *last.Container
				want := seenContainer{ID: got.ID, Runtime: test.runtime, Name: name, Image: testkit.Image,
					Labels: map[string]string{"n": strconv.Itoa(i), "name": "label", "image.test": "yes"}}
				if len(got.ID) != 64 || !reflect.DeepEqual(got, want) || last.Unit != "" {
					t.Errorf("%s: %+v, unit %q, want %+v", name, got, last.Unit, want)
				}
				if known := *first.Container; known.Name == "" && test.late {
					if known.ID != got.ID || known.Runtime != test.runtime {
						t.Errorf("%s at first: %+v", name, known)
					}
				} else if early++; known.ID != got.ID || known.Name != name || known.Image != testkit.Image || known.Labels["n"] != want.Labels["n"] {
					t.Errorf("%s at first: %+v", name, known)
				}
			}
			t.Logf("%d containers, %d known by name when they began", containers, early)
		})
	}
}
