package runtimes

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"strings"
	"sync"
	"time"

	events "github.com/containerd/containerd/api/events"
	containers "github.com/containerd/containerd/api/services/containers/v1"
	eventservice "github.com/containerd/containerd/api/services/events/v1"
	namespaces "github.com/containerd/containerd/api/services/namespaces/v1"
	versions "github.com/containerd/containerd/api/services/version/v1"
	"github.com/containerd/containerd/api/types"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/dnshark-io/dnshark/event"
	"github.com/dnshark-io/dnshark/internal/container"
)

// containerd keeps in step with containerd's own list: it is told of a container
// when that is created, some 50 ms before it runs, so even the shortest-lived
// one is known in time. Ids are the users' to choose there, and mean nothing in
// a path before containerd says where the container's cgroup is.
type containerd struct {
	conn   *grpc.ClientConn
	api    containers.ContainersClient
	cancel context.CancelFunc
	told   chan struct{}

	mu      sync.Mutex         // between find and the stream of events
	byKey   map[string]*record // namespace and id
	byID    map[string]*record
	byPath  map[string]*record
	removed []removal
}

// record is a container as containerd lists it.
type record struct {
	container *event.Container
	key       string
	path      string // of its cgroup, as containerd hands it to runc
	sandbox   string // id of the pod's container, its own for that
	podLabels []event.Label
}

type removal struct {
	*record
	at time.Time
}

const (
	// maxRecords bounds what is kept of one containerd.
	maxRecords = 1 << 14
	// keepRemoved is how long a container that is gone may still be asked about.
	keepRemoved = time.Minute
	// maxMessage is what containerd itself sends at most. A container's own
	// specification may be long, and must not hide the other containers.
	maxMessage = 16 << 20
	// mobyNamespace is where Docker keeps its containers, without their names.
	mobyNamespace = "moby"
)

var anySize = grpc.MaxCallRecvMsgSize(maxMessage)

func dialContainerd(ctx context.Context, e *endpoint) (_ client, err error) {
	conn, err := dialGRPC(e)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	c := &containerd{
		conn: conn, api: containers.NewContainersClient(conn), cancel: cancel,
		told: make(chan struct{}, 1), byKey: map[string]*record{}, byID: map[string]*record{}, byPath: map[string]*record{},
	}
	defer func() {
		if err != nil {
			cancel()
			conn.Close()
		}
	}()
	// The subscription comes first, so that nothing is made unseen.
	stream, err := eventservice.NewEventsClient(conn).Subscribe(ctx, &eventservice.SubscribeRequest{Filters: []string{
		`topic=="/containers/create"`, `topic=="/containers/update"`, `topic=="/containers/delete"`,
	}})
	if err != nil {
		return nil, err
	}
	if err := c.list(ctx); err != nil {
		return nil, err
	}
	go c.follow(ctx, stream)
	return c, nil
}

func (c *containerd) name() string { return "containerd" }

func (c *containerd) about(ctx context.Context) (version, api string, err error) {
	v, err := versions.NewVersionClient(c.conn).Version(ctx, &emptypb.Empty{})
	return cut(v.GetVersion()), "containerd API v1", err
}

func (c *containerd) news() <-chan struct{} { return c.told }

func (c *containerd) close() {
	c.cancel()
	c.conn.Close()
}

// list reads what is there already.
func (c *containerd) list(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 5*askTimeout)
	defer cancel()
	all, err := namespaces.NewNamespacesClient(c.conn).List(ctx, &namespaces.ListNamespacesRequest{})
	if err != nil {
		return err
	}
	for _, ns := range all.Namespaces {
		stream, err := c.api.ListStream(inNamespace(ctx, ns.Name), &containers.ListContainersRequest{}, anySize)
		if err != nil {
			return err
		}
		for {
			message, err := stream.Recv()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				return err
			}
			c.put(ns.Name, message.GetContainer())
		}
	}
	return nil
}

func inNamespace(ctx context.Context, name string) context.Context {
	return metadata.AppendToOutgoingContext(ctx, "containerd-namespace", name)
}

// follow keeps up with what is made and removed.
func (c *containerd) follow(ctx context.Context, stream eventservice.Events_SubscribeClient) {
	defer close(c.told)
	for {
		envelope, err := stream.Recv()
		if err != nil {
			return
		}
		if err := c.happened(ctx, envelope); err != nil {
			return
		}
		select {
		case c.told <- struct{}{}:
		default:
		}
	}
}

func (c *containerd) happened(ctx context.Context, envelope *types.Envelope) error {
	var about interface {
		proto.Message
		GetID() string
	}
	switch envelope.Topic {
	case "/containers/create":
		about = &events.ContainerCreate{}
	case "/containers/update":
		about = &events.ContainerUpdate{}
	case "/containers/delete":
		about = &events.ContainerDelete{}
	default:
		return nil
	}
	if err := proto.Unmarshal(envelope.GetEvent().GetValue(), about); err != nil {
		return nil
	}
	if envelope.Topic == "/containers/delete" {
		c.remove(envelope.Namespace, about.GetID())
		return nil
	}
	ctx, cancel := context.WithTimeout(inNamespace(ctx, envelope.Namespace), askTimeout)
	defer cancel()
	got, err := c.api.Get(ctx, &containers.GetContainerRequest{ID: about.GetID()}, anySize)
	if status.Code(err) == codes.NotFound {
		return nil
	}
	if err != nil {
		return err
	}
	c.put(envelope.Namespace, got.Container)
	return nil
}

// put files a container under its id, where that is one that paths show, and
// under its path.
func (c *containerd) put(namespace string, from *containers.Container) {
	if from == nil || namespace == mobyNamespace {
		return
	}
	r := newRecord(namespace, from)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.forget()
	if len(c.byKey) >= maxRecords {
		return
	}
	c.byKey[r.key] = r
	if container.IsID(from.ID) {
		c.byID[from.ID] = r
	}
	if r.path != "" {
		c.byPath[r.path] = r
	}
}

func (c *containerd) remove(namespace, id string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.forget()
	if r := c.byKey[namespace+"/"+id]; r != nil {
		c.removed = append(c.removed, removal{r, time.Now()})
	}
}

// forget drops what was removed a while ago, unless it came back.
func (c *containerd) forget() {
	for len(c.removed) > 0 && (time.Since(c.removed[0].at) > keepRemoved || max(len(c.byKey), len(c.removed)) >= maxRecords) {
		r := c.removed[0].record
		c.removed = c.removed[1:]
		if c.byKey[r.key] == r {
			delete(c.byKey, r.key)
		}
		if id := r.container.ID; c.byID[id] == r {
			delete(c.byID, id)
		}
		if c.byPath[r.path] == r {
			delete(c.byPath, r.path)
		}
	}
}

func (c *containerd) find(_ context.Context, p *container.Cgroup) (*event.Container, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	r := c.byID[p.ID]
	if r == nil && p.ID == "" {
		r = c.at(p.Path)
	}
	if r == nil {
		return nil, nil
	}
	found := *r.container
	if found.Pod != nil {
		pod := *found.Pod
		if pod.UID == "" {
			pod.UID = p.Pod
		}
		if s := c.byID[r.sandbox]; s != nil {
			pod.Labels = s.podLabels
		}
		found.Pod = &pod
	} else if p.Pod != "" {
		found.Pod = &event.Pod{UID: p.Pod}
	}
	return &found, nil
}

// maxAbove bounds the cgroups above one that are looked at.
const maxAbove = 64

// at returns the container whose cgroup is at path or above it, or nil.
func (c *containerd) at(path string) *record {
	for range maxAbove {
		if r := c.byPath[path]; r != nil {
			return r
		}
		i := strings.LastIndexByte(path, '/')
		if i < 0 {
			return nil
		}
		if name := path[i+1:]; strings.HasSuffix(name, ".scope") || strings.HasSuffix(name, ".slice") {
			if r := c.byPath[name]; r != nil {
				return r
			}
		}
		path = path[:i]
	}
	return nil
}

// Annotations with which containerd's CRI plugin tells the runtime of the pod
// (pkg/cri/annotations), and names that it and nerdctl put into labels.
const (
	criPrefix    = "io.cri-containerd."
	criContainer = "io.kubernetes.cri.container-name"
	criImage     = "io.kubernetes.cri.image-name"
	criSandbox   = "io.kubernetes.cri.sandbox-id"
	criPod       = "io.kubernetes.cri.sandbox-name"
	criNamespace = "io.kubernetes.cri.sandbox-namespace"
	criUID       = "io.kubernetes.cri.sandbox-uid"
	nerdctlName  = "nerdctl/name"
	// criSandboxData is what the plugin keeps of a pod, as JSON.
	criSandboxData = criPrefix + "sandbox.metadata"
)

func newRecord(namespace string, from *containers.Container) *record {
	var spec struct {
		Annotations map[string]string
		Linux       struct{ CgroupsPath string }
	}
	// The specification of the OCI; a runtime of another kind has another one.
	if err := json.Unmarshal(from.GetSpec().GetValue(), &spec); err != nil {
		spec.Annotations = nil
	}
	r := &record{key: namespace + "/" + from.ID, path: cgroupAt(spec.Linux.CgroupsPath), sandbox: cut(spec.Annotations[criSandbox])}
	name := firstOf(spec.Annotations[criContainer], from.Labels[kubeName], from.Labels[nerdctlName])
	if name == "" && !container.IsID(from.ID) {
		name = from.ID
	}
	r.container = &event.Container{
		ID: cut(from.ID), Runtime: "containerd", Name: cut(name),
		Image: cut(firstOf(spec.Annotations[criImage], from.Image)), Labels: labelsOf(from.Labels),
	}
	if spec.Annotations[criSandbox] != "" {
		r.container.Pod = &event.Pod{
			UID:       cut(firstOf(spec.Annotations[criUID], from.Labels[kubeUID])),
			Name:      cut(firstOf(spec.Annotations[criPod], from.Labels[kubePod])),
			Namespace: cut(firstOf(spec.Annotations[criNamespace], from.Labels[kubeNamespace])),
		}
	}
	if r.sandbox == from.ID {
		r.podLabels = labelsOf(podLabels(from), criPrefix, kubePrefix)
	}
	return r
}

// podLabels returns the labels of the pod whose sandbox a container is. Its own
// have those of the sandbox's image among them, which tell nothing of the pod.
func podLabels(sandbox *containers.Container) map[string]string {
	var v struct {
		Metadata struct {
			Config struct{ Labels map[string]string }
		}
	}
	if m := sandbox.Extensions[criSandboxData]; m != nil && json.Unmarshal(m.Value, &v) == nil {
		return v.Metadata.Config.Labels
	}
	return sandbox.Labels
}

// cgroupAt turns a cgroupsPath of the OCI into what a path holds: with systemd's
// driver it is slice:prefix:name, and makes prefix-name.scope in there.
func cgroupAt(path string) string {
	if slice, rest, ok := strings.Cut(path, ":"); ok && !strings.Contains(slice, "/") {
		if prefix, name, ok := strings.Cut(rest, ":"); ok && name != "" {
			if prefix == "" || strings.HasSuffix(name, ".slice") {
				return name
			}
			return prefix + "-" + name + ".scope"
		}
	}
	return strings.TrimSuffix(path, "/")
}

func firstOf(texts ...string) string {
	for _, t := range texts {
		if t != "" {
			return t
		}
	}
	return ""
}
