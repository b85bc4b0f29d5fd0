package proc

import (
	"crypto/sha256"
	"encoding/hex"
	"io"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dnshark-io/dnshark/event"
)

// hasher computes the SHA-256 of executables, one after the other, in a
// goroutine of its own. A file that cannot be read to its end, as on a dead file
// server, stops hashes and nothing else.
type hasher struct {
	jobs chan job
	done chan hash
	stop chan struct{}
	pace func(time.Duration) // rests after work that took so long
}

// job is a file to be read: that of a process.
type job struct {
	id    event.Identity
	path  string
	start int64 // of the process, Unix time, ns
}

// hash is the sum of the file of a process, "" when it is unknown.
type hash struct {
	id  event.Identity
	sum string
}

const (
	maxJobs   = 256
	maxHashed = 512 << 20 // octets of a file
	maxSums   = 1024      // that are remembered
)

func newHasher() *hasher {
	h := &hasher{jobs: make(chan job, maxJobs), done: make(chan hash, maxJobs), stop: make(chan struct{})}
	// As long as it worked: at most half a processor.
	h.pace = func(d time.Duration) {
		select {
		case <-h.stop:
		case <-time.After(d):
		}
	}
	return h
}

// ask wants the sum of a file. It reports false when too many wait.
func (h *hasher) ask(j job) bool {
	select {
	case h.jobs <- j:
		return true
	default:
		return false
	}
}

// content tells files and what is in them from one another. Whoever changes a
// file changes its ctime, which nobody can set back.
type content struct {
	dev, ino uint64
	size     int64
	mtime    unix.Timespec
	ctime    unix.Timespec
}

func (h *hasher) run() {
	sums := map[content]string{}
	for {
		select {
		case <-h.stop:
			return
		case j := <-h.jobs:
			r := hash{id: j.id, sum: h.sum(&j, sums)}
			select {
			case <-h.stop:
				return
			case h.done <- r:
			}
		}
	}
}

// sum returns the sum of the file that a process runs, or "".
func (h *hasher) sum(j *job, sums map[content]string) string {
	f, before := j.open()
	if f == nil {
		return ""
	}
	defer f.Close()
	if sum, ok := sums[before]; ok {
		return sum
	}
	began, sha := time.Now(), sha256.New()
	n, err := io.Copy(sha, io.LimitReader(f, maxHashed+1))
	h.pace(time.Since(began))
	if after, ok := contentOf(f); err != nil || !ok || after != before || n != before.size {
		return ""
	}
	if len(sums) == maxSums {
		clear(sums)
	}
	sum := hex.EncodeToString(sha.Sum(nil))
	sums[before] = sum
	return sum
}

// open opens the file that a process runs and nothing else: by way of the
// process, in whichever mount namespace it is, or by its path when the process
// is gone, if nobody changed it since the process began.
func (j *job) open() (*os.File, content) {
	dir := procDir(j.id.TGID)
	if f, err := os.Open(dir + "/exe"); err == nil {
		// Only the inode's number: see read.
		s, there := readStat(dir)
		if c, ok := contentOf(f); ok && c.ino == j.id.ExeIno && there && s.start == j.id.Start/nsPerTick {
			return f, c
		}
		f.Close()
	}
	// What stands there now may be a pipe that nobody writes to, or a link.
	f, err := os.OpenFile(j.path, os.O_RDONLY|unix.O_NONBLOCK|unix.O_NOFOLLOW, 0)
	if err != nil {
		return nil, content{}
	}
	c, ok := contentOf(f)
	if ok && c.ino == j.id.ExeIno && kernelDev(c.dev) == j.id.ExeDev && c.ctime.Nano() <= j.start {
		return f, c
	}
	f.Close()
	return nil, content{}
}

// contentOf reports false for what is no file, or too long.
func contentOf(f *os.File) (content, bool) {
	var s unix.Stat_t
	if unix.Fstat(int(f.Fd()), &s) != nil || s.Mode&unix.S_IFMT != unix.S_IFREG || s.Size > maxHashed {
		return content{}, false
	}
	return content{s.Dev, s.Ino, s.Size, s.Mtim, s.Ctim}, true
}

// kernelDev turns a device number of stat(2) into the kernel's own (MKDEV of
// linux/kdev_t.h).
func kernelDev(dev uint64) uint32 { return unix.Major(dev)<<20 | unix.Minor(dev) }
