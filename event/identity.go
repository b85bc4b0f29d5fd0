package event

// Identity says which task put a packet on the wire. The eBPF programs fill it
// from the running task at a packet's egress, the one moment at which the
// running task is the sender.
//
// Its layout is that of struct identity in internal/bpf/dnshark.bpf.c, so that
// a ring buffer record is copied, not parsed. All ids are those of the initial
// namespaces.
type Identity struct {
	Start  uint64   // start of the thread group leader, ns since boot (CLOCK_BOOTTIME)
	Cgroup uint64   // cgroup v2 id of the task
	TGID   uint32   // process id; 0 means that nothing is known
	TID    uint32   // thread id
	PPID   uint32   // thread group of the real parent
	UID    uint32   // real user id
	GID    uint32   // real group id
	NetNS  uint32   // inode of the network namespace
	PidNS  uint32   // inode of the pid namespace
	NsTGID uint32   // process id as seen inside PidNS
	Comm   [16]byte // name of the thread group leader, NUL padded, any octet
	ExeDev uint32   // device of the executable, kernel encoding
	ExeGen uint32   // inode generation of the executable
	ExeIno uint64   // inode of the executable
	// Refused is the rule that refuses the process, when processes are chosen
	// (source.Rule), or 0.
	Refused uint32
	_       uint32
}

// Known reports whether a task was recorded at all.
func (id *Identity) Known() bool { return id.TGID != 0 }

// Birth says that a process runs something new: it was forked, or it called
// execve.
type Birth struct {
	ID          Identity // of the process, from here on
	ParentTGID  uint32   // who forked it, 0 after execve
	ParentStart uint64   // as in Identity
	Exe         string   // after execve: the path, any octet, "" when unknown
	Cwd         string   // after execve: the working directory, as Exe
	Args        string   // after execve: as in Process, with the secrets
}

// Cgroup says that a cgroup of version 2 was made.
type Cgroup struct {
	ID   uint64
	Path string // from the root of the hierarchy, any octet
}

// AppendComm appends the process name as printable ASCII (see AppendSafe).
func (id *Identity) AppendComm(dst []byte) []byte {
	return appendSafeComm(dst, &id.Comm)
}

func appendSafeComm(dst []byte, comm *[16]byte) []byte {
	for _, c := range comm[:commLen(comm)] {
		dst = appendSafeByte(dst, c)
	}
	return dst
}
