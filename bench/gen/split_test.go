package main

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
)

// What split writes holds the same octets in other segments, and no answer comes
// before all that was asked before it.
func TestSplit(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 1))
	var questions, answers []byte
	in := captureHeader()
	send := func(answer bool, flags byte, payload []byte) {
		seq := uint32(1 + len(questions))
		if answer {
			seq = uint32(1 + len(answers))
		}
		if flags&flagSYN != 0 {
			seq = 0
		}
		in = append(in, segmentOf(answer, flags, seq, payload)...)
		if answer {
			answers = append(answers, payload...)
		} else {
			questions = append(questions, payload...)
		}
	}
	send(false, flagSYN, nil)
	send(true, flagSYN, nil)
	for range 200 {
		for _, answer := range []bool{false, true} {
			p := make([]byte, 1+rng.IntN(400))
			for i := range p {
				p[i] = byte(rng.Uint32())
			}
			send(answer, 0, p)
		}
		send(false, 0, nil)
	}
	send(true, flagFIN, nil)
	send(false, flagFIN, nil)

	from, to := filepath.Join(t.TempDir(), "from"), filepath.Join(t.TempDir(), "to")
	if err := os.WriteFile(from, in, 0o600); err != nil {
		t.Fatal(err)
	}
	segments, err := split(to, from, 1)
	if err != nil {
		t.Fatal(err)
	}
	out, err := os.ReadFile(to)
	if err != nil {
		t.Fatal(err)
	}
	var streams [2][]byte
	found := 0
	for at := 24; at < len(out); {
		n := int(binary.LittleEndian.Uint32(out[at+8:]))
		p := out[at+16 : at+16+n]
		at += 16 + n
		s, ok := parse(p)
		if !ok || s.end != len(p) {
			t.Fatalf("a packet that does not parse: %x", p)
		}
		which := 0
		if binary.BigEndian.Uint16(p[s.tcp:]) == 53 {
			which = 1
		}
		payload := p[s.payload:s.end]
		if len(payload) == 0 {
			continue
		}
		found++
		if seq := binary.BigEndian.Uint32(p[s.tcp+4:]); int(seq) != 1+len(streams[which]) {
			t.Fatalf("sequence number %d after %d octets", seq, len(streams[which]))
		}
		streams[which] = append(streams[which], payload...)
	}
	if !bytes.Equal(streams[0], questions) || !bytes.Equal(streams[1], answers) {
		t.Errorf("%d and %d octets, want %d and %d", len(streams[0]), len(streams[1]), len(questions), len(answers))
	}
	if found != segments || found == 400 {
		t.Errorf("%d segments, said to be %d", found, segments)
	}
}

func captureHeader() []byte {
	h := make([]byte, 24)
	binary.LittleEndian.PutUint32(h, 0xa1b2c3d4)
	binary.LittleEndian.PutUint32(h[20:], 1)
	return h
}

func segmentOf(answer bool, flags byte, seq uint32, payload []byte) []byte {
	p := make([]byte, 16+14+20+20, 16+14+20+20+len(payload))
	p = append(p, payload...)
	frame := p[16:]
	binary.LittleEndian.PutUint32(p[8:], uint32(len(frame)))
	binary.LittleEndian.PutUint32(p[12:], uint32(len(frame)))
	binary.BigEndian.PutUint16(frame[12:], 0x0800)
	ip := frame[14:]
	ip[0], ip[9] = 0x45, 6
	binary.BigEndian.PutUint16(ip[2:], uint16(len(ip)))
	client, server, sport, dport := ip[12:16], ip[16:20], ip[20:22], ip[22:24]
	if answer {
		client, server, sport, dport = server, client, dport, sport
	}
	copy(client, []byte{10, 53, 0, 2})
	copy(server, []byte{10, 53, 0, 1})
	binary.BigEndian.PutUint16(sport, 40000)
	binary.BigEndian.PutUint16(dport, 53)
	binary.BigEndian.PutUint32(ip[24:], seq)
	ip[32], ip[33] = 5<<4, flags
	return p
}
