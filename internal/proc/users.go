package proc

import (
	"bufio"
	"io"
	"os"
	"strconv"
	"strings"
	"time"
)

// users knows the names of user ids, from a file in the format of passwd(5).
// Names from elsewhere, as nsswitch.conf may order them, would cost queries.
type users struct {
	path    string // "" for /etc/passwd
	names   map[uint32]string
	checked int64 // Unix time, ns
	file    os.FileInfo

	lastUID  uint32
	lastName string
}

const (
	checkUsers   = int64(5 * time.Second)
	maxUsersFile = 4 << 20
	maxUsers     = 1 << 16
	maxUserName  = 64
)

// name returns a user's name, or "".
func (u *users) name(uid uint32, now int64) string {
	if now-u.checked >= checkUsers || now < u.checked || u.names == nil {
		u.checked = now
		u.reload()
		u.lastUID, u.lastName = uid, u.names[uid]
	}
	if uid != u.lastUID {
		u.lastUID, u.lastName = uid, u.names[uid]
	}
	return u.lastName
}

// reload reads the file if it is not the one that was read before.
func (u *users) reload() {
	path := u.path
	if path == "" {
		path = "/etc/passwd"
	}
	info, err := os.Stat(path)
	if err != nil || !info.Mode().IsRegular() {
		u.names, u.file = map[uint32]string{}, nil
		return
	}
	if u.file != nil && os.SameFile(u.file, info) && u.file.Size() == info.Size() && u.file.ModTime().Equal(info.ModTime()) {
		return
	}
	u.names, u.file = map[uint32]string{}, info
	f, err := os.Open(path)
	if err != nil {
		return
	}
	defer f.Close()
	for lines := bufio.NewScanner(io.LimitReader(f, maxUsersFile)); lines.Scan() && len(u.names) < maxUsers; {
		fields := strings.SplitN(lines.Text(), ":", 4)
		if len(fields) < 4 || len(fields[0]) == 0 || len(fields[0]) > maxUserName {
			continue
		}
		uid, err := strconv.ParseUint(fields[2], 10, 32)
		if err != nil {
			continue
		}
		if _, taken := u.names[uint32(uid)]; !taken { // the first one counts
			u.names[uint32(uid)] = strings.Clone(fields[0])
		}
	}
}
