package container

import (
	"strings"
	"testing"
)

const (
	idA = "0f99ad5f45163ed14ab8eaf92ed34bb4a631d007f8755a7d79be614bcb0df0ef"
	idB = "a09bc17f5aa29b0dbdec9ede5f46cf1396d2405917ab02e6f1eb1019f388396e"
)

// Paths as they were reported from real hosts; the ids differ.
func TestParsePath(t *testing.T) {
	const uid, podSlice = "1e597579-417e-482f-bf65-5fe170c3aebd", "pod1e597579_417e_482f_bf65_5fe170c3aebd.slice"
	for _, test := range []struct {
		what, path string
		want       Place
	}{
		{"root", "/", Place{}},
		{"nothing", "", Place{}},
		{"docker, cgroupfs", "/docker/" + idA, Place{ID: idA, Runtime: "docker", Depth: 1}},
		{"docker, systemd", "/system.slice/docker-" + idA + ".scope", Place{ID: idA, Runtime: "docker", Depth: 1}},
		{"systemd in docker", "/docker/" + idA + "/system.slice/nginx.service", Place{ID: idA, Runtime: "docker", Depth: 1}},
		{"docker's own service", "/system.slice/docker.service", Place{Unit: "docker.service"}},
		{"docker under a parent of the user's", "/batch/" + idA, Place{ID: idA, Depth: 1}},
		{"docker, rootless", "/user.slice/user-1000.slice/user@1000.service/user.slice/docker-" + idA + ".scope",
			Place{ID: idA, Runtime: "docker", Depth: 1, User: 1000}},
		{"nerdctl, systemd", "/system.slice/nerdctl-" + idA + ".scope", Place{ID: idA, Runtime: "containerd", Depth: 1}},
		{"nerdctl, cgroupfs", "/default/" + idA, Place{ID: idA, Depth: 1}},
		{"ctr: only containerd knows", "/default/web", Place{}},
		{"containerd CRI, systemd, best effort", "/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-" + podSlice + "/cri-containerd-" + idA + ".scope",
			Place{ID: idA, Runtime: "containerd", Pod: uid, Depth: 1}},
		{"containerd CRI, systemd, guaranteed", "/kubepods.slice/kubepods-" + podSlice + "/cri-containerd-" + idA + ".scope",
			Place{ID: idA, Runtime: "containerd", Pod: uid, Depth: 1}},
		{"containerd CRI without a parent", "/k8s.io/" + idA, Place{ID: idA, Runtime: "containerd", Depth: 1}},
		{"kubelet with systemd, containerd without", "/system.slice/containerd.service/kubepods-burstable-" + podSlice + ":cri-containerd:" + idA,
			Place{ID: idA, Runtime: "containerd", Pod: uid, Depth: 1}},
		{"the same, at the root", "/kubepods-besteffort-" + podSlice + ":cri-containerd:" + idA,
			Place{ID: idA, Runtime: "containerd", Pod: uid, Depth: 1}},
		{"Kubernetes, cgroupfs, burstable", "/kubepods/burstable/pod" + uid + "/" + idA, Place{ID: idA, Pod: uid, Depth: 1}},
		{"Kubernetes, cgroupfs, guaranteed", "/kubepods/pod" + uid + "/" + idA, Place{ID: idA, Pod: uid, Depth: 1}},
		{"a static pod", "/kubepods/burstable/pod8d4a5b8e1f6d4f3b9c2a7e6d5c4b3a29/" + idA, Place{ID: idA, Pod: "8d4a5b8e1f6d4f3b9c2a7e6d5c4b3a29", Depth: 1}},
		{"a pod, no container", "/kubepods/burstable/pod" + uid, Place{Pod: uid}},
		{"Kubernetes on docker", "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-" + podSlice + "/docker-" + idA + ".scope",
			Place{ID: idA, Runtime: "docker", Pod: uid, Depth: 1}},
		{"CRI-O, systemd", "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-" + podSlice + "/crio-" + idA + ".scope",
			Place{ID: idA, Runtime: "cri-o", Pod: uid, Depth: 1}},
		{"CRI-O, crun's subgroup", "/kubepods.slice/kubepods-" + podSlice + "/crio-" + idA + ".scope/container",
			Place{ID: idA, Runtime: "cri-o", Pod: uid, Depth: 1}},
		{"CRI-O, cgroupfs", "/kubepods/besteffort/pod" + uid + "/crio-" + idA, Place{ID: idA, Runtime: "cri-o", Pod: uid, Depth: 1}},
		{"CRI-O's monitor", "/kubepods.slice/kubepods-" + podSlice + "/crio-conmon-" + idA + ".scope",
			Place{Pod: uid, Unit: "crio-conmon-" + idA + ".scope"}},
		{"podman, root", "/machine.slice/libpod-" + idA + ".scope/container", Place{ID: idA, Runtime: "podman", Depth: 1}},
		{"podman, cgroupfs", "/libpod_parent/libpod-" + idA, Place{ID: idA, Runtime: "podman", Depth: 1}},
		{"podman pod", "/machine.slice/machine-libpod_pod_" + idB + ".slice/libpod-" + idA + ".scope", Place{ID: idA, Runtime: "podman", Depth: 1}},
		{"podman, rootless", "/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-" + idA + ".scope/container",
			Place{ID: idA, Runtime: "podman", Depth: 1, User: 1000}},
		{"podman in a unit", "/system.slice/web.service/libpod-payload-" + idA, Place{ID: idA, Runtime: "podman", Depth: 1}},
		{"podman's monitor", "/machine.slice/libpod-conmon-" + idA + ".scope", Place{Unit: "libpod-conmon-" + idA + ".scope"}},
		{"kind: Kubernetes in docker", "/docker/" + idB + "/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-besteffort.slice/kubelet-kubepods-besteffort-" + podSlice + "/cri-containerd-" + idA + ".scope",
			Place{ID: idA, Runtime: "containerd", Pod: uid, Depth: 2}},
		{"kind, cgroupfs", "/docker/" + idB + "/kubelet/kubepods/burstable/pod" + uid + "/" + idA, Place{ID: idA, Pod: uid, Depth: 2}},
		{"docker in docker", "/docker/" + idB + "/docker/" + idA, Place{ID: idA, Runtime: "docker", Depth: 2}},
		{"docker in a pod", "/kubepods/burstable/pod" + uid + "/" + idB + "/docker/" + idA, Place{ID: idA, Runtime: "docker", Pod: uid, Depth: 2}},
		{"lxc", "/lxc/web1", Place{ID: "web1", Runtime: "lxc", Depth: 1}},
		{"lxc 4", "/lxc.payload.web1/init.scope", Place{ID: "web1", Runtime: "lxc", Depth: 1}},
		{"lxc's monitor", "/lxc.monitor.web1", Place{}},
		{"docker in lxc", "/lxc.payload.ct/system.slice/docker-" + idA + ".scope", Place{ID: idA, Runtime: "docker", Depth: 2}},
		{"garden", "/system.slice/garden.service/garden/bd3e9a32-2c2a-4b71-6f3e", Place{ID: "bd3e9a32-2c2a-4b71-6f3e", Runtime: "garden", Depth: 1}},
		{"ECS", "/ecs/5a0d5ceddf6c44c1928d367a815d890f/" + idA, Place{ID: idA, Depth: 1}},
		{"ECS, systemd", "/ecstasks.slice/ecstasks-5a0d5ceddf6c44c1928d367a815d890f.slice/docker-" + idA + ".scope", Place{ID: idA, Runtime: "docker", Depth: 1}},
		{"ECS on Fargate", "/ecs/5a0d5ceddf6c44c1928d367a815d890f/5a0d5ceddf6c44c1928d367a815d890f-3681984407",
			Place{ID: "5a0d5ceddf6c44c1928d367a815d890f-3681984407", Depth: 1}},
		{"a service", "/system.slice/systemd-resolved.service", Place{Unit: "systemd-resolved.service"}},
		{"a service of an instance", "/system.slice/system-getty.slice/getty@tty1.service", Place{Unit: "getty@tty1.service"}},
		{"below a service", "/system.slice/cron.service/jobs/7", Place{Unit: "cron.service"}},
		{"a session", "/user.slice/user-1000.slice/session-3.scope", Place{Unit: "session-3.scope", User: 1000}},
		{"a user's service", "/user.slice/user-1000.slice/user@1000.service/app.slice/web.service", Place{Unit: "web.service", User: 1000}},
		{"docker below a slice of the administrator's", "/batch.slice/batch-night.slice/docker-" + idA + ".scope", Place{ID: idA, Runtime: "docker", Depth: 1}},
		{"nerdctl, rootless", "/user.slice/user-1000.slice/user@1000.service/user.slice/nerdctl-" + idA + ".scope",
			Place{ID: idA, Runtime: "containerd", Depth: 1, User: 1000}},
		{"podman pod, rootless", "/user.slice/user-1000.slice/user@1000.service/user.slice/user-libpod_pod_" + idB + ".slice/libpod-" + idA + ".scope/container",
			Place{ID: idA, Runtime: "podman", Depth: 1, User: 1000}},
		{"podman by Quadlet, rootless", "/user.slice/user-1000.slice/user@1000.service/app.slice/nextcloud.service/libpod-payload-" + idA,
			Place{ID: idA, Runtime: "podman", Depth: 1, User: 1000}},
		{"podman's own part of a Quadlet unit", "/user.slice/user-1000.slice/user@1000.service/app.slice/nextcloud.service/runtime",
			Place{Unit: "nextcloud.service", User: 1000}},
		{"podman unshare", "/user.slice/user-1000.slice/user@1000.service/user.slice/podman-6696.scope", Place{Unit: "podman-6696.scope", User: 1000}},
		{"k3s, rootless: within the service of a user", "/user.slice/user-1001.slice/user@1001.service/k3s-rootless.service/kubepods/pod" + uid + "/" + idA,
			Place{ID: idA, Pod: uid, Depth: 2, User: 1001}},
		{"k3s's own service", "/system.slice/k3s.service", Place{Unit: "k3s.service"}},
		{"minikube: CRI-O in docker", "/docker/" + idB + "/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-" + podSlice + "/crio-" + idA + ".scope",
			Place{ID: idA, Runtime: "cri-o", Pod: uid, Depth: 2}},
		{"CRI-O's monitor outside of the pod", "/system.slice/crio-conmon-" + idA + ".scope", Place{Unit: "crio-conmon-" + idA + ".scope"}},
		{"systemd in lxc", "/lxc/x1/system.slice/snapd.service", Place{ID: "x1", Runtime: "lxc", Depth: 1}},
		{"lxc on Proxmox", "/lxc/101/ns/system.slice/ssh.service", Place{ID: "101", Runtime: "lxc", Depth: 1}},
		{"LXD, a project's, restarted", "/lxc.payload.shop_nested-1", Place{ID: "shop_nested-1", Runtime: "lxc", Depth: 1}},
		{"lxc in docker", "/docker/" + idA + "/lxc/web1", Place{ID: "web1", Runtime: "lxc", Depth: 2}},
		{"nspawn, its service", `/machine.slice/systemd-nspawn@my\x2dbox.service/payload/system.slice/nginx.service`,
			Place{ID: "my-box", Runtime: "systemd-nspawn", Depth: 1}},
		{"nspawn, from the command line", "/machine.slice/machine-box.scope/payload", Place{ID: "box", Runtime: "systemd-nspawn", Depth: 1}},
		{"nspawn itself", "/machine.slice/machine-box.scope/supervisor", Place{Unit: "machine-box.scope"}},
		{"nspawn, the template of an administrator", "/system.slice/l8r-domain@box.service/payload", Place{Unit: "l8r-domain@box.service"}},
		{"docker in nspawn", "/machine.slice/machine-box.scope/payload/system.slice/docker-" + idA + ".scope", Place{ID: idA, Runtime: "docker", Depth: 3}},
		{"a virtual machine", `/machine.slice/machine-qemu\x2d1\x2dvm.scope/libvirt/emulator`, Place{Unit: `machine-qemu\x2d1\x2dvm.scope`}},
		{"flatpak", "/user.slice/user-1000.slice/user@1000.service/app.slice/app-flatpak-org.gnome.Recipes-273822986.scope",
			Place{Unit: "app-flatpak-org.gnome.Recipes-273822986.scope", User: 1000}},
		{"an application of a desktop", `/user.slice/user-1000.slice/user@1000.service/app.slice/app-print\x2dapplet@autostart.service`,
			Place{Unit: `app-print\x2dapplet@autostart.service`, User: 1000}},
		{"snap, an application", "/user.slice/user-1000.slice/user@1000.service/app.slice/snap.firefox.firefox-" + uid + ".scope",
			Place{Unit: "snap.firefox.firefox-" + uid + ".scope", User: 1000}},
		{"snap, a service", "/system.slice/snap.lxd.daemon.service", Place{Unit: "snap.lxd.daemon.service"}},
		{"snap, a service with a quota", "/snap.foo.slice/snap.go-example-webserver.webserver.service", Place{Unit: "snap.go-example-webserver.webserver.service"}},
		{"a slice alone", "/system.slice", Place{Unit: "system.slice"}},
		{"no id: too short", "/docker/" + idA[1:], Place{}},
		{"no id: upper case", "/docker/" + strings.ToUpper(idA), Place{}},
		{"no pod: outside of kubepods", "/pod" + uid, Place{}},
	} {
		if got := ParsePath([]byte(test.path)); got != test.want {
			t.Errorf("%s: %s\n got %+v\nwant %+v", test.what, test.path, got, test.want)
		}
	}
}

func TestParseProc(t *testing.T) {
	for _, test := range []struct {
		what, file string
		want       Place
	}{
		{"v2", "0::/system.slice/docker-" + idA + ".scope\n", Place{ID: idA, Runtime: "docker", Depth: 1}},
		{"v1", "11:devices:/docker/" + idA + "\n10:pids:/docker/" + idA + "\n1:name=systemd:/docker/" + idA + "\n", Place{ID: idA, Runtime: "docker", Depth: 1}},
		{"hybrid, container in v1 only", "9:name=systemd:/docker/" + idA + "\n4:memory:/docker/" + idA + "\n0::/system.slice/containerd.service\n",
			Place{ID: idA, Runtime: "docker", Depth: 1}},
		{"hybrid, service", "2:cpu,cpuacct:/system.slice\n1:name=systemd:/system.slice/ssh.service\n0::/system.slice/ssh.service\n", Place{Unit: "ssh.service"}},
		{"v1, service", "2:cpu,cpuacct:/system.slice\n1:name=systemd:/system.slice/ssh.service\n", Place{Unit: "ssh.service"}},
		{"CRI-O, v1", "13:freezer:/kubepods.slice/kubepods-pod1e597579_417e_482f_bf65_5fe170c3aebd.slice/crio-" + idA + ".scope\n11:files:/\n10:hugetlb:/\n",
			Place{ID: idA, Runtime: "cri-o", Pod: "1e597579-417e-482f-bf65-5fe170c3aebd", Depth: 1}},
		{"lxc, half in a unit", "11:devices:/lxc/x1/system.slice/snapd.service\n9:hugetlb:/lxc/x1\n1:name=systemd:/lxc/x1/system.slice/snapd.service\n",
			Place{ID: "x1", Runtime: "lxc", Depth: 1}},
		{"a colon in the path", "0::/kubepods-burstable-pod1e597579_417e_482f_bf65_5fe170c3aebd.slice:cri-containerd:" + idA,
			Place{ID: idA, Runtime: "containerd", Pod: "1e597579-417e-482f-bf65-5fe170c3aebd", Depth: 1}},
		{"nothing", "", Place{}},
		{"no file of the kernel's", "x\n:\n::\n\n7", Place{}},
	} {
		if got, _ := ParseProc([]byte(test.file)); got != test.want {
			t.Errorf("%s:\n got %+v\nwant %+v", test.what, got, test.want)
		}
	}
}

// Whatever a path says, it is read in bounded time and what comes out was in it.
func FuzzParsePath(f *testing.F) {
	for _, path := range []string{
		"/", "/docker/" + idA, "/system.slice/docker-" + idA + ".scope", "/lxc.payload.x/ns", "/lxc.payload.", "/garden/x", "//a//b.service/",
		"/kubepods.slice/kubepods-pod1e597579_417e_482f_bf65_5fe170c3aebd.slice/crio-" + idA + ".scope/container",
		"/kubepods-pod1e597579_417e_482f_bf65_5fe170c3aebd.slice:cri-containerd:" + idA,
		"/ecs/5a0d5ceddf6c44c1928d367a815d890f/5a0d5ceddf6c44c1928d367a815d890f-3681984407",
		"/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-" + idA + ".scope",
		"/machine.slice/machine-a.scope/payload", `/machine.slice/systemd-nspawn@a\x2db.service/payload`,
		"0::/docker/" + idA + "\n1:name=systemd:/a.service\n",
	} {
		f.Add([]byte(path))
	}
	f.Fuzz(func(t *testing.T, path []byte) {
		inProc, at := ParseProc(path)
		if !strings.Contains(string(path), at) {
			t.Errorf("%q is not in %q", at, path)
		}
		for _, p := range []Place{ParsePath(path), inProc} {
			text := string(path)
			if !strings.Contains(unescapeDash(text), unescapeDash(p.ID)) || !strings.Contains(text, p.Unit) ||
				!strings.Contains(strings.ReplaceAll(text, "_", "-"), p.Pod) {
				t.Errorf("%+v is not in %q", p, path)
			}
			if (p.ID == "") != (p.Depth == 0) || p.ID == "" && p.Runtime != "" || p.ID != "" && p.Unit != "" || p.Depth > maxParts {
				t.Errorf("%+v", p)
			}
			if strings.ContainsAny(p.ID+p.Unit, "/\n") && !strings.Contains(text, "\n") {
				t.Errorf("%+v is more than a name", p)
			}
		}
	})
}

// Whoever may make cgroups below his own may give them any name.
func TestForeignNames(t *testing.T) {
	for _, path := range []string{
		"/system.slice/foo.service/docker/" + id,
		"/system.slice/foo.service/docker-" + id + ".scope",
		"/machine.slice/machine-box.scope/payload/docker/" + id,
		"/machine.slice/systemd-nspawn@a.service/payload/system.slice/docker-" + id + ".scope",
		"/default/mycontainer/docker/" + id,
	} {
		if p := ParsePath([]byte(path)); p.ID != id || p.Depth < 2 {
			t.Errorf("%s: %+v, want it to be within something", path, p)
		}
	}
}

var id = strings.Repeat("ab", idLen/2)
