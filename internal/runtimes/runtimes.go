package runtimes

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dnshark-io/dnshark/event"
	"github.com/dnshark-io/dnshark/internal/container"
	"github.com/dnshark-io/dnshark/internal/recent"
)

// Set asks container runtimes about containers, each in a goroutine of its
// own. The line neither waits for an answer nor takes a lock: what is known of a
// container is behind an atomic pointer. A nil *Set asks nobody.
type Set struct {
	endpoints []*endpoint
	cancel    context.CancelFunc
	done      sync.WaitGroup
	missed    atomic.Uint64
}

const (
	// queued is how many containers wait for one runtime.
	queued = 1024
	// askTimeout bounds one question. What hangs holds up nobody else.
	askTimeout = 2 * time.Second
	// reconnect is how long a runtime that is not there, or breaks off, is left
	// alone.
	reconnect = 2 * time.Second
)

// tries is when a runtime is asked about a container again that it does not know
// yet: some make the cgroup first.
var tries = [...]time.Duration{20 * time.Millisecond, 100 * time.Millisecond, 500 * time.Millisecond, 2 * time.Second}

// endpoint is the socket of a runtime.
type endpoint struct {
	path   string
	speaks protocol
	// named says that the user named the socket. Then the containers of whoever
	// listens there are believed to be his, also within other containers.
	named bool
	asked chan *container.Cgroup
	owner atomic.Uint32 // user id of who listens
}

// client is a connection to a runtime.
type client interface {
	// name is the runtime's, as in Place.
	name() string
	// about returns the runtime's version, and what it speaks.
	about(context.Context) (version, api string, err error)
	// find returns what the runtime knows of a container, nil when it does not
	// know it (yet). With errMore there is more to be known soon.
	find(context.Context, *container.Cgroup) (*event.Container, error)
	// news is readable when more may be found than before, nil if that is never
	// told. It is closed when the runtime breaks off.
	news() <-chan struct{}
	close()
}

var errMore = errors.New("this is not all")

// protocol connects to a runtime.
type protocol func(context.Context, *endpoint) (client, error)

// usual are the sockets that `auto` means. None may be written to by anybody but
// root, and who listens must be root: see dial.
var usual = []struct {
	path   string
	speaks protocol
}{
	{"/run/containerd/containerd.sock", dialContainerd},
	{"/run/k3s/containerd/containerd.sock", dialContainerd}, // RKE2's too
	{"/run/k0s/containerd.sock", dialContainerd},
	{"/var/snap/microk8s/common/run/containerd.sock", dialContainerd},
	{"/run/crio/crio.sock", dialCRI},
	{"/run/docker.sock", dialDocker},
	{"/run/podman/podman.sock", dialDocker},
}

// Parse reads a list of auto, none and unix:///path. Connections are
// made later, by Run.
func Parse(list []string) (*Set, error) {
	r := &Set{}
	for _, text := range list {
		path, socket := strings.CutPrefix(text, "unix://")
		switch {
		case text == "none" && len(list) == 1:
		case text == "auto":
			for _, u := range usual {
				r.add(&endpoint{path: u.path, speaks: u.speaks})
			}
		case socket && strings.HasPrefix(path, "/") && len(path) < len(unix.RawSockaddrUnix{}.Path):
			r.add(&endpoint{path: path, speaks: probe, named: true})
		default:
			return nil, fmt.Errorf("%q is neither auto nor unix:///PATH, nor none alone", text)
		}
	}
	return r, nil
}

func (r *Set) add(e *endpoint) {
	e.asked = make(chan *container.Cgroup, queued)
	r.endpoints = append(r.endpoints, e)
}

// Run begins to ask.
func (r *Set) Run() {
	var ctx context.Context
	ctx, r.cancel = context.WithCancel(context.Background())
	for _, e := range r.endpoints {
		r.done.Go(func() { e.run(ctx) })
	}
}

// Close ends what Run began.
func (r *Set) Close() {
	r.cancel()
	r.done.Wait()
}

// Missed counts containers that a runtime was not asked about, because too many
// others waited. Their events show no more than the cgroup tells.
func (r *Set) Missed() uint64 {
	if r == nil {
		return 0
	}
	return r.missed.Load()
}

// ask queues a question. It never waits.
func (r *Set) Ask(p *container.Cgroup) {
	if r == nil || p.ID == "" && p.Path == "" {
		return
	}
	for _, e := range r.endpoints {
		select {
		case e.asked <- p:
		default:
			if p.ID != "" {
				r.missed.Add(1)
			}
		}
	}
}

// run keeps a connection for as long as there is one to be had.
func (e *endpoint) run(ctx context.Context) {
	var w waiting
	for ctx.Err() == nil {
		if c, err := e.speaks(ctx, e); err == nil {
			e.serve(ctx, c, &w)
			c.close()
		}
		// Who waits gets an answer from the next connection, or none.
		w.gather(ctx, e.asked, reconnect)
	}
}

// serve answers questions until the connection breaks.
func (e *endpoint) serve(ctx context.Context, c client, w *waiting) {
	for {
		if !w.askAll(ctx, e, c, false) {
			return
		}
		timer := time.NewTimer(w.pause())
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case p := <-e.asked:
			w.add(p)
		case _, ok := <-c.news():
			if !ok || !w.askAll(ctx, e, c, true) {
				timer.Stop()
				return
			}
		case <-timer.C:
		}
		timer.Stop()
	}
}

// serves reports whether a runtime is to be asked about a container. Whoever may
// make cgroups, a user's systemd or root in a container, may give them the name
// of somebody else's container. So the host's runtimes know containers of this
// host only, and users' runtimes the users' own.
func (e *endpoint) serves(c client, p *container.Cgroup) bool {
	return (p.Depth <= 1 || e.named) && p.User == e.owner.Load() &&
		(p.Runtime == "" || p.Runtime == c.name())
}

// waiting are the questions of one endpoint, and what it said before.
type waiting struct {
	list []question
	said recent.Map[subject, answer] // but not of paths, which the next container may have
}

// subject is what a question is about. Many places may be one container: with
// cgroup v1, every process is a place of its own.
type subject struct {
	container.Place
	path string // where the path does not tell the container
}

type question struct {
	subject
	places []*container.Cgroup
	known  *event.Container // so far
	tried  int
	next   time.Time
}

type answer struct {
	container *event.Container // nil when nothing is known
	at        int64            // Unix time, ns
}

func (w *waiting) add(p *container.Cgroup) {
	q := question{subject: subject{Place: p.Place}, places: []*container.Cgroup{p}}
	if p.ID == "" {
		q.path = p.Path
	}
	if i := slices.IndexFunc(w.list, func(other question) bool { return other.subject == q.subject }); i >= 0 {
		if other := &w.list[i]; len(other.places) < queued {
			other.places = append(other.places, p)
			other.tell(other.known)
		}
		return
	}
	now := time.Now().UnixNano()
	if said, ok := w.said.Get(now, q.subject); ok {
		if now-said.at < int64(container.AskAgain/2) {
			q.tell(said.container)
			return
		}
		q.tried = len(tries) // its cgroup is no longer new
	}
	if len(w.list) >= queued {
		w.list = slices.Delete(w.list, 0, 1)
	}
	w.list = append(w.list, q)
}

// tell hands an answer to all who wait for it.
func (q *question) tell(c *event.Container) {
	if c == nil {
		return
	}
	q.known = c
	for _, p := range q.places {
		p.Container.Store(c)
	}
}

// gather only collects, for some time.
func (w *waiting) gather(ctx context.Context, asked <-chan *container.Cgroup, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
			return
		case p := <-asked:
			w.add(p)
		}
	}
}

// pause is how long nothing is to be done unasked.
func (w *waiting) pause() time.Duration {
	if len(w.list) == 0 {
		return time.Hour
	}
	next := slices.MinFunc(w.list, func(a, b question) int { return a.next.Compare(b.next) })
	return max(0, time.Until(next.next))
}

// askAll asks what is due, or everything. It returns false when the connection
// broke.
func (w *waiting) askAll(ctx context.Context, e *endpoint, c client, early bool) bool {
	now := time.Now()
	for i := 0; i < len(w.list); {
		q := &w.list[i]
		if !early && q.next.After(now) {
			i++
			continue
		}
		done := true
		if e.serves(c, q.places[0]) {
			ctx, cancel := context.WithTimeout(ctx, askTimeout)
			found, err := c.find(ctx, q.places[0])
			cancel()
			if err != nil && !errors.Is(err, errMore) {
				// The connection may be to blame, or the question: it goes
				// behind the others, and not for ever.
				again := *q
				w.list = slices.Delete(w.list, i, i+1)
				if again.tried < len(tries) {
					again.next = now.Add(tries[again.tried])
					again.tried++
					w.list = append(w.list, again)
				}
				return false
			}
			if found != nil {
				found.Render()
				q.tell(found)
			}
			done = found != nil && err == nil || q.tried == len(tries)
			switch {
			case !done && !early:
				q.next = now.Add(tries[q.tried])
				q.tried++
			case done && q.path == "":
				w.said.Put(time.Now().UnixNano(), q.subject, answer{q.known, time.Now().UnixNano()})
			}
		}
		if done {
			w.list = slices.Delete(w.list, i, i+1)
		} else {
			i++
		}
	}
	return true
}

// errOwner is what a socket of the usual ones is where root does not listen.
var errOwner = errors.New("somebody else than root listens")

// dial connects to the socket, if it is whose it should be: unless the user named
// it, only root may tell what containers of root are.
func (e *endpoint) dial(ctx context.Context) (net.Conn, error) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "unix", e.path)
	if err != nil {
		return nil, err
	}
	raw, err := conn.(*net.UnixConn).SyscallConn()
	if err != nil {
		conn.Close()
		return nil, err
	}
	// The kernel remembers who began to listen; a path can be anybody's.
	var peer *unix.Ucred
	if ctlErr := raw.Control(func(fd uintptr) {
		peer, err = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	}); ctlErr != nil || err != nil {
		conn.Close()
		return nil, cmp.Or(ctlErr, err)
	}
	if peer.Uid != 0 && !e.named {
		conn.Close()
		return nil, errOwner
	}
	e.owner.Store(peer.Uid)
	return conn, nil
}

// probe finds out what is spoken at a socket.
func probe(ctx context.Context, e *endpoint) (client, error) {
	var errs []error
	for _, speaks := range []protocol{dialContainerd, dialCRI, dialDocker} {
		c, err := speaks(ctx, e)
		if err == nil {
			return c, nil
		}
		errs = append(errs, err)
	}
	return nil, errors.Join(errs...)
}
