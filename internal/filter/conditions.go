package filter

import (
	"net/netip"
	"slices"
	"strings"
)

// Conditions are what is known before an event is made: of its packet and of the
// process that asked. An event for which the expression holds meets each of
// them that has values, with one of these values; so do the other packets of
// its transaction. The reverse need not be so.
type Conditions struct {
	Ports   []uint16       // of either end
	Addrs   []netip.Prefix // of either end
	PIDs    []uint32
	UIDs    []uint32
	Comms   []string // the first octets of the name, at most 15
	Cgroups []uint64
}

// Conditions returns what the expression demands. Nothing, where it asks for what
// other packets tell: who answers, or what caused a query.
//
// The network namespace is not among them: that of a process need not be that of
// its sockets. Nor is that a message is a response: without its query it would
// be another event.
func (f *Filter) Conditions() Conditions {
	if f.AsksOthers() {
		return Conditions{}
	}
	return demands(f.Expr)
}

// AsksOthers reports whether the expression asks for what other packets tell than
// those of the transaction.
func (f *Filter) AsksOthers() bool { return asksOthers(f.Expr) }

// OnlyMessages reports whether the expression is known to hold for nothing but DNS
// messages.
func (f *Filter) OnlyMessages() bool { return onlyMessages(f.Expr) }

func onlyMessages(x Expr) bool {
	switch x := x.(type) {
	case *And:
		return onlyMessages(x.L) || onlyMessages(x.R)
	case *Or:
		return onlyMessages(x.L) && onlyMessages(x.R)
	case *Compare:
		return x.Func != FuncCount && slices.ContainsFunc(ofMessages, func(p string) bool { return strings.HasPrefix(x.Path.Name, p) })
	}
	return false
}

// ofMessages is what paths begin with of which nothing else has values.
var ofMessages = []string{"dns.", "qname", "qtype", "qclass", "answer.", "authority.", "additional.", "client.ip", "server.ip"}

func asksOthers(x Expr) bool {
	switch x := x.(type) {
	case *And:
		return asksOthers(x.L) || asksOthers(x.R)
	case *Or:
		return asksOthers(x.L) || asksOthers(x.R)
	case *Not:
		return asksOthers(x.X)
	}
	name := x.(*Compare).Path.Name
	return strings.HasPrefix(name, "server_process.") || strings.HasPrefix(name, "transaction.caused_by.")
}

func demands(x Expr) (c Conditions) {
	switch x := x.(type) {
	case *And:
		l, r := demands(x.L), demands(x.R)
		return Conditions{
			Ports: both(l.Ports, r.Ports), Addrs: both(l.Addrs, r.Addrs), PIDs: both(l.PIDs, r.PIDs),
			UIDs: both(l.UIDs, r.UIDs), Comms: both(l.Comms, r.Comms), Cgroups: both(l.Cgroups, r.Cgroups),
		}
	case *Or:
		l, r := demands(x.L), demands(x.R)
		return Conditions{
			Ports: either(l.Ports, r.Ports), Addrs: either(l.Addrs, r.Addrs), PIDs: either(l.PIDs, r.PIDs),
			UIDs: either(l.UIDs, r.UIDs), Comms: either(l.Comms, r.Comms), Cgroups: either(l.Cgroups, r.Cgroups),
		}
	case *Compare:
		x.demand(&c)
	}
	return c
}

// both returns the demands of two expressions that both hold: those of one of
// them, if they differ.
func both[T any](l, r []T) []T {
	if len(l) == 0 || len(r) > 0 && len(r) < len(l) {
		return r
	}
	return l
}

// either returns the demands of two expressions of which one holds.
func either[T comparable](l, r []T) []T {
	if len(l) == 0 || len(r) == 0 {
		return nil
	}
	out := slices.Clone(l)
	for _, v := range r {
		if !slices.Contains(l, v) {
			out = append(out, v)
		}
	}
	return out
}

func (x *Compare) demand(c *Conditions) {
	if x.Func != FuncNone {
		return
	}
	switch x.Path.Name {
	case "metadata.src_ip", "metadata.dst_ip", "client.ip", "server.ip":
		if x.Op == Equal {
			c.Addrs = x.Prefixes
		}
	case "metadata.src_port", "metadata.dst_port":
		c.Ports = numbers[uint16](x)
	case "process.pid":
		c.PIDs = numbers[uint32](x)
	case "process.uid":
		c.UIDs = numbers[uint32](x)
	case "process.cgroup_id":
		c.Cgroups = numbers[uint64](x)
	case "process.comm":
		c.Comms = x.comms()
	}
}

// numbers returns the numbers of which one is demanded, those that T can hold.
// No number can be the value of a smaller type: then nothing is demanded.
func numbers[T uint16 | uint32 | uint64](x *Compare) (list []T) {
	if x.Op != Equal {
		return nil
	}
	for _, n := range x.Numbers {
		if v := T(n); uint64(v) == n {
			list = append(list, v)
		}
	}
	return list
}

// maxComm is how long a process name is at most (TASK_COMM_LEN less its NUL).
const maxComm = 15

// comms returns the first octets of the names of which one is demanded.
func (x *Compare) comms() (list []string) {
	if x.Op != Equal && x.Op != Begins {
		return nil
	}
	for _, text := range x.Texts {
		// The rest may be an escaped octet; see event.AppendSafe.
		text, _, _ = strings.Cut(text, `\`)
		if text = text[:min(len(text), maxComm)]; text == "" {
			return nil
		}
		list = append(list, text)
	}
	return list
}
