package runtimes

import (
	"context"
	"reflect"
	"strings"
	"testing"

	"github.com/dnshark-io/dnshark/event"
	"github.com/dnshark-io/dnshark/internal/container"
	"github.com/dnshark-io/dnshark/internal/testkit"
)

// containerd tells of the same pod by its own API and by the Container Runtime
// Interface, which is all that CRI-O speaks.
func TestLiveCRI(t *testing.T) {
	daemon := testkit.NewContainerd(t, testkit.Machine(t))
	const uid = "1e597579-417e-482f-bf65-5fe170c3aebd"
	pod := daemon.Pods().Run("shop", "web-0", uid, map[string]string{"app": "shop"})
	id := pod.Start("app", map[string]string{"tier": "front"}, "/bin/sleep", "0")
	pod.Wait(id) // the one that ended is known too
	for name, speaks := range map[string]protocol{"containerd": dialContainerd, "CRI": dialCRI} {
		t.Run(name, func(t *testing.T) {
			ctx := context.Background()
			c, err := speaks(ctx, &endpoint{path: daemon.Socket})
			if err != nil {
				t.Fatal(err)
			}
			defer c.close()
			want := &event.Pod{UID: uid, Name: "web-0", Namespace: "shop", Labels: []event.Label{{Key: "app", Value: "shop"}}}
			found, err := c.find(ctx, &container.Cgroup{Place: container.Place{ID: id, Pod: uid, Depth: 1}})
			if err != nil || found == nil || found.ID != id || found.Name != "app" || found.Runtime != "containerd" || found.Image != testkit.Image {
				t.Fatalf("%+v, %v", found, err)
			}
			tier := ""
			for _, l := range found.Labels {
				if l.Key == "tier" {
					tier = l.Value
				}
			}
			if tier != "front" || !reflect.DeepEqual(found.Pod, want) {
				t.Errorf("labels %v, pod %+v, want %+v", found.Labels, found.Pod, want)
			}
			sandbox, err := c.find(ctx, &container.Cgroup{Place: container.Place{ID: pod.ID, Depth: 1}})
			if err != nil || sandbox == nil || !reflect.DeepEqual(sandbox.Pod, want) {
				t.Errorf("the sandbox: %+v, %v", sandbox, err)
			}
			if other, err := c.find(ctx, &container.Cgroup{Place: container.Place{ID: strings.Repeat("cd", 32), Depth: 1}}); other != nil || err != nil {
				t.Errorf("a container of nobody's: %+v, %v", other, err)
			}
		})
	}
}
