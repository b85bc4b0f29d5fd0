package pcap

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
)

func TestClassic(t *testing.T) {
	le, be := binary.LittleEndian, binary.BigEndian
	micro := []string{"1700000000123456000 5/5 link 1 \"\" \"first\"", "1700000002123456000 3/99 link 1 \"\" \"cut\""}
	nano := []string{"1700000000000123456 5/5 link 1 \"\" \"first\"", "1700000002000123456 3/99 link 1 \"\" \"cut\""}
	packets := []any{"first", 5, "cut", 99}
	for _, c := range []struct {
		name string
		file []byte
		want []string
		err  error
	}{
		{"little endian", classicFile(le, magicMicro, 1, packets...), micro, nil},
		{"big endian", classicFile(be, magicMicro, 1, packets...), micro, nil},
		{"nanoseconds", classicFile(le, magicNano, 1, packets...), nano, nil},
		{"big endian nanoseconds", classicFile(be, magicNano, 1, packets...), nano, nil},
		{"frame check sequences", classicFile(le, magicMicro, 0x14000001, packets...), micro, nil},
		{"no packets", classicFile(le, magicMicro, 1), nil, nil},
		{"empty packet", classicFile(le, magicMicro, 1, "", 0), []string{`1700000000123456000 0/0 link 1 "" ""`}, nil},
		{"length below what was captured", classicFile(le, magicMicro, 1, "first", 2), micro[:1], nil},
		{"raw of Linux", classicFile(le, magicMicro, 12, "x", 1), []string{`1700000000123456000 1/1 link 101 "" "x"`}, nil},
		{"raw of OpenBSD", classicFile(le, magicMicro, 14, "x", 1), []string{`1700000000123456000 1/1 link 101 "" "x"`}, nil},
		{"PPP in HDLC framing", classicFile(le, magicMicro, 50, "x", 1), []string{`1700000000123456000 1/1 link 9 "" "x"`}, nil},
		{"unknown link type", classicFile(le, magicMicro, 65000, packets...), nil, ErrUnsupported},
		{"modified", classicFile(le, magicModified, 1, packets...), nil, ErrUnsupported},
		{"the longest frame", classicFile(le, magicMicro, 1, strings.Repeat("x", MaxFrame), MaxFrame),
			[]string{`1700000000123456000 262144/262144 link 1 "" "xxxxxxxxxxxxxxxxxxxx"`}, nil},
		{"longer", classicFile(le, magicMicro, 1, "first", 5, strings.Repeat("x", MaxFrame+1), MaxFrame), micro[:1], ErrCut},
		{"cut in a packet", cut(classicFile(le, magicMicro, 1, packets...), 1), micro[:1], ErrCut},
		{"cut in a header", cut(classicFile(le, magicMicro, 1, packets...), 4), micro[:1], ErrCut},
		{"cut in the file header", classicFile(le, magicMicro, 1)[:23], nil, ErrCut},
		{"text", []byte("this is text, and not a capture at all"), nil, ErrNotCapture},
		{"three octets", []byte{0xd4, 0xc3, 0xb2}, nil, ErrNotCapture},
		{"empty", nil, nil, ErrNotCapture},
	} {
		check(t, c.name, c.file, c.want, c.err)
	}
}

func cut(file []byte, n int) []byte { return file[:len(file)-n] }

// check reads a file at once and octet by octet.
func check(t *testing.T, name string, file []byte, want []string, wantErr error) {
	t.Helper()
	for _, r := range []io.Reader{bytes.NewReader(file), drip{bytes.NewReader(file)}} {
		got, err := show(r)
		if !slices.Equal(got, want) || !errors.Is(err, wantErr) || (err == nil) != (wantErr == nil) {
			t.Errorf("%s:\n got %q, %v\nwant %q, %v", name, got, err, want, wantErr)
		}
		if err != nil && strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: more than a line: %q", name, err)
		}
	}
}

func TestPcapng(t *testing.T) {
	le, be := binary.LittleEndian, binary.BigEndian
	b := func() *builder { return (&builder{}).section(le) }
	swapped := func() *builder { return (&builder{}).section(be) }
	x := &builder{order: le}
	name := x.option(nil, optIfName, []byte("eth0"))
	nano := x.option(nil, optIfTSResol, []byte{9})
	binaryTime := x.option(nil, optIfTSResol, []byte{0x80 | 10})
	later := x.option(nil, optIfTSOffset, le.AppendUint64(nil, 1000))
	earlier := x.option(nil, optIfTSOffset, le.AppendUint64(nil, 1<<64-1000))
	end := x.option(nil, optEnd, nil)
	comment := x.option(nil, 1, bytes.Repeat([]byte("comment "), 1000))
	for _, c := range []struct {
		name string
		file *builder
		want []string
		err  error
	}{
		{"enhanced", b().iface(1, 0, name, end).enhanced(0, 5_000_001, 9, "data"), []string{`5000001000 4/9 link 1 "eth0" "data"`}, nil},
		{"big endian", swapped().iface(1, 0).enhanced(0, 1<<33, 4, "data"), []string{`8589934592000 4/4 link 1 "" "data"`}, nil},
		{"nanoseconds", b().iface(1, 0, nano).enhanced(0, 7, 4, "data"), []string{`7 4/4 link 1 "" "data"`}, nil},
		{"binary time", b().iface(1, 0, binaryTime).enhanced(0, 1024+512, 4, "data"), []string{`1500000000 4/4 link 1 "" "data"`}, nil},
		{"later", b().iface(1, 0, later).enhanced(0, 1, 4, "data"), []string{`1000000001000 4/4 link 1 "" "data"`}, nil},
		{"earlier", b().iface(1, 0, earlier).enhanced(0, 1001_000_000, 4, "data"), []string{`1000000000 4/4 link 1 "" "data"`}, nil},
		{"before 1970", b().iface(1, 0, earlier).enhanced(0, 1, 4, "data"), []string{`0 4/4 link 1 "" "data"`}, nil},
		{"options behind the end", b().iface(1, 0, end, nano).enhanced(0, 7, 4, "data"), []string{`7000 4/4 link 1 "" "data"`}, nil},
		{"odd lengths and long options", b().iface(1, 0, name).enhanced(0, 1, 5, "datum", comment).enhanced(0, 2, 1, "d"),
			[]string{`1000 5/5 link 1 "eth0" "datum"`, `2000 1/1 link 1 "eth0" "d"`}, nil},
		{"obsolete packet", b().iface(1, 0, name).old(0, 3, 9, "data"), []string{`3000 4/9 link 1 "eth0" "data"`}, nil},
		{"simple", b().iface(1, 0, name).simple(4, "data"), []string{`0 4/4 link 1 "eth0" "data"`}, nil},
		{"simple, cut by snaplen", b().iface(1, 3, name).simple(9, "dat"), []string{`0 3/9 link 1 "eth0" "dat"`}, nil},
		{"other blocks", b().block(5, []byte("statistics..")).iface(1, 0).block(0x0bad_beef, make([]byte, 2<<20)).enhanced(0, 1, 1, "d"),
			[]string{`1000 1/1 link 1 "" "d"`}, nil},
		{"two interfaces", b().iface(101, 0, name).iface(276, 0, nano).enhanced(1, 1, 1, "b").enhanced(0, 1, 1, "a"),
			[]string{`1 1/1 link 276 "" "b"`, `1000 1/1 link 101 "eth0" "a"`}, nil},
		{"two sections", b().iface(1, 0, nano, name).enhanced(0, 1, 1, "a").section(be).iface(101, 0).enhanced(0, 1, 1, "b"),
			[]string{`1 1/1 link 1 "eth0" "a"`, `1000 1/1 link 101 "" "b"`}, nil},
		{"interface of another section", b().iface(1, 0).section(le).enhanced(0, 1, 1, "a"), nil, ErrCut},
		{"one unknown link type", b().iface(65000, 0).iface(1, 0).enhanced(0, 1, 1, "a").enhanced(1, 2, 1, "b").enhanced(0, 3, 1, "c"),
			[]string{`2000 1/1 link 1 "" "b"`}, ErrUnsupported},
		{"interface of an unknown link type without packets", b().iface(65000, 0).iface(1, 0).enhanced(1, 2, 1, "b"),
			[]string{`2000 1/1 link 1 "" "b"`}, nil},
		{"no interface", b().enhanced(0, 1, 1, "a"), nil, ErrCut},
		{"simple packet without interface", b().simple(1, "a"), nil, ErrCut},
		{"short interface", b().block(blockInterface, make([]byte, 4)), nil, ErrCut},
		{"short packet", b().iface(1, 0).block(blockEnhanced, make([]byte, 16)), nil, ErrCut},
		{"too long a packet", b().iface(1, 0).enhanced(0, 1, 1, "a").enhanced(0, 1, 1, strings.Repeat("x", MaxFrame+4)),
			[]string{`1000 1/1 link 1 "" "a"`}, ErrCut},
		{"unknown byte order", &builder{file: append([]byte("\n\r\r\n\x1c\x00\x00\x00"), make([]byte, 20)...)}, nil, ErrNotCapture},
	} {
		check(t, c.name, c.file.file, c.want, c.err)
		if c.err == nil {
			check(t, c.name+", cut", c.file.file[:len(c.file.file)-1], c.want[:len(c.want)-1], ErrCut)
		}
	}
}

// The table of interfaces is bounded, and who is beyond it is refused.
func TestManyInterfaces(t *testing.T) {
	b := (&builder{}).section(binary.LittleEndian)
	for range maxInterfaces + 5 {
		b.iface(1, 0)
	}
	check(t, "the last", (&builder{binary.LittleEndian, slices.Clone(b.file)}).enhanced(maxInterfaces-1, 1, 1, "a").file,
		[]string{`1000 1/1 link 1 "" "a"`}, nil)
	check(t, "one beyond", (&builder{binary.LittleEndian, slices.Clone(b.file)}).enhanced(maxInterfaces+4, 1, 1, "a").file, nil, ErrUnsupported)
	check(t, "none", b.enhanced(maxInterfaces+5, 1, 1, "a").file, nil, ErrCut)
}

// A file cut anywhere yields the packets before the cut.
func TestCutAnywhere(t *testing.T) {
	ng := (&builder{}).section(binary.BigEndian).iface(1, 0)
	ends := []int{len(ng.file)}
	for range 3 {
		ends = append(ends, len(ng.enhanced(0, 1, 5, "datum").file))
	}
	for n := 4; n <= len(ng.file); n++ {
		whole := 0
		for whole < 3 && ends[whole+1] <= n {
			whole++
		}
		got, err := show(bytes.NewReader(ng.file[:n]))
		atEnd := slices.Contains(ends, n) || n == 28 // behind the section header
		if len(got) != whole || atEnd != (err == nil) || err != nil && !errors.Is(err, ErrCut) {
			t.Errorf("%d octets: %d packets, want %d: %v", n, len(got), whole, err)
		}
	}
}
