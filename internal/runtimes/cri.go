package runtimes

import (
	"context"
	"net"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/dnshark-io/dnshark/event"
	"github.com/dnshark-io/dnshark/internal/container"
	"github.com/dnshark-io/dnshark/internal/recent"
)

// criClient speaks the Container Runtime Interface of Kubernetes.
type criClient struct {
	conn    *grpc.ClientConn
	api     cri.RuntimeServiceClient
	runtime string
	pods    recent.Map[string, *event.Pod]
}

// dialGRPC connects nowhere yet: the first call does.
func dialGRPC(e *endpoint) (*grpc.ClientConn, error) {
	return grpc.NewClient("passthrough:///"+e.path,
		grpc.WithTransportCredentials(insecure.NewCredentials()), // a socket of this host
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return e.dial(ctx) }),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxResponse)),
		grpc.WithAuthority("localhost"),
		grpc.WithDisableServiceConfig(),
	)
}

func dialCRI(ctx context.Context, e *endpoint) (client, error) {
	conn, err := dialGRPC(e)
	if err != nil {
		return nil, err
	}
	c := &criClient{conn: conn, api: cri.NewRuntimeServiceClient(conn)}
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	version, err := c.api.Version(ctx, &cri.VersionRequest{})
	if err != nil {
		conn.Close()
		return nil, err
	}
	c.runtime = cut(version.RuntimeName)
	return c, nil
}

func (c *criClient) name() string { return c.runtime }

func (c *criClient) about(ctx context.Context) (version, api string, err error) {
	v, err := c.api.Version(ctx, &cri.VersionRequest{})
	return cut(v.GetRuntimeVersion()), "CRI " + cut(v.GetRuntimeApiVersion()), err
}

func (c *criClient) news() <-chan struct{} { return nil }

func (c *criClient) close() { c.conn.Close() }

func (c *criClient) find(ctx context.Context, p *container.Cgroup) (*event.Container, error) {
	if p.ID == "" {
		return nil, nil
	}
	list, err := c.api.ListContainers(ctx, &cri.ListContainersRequest{Filter: &cri.ContainerFilter{Id: p.ID}})
	if status.Code(err) == codes.ResourceExhausted {
		return nil, nil // its labels are longer than anything honest
	}
	if err != nil {
		return nil, err
	}
	found := &event.Container{ID: p.ID, Runtime: c.runtime}
	sandbox := p.ID // of which a container of its own keeps the namespaces
	for _, one := range list.Containers {
		if one.Id == p.ID {
			found.Name, found.Image = cut(one.GetMetadata().GetName()), cut(one.GetImage().GetImage())
			found.Labels = labelsOf(one.Labels)
			sandbox = one.PodSandboxId
		}
	}
	if found.Pod, err = c.pod(ctx, sandbox); err != nil || found.Pod == nil {
		return nil, err
	}
	return found, nil
}

func (c *criClient) pod(ctx context.Context, sandbox string) (*event.Pod, error) {
	now := time.Now().UnixNano()
	if p, ok := c.pods.Get(now, sandbox); ok {
		return p, nil
	}
	list, err := c.api.ListPodSandbox(ctx, &cri.ListPodSandboxRequest{Filter: &cri.PodSandboxFilter{Id: sandbox}})
	if err != nil {
		return nil, err
	}
	for _, one := range list.Items {
		if one.Id == sandbox {
			m := one.GetMetadata()
			p := &event.Pod{UID: cut(m.GetUid()), Name: cut(m.GetName()), Namespace: cut(m.GetNamespace()), Labels: labelsOf(one.Labels, kubePrefix)}
			c.pods.Put(now, sandbox, p)
			return p, nil
		}
	}
	return nil, nil
}
