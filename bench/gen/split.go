package main

import (
	"bufio"
	"encoding/binary"
	"errors"
	"io"
	"math/rand/v2"
	"os"
)

// split copies a capture of TCP connections and cuts their payload elsewhere: at
// octets drawn at random, without regard to messages, so that a segment holds
// the end of one, some whole ones, and the beginning of another. The capture
// must be complete and in order, as record makes it. It returns how many
// segments with payload were written.
func split(to, from string, seed uint64) (segments int, err error) {
	in, err := os.Open(from)
	if err != nil {
		return 0, err
	}
	defer in.Close()
	out, err := os.Create(to)
	if err != nil {
		return 0, err
	}
	defer out.Close()
	r, w := bufio.NewReaderSize(in, 1<<20), bufio.NewWriterSize(out, 1<<20)
	s := &splitter{w: w, rng: rand.New(rand.NewPCG(seed, 3)), flows: map[string]*flow{}}
	header := make([]byte, 24)
	if _, err := io.ReadFull(r, header); err != nil {
		return 0, err
	}
	if binary.LittleEndian.Uint32(header) != 0xa1b2c3d4 || binary.LittleEndian.Uint32(header[20:]) != 1 {
		return 0, errors.New("not a little-endian capture of Ethernet")
	}
	w.Write(header)
	for {
		var record [16]byte
		if _, err := io.ReadFull(r, record[:]); err == io.EOF {
			break
		} else if err != nil {
			return 0, err
		}
		packet := make([]byte, binary.LittleEndian.Uint32(record[8:]))
		if _, err := io.ReadFull(r, packet); err != nil {
			return 0, err
		}
		if err := s.packet(record, packet); err != nil {
			return 0, err
		}
	}
	if err := w.Flush(); err != nil {
		return 0, err
	}
	return s.segments, out.Close()
}

type splitter struct {
	w        *bufio.Writer
	rng      *rand.Rand
	flows    map[string]*flow // by addresses and ports of one direction
	segments int
}

// flow is one direction of a connection.
type flow struct {
	pending []byte // not sent again yet
	next    uint32 // sequence number of pending
	seen    uint32 // sequence number of what comes next in the input
	size    int    // of the next segment

	// The last packet, whose headers all that is written takes.
	record [16]byte
	packet []byte
	at     segment
}

const (
	flagFIN = 1
	flagSYN = 2
	flagRST = 4
)

// segment says where things are in a packet.
type segment struct {
	tcp, payload, end int // offsets
	key, back         string
}

func parse(p []byte) (s segment, ok bool) {
	if len(p) < 14+20 {
		return s, false
	}
	var addresses []byte
	switch {
	case p[12] == 8 && p[13] == 0 && p[23] == 6:
		s.tcp = 14 + int(p[14]&15)*4
		s.end = 14 + int(binary.BigEndian.Uint16(p[16:]))
		addresses = p[26:34]
	case p[12] == 0x86 && p[13] == 0xdd && len(p) >= 14+40+20 && p[20] == 6:
		s.tcp = 14 + 40
		s.end = s.tcp + int(binary.BigEndian.Uint16(p[18:]))
		addresses = p[22:54]
	default:
		return s, false
	}
	s.payload = s.tcp + int(p[s.tcp+12]>>4)*4
	half := len(addresses) / 2
	ports := p[s.tcp : s.tcp+4]
	s.key = string(addresses) + string(ports)
	s.back = string(addresses[half:]) + string(addresses[:half]) + string(ports[2:]) + string(ports[:2])
	return s, s.end <= len(p)
}

func (s *splitter) packet(record [16]byte, p []byte) error {
	at, ok := parse(p)
	if !ok { // neighbour discovery and the like
		s.w.Write(record[:])
		_, err := s.w.Write(p)
		return err
	}
	flags, seq := p[at.tcp+13], binary.BigEndian.Uint32(p[at.tcp+4:])
	f := s.flows[at.key]
	if flags&flagSYN != 0 {
		f = &flow{next: seq + 1, seen: seq + 1, size: s.size(), record: record, packet: p, at: at}
		s.flows[at.key] = f
		return s.write(record, p, at, seq, flags, nil)
	}
	if f == nil {
		return errors.New("a connection without its beginning")
	}
	payload := p[at.payload:at.end]
	if len(payload) > 0 {
		if ahead := int32(seq - f.seen); ahead > 0 {
			return errors.New("a segment is missing, or comes too early")
		} else if skip := int(-ahead); skip < len(payload) { // else it comes again
			f.pending = append(f.pending, payload[skip:]...)
			f.seen = seq + uint32(len(payload))
		}
	}
	f.record, f.packet, f.at = record, p, at
	if back := s.flows[at.back]; back != nil && binary.BigEndian.Uint16(p[at.tcp:]) == 53 {
		// An answer must not come before its question.
		if err := s.send(back, true); err != nil {
			return err
		}
	}
	last := flags&(flagFIN|flagRST) != 0
	if err := s.send(f, last); err != nil || len(payload) > 0 && !last {
		return err
	}
	return s.write(record, p, at, f.next, flags, nil)
}

// send writes what a flow has for whole segments, or everything.
func (s *splitter) send(f *flow, everything bool) error {
	for len(f.pending) >= f.size || everything && len(f.pending) > 0 {
		n := min(f.size, len(f.pending))
		flags := f.packet[f.at.tcp+13] &^ (flagFIN | flagRST)
		if err := s.write(f.record, f.packet, f.at, f.next, flags, f.pending[:n]); err != nil {
			return err
		}
		s.segments++
		f.next += uint32(n)
		f.pending = append(f.pending[:0], f.pending[n:]...)
		f.size = s.size()
	}
	return nil
}

// size draws how long a segment is: some are as short as they can be, most hold
// several messages.
func (s *splitter) size() int {
	if s.rng.IntN(5) == 0 {
		return 1 + s.rng.IntN(50)
	}
	return 51 + s.rng.IntN(1410)
}

// write writes a packet with another payload. It acknowledges what was written
// of the other direction, which may be less than what the original had.
func (s *splitter) write(record [16]byte, p []byte, at segment, seq uint32, flags uint8, payload []byte) error {
	q := append(append([]byte(nil), p[:at.payload]...), payload...)
	be := binary.BigEndian
	be.PutUint32(q[at.tcp+4:], seq)
	q[at.tcp+13] = flags
	if back := s.flows[at.back]; back != nil {
		if ack := be.Uint32(q[at.tcp+8:]); int32(ack-back.next) > 0 && len(back.pending) > 0 {
			be.PutUint32(q[at.tcp+8:], back.next)
		}
	}
	if q[12] == 8 {
		be.PutUint16(q[16:], uint16(len(q)-14))
	} else {
		be.PutUint16(q[18:], uint16(len(q)-14-40))
	}
	binary.LittleEndian.PutUint32(record[8:], uint32(len(q)))
	binary.LittleEndian.PutUint32(record[12:], uint32(len(q)))
	s.w.Write(record[:])
	_, err := s.w.Write(q)
	return err
}
