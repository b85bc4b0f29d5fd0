package runtimes

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/dnshark-io/dnshark/event"
	"github.com/dnshark-io/dnshark/internal/container"
	"github.com/dnshark-io/dnshark/internal/recent"
)

// docker speaks the Engine API, of Docker or of Podman. It is told of a container
// when that is created: an engine that is asked about one that is being started
// answers when it has been, and the container may have asked its DNS by then.
type docker struct {
	http    http.Client
	runtime string
	cancel  context.CancelFunc
	broken  chan struct{}

	mu      sync.Mutex // between find and the stream of events
	created recent.Map[string, *event.Container]
}

// maxResponse bounds an answer of a runtime.
const maxResponse = 1 << 20

func dialDocker(ctx context.Context, e *endpoint) (client, error) {
	d := &docker{runtime: "docker", broken: make(chan struct{})}
	d.http.Transport = &http.Transport{
		DialContext:            func(ctx context.Context, _, _ string) (net.Conn, error) { return e.dial(ctx) },
		MaxIdleConns:           1,
		MaxResponseHeaderBytes: 16 << 10,
	}
	d.http.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	ping, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	response, err := d.get(ping, "/_ping")
	if err != nil {
		d.http.CloseIdleConnections()
		return nil, err
	}
	response.Body.Close()
	if response.StatusCode != http.StatusOK {
		d.http.CloseIdleConnections()
		return nil, fmt.Errorf("%s: no Engine API: %s", e.path, response.Status)
	}
	if response.Header.Get("Libpod-API-Version") != "" {
		d.runtime = "podman"
	}
	ctx, d.cancel = context.WithCancel(ctx)
	go d.follow(ctx)
	return d, nil
}

// get asks the API of version 1.24, which Docker 1.12 has and Podman too.
func (d *docker) get(ctx context.Context, path string) (*http.Response, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://localhost"+path, nil)
	if err != nil {
		return nil, err
	}
	return d.http.Do(request)
}

func (d *docker) name() string { return d.runtime }

func (d *docker) about(ctx context.Context) (version, api string, err error) {
	response, err := d.get(ctx, "/version")
	if err != nil {
		return "", "", err
	}
	defer response.Body.Close()
	var v struct{ Version, APIVersion string }
	if err := json.NewDecoder(io.LimitReader(response.Body, maxResponse)).Decode(&v); err != nil {
		return "", "", err
	}
	return cut(v.Version), "Engine API " + cut(v.APIVersion), nil
}

func (d *docker) news() <-chan struct{} { return d.broken }

func (d *docker) close() {
	d.cancel()
	d.http.CloseIdleConnections()
}

// follow learns of containers that are created. Where that may not be read, as
// behind a proxy, every container is asked about.
func (d *docker) follow(ctx context.Context) {
	response, err := d.get(ctx, `/events?filters={"type":["container"],"event":["create"]}`)
	if err != nil {
		return
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return
	}
	defer close(d.broken)
	body := &io.LimitedReader{R: response.Body}
	for decoder := json.NewDecoder(body); ; {
		var v struct {
			Action string
			Actor  struct {
				ID         string
				Attributes map[string]string
			}
		}
		body.N = maxResponse
		if err := decoder.Decode(&v); err != nil {
			return
		}
		if v.Action == "create" && container.IsID(v.Actor.ID) {
			d.announce(v.Actor.ID, v.Actor.Attributes)
		}
	}
}

// announce files what the event of a creation tells: the labels, and among them
// name and image.
func (d *docker) announce(id string, attributes map[string]string) {
	c := &event.Container{ID: id, Runtime: d.runtime, Name: cut(attributes["name"]), Image: cut(attributes["image"])}
	for _, own := range []string{"name", "image", "containerExitCode", "podId"} {
		delete(attributes, own)
	}
	c.Labels, c.Pod = labelsOf(attributes), podIn(attributes, "")
	d.mu.Lock()
	defer d.mu.Unlock()
	d.created.Put(time.Now().UnixNano(), id, c)
}

// announced returns what is known of a container that was created just now. The
// second time it is asked about.
func (d *docker) announced(p *container.Cgroup) *event.Container {
	d.mu.Lock()
	defer d.mu.Unlock()
	c, _ := d.created.Get(time.Now().UnixNano(), p.ID)
	if c == nil {
		return nil
	}
	d.created.Put(time.Now().UnixNano(), p.ID, nil)
	if c.Pod == nil && p.Pod != "" {
		c.Pod = &event.Pod{}
	}
	if c.Pod != nil && c.Pod.UID == "" {
		c.Pod.UID = p.Pod
	}
	return c
}

func (d *docker) find(ctx context.Context, p *container.Cgroup) (*event.Container, error) {
	if p.ID == "" {
		return nil, nil
	}
	if c := d.announced(p); c != nil {
		return c, errMore
	}
	response, err := d.get(ctx, "/containers/"+url.PathEscape(p.ID)+"/json")
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	switch response.StatusCode {
	case http.StatusOK:
	case http.StatusNotFound:
		return nil, nil
	default:
		return nil, errors.New(response.Status)
	}
	var v struct {
		ID     string `json:"Id"`
		Name   string
		Config struct {
			Image  string
			Labels map[string]string
		}
	}
	if err := json.NewDecoder(io.LimitReader(response.Body, maxResponse)).Decode(&v); err != nil {
		return nil, nil // longer than anything honest, or nonsense: other containers are not to suffer
	}
	if v.ID != p.ID {
		return nil, nil // the API finds containers by name too
	}
	return &event.Container{
		ID: p.ID, Runtime: d.runtime, Name: cut(strings.TrimPrefix(v.Name, "/")), Image: cut(v.Config.Image),
		Labels: labelsOf(v.Config.Labels), Pod: podIn(v.Config.Labels, p.Pod),
	}, nil
}
