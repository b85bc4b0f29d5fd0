package testkit

import (
	"context"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// Pods makes pods with the Container Runtime Interface, as a kubelet does.
type Pods struct {
	t       testing.TB
	runtime cri.RuntimeServiceClient
	parent  string // of the pods' cgroups
}

// Pod is a pod in the network namespace of its runtime.
type Pod struct {
	*Pods
	ID     string // of its sandbox
	config *cri.PodSandboxConfig
}

// Pods returns the maker of pods. They end with containerd at the latest.
func (c *Containerd) Pods() *Pods {
	c.t.Helper()
	conn, err := grpc.NewClient("unix://"+c.Socket, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(func() { conn.Close() })
	return &Pods{t: c.t, runtime: cri.NewRuntimeServiceClient(conn), parent: "/" + c.Name + "/kubepods/burstable/pod"}
}

// call makes one call, which must succeed.
func call[Q, A any](t testing.TB, f func(context.Context, *Q, ...grpc.CallOption) (*A, error), question *Q) *A {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	answer, err := f(ctx, question)
	if err != nil {
		t.Fatalf("%T: %v", question, err)
	}
	return answer
}

// Run makes a pod. uid is a UUID.
func (p *Pods) Run(namespace, name, uid string, labels map[string]string) *Pod {
	p.t.Helper()
	all := map[string]string{"io.kubernetes.pod.name": name, "io.kubernetes.pod.namespace": namespace, "io.kubernetes.pod.uid": uid}
	for k, v := range labels {
		all[k] = v
	}
	pod := &Pod{Pods: p, config: &cri.PodSandboxConfig{
		Metadata: &cri.PodSandboxMetadata{Name: name, Namespace: namespace, Uid: uid}, Labels: all,
		Linux: &cri.LinuxPodSandboxConfig{CgroupParent: p.parent + uid, SecurityContext: &cri.LinuxSandboxSecurityContext{
			NamespaceOptions: &cri.NamespaceOption{Network: cri.NamespaceMode_NODE},
		}},
	}}
	pod.ID = call(p.t, p.runtime.RunPodSandbox, &cri.RunPodSandboxRequest{Config: pod.config}).PodSandboxId
	return pod
}

// Start starts a container of Image in the pod and returns its id.
func (p *Pod) Start(name string, labels map[string]string, args ...string) string {
	p.t.Helper()
	all := map[string]string{"io.kubernetes.container.name": name}
	for k, v := range labels {
		all[k] = v
	}
	id := call(p.t, p.runtime.CreateContainer, &cri.CreateContainerRequest{
		PodSandboxId: p.ID, SandboxConfig: p.config,
		Config: &cri.ContainerConfig{
			Metadata: &cri.ContainerMetadata{Name: name}, Image: &cri.ImageSpec{Image: Image}, Command: args, Labels: all,
			Linux: &cri.LinuxContainerConfig{SecurityContext: &cri.LinuxContainerSecurityContext{
				NamespaceOptions: p.config.Linux.SecurityContext.NamespaceOptions,
			}},
		},
	}).ContainerId
	call(p.t, p.runtime.StartContainer, &cri.StartContainerRequest{ContainerId: id})
	return id
}

// Wait waits until a container has ended, and returns how long it ran.
func (p *Pod) Wait(id string) time.Duration {
	p.t.Helper()
	var lived time.Duration
	Eventually(p.t, 20*time.Second, "the end of a container", func() bool {
		status := call(p.t, p.runtime.ContainerStatus, &cri.ContainerStatusRequest{ContainerId: id}).Status
		if status.State != cri.ContainerState_CONTAINER_EXITED {
			return false
		}
		if status.ExitCode != 0 {
			p.t.Fatalf("a container ended with %d: %s", status.ExitCode, status.Message)
		}
		lived = time.Duration(status.FinishedAt - status.StartedAt)
		return true
	})
	return lived
}

// Remove ends the pod and forgets it, containers included.
func (p *Pod) Remove() {
	p.t.Helper()
	call(p.t, p.runtime.StopPodSandbox, &cri.StopPodSandboxRequest{PodSandboxId: p.ID})
	call(p.t, p.runtime.RemovePodSandbox, &cri.RemovePodSandboxRequest{PodSandboxId: p.ID})
}
