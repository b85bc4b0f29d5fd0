//go:build linux && !amd64 && !arm64

package privilege

const auditArch = 0 // no filter

var architectures []uint32
