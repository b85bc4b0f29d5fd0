package event

// Container is what is known of a container. It is shared by events and never
// changed. The strings may hold any octet; "" is unknown.
type Container struct {
	ID      string
	Runtime string // docker, containerd, cri-o, podman, lxc, systemd-nspawn or garden
	Name    string
	Image   string
	Labels  []Label // by key; nil when the runtime was not asked
	Pod     *Pod    // nil outside of Kubernetes

	text []byte // the JSON, once rendered
}

// Pod is the Kubernetes pod around a container.
type Pod struct {
	UID       string
	Name      string
	Namespace string
	Labels    []Label
}

// Label is a key and its value.
type Label struct{ Key, Value string }

// Bounds of a container in an event, in octets as they are written there, where
// an octet of the runtime's may become five.
const (
	maxContainerText = 256
	maxPodText       = 128
	maxLabels        = 1 << 10
	maxPodLabels     = 512
)

// Render writes the JSON once for all events. The container must not change
// afterwards. A second call does nothing: events may read it by then.
func (c *Container) Render() {
	if c.text == nil {
		c.text = appendContainer(nil, c)
	}
}

func appendContainer(dst []byte, c *Container) []byte {
	if c.text != nil {
		return append(dst, c.text...)
	}
	dst, _ = appendCut(append(dst, `{"id":`...), c.ID, maxContainerText)
	for _, text := range [...]struct{ key, value string }{
		{`,"runtime":`, c.Runtime}, {`,"name":`, c.Name}, {`,"image":`, c.Image},
	} {
		if text.value != "" {
			dst, _ = appendCut(append(dst, text.key...), text.value, maxContainerText)
		}
	}
	dst = appendLabels(dst, c.Labels, maxLabels)
	if pod := c.Pod; pod != nil {
		dst, _ = appendCut(append(dst, `,"pod":{"uid":`...), pod.UID, maxPodText)
		for _, text := range [...]struct{ key, value string }{{`,"name":`, pod.Name}, {`,"namespace":`, pod.Namespace}} {
			if text.value != "" {
				dst, _ = appendCut(append(dst, text.key...), text.value, maxPodText)
			}
		}
		dst = append(appendLabels(dst, pod.Labels, maxPodLabels), '}')
	}
	return append(dst, '}')
}

// appendLabels leaves out long labels, and those behind the first that does not
// fit limit. It counts what it leaves out.
func appendLabels(dst []byte, labels []Label, limit int) []byte {
	if labels == nil {
		return dst
	}
	dst = append(dst, `,"labels":{`...)
	start, shown := len(dst), 0
	for i := range labels {
		if len(labels[i].Key)+len(labels[i].Value) > limit/4 {
			continue
		}
		before := len(dst)
		dst = appendQuoted(dst, labels[i].Key)
		dst = append(appendQuoted(append(dst, ':'), labels[i].Value), ',')
		if len(dst)-start > limit {
			dst = dst[:before]
			break
		}
		shown++
	}
	if shown > 0 {
		dst = dst[:len(dst)-1]
	}
	dst = append(dst, '}')
	if omitted := len(labels) - shown; omitted > 0 {
		dst = AppendUint(append(dst, `,"labels_omitted":`...), uint64(omitted))
	}
	return dst
}

// containerPaths returns the paths of where a process runs.
func containerPaths(prefix string, of func(*Event) *Party) []*Path {
	none, noPod := &Container{}, &Pod{}
	container := func(e *Event) *Container {
		if c := of(e).Container; c != nil {
			return c
		}
		return none
	}
	pod := func(e *Event) *Pod {
		if p := container(e).Pod; p != nil {
			return p
		}
		return noPod
	}
	text := func(name, doc string, get func(*Event) string) *Path {
		return &Path{Name: prefix + "." + name, Kind: KindText, Doc: doc,
			Count: func(e *Event) int {
				if get(e) == "" {
					return 0
				}
				return 1
			},
			Text: func(dst []byte, e *Event, _ int) []byte { return AppendSafe(dst, get(e)) }}
	}
	labels := func(name, doc string, get func(*Event) []Label) *Path {
		return &Path{Name: prefix + "." + name, Kind: KindText, List: true, Doc: doc,
			Count: func(e *Event) int { return len(get(e)) },
			Text: func(dst []byte, e *Event, i int) []byte {
				l := get(e)[i]
				return AppendSafe(append(AppendSafe(dst, l.Key), '='), l.Value)
			}}
	}
	return []*Path{
		text("unit", "innermost systemd unit, outside of containers", func(e *Event) string { return of(e).Unit }),
		text("container.id", "id of the container", func(e *Event) string { return container(e).ID }),
		text("container.runtime", "docker, containerd, cri-o, podman, lxc, systemd-nspawn or garden", func(e *Event) string { return container(e).Runtime }),
		text("container.name", "name of the container", func(e *Event) string { return container(e).Name }),
		text("container.image", "image of the container", func(e *Event) string { return container(e).Image }),
		labels("container.labels", "labels of the container, key=value each", func(e *Event) []Label { return container(e).Labels }),
		text("container.pod.uid", "UID of the Kubernetes pod", func(e *Event) string { return pod(e).UID }),
		text("container.pod.name", "name of the pod", func(e *Event) string { return pod(e).Name }),
		text("container.pod.namespace", "namespace of the pod", func(e *Event) string { return pod(e).Namespace }),
		labels("container.pod.labels", "labels of the pod, key=value each", func(e *Event) []Label { return pod(e).Labels }),
	}
}
