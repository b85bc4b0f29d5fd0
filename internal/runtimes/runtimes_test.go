package runtimes

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/dnshark-io/dnshark/event"
	"github.com/dnshark-io/dnshark/internal/container"
)

var id = strings.Repeat("ab", 64/2)

// listen returns a socket and its name for Parse.
func listen(t *testing.T) (net.Listener, string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l, "unix://" + path
}

// know asks the runtime at a socket about a container until it knows it, or the
// time is over.
func know(t *testing.T, socket string, p *container.Cgroup, limit time.Duration) *event.Container {
	t.Helper()
	r, err := Parse([]string{socket})
	if err != nil {
		t.Fatal(err)
	}
	r.Run()
	r.Ask(p)
	deadline := time.Now().Add(limit)
	for p.Container.Load() == nil && time.Now().Before(deadline) {
		time.Sleep(5 * time.Millisecond)
	}
	begin := time.Now()
	r.Close()
	if took := time.Since(begin); took > 5*time.Second {
		t.Errorf("closing took %v", took)
	}
	return p.Container.Load()
}

func engine(t *testing.T, headers map[string]string, inspect http.HandlerFunc) string {
	t.Helper()
	return telling(t, headers, inspect, http.NotFound)
}

// telling is an engine that tells of containers when they are created.
func telling(t *testing.T, headers map[string]string, inspect, events http.HandlerFunc) string {
	t.Helper()
	l, socket := listen(t)
	mux := http.NewServeMux()
	mux.HandleFunc("GET /_ping", func(w http.ResponseWriter, _ *http.Request) {
		for k, v := range headers {
			w.Header().Set(k, v)
		}
		fmt.Fprint(w, "OK")
	})
	mux.HandleFunc("GET /containers/{id}/json", inspect)
	mux.HandleFunc("GET /events", events)
	mux.HandleFunc("GET /version", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, `{"Version":"5.0.0","ApiVersion":"1.41"}`) })
	server := &http.Server{Handler: mux}
	go server.Serve(l)
	t.Cleanup(func() { server.Close() })
	return socket
}

func inspected(id string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if r.PathValue("id") != id {
			http.Error(w, `{"message":"no such container"}`, http.StatusNotFound)
			return
		}
		json.NewEncoder(w).Encode(map[string]any{
			"Id": id, "Name": "/web", "Config": map[string]any{"Image": "nginx:1", "Labels": map[string]string{"team": "dns", "app": "shop"}},
		})
	}
}

func TestEngineAPI(t *testing.T) {
	for runtime, headers := range map[string]map[string]string{"docker": nil, "podman": {"Libpod-API-Version": "5.0.0"}} {
		socket := engine(t, headers, inspected(id))
		c := know(t, socket, &container.Cgroup{Place: container.Place{ID: id, Depth: 1}}, 10*time.Second)
		if c == nil || c.ID != id || c.Name != "web" || c.Image != "nginx:1" || c.Runtime != runtime || c.Pod != nil ||
			fmt.Sprint(c.Labels) != "[{app shop} {team dns}]" {
			t.Errorf("%s: %+v", runtime, c)
		}
	}
}

// A container of another runtime, or of a user, is not this one's to know.
func TestNotAsked(t *testing.T) {
	socket := engine(t, nil, inspected(id))
	for name, p := range map[string]*container.Cgroup{
		"podman's": {Place: container.Place{ID: id, Runtime: "podman", Depth: 1}},
		"a user's": {Place: container.Place{ID: id, Depth: 1, User: 1000}},
		"another":  {Place: container.Place{ID: strings.Repeat("cd", 64/2), Depth: 1}},
	} {
		if c := know(t, socket, p, 300*time.Millisecond); c != nil {
			t.Errorf("%s: %+v", name, c)
		}
	}
}

// Servers that lie, hang or talk without end delay nobody and tell nothing.
func TestHostileRuntime(t *testing.T) {
	for name, inspect := range map[string]http.HandlerFunc{
		"another id": func(w http.ResponseWriter, _ *http.Request) {
			fmt.Fprintf(w, `{"Id":"%s","Name":"/x"}`, strings.Repeat("f", 64))
		},
		"hangs":   func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() },
		"no JSON": func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "{{{{") },
		"redirects": func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "http://192.0.2.1/", http.StatusFound)
		},
		"never ending": func(w http.ResponseWriter, r *http.Request) {
			fmt.Fprint(w, `{"Name":"`)
			for r.Context().Err() == nil {
				if _, err := w.Write([]byte(strings.Repeat("a", 64<<10))); err != nil {
					return
				}
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			if c := know(t, engine(t, nil, inspect), &container.Cgroup{Place: container.Place{ID: id, Depth: 1}}, 500*time.Millisecond); c != nil {
				t.Errorf("%+v", c)
			}
		})
	}
	t.Run("long names", func(t *testing.T) {
		long := strings.Repeat("\x1b[2J", 10_000)
		c := know(t, engine(t, nil, func(w http.ResponseWriter, _ *http.Request) {
			json.NewEncoder(w).Encode(map[string]any{"Id": id, "Name": long, "Config": map[string]any{"Labels": map[string]string{"k": long}}})
		}), &container.Cgroup{Place: container.Place{ID: id, Depth: 1}}, 10*time.Second)
		if c == nil || len(c.Name) > 4096 {
			t.Errorf("%+v", c)
		}
	})
}

// A container that makes every question about it fail takes nothing from others.
func TestPoison(t *testing.T) {
	poison := strings.Repeat("ee", 64/2)
	for name, bad := range map[string]http.HandlerFunc{
		"long labels": func(w http.ResponseWriter, _ *http.Request) {
			json.NewEncoder(w).Encode(map[string]any{"Id": poison, "Config": map[string]any{"Labels": map[string]string{"k": strings.Repeat("x", 2<<20)}}})
		},
		"breaks off": func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
		"error":      func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "no", http.StatusInternalServerError) },
	} {
		t.Run(name, func(t *testing.T) {
			good := inspected(id)
			r, err := Parse([]string{engine(t, nil, func(w http.ResponseWriter, r *http.Request) {
				if r.PathValue("id") == poison {
					bad(w, r)
					return
				}
				good(w, r)
			})})
			if err != nil {
				t.Fatal(err)
			}
			r.Run()
			defer r.Close()
			r.Ask(&container.Cgroup{Place: container.Place{ID: poison, Depth: 1}})
			p := &container.Cgroup{Place: container.Place{ID: id, Depth: 1}}
			r.Ask(p)
			for deadline := time.Now().Add(20 * time.Second); p.Container.Load() == nil; time.Sleep(5 * time.Millisecond) {
				if time.Now().After(deadline) {
					t.Fatal("the other container is not known")
				}
			}
		})
	}
}

// What the event of a creation tells is known while the engine is busy starting
// the container, and what it tells later replaces that.
func TestCreated(t *testing.T) {
	started, told := make(chan struct{}), make(chan struct{})
	tell := sync.OnceFunc(func() { close(told) })
	socket := telling(t, nil, func(w http.ResponseWriter, _ *http.Request) {
		<-started
		json.NewEncoder(w).Encode(map[string]any{"Id": id, "Name": "/web", "Config": map[string]any{"Image": "nginx:1", "Labels": map[string]string{"n": "1", "name": "label"}}})
	}, func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, `{"Action":"create","Actor":{"ID":"not an id","Attributes":{"name":"x"}}}`)
		fmt.Fprintf(w, `{"Action":"create","Actor":{"ID":"%s","Attributes":{"name":"web","image":"nginx:1","n":"1","io.kubernetes.pod.name":"shop-0"}}}`, id)
		w.(http.Flusher).Flush()
		tell()
		<-r.Context().Done()
	})
	r, err := Parse([]string{socket})
	if err != nil {
		t.Fatal(err)
	}
	r.Run()
	defer r.Close()
	p := &container.Cgroup{Place: container.Place{ID: id, Depth: 1, Pod: "uid-1"}}
	until := func(labels string) {
		t.Helper()
		for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
			c := p.Container.Load()
			if c != nil && c.Name == "web" && c.Image == "nginx:1" && c.Pod != nil && c.Pod.UID == "uid-1" && strings.Contains(fmt.Sprint(c.Labels), labels) {
				return
			}
			if time.Now().After(deadline) {
				t.Fatalf("%+v, want labels %s", c, labels)
			}
		}
	}
	<-told
	time.Sleep(50 * time.Millisecond) // it has been read
	r.Ask(p)
	until("{n 1}]")
	if c := p.Container.Load(); strings.Contains(fmt.Sprint(c.Labels), "{name") || c.Pod.Name != "shop-0" {
		t.Errorf("%+v, %+v", c, c.Pod)
	}
	close(started)
	until("{n 1} {name label}")
}

// Whatever comes where events should, containers are known.
func TestHostileEvents(t *testing.T) {
	for name, events := range map[string]http.HandlerFunc{
		"none":    http.NotFound,
		"ends":    func(http.ResponseWriter, *http.Request) {},
		"no JSON": func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "{{{{") },
		"hangs":   func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() },
		"never ending": func(w http.ResponseWriter, r *http.Request) {
			fmt.Fprint(w, `{"Action":"create","Actor":{"ID":"`)
			for r.Context().Err() == nil {
				if _, err := w.Write([]byte(strings.Repeat("a", 64<<10))); err != nil {
					return
				}
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := know(t, telling(t, nil, inspected(id), events), &container.Cgroup{Place: container.Place{ID: id, Depth: 1}}, 10*time.Second)
			if c == nil || c.Name != "web" {
				t.Errorf("%+v", c)
			}
		})
	}
}

// A container that the runtime does not know at first is known later, and by its
// new name when it gets one; nobody is asked more often than need be.
func TestNamesLearnedLate(t *testing.T) {
	defer func(was time.Duration) { container.AskAgain = was }(container.AskAgain)
	container.AskAgain = 2 * time.Second
	var name atomic.Pointer[string]
	var asked atomic.Uint32
	r, err := Parse([]string{engine(t, nil, func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		known := name.Load()
		if known == nil {
			http.Error(w, `{"message":"no such container"}`, http.StatusNotFound)
			return
		}
		json.NewEncoder(w).Encode(map[string]any{"Id": id, "Name": "/" + *known})
	})})
	if err != nil {
		t.Fatal(err)
	}
	r.Run()
	defer r.Close()
	table := container.NewTable(&container.Cgroups{}, r)
	start := time.Now()
	b := &event.Batch{Events: make([]event.Event, 1)}
	b.Events[0].Asker.ID = &event.Identity{Cgroup: 7}
	look := func() string {
		b.Now = time.Now().UnixNano()
		table.Process(b)
		return b.Events[0].Asker.Container.Name
	}
	until := func(want string) {
		t.Helper()
		for deadline := time.Now().Add(10 * time.Second); look() != want; time.Sleep(time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("its name is %q, want %q", look(), want)
			}
		}
	}
	table.Process(&event.Batch{Now: time.Now().UnixNano()})
	table.Cgroup(&event.Cgroup{ID: 7, Path: "/docker/" + id})
	gaveUp := func() bool { return int(asked.Load()) > len(tries) }
	for deadline := start.Add(10 * time.Second); !gaveUp(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("asked %d times", asked.Load())
		}
	}
	if known := look(); known != "" {
		t.Fatalf("its name is %q before it has one", known)
	}
	for _, next := range []string{"temporary", "web"} {
		name.Store(&next)
		until(next)
	}
	if most := uint32(len(tries) + 2 + int(time.Since(start)/container.AskAgain)); asked.Load() > most {
		t.Errorf("asked %d times in %v, want %d at most", asked.Load(), time.Since(start), most)
	}
}

// Every process of a container is a place of its own with cgroup v1. One
// question is enough for all.
func TestManyPlaces(t *testing.T) {
	var asked atomic.Uint32
	good := inspected(id)
	r, err := Parse([]string{engine(t, nil, func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		good(w, r)
	})})
	if err != nil {
		t.Fatal(err)
	}
	r.Run()
	defer r.Close()
	for range 5 {
		places := make([]*container.Cgroup, 200)
		for i := range places {
			places[i] = &container.Cgroup{Place: container.Place{ID: id, Depth: 1}}
			r.Ask(places[i])
		}
		for _, p := range places {
			for deadline := time.Now().Add(10 * time.Second); p.Container.Load() == nil; time.Sleep(time.Millisecond) {
				if time.Now().After(deadline) {
					t.Fatal("not known")
				}
			}
		}
	}
	if n := asked.Load(); n != 1 {
		t.Errorf("asked %d times", n)
	}
}

// kubelet is a runtime as kubelets use it.
type kubelet struct {
	cri.UnimplementedRuntimeServiceServer
}

func (kubelet) Version(context.Context, *cri.VersionRequest) (*cri.VersionResponse, error) {
	return &cri.VersionResponse{RuntimeName: "cri-o", RuntimeVersion: "1.30.2", RuntimeApiVersion: "v1"}, nil
}

func (kubelet) ListContainers(_ context.Context, r *cri.ListContainersRequest) (*cri.ListContainersResponse, error) {
	all := &cri.ListContainersResponse{Containers: []*cri.Container{{
		Id: id, PodSandboxId: "sandbox", Metadata: &cri.ContainerMetadata{Name: "app"}, Image: &cri.ImageSpec{Image: "registry/app:2"},
		Labels: map[string]string{"io.kubernetes.container.name": "app", "tier": "front"},
	}}}
	if r.GetFilter().GetId() != id {
		all.Containers = nil
	}
	return all, nil
}

func (kubelet) ListPodSandbox(_ context.Context, r *cri.ListPodSandboxRequest) (*cri.ListPodSandboxResponse, error) {
	if r.GetFilter().GetId() != "sandbox" {
		return &cri.ListPodSandboxResponse{}, nil
	}
	return &cri.ListPodSandboxResponse{Items: []*cri.PodSandbox{{
		Id: "sandbox", Metadata: &cri.PodSandboxMetadata{Name: "shop-0", Namespace: "prod", Uid: "uid-1"}, Labels: map[string]string{"app": "shop"},
	}}}, nil
}

func TestCRI(t *testing.T) {
	l, socket := listen(t)
	server := grpc.NewServer()
	cri.RegisterRuntimeServiceServer(server, kubelet{})
	go server.Serve(l)
	t.Cleanup(server.Stop)
	c := know(t, socket, &container.Cgroup{Place: container.Place{ID: id, Runtime: "cri-o", Pod: "uid-1", Depth: 1}}, 10*time.Second)
	if c == nil || c.Name != "app" || c.Image != "registry/app:2" || c.Runtime != "cri-o" || c.Pod == nil ||
		c.Pod.Name != "shop-0" || c.Pod.Namespace != "prod" || c.Pod.UID != "uid-1" || len(c.Pod.Labels) != 1 {
		t.Fatalf("%+v", c)
	}
}
