package privilege

import "golang.org/x/sys/unix"

const auditArch = unix.AUDIT_ARCH_AARCH64

// architectures are calls that other architectures do not have, or under
// another name.
var architectures = []uint32{unix.SYS_FSTATAT, unix.SYS_RENAMEAT}
