//go:build linux

package privilege

import (
	"errors"
	"fmt"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
	"kernel.org/pub/linux/libs/security/libcap/psx"
)

// ErrNoLandlock says that this kernel has no Landlock, or that it is switched off.
var ErrNoLandlock = errors.New("no Landlock here (Linux 5.13, and landlock among the kernel's lsm=)")

// Landlock returns the version of the kernel's Landlock, or ErrNoLandlock.
func Landlock() (version int, err error) {
	v, _, errno := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, 0, 0, unix.LANDLOCK_CREATE_RULESET_VERSION)
	if errno != 0 {
		return 0, ErrNoLandlock
	}
	return int(v), nil
}

// Files are paths, of files or of directories with all that is in them.
type Files struct {
	Read  []string
	Write []string // and read, create, rename, remove
}

const (
	readFile = unix.LANDLOCK_ACCESS_FS_READ_FILE
	readAny  = readFile | unix.LANDLOCK_ACCESS_FS_READ_DIR
	// writeFile is what a rule about a file, not a directory, may have.
	writeFile = readFile | unix.LANDLOCK_ACCESS_FS_WRITE_FILE | unix.LANDLOCK_ACCESS_FS_TRUNCATE
	writeAny  = readAny | writeFile | unix.LANDLOCK_ACCESS_FS_MAKE_REG | unix.LANDLOCK_ACCESS_FS_MAKE_DIR | unix.LANDLOCK_ACCESS_FS_MAKE_SOCK |
		unix.LANDLOCK_ACCESS_FS_REMOVE_FILE | unix.LANDLOCK_ACCESS_FS_REMOVE_DIR | unix.LANDLOCK_ACCESS_FS_REFER
)

// LockFiles makes all threads, for good, unable to open other files than these.
// What is open stays so. Paths that do not exist are left out. A process under
// Landlock may not look at others either: /proc/PID/exe and cwd are closed to it.
func LockFiles(f Files) error {
	version, err := Landlock()
	if err != nil {
		return err
	}
	handled := uint64(unix.LANDLOCK_ACCESS_FS_MAKE_SYM)<<1 - 1 // of version 1
	if version >= 2 {
		handled |= unix.LANDLOCK_ACCESS_FS_REFER
	}
	if version >= 3 {
		handled |= unix.LANDLOCK_ACCESS_FS_TRUNCATE
	}
	attr := struct{ fs uint64 }{handled}
	// Of struct landlock_ruleset_attr what version 1 has.
	set, _, errno := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, uintptr(unsafe.Pointer(&attr)), unsafe.Sizeof(attr), 0)
	if errno != 0 {
		return fmt.Errorf("privilege: Landlock: %w", errno)
	}
	defer unix.Close(int(set))
	// With cgo, psx looks there for the threads that it has not reached yet.
	f.Read = append([]string{"/proc/self/task"}, f.Read...)
	for _, r := range []struct {
		paths     []string
		file, dir uint64
	}{{f.Read, readFile, readAny}, {f.Write, writeFile, writeAny}} {
		for _, path := range r.paths {
			if err := allow(int(set), path, r.file&handled, r.dir&handled); err != nil {
				return fmt.Errorf("privilege: Landlock: %s: %w", path, err)
			}
		}
	}
	if err := prctl(unix.PR_SET_NO_NEW_PRIVS, 1); err != nil {
		return fmt.Errorf("privilege: refusing new ones: %w", err)
	}
	if _, _, errno := psx.Syscall3(unix.SYS_LANDLOCK_RESTRICT_SELF, set, 0, 0); errno != 0 {
		return fmt.Errorf("privilege: Landlock: %w", errno)
	}
	return nil
}

// allow adds a rule about what lies at path.
func allow(set int, path string, file, dir uint64) error {
	fd, err := unix.Open(path, unix.O_PATH|unix.O_CLOEXEC, 0)
	if errors.Is(err, os.ErrNotExist) || errors.Is(err, os.ErrPermission) || errors.Is(err, unix.ENOTDIR) {
		return nil
	}
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	var stat unix.Stat_t
	if err := unix.Fstat(fd, &stat); err != nil {
		return err
	}
	rule := unix.LandlockPathBeneathAttr{Allowed_access: file, Parent_fd: int32(fd)}
	if stat.Mode&unix.S_IFMT == unix.S_IFDIR {
		rule.Allowed_access = dir
	}
	_, _, errno := unix.Syscall6(unix.SYS_LANDLOCK_ADD_RULE, uintptr(set), unix.LANDLOCK_RULE_PATH_BENEATH, uintptr(unsafe.Pointer(&rule)), 0, 0, 0)
	// Pipes and the like that have no path need no rule.
	if errno != 0 && errno != unix.EBADFD {
		return errno
	}
	return nil
}
