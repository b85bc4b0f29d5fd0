//go:build linux

package privilege

import (
	"errors"
	"fmt"
	"runtime"
	"unsafe"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// Calls says which system calls a process can still make, beside those that
// every Go program makes.
type Calls struct {
	Network bool // sockets of any kind but raw ones; those that are open work anyway
	Maps    bool // eBPF: reading and changing maps
	// Trap ends the process at the first call that is not allowed, with the stack
	// that made it, in place of EPERM. For tests.
	Trap bool
}

// ErrNoSeccomp says that this kernel, or this architecture, has no filters of
// system calls.
var ErrNoSeccomp = errors.New("no seccomp filters here")

// Seccomp returns nil if FilterCalls can work here, or ErrNoSeccomp.
func Seccomp() error {
	// The kernel looks at the operation and its flags before the filter, which is nowhere.
	_, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, unix.SECCOMP_FILTER_FLAG_TSYNC, 0)
	if auditArch == 0 || errno != unix.EFAULT {
		return ErrNoSeccomp
	}
	return nil
}

// FilterCalls makes every system call fail that is not of the allowed ones, with
// EPERM, on all threads and for good. It is nothing that a bug in the program
// would notice; the list is what the Go runtime, files, sockets and the history
// need. No program can be executed, no process made, nothing mounted, traced or
// loaded into the kernel.
func FilterCalls(c Calls) error {
	program, err := c.program()
	if err != nil {
		return err
	}
	if err := prctl(unix.PR_SET_NO_NEW_PRIVS, 1); err != nil {
		return fmt.Errorf("privilege: refusing new ones: %w", err)
	}
	code := make([]unix.SockFilter, len(program))
	for i, in := range program {
		code[i] = unix.SockFilter{Code: in.Op, Jt: in.Jt, Jf: in.Jf, K: in.K}
	}
	fprog := unix.SockFprog{Len: uint16(len(code)), Filter: &code[0]}
	// The log of refused calls goes to the kernel's audit, where that asks for it.
	const flags = unix.SECCOMP_FILTER_FLAG_TSYNC | unix.SECCOMP_FILTER_FLAG_LOG
	thread, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, flags, uintptr(unsafe.Pointer(&fprog)))
	runtime.KeepAlive(code)
	switch {
	case errno == unix.ENOSYS, errno == unix.EINVAL:
		return ErrNoSeccomp
	case errno != 0:
		return fmt.Errorf("privilege: filter of system calls: %w", errno)
	case thread != 0:
		return fmt.Errorf("privilege: filter of system calls: thread %d has another", thread)
	}
	return nil
}

// Offsets in struct seccomp_data; arguments are 64 bits wide, their low halves
// come first on the architectures that we know.
const (
	dataNumber = 0
	dataArch   = 4
	dataArgs   = 16
)

// rule lets a call pass if the argument, less the bits of Ignore, is one of Values.
type rule struct {
	call   uint32
	arg    uint32
	ignore uint32
	values []uint32
}

// program assembles the filter. The kernel remembers which calls pass whatever
// their arguments, so most calls never run it.
func (c Calls) program() ([]bpf.RawInstruction, error) {
	if auditArch == 0 {
		return nil, ErrNoSeccomp
	}
	allow := bpf.RetConstant{Val: unix.SECCOMP_RET_ALLOW}
	refuse := bpf.RetConstant{Val: unix.SECCOMP_RET_ERRNO | uint32(unix.EPERM)}
	if c.Trap {
		refuse.Val = unix.SECCOMP_RET_TRAP
	}
	p := []bpf.Instruction{
		bpf.LoadAbsolute{Off: dataArch, Size: 4},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: auditArch, SkipTrue: 1},
		bpf.RetConstant{Val: unix.SECCOMP_RET_KILL_PROCESS},
		bpf.LoadAbsolute{Off: dataNumber, Size: 4},
	}
	calls := append(append([]uint32{}, everybodys...), architectures...)
	if c.Network {
		calls = append(calls, networks...)
	}
	for _, n := range calls {
		p = append(p, bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: n, SkipTrue: 1}, allow)
	}
	for _, n := range missing {
		// The Go runtime does without where the kernel has no such call.
		p = append(p, bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: n, SkipTrue: 1}, bpf.RetConstant{Val: unix.SECCOMP_RET_ERRNO | uint32(unix.ENOSYS)})
	}
	for _, r := range c.rules() {
		check := []bpf.Instruction{
			bpf.LoadAbsolute{Off: dataArgs + 8*r.arg, Size: 4},
			bpf.ALUOpConstant{Op: bpf.ALUOpAnd, Val: ^r.ignore},
		}
		for _, v := range r.values {
			check = append(check, bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: v, SkipTrue: 1}, allow)
		}
		check = append(check, refuse)
		p = append(p, bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: r.call, SkipTrue: uint8(len(check))})
		p = append(p, check...)
	}
	return bpf.Assemble(append(p, refuse))
}

// rules are the calls that depend on an argument.
func (c Calls) rules() []rule {
	const thread = unix.CLONE_VM | unix.CLONE_FS | unix.CLONE_FILES | unix.CLONE_SIGHAND | unix.CLONE_SYSVSEM | unix.CLONE_THREAD
	rules := []rule{
		{call: unix.SYS_CLONE, arg: 0, ignore: unix.CLONE_SETTLS | unix.CLONE_PARENT_SETTID | unix.CLONE_CHILD_SETTID | unix.CLONE_CHILD_CLEARTID, values: []uint32{thread}},
		// Names of memory areas.
		{call: unix.SYS_PRCTL, arg: 0, values: []uint32{unix.PR_SET_VMA}},
		// No memory becomes code.
		{call: unix.SYS_MMAP, arg: 2, ignore: unix.PROT_READ | unix.PROT_WRITE, values: []uint32{0}},
		{call: unix.SYS_MPROTECT, arg: 2, ignore: unix.PROT_READ | unix.PROT_WRITE, values: []uint32{0}},
	}
	if c.Network {
		// Neither packet sockets nor those of other families; of the known ones, no raw sockets.
		rules = append(rules,
			rule{call: unix.SYS_SOCKET, arg: 0, values: []uint32{unix.AF_UNIX, unix.AF_INET, unix.AF_INET6, unix.AF_NETLINK}},
			rule{call: unix.SYS_SOCKETPAIR, arg: 0, values: []uint32{unix.AF_UNIX}},
		)
	}
	if c.Maps {
		rules = append(rules, rule{call: unix.SYS_BPF, arg: 0, values: []uint32{
			unix.BPF_MAP_LOOKUP_ELEM, unix.BPF_MAP_UPDATE_ELEM, unix.BPF_MAP_DELETE_ELEM, unix.BPF_MAP_GET_NEXT_KEY,
			unix.BPF_MAP_LOOKUP_BATCH, unix.BPF_MAP_FREEZE, unix.BPF_OBJ_GET_INFO_BY_FD, unix.BPF_LINK_DETACH,
		}})
	}
	return rules
}

// everybodys are the calls of the Go runtime, of files and of signals.
var everybodys = []uint32{
	// Memory, threads, time, signals.
	unix.SYS_MUNMAP, unix.SYS_MREMAP, unix.SYS_MADVISE, unix.SYS_MSYNC, unix.SYS_MINCORE, unix.SYS_BRK,
	unix.SYS_FUTEX, unix.SYS_SCHED_YIELD, unix.SYS_SCHED_GETAFFINITY, unix.SYS_MEMBARRIER, unix.SYS_RSEQ, unix.SYS_SET_ROBUST_LIST,
	unix.SYS_NANOSLEEP, unix.SYS_CLOCK_NANOSLEEP, unix.SYS_CLOCK_GETTIME, unix.SYS_CLOCK_GETRES, unix.SYS_GETTIMEOFDAY,
	unix.SYS_TIMER_CREATE, unix.SYS_TIMER_SETTIME, unix.SYS_TIMER_DELETE, unix.SYS_SETITIMER,
	unix.SYS_RT_SIGACTION, unix.SYS_RT_SIGPROCMASK, unix.SYS_RT_SIGRETURN, unix.SYS_SIGALTSTACK, unix.SYS_RESTART_SYSCALL,
	unix.SYS_KILL, unix.SYS_TGKILL, unix.SYS_TKILL, unix.SYS_PIDFD_SEND_SIGNAL, unix.SYS_PIDFD_OPEN, unix.SYS_WAIT4, unix.SYS_WAITID,
	unix.SYS_EXIT, unix.SYS_EXIT_GROUP, unix.SYS_GETRANDOM, unix.SYS_UNAME, unix.SYS_SYSINFO, unix.SYS_GETRUSAGE, unix.SYS_PRLIMIT64,
	unix.SYS_GETPID, unix.SYS_GETPPID, unix.SYS_GETTID, unix.SYS_GETUID, unix.SYS_GETEUID, unix.SYS_GETGID, unix.SYS_GETEGID, unix.SYS_GETGROUPS, unix.SYS_GETPGID, unix.SYS_CAPGET,
	// Waiting.
	unix.SYS_EPOLL_CREATE1, unix.SYS_EPOLL_CTL, unix.SYS_EPOLL_PWAIT, unix.SYS_EVENTFD2, unix.SYS_PIPE2, unix.SYS_PPOLL, unix.SYS_PSELECT6,
	unix.SYS_INOTIFY_INIT1, unix.SYS_INOTIFY_ADD_WATCH, unix.SYS_INOTIFY_RM_WATCH,
	// Files.
	unix.SYS_OPENAT, unix.SYS_OPENAT2, unix.SYS_CLOSE, unix.SYS_CLOSE_RANGE, unix.SYS_DUP, unix.SYS_DUP3, unix.SYS_FCNTL, unix.SYS_IOCTL, unix.SYS_FLOCK,
	unix.SYS_READ, unix.SYS_READV, unix.SYS_PREAD64, unix.SYS_PREADV, unix.SYS_WRITE, unix.SYS_WRITEV, unix.SYS_PWRITE64, unix.SYS_PWRITEV,
	unix.SYS_LSEEK, unix.SYS_FTRUNCATE, unix.SYS_TRUNCATE, unix.SYS_FALLOCATE, unix.SYS_FADVISE64, unix.SYS_FSYNC, unix.SYS_FDATASYNC, unix.SYS_SYNC_FILE_RANGE,
	unix.SYS_SENDFILE, unix.SYS_SPLICE, unix.SYS_COPY_FILE_RANGE,
	unix.SYS_FSTAT, unix.SYS_STATX, unix.SYS_STATFS, unix.SYS_FSTATFS, unix.SYS_GETDENTS64, unix.SYS_GETCWD, unix.SYS_READLINKAT,
	unix.SYS_FACCESSAT, unix.SYS_FACCESSAT2, unix.SYS_NAME_TO_HANDLE_AT,
	unix.SYS_RENAMEAT2, unix.SYS_UNLINKAT, unix.SYS_MKDIRAT, unix.SYS_LINKAT,
	unix.SYS_FCHMOD, unix.SYS_FCHMODAT, unix.SYS_FCHOWN, unix.SYS_FCHOWNAT, unix.SYS_UTIMENSAT, unix.SYS_UMASK,
	// Sockets that are open.
	unix.SYS_ACCEPT, unix.SYS_ACCEPT4, unix.SYS_GETSOCKNAME, unix.SYS_GETPEERNAME, unix.SYS_SETSOCKOPT, unix.SYS_GETSOCKOPT,
	unix.SYS_SENDTO, unix.SYS_RECVFROM, unix.SYS_SENDMSG, unix.SYS_RECVMSG, unix.SYS_SENDMMSG, unix.SYS_RECVMMSG, unix.SYS_SHUTDOWN,
}

var networks = []uint32{unix.SYS_CONNECT, unix.SYS_BIND, unix.SYS_LISTEN}

var missing = []uint32{unix.SYS_CLONE3}
