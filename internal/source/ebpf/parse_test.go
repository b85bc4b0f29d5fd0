//go:build linux

package ebpf

import (
	"slices"
	"strings"
	"testing"
	"unsafe"

	"github.com/dnshark-io/dnshark/event"
	"github.com/dnshark-io/dnshark/internal/bpf"
	"github.com/dnshark-io/dnshark/internal/source"
)

// sample is what the programs write for a packet of n octets.
func sample(n, class int, who uint8) []byte {
	words := make([]uint64, (headerSize+class+7)/8)
	s := unsafe.Slice((*byte)(unsafe.Pointer(&words[0])), headerSize+class)
	r := (*bpf.Record)(unsafe.Pointer(&s[0]))
	r.Time, r.Cookie, r.WireLen, r.CapLen = 1000, 7, uint32(n), uint32(n)
	copy(r.Iface[:], "eth0")
	r.Dir, r.Who = uint8(source.DirEgress), who
	r.ID.TGID = 42
	for i := range n {
		s[headerSize+i] = byte(i)
	}
	return s
}

func TestAdd(t *testing.T) {
	b := newBatch()
	b.offset = 5
	for i, who := range []uint8{bpf.WhoNobody, bpf.WhoSender, bpf.WhoOwner} {
		n := 71 + i
		if !b.add(sample(n, 128, who)) {
			t.Fatal("refused")
		}
	}
	for i := range 3 {
		f := &b.frames[i]
		if f.Time != 1005 || f.Cookie != 7 || f.WireLen != 71+i || len(f.Data) != 71+i || cap(f.Data) != 71+i ||
			f.Data[70] != 70 || f.Link != source.LinkRaw || f.Dir != source.DirEgress || f.Iface != "eth0" {
			t.Errorf("frame %d: %+v", i, f)
		}
	}
	if b.frames[0].Sender != nil || b.frames[0].Owner != nil ||
		b.frames[1].Sender.TGID != 42 || b.frames[1].Owner != nil ||
		b.frames[2].Sender != nil || b.frames[2].Owner.TGID != 42 {
		t.Error("wrong identities")
	}
}

func TestAddRefuses(t *testing.T) {
	b := newBatch()
	short := sample(100, 128, 0)
	if b.add(short[:headerSize-1]) || b.add(short[:headerSize+99]) || b.add(nil) {
		t.Error("a sample shorter than its packet")
	}
	(*bpf.Record)(unsafe.Pointer(&short[0])).CapLen = 1<<32 - 1
	if b.add(short) {
		t.Error("a packet longer than any")
	}
	if b.n != 0 || b.used != 0 {
		t.Error("what was refused left something behind")
	}
}

// birth is what the programs write for a process.
func birth(kind uint8, names, args, cwd string) []byte {
	s := sample(0, 2*bpf.PathBytes+bpf.ArgsBytes, 0)
	r := (*bpf.Birth)(unsafe.Pointer(&s[0]))
	*r = bpf.Birth{Time: 1000, Kind: kind, ID: event.Identity{TGID: 42}}
	if kind == bpf.BirthFork {
		r.ParentTGID, r.ParentStart = 41, 7
		return s[:headerSize]
	}
	length := func(names string) uint32 {
		if names == "" {
			return 0
		}
		return uint32(len(strings.TrimPrefix(names, "\x00"))) + 1
	}
	r.PathLen, r.ArgsLen, r.CwdLen = length(names), uint32(len(args)), length(cwd)
	copy(s[headerSize:], names)
	copy(s[headerSize+bpf.PathBytes:], args)
	copy(s[headerSize+bpf.PathBytes+bpf.ArgsBytes:], cwd)
	return s
}

func TestAddBirth(t *testing.T) {
	for _, c := range []struct {
		sample []byte
		want   event.Birth
	}{
		{birth(bpf.BirthFork, "", "", ""), event.Birth{ParentTGID: 41, ParentStart: 7}},
		{birth(bpf.BirthExec, "dig\x00bin\x00usr\x00", "dig\x00a\x00", "tmp\x00"), event.Birth{Exe: "/usr/bin/dig", Args: "dig\x00a\x00", Cwd: "/tmp"}},
		{birth(bpf.BirthExec, "init\x00", "", "\x00"), event.Birth{Exe: "/init", Cwd: "/"}},
		{birth(bpf.BirthExec, "", "x", ""), event.Birth{Args: "x"}},
	} {
		b := newBatch()
		b.offset = 5
		if !b.add(c.sample) || b.n != 1 {
			t.Fatal("refused")
		}
		c.want.ID.TGID = 42
		if f := b.frames[0]; f.Birth == nil || *f.Birth != c.want || f.Time != 1005 || f.Data != nil {
			t.Errorf("%+v, want %+v", f.Birth, c.want)
		}
	}
}

func TestAddBirthRefuses(t *testing.T) {
	long, unknown := birth(bpf.BirthExec, "", "", ""), birth(bpf.BirthCgroup+1, "", "", "")
	deep := birth(bpf.BirthExec, "", "", "")
	(*bpf.Birth)(unsafe.Pointer(&long[0])).PathLen = bpf.PathBytes + 2
	(*bpf.Birth)(unsafe.Pointer(&deep[0])).CwdLen = bpf.PathBytes + 2
	b := newBatch()
	if b.add(long) || b.add(deep) || b.add(unknown) || b.add(birth(bpf.BirthExec, "", "", "")[:headerSize+100]) || b.n != 0 {
		t.Error("added")
	}
}

// The longest packets end a batch before they overrun its arena.
func TestArena(t *testing.T) {
	b := newBatch()
	long := sample(bpf.MaxBytes, bpf.MaxBytes, bpf.WhoSender)
	n := 0
	for !b.full() {
		if !b.add(long) {
			t.Fatal("refused")
		}
		n++
	}
	if n < 7 || b.used > arenaBytes {
		t.Errorf("%d long packets in %d of %d octets", n, b.used, arenaBytes)
	}
}

func TestNames(t *testing.T) {
	var n names
	for i := range 3 * maxNames {
		raw := [16]byte{'v', byte('a' + i%26), byte('a' + i/26%26), byte('a' + i/676)}
		if s := n.of(&raw); s != string(raw[:4]) || len(n.known) > maxNames {
			t.Fatalf("%q, %d known", s, len(n.known))
		}
	}
	if s := n.of(new([16]byte)); s != "" {
		t.Errorf("%q for no name", s)
	}
	if s := n.of(&[16]byte{0: 'x', 15: 'y'}); s != "x" {
		t.Errorf("%q", s)
	}
}

func fill(b *batch, samples [][]byte) {
	b.reset()
	for !b.full() {
		b.add(samples[b.n&1])
	}
}

// Two interfaces take turns, so that the names are looked up.
func twoSamples() [][]byte {
	s := [][]byte{sample(80, 128, bpf.WhoSender), sample(240, 256, bpf.WhoOwner)}
	copy((*bpf.Record)(unsafe.Pointer(&s[1][0])).Iface[:], "veth12345")
	return s
}

func TestNoAllocation(t *testing.T) {
	b, s := newBatch(), twoSamples()
	fill(b, s)
	if n := testing.AllocsPerRun(100, func() { fill(b, s) }); n != 0 {
		t.Errorf("%v allocations for %d frames", n, batchFrames)
	}
}

func BenchmarkParse(b *testing.B) {
	batch, s := newBatch(), twoSamples()
	b.ReportAllocs()
	for i := 0; i < b.N; i += batchFrames {
		fill(batch, s)
	}
}

func TestReceipts(t *testing.T) {
	b := newBatch()
	packet := func(cookie uint64, flags uint8) {
		s := sample(20, 128, bpf.WhoNobody)
		r := (*bpf.Record)(unsafe.Pointer(&s[0]))
		r.Cookie, r.Flags, r.Dir = cookie, flags, 1
		b.add(s)
	}
	receipt := func(cookie uint64, nth, who uint32) {
		s := sample(0, 0, 0)
		*(*bpf.Record)(unsafe.Pointer(&s[0])) = bpf.Record{Cookie: cookie, CapLen: nth, Dir: bpf.Receipt, ID: event.Identity{TGID: who}}
		b.add(s)
	}
	receipt(1, 1, 10) // of a packet that was handed over before
	packet(1, bpf.RecordAwaited)
	packet(1, bpf.RecordAwaited)
	packet(1, 0)
	packet(2, bpf.RecordAwaited)
	receipt(1, 2, 11)
	receipt(2, 0, 12)
	packet(2, bpf.RecordAwaited)
	packet(2, bpf.RecordAwaited)
	receipt(2, 0, 13)
	var got []uint32
	for _, f := range b.frames[:b.n] {
		if got = append(got, 0); f.Receiver != nil {
			got[len(got)-1] = f.Receiver.TGID
		}
	}
	if want := []uint32{11, 0, 0, 12, 13, 13}; !slices.Equal(got, want) {
		t.Errorf("received by %v, want %v", got, want)
	}
}
