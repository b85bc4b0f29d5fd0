package container

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

	"github.com/dnshark-io/dnshark/event"
)

// docker speaks the Engine API, of Docker or of Podman.
type docker struct {
	http    http.Client
	runtime string
}

// maxResponse bounds an answer of a runtime.
const maxResponse = 1 << 20

func dialDocker(ctx context.Context, e *endpoint) (client, error) {
	d := &docker{runtime: "docker"}
	d.http.Transport = &http.Transport{
		DialContext:            func(ctx context.Context, _, _ string) (net.Conn, error) { return e.dial(ctx) },
		MaxIdleConns:           1,
		MaxResponseHeaderBytes: 16 << 10,
	}
	d.http.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	response, err := d.get(ctx, "/_ping")
	if err != nil {
		d.close()
		return nil, err
	}
	response.Body.Close()
	if response.StatusCode != http.StatusOK {
		d.close()
		return nil, fmt.Errorf("%s: no Engine API: %s", e.path, response.Status)
	}
	if response.Header.Get("Libpod-API-Version") != "" {
		d.runtime = "podman"
	}
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

func (d *docker) news() <-chan struct{} { return nil }

func (d *docker) close() { d.http.CloseIdleConnections() }

func (d *docker) find(ctx context.Context, p *place) (*event.Container, error) {
	if p.ID == "" {
		return nil, nil
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
