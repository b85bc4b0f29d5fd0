// Package synth writes captures of any size whose properties are chosen one by
// one: how many responses, queries that wait at once, and names.
package synth

import (
	"bufio"
	"encoding/binary"
	"os"
	"strconv"
)

// Capture says what a capture holds. Each query is a flow of its own.
type Capture struct {
	Responses int
	Pending   int // queries that wait for their answers at any moment
	Names     int // distinct ones, at most half of Responses
}

// Step is the time between two queries, ns. A million of them wait for 2 s, which
// is within the time limit of dnshark.
const Step = 2_000

const start = 1_767_323_045e9 // 2026-01-02

// Write writes the capture: little-endian pcap, nanoseconds, Ethernet, IPv4, UDP.
func (c Capture) Write(file string) error {
	f, err := os.Create(file)
	if err != nil {
		return err
	}
	defer f.Close()
	w := bufio.NewWriterSize(f, 256<<10)
	header := make([]byte, 24)
	le := binary.LittleEndian
	le.PutUint32(header, 0xa1b23c4d)
	le.PutUint16(header[4:], 2)
	le.PutUint16(header[6:], 4)
	le.PutUint32(header[16:], 65535)
	le.PutUint32(header[20:], 1)
	w.Write(header)
	var packet []byte
	for i := range c.Responses + c.Pending {
		now := int64(start) + int64(i)*Step
		if i < c.Responses {
			packet = c.packet(packet[:0], i, false, now)
			w.Write(packet)
		}
		if i >= c.Pending {
			packet = c.packet(packet[:0], i-c.Pending, true, now+Step/2)
			w.Write(packet)
		}
	}
	if err := w.Flush(); err != nil {
		return err
	}
	return f.Close()
}

// packet appends a query or its answer, with the record header.
func (c Capture) packet(p []byte, i int, answer bool, now int64) []byte {
	be, le := binary.BigEndian, binary.LittleEndian
	p = append(p, make([]byte, 16+14+20+8)...)
	p = be.AppendUint16(p, uint16(i*31+7))
	if answer {
		p = append(p, 0x81, 0x80, 0, 1, 0, 3, 0, 0, 0, 1)
	} else {
		p = append(p, 0x01, 0x00, 0, 1, 0, 0, 0, 0, 0, 1)
	}
	// Few names are asked often: every second query is for one of 1 % of them.
	n := i / 2 % c.Names
	if i%2 != 0 {
		n = i * 7919 % max(c.Names/100, 1)
	}
	at := len(p)
	p = strconv.AppendInt(append(p, 0, 'h', 'o', 's', 't'), int64(n), 10)
	p[at] = byte(len(p) - at - 1)
	p = append(p, 4, 'z', 'o', 'n', 'e', 7, 'e', 'x', 'a', 'm', 'p', 'l', 'e', 0, 0, 1, 0, 1)
	if answer {
		p = append(p, 0xc0, 12, 0, 5, 0, 1, 0, 0, 1, 44, 0, 7, 4, 'e', 'd', 'g', 'e', 0xc0, byte(12+1+p[at]))
		edge := byte(len(p) - 7 - (16 + 14 + 20 + 8))
		for j := range 2 {
			p = append(p, 0xc0, edge, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 203, 0, 113, byte(n+j))
		}
	}
	p = append(p, 0, 0, 41, 0x04, 0xd0, 0, 0, 0, 0, 0, 0) // OPT, 1232 octets
	frame := p[16:]
	le.PutUint32(p, uint32(now/1e9))
	le.PutUint32(p[4:], uint32(now%1e9))
	le.PutUint32(p[8:], uint32(len(frame)))
	le.PutUint32(p[12:], uint32(len(frame)))
	be.PutUint16(frame[12:], 0x0800)
	ip := frame[14:]
	ip[0], ip[8], ip[9] = 0x45, 64, 17
	be.PutUint16(ip[2:], uint16(len(ip)))
	client, server := ip[12:16], ip[16:20]
	udp := ip[20:]
	sport, dport := udp, udp[2:]
	if answer {
		client, server, sport, dport = server, client, dport, sport
	}
	// 2^16 clients with 2^14 ports each.
	copy(client, []byte{10, 0, byte(i >> 8), byte(i)})
	copy(server, []byte{198, 51, 100, 53})
	be.PutUint16(sport, uint16(32768+i>>16&0x3fff))
	be.PutUint16(dport, 53)
	be.PutUint16(udp[4:], uint16(len(udp)))
	return p
}
