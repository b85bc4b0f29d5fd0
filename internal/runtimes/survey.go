package runtimes

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"os/user"
	"strconv"
	"syscall"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// Found is a socket where a runtime may be asked.
type Found struct {
	Path    string
	Runtime string // "" where none answers
	Version string // as the runtime writes it
	API     string // what it speaks
	Problem string // why it is not of use, and what helps; "" where it is
}

// Survey tries the sockets: those that the user named, and of the usual ones
// those that exist. It takes some seconds for each that hangs.
func (r *Set) Survey(ctx context.Context) []Found {
	var all []Found
	for _, e := range r.endpoints {
		if _, err := os.Lstat(e.path); errors.Is(err, fs.ErrNotExist) && !e.named {
			continue
		}
		all = append(all, e.examine(ctx))
	}
	return all
}

func (e *endpoint) examine(ctx context.Context) Found {
	f := Found{Path: e.path}
	ctx, cancel := context.WithTimeout(ctx, 2*askTimeout)
	defer cancel()
	// By itself first: a protocol's own error hides why nobody could be reached.
	conn, err := e.dial(ctx)
	if err != nil {
		f.Problem = e.problem(err)
		return f
	}
	conn.Close()
	c, err := e.speaks(ctx, e)
	if err != nil {
		f.Problem = e.problem(err)
		return f
	}
	defer c.close()
	f.Runtime = c.name()
	if f.Version, f.API, err = c.about(ctx); err != nil {
		f.Problem = e.problem(err)
	}
	return f
}

// problem says what is wrong with a socket, and what helps.
func (e *endpoint) problem(err error) string {
	switch {
	case errors.Is(err, fs.ErrPermission):
		return "permission refused" + e.helps()
	case errors.Is(err, syscall.ECONNREFUSED):
		return "nobody listens: is the runtime running?"
	case errors.Is(err, fs.ErrNotExist):
		return "there is no such socket"
	case errors.Is(err, errOwner):
		return "not root listens there: trust it by --container-runtime unix://" + e.path
	case errors.Is(err, context.DeadlineExceeded), status.Code(err) == codes.DeadlineExceeded:
		return "no answer within " + (2 * askTimeout).String()
	case e.named:
		return "neither containerd's API nor CRI nor the Engine API is spoken there"
	}
	return err.Error()
}

// helps says who may write to the socket.
func (e *endpoint) helps() string {
	info, err := os.Stat(e.path)
	if err != nil {
		return ": its directory is closed to this user, run as root"
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok || st.Gid == 0 || info.Mode()&0o020 == 0 {
		return ": run as root"
	}
	name := strconv.FormatUint(uint64(st.Gid), 10)
	if g, err := user.LookupGroupId(name); err == nil {
		name = g.Name
	}
	return ": run as root, or in the group " + name + ", whose members can become root by it"
}
