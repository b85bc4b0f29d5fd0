package runtimes

import (
	"maps"
	"slices"
	"strings"

	"github.com/dnshark-io/dnshark/event"
)

// What runtimes say may be long, and is an image author's or a user's.
const (
	maxText   = 1 << 10
	maxLabels = 256
)

func cut(s string) string { return strings.Clone(s[:min(len(s), maxText)]) }

// labelsOf returns labels by key. prefixes begin the keys to leave out.
func labelsOf(m map[string]string, prefixes ...string) []event.Label {
	list := make([]event.Label, 0, min(len(m), maxLabels))
	for _, key := range slices.Sorted(maps.Keys(m)) {
		if len(list) == maxLabels {
			break
		}
		if !slices.ContainsFunc(prefixes, func(p string) bool { return strings.HasPrefix(key, p) }) {
			list = append(list, event.Label{Key: cut(key), Value: cut(m[key])})
		}
	}
	return list
}

// Labels that the kubelet gives to containers (k8s.io/kubelet, pkg/types).
const (
	kubePrefix    = "io.kubernetes."
	kubeName      = "io.kubernetes.container.name"
	kubePod       = "io.kubernetes.pod.name"
	kubeNamespace = "io.kubernetes.pod.namespace"
	kubeUID       = "io.kubernetes.pod.uid"
)

// podIn returns the pod that labels tell of, or nil. uid is what the cgroup tells.
func podIn(labels map[string]string, uid string) *event.Pod {
	p := &event.Pod{UID: cut(labels[kubeUID]), Name: cut(labels[kubePod]), Namespace: cut(labels[kubeNamespace])}
	if p.UID == "" {
		p.UID = uid
	}
	if p.UID == "" && p.Name == "" {
		return nil
	}
	return p
}
