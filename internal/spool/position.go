package spool

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// ErrInUse is of a spool that another process has open.
var ErrInUse = errors.New("in use by another dnshark")

// position is the file that says up to which event everything was acknowledged. Its
// lock is the spool's. It has two slots, written in turn, so that one is whole
// whenever the machine stops:
//
//	0  marker  8 octets, of the spool's records
//	8  turn    8 octets: the higher one is the newer
//	16 events  8 octets
//	24 CRC-32C of these
type position struct {
	file   *os.File
	marker marker
	turn   uint64
}

const slotSize = 28

// openPosition opens and locks the file of a directory. Fresh says that it says
// nothing.
func openPosition(dir string) (p *position, events uint64, fresh bool, err error) {
	file, err := os.OpenFile(filepath.Join(dir, "position"), os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, 0, false, err
	}
	if err := unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		file.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			err = ErrInUse
		}
		return nil, 0, false, err
	}
	p, fresh = &position{file: file}, true
	for i := range int64(2) {
		var slot [slotSize]byte
		if _, err := file.ReadAt(slot[:], i*slotSize); err != nil {
			continue
		}
		turn := binary.LittleEndian.Uint64(slot[8:])
		if crc32.Checksum(slot[:24], castagnoli) == binary.LittleEndian.Uint32(slot[24:]) && turn >= p.turn {
			p.marker, p.turn, events, fresh = marker(slot[:8]), turn, binary.LittleEndian.Uint64(slot[16:]), false
		}
	}
	if fresh {
		_, _ = rand.Read(p.marker[:]) // never fails
	}
	return p, events, fresh, nil
}

// save writes how many events are acknowledged.
func (p *position) save(events uint64) error {
	p.turn++
	var slot [slotSize]byte
	copy(slot[:], p.marker[:])
	binary.LittleEndian.PutUint64(slot[8:], p.turn)
	binary.LittleEndian.PutUint64(slot[16:], events)
	binary.LittleEndian.PutUint32(slot[24:], crc32.Checksum(slot[:24], castagnoli))
	_, err := p.file.WriteAt(slot[:], int64(p.turn%2)*slotSize)
	return err
}
