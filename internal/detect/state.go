package detect

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"time"
)

// What detectors know of names outlives the process: which names were asked for, by whom,
// and where they led. Otherwise everything would be new after a restart.

// StateFile is the file's name in its directory.
const StateFile = "detectors.state"

const (
	// stateHead changes when anything in the file does.
	stateHead = "dnshark detectors 2\n"
	// maxState is more than all tables together take.
	maxState = 64 << 20
	// stateAge is how old state may be: who asked for what long ago says little.
	stateAge = 7 * 24 * time.Hour
	// stateSlack is how far a clock may be set back.
	stateSlack = time.Hour
)

// keeper is a Detector with state that is kept.
type keeper interface {
	save(dst []byte) []byte
	load(r *stateReader)
}

// Save returns the state, in at most maxState octets. It belongs to the goroutine that runs
// the stage.
func (s *Stage) Save(now time.Time) []byte {
	b := append(make([]byte, 0, 8<<20), stateHead...)
	b = binary.LittleEndian.AppendUint64(b, uint64(now.UnixNano()))
	for _, k := range s.key {
		b = binary.LittleEndian.AppendUint64(b, k)
	}
	b = section(b, "names", s.fresh.save)
	for i := range s.slots {
		if k, ok := s.slots[i].Detector.(keeper); ok && !s.slots[i].off {
			b = section(b, s.slots[i].Threat(), k.save)
		}
	}
	sum := sha256.Sum256(b)
	return append(b, sum[:]...)
}

// section appends a name and what is kept under it, each with its length before it.
func section(b []byte, name string, save func([]byte) []byte) []byte {
	b = append(append(b, byte(len(name))), name...)
	at := len(b)
	b = save(append(b, 0, 0, 0, 0))
	binary.LittleEndian.PutUint32(b[at:], uint32(len(b)-at-4))
	return b
}

// Load puts in what Save returned, before the first message. After an error the stage must
// not be used.
func (s *Stage) Load(b []byte, now time.Time) error {
	const head = len(stateHead)
	if len(b) < head+8+8*len(s.key)+sha256.Size || string(b[:head]) != stateHead {
		return errors.New("it is not of this version of dnshark")
	}
	body := b[:len(b)-sha256.Size]
	if sum := sha256.Sum256(body); !bytes.Equal(sum[:], b[len(body):]) {
		return errors.New("it is damaged")
	}
	r := &stateReader{rest: body[head:]}
	saved := time.Unix(0, int64(r.uint64()))
	if age := now.Sub(saved); age > stateAge || age < -stateSlack {
		return fmt.Errorf("it is of %s", saved.UTC().Format(time.RFC3339))
	}
	for i := range s.key {
		s.key[i] = r.uint64()
	}
	s.use(s.options.Rules) // its hashes are of another key
	for len(r.rest) > 0 && !r.bad {
		name := string(r.take(int(r.byte())))
		part := &stateReader{rest: r.take(int(r.uint32()))}
		if name == "names" {
			s.fresh.load(part)
		}
		for i := range s.slots {
			if k, ok := s.slots[i].Detector.(keeper); ok && s.slots[i].Threat() == name {
				k.load(part)
			}
		}
		r.bad = r.bad || part.bad
	}
	if r.bad {
		return errors.New("what is in there does not fit")
	}
	return nil
}

// stateReader reads what was saved. What is missing is 0, and bad.
type stateReader struct {
	rest []byte
	bad  bool
}

func (r *stateReader) take(n int) []byte {
	if n < 0 || n > len(r.rest) {
		r.bad, r.rest = true, nil
		return nil
	}
	taken := r.rest[:n]
	r.rest = r.rest[n:]
	return taken
}

func (r *stateReader) byte() byte {
	if b := r.take(1); b != nil {
		return b[0]
	}
	return 0
}

func (r *stateReader) uint32() uint32 {
	if b := r.take(4); b != nil {
		return binary.LittleEndian.Uint32(b)
	}
	return 0
}

func (r *stateReader) uint64() uint64 {
	if b := r.take(8); b != nil {
		return binary.LittleEndian.Uint64(b)
	}
	return 0
}

// addr reads what appendAddr wrote.
func (r *stateReader) addr() netip.Addr {
	a, ok := netip.AddrFromSlice(r.take(int(r.byte())))
	if !ok && !r.bad {
		return netip.Addr{} // of length 0
	}
	return a
}

func appendAddr(b []byte, a netip.Addr) []byte {
	text := a.WithZone("").AsSlice()
	return append(append(b, byte(len(text))), text...)
}

// save appends both filters, the younger first, without the words that are 0.
func (f *filterSet) save(b []byte) []byte {
	b = binary.LittleEndian.AppendUint64(b, uint64(f.turn))
	b = binary.LittleEndian.AppendUint32(b, uint32(f.count))
	for _, which := range []int{f.young, 1 - f.young} {
		at := len(b)
		b = append(b, 0, 0, 0, 0)
		n := uint32(0)
		for i := range f.lines {
			for j, w := range f.lines[i][which] {
				if w != 0 {
					b = binary.LittleEndian.AppendUint32(b, uint32(filterHashes*i+j))
					b = binary.LittleEndian.AppendUint64(b, w)
					n++
				}
			}
		}
		binary.LittleEndian.PutUint32(b[at:], n)
	}
	return b
}

func (f *filterSet) load(r *stateReader) {
	*f = filterSet{turn: int64(r.uint64()), count: int(r.uint32()), lines: make([]filterLine, filterLines)}
	for which := range 2 {
		for n := r.uint32(); n > 0 && !r.bad; n-- {
			i, w := r.uint32(), r.uint64()
			if i >= filterHashes*filterLines {
				r.bad = true
				return
			}
			f.lines[i/filterHashes][which][i%filterHashes] = w
		}
	}
}

// saveCache appends the values of a cache.
func saveCache[V any](b []byte, c *cache[V], save func([]byte, *V) []byte) []byte {
	b = binary.LittleEndian.AppendUint32(b, uint32(c.n))
	c.each(func(tag uint64, used uint32, v *V) {
		b = binary.LittleEndian.AppendUint64(b, tag)
		b = binary.LittleEndian.AppendUint32(b, used)
		b = save(b, v)
	})
	return b
}

func loadCache[V any](r *stateReader, c *cache[V], load func(*stateReader, *V)) {
	for n := r.uint32(); n > 0 && !r.bad; n-- {
		tag, used := r.uint64()|1, r.uint32()
		load(r, c.insert(tag, used))
	}
}

// save implements keeper: who asks about domains.
func (c *c2) save(b []byte) []byte {
	return saveCache(b, c.users, func(b []byte, u *users) []byte {
		many := byte(0)
		if u.many {
			many = 1
		}
		return append(appendAddr(b, u.client), many)
	})
}

// load implements keeper.
func (c *c2) load(r *stateReader) {
	loadCache(r, c.users, func(r *stateReader, u *users) { *u = users{client: r.addr(), many: r.byte() != 0} })
}

// save implements keeper: where names led.
func (h *hijack) save(b []byte) []byte {
	return saveCache(b, h.names, func(b []byte, k *known) []byte {
		b = append(binary.LittleEndian.AppendUint64(b, uint64(k.public)), k.n)
		for _, n := range k.networks[:k.n] {
			b = binary.LittleEndian.AppendUint64(b, uint64(n))
		}
		return b
	})
}

// load implements keeper.
func (h *hijack) load(r *stateReader) {
	loadCache(r, h.names, func(r *stateReader, k *known) {
		*k = known{public: int64(r.uint64())}
		n := r.byte()
		if int(n) > len(k.networks) {
			r.bad = true
			return
		}
		for i := range k.networks[:n] {
			k.networks[i] = netNumber(r.uint64())
		}
		k.n = n
	})
}

// ReadState returns the file in a directory, nil where there is none.
func ReadState(dir string) ([]byte, error) {
	f, err := os.Open(filepath.Join(dir, StateFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is no file", f.Name())
	}
	b, err := io.ReadAll(io.LimitReader(f, maxState+1))
	if err == nil && len(b) > maxState {
		err = fmt.Errorf("%s: longer than %d octets", f.Name(), maxState)
	}
	return b, err
}

// WriteState writes the file so that there is either the old one or the new one, whole.
func WriteState(dir string, b []byte) error {
	f, err := os.CreateTemp(dir, "."+StateFile+"-*")
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), filepath.Join(dir, StateFile))
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return nil
}
