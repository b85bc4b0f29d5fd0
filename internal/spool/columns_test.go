package spool

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"
)

// eventLines are lines as the spool gets them.
func eventLines(n int) []byte {
	r := rand.New(rand.NewPCG(1, 2))
	var b bytes.Buffer
	for range n {
		name, address := fmt.Sprintf("host%d.zone%d.example", r.IntN(1000), r.IntN(50)), fmt.Sprintf("198.51.%d.%d", r.IntN(4), r.IntN(256))
		fmt.Fprintf(&b, `{"time":"2026-11-18T11:06:%02d.%09dZ","event":"net_packet_dns_response","metadata":{"src_ip":"192.0.2.53","dst_port":%d},"dns_response":[{"query_data":{"query":"%s"},"dns_answer":[{"ttl":%d,"answer":"%s"}]}],"dns":{"id":%d,"answer":[{"name":"%s","data":"%s"}],"text":"a \"quoted\" \\ 7 word"},"ok":true}`+"\n",
			r.IntN(60), r.IntN(1e9), 1024+r.IntN(60000), name, r.IntN(600), address, r.IntN(65536), name, address)
	}
	return b.Bytes()
}

func TestColumns(t *testing.T) {
	var a apart
	for name, text := range map[string]string{
		"events": string(eventLines(200)), "no end": strings.TrimSuffix(string(eventLines(20)), "\n"), "numbers": strings.Repeat("1,22,,3.5e-7\n", 10),
		"quotes": strings.Repeat(`"`+"\n"+`"\`+"\n"+`"":"\""`+"\n", 10), "empty lines": "\n\n\n\n",
		"text": strings.Repeat("time=12 name=\"x\" 7\n", 9), "octets": strings.Repeat("\xff\x80\"\xfe\"1\r\n", 9),
	} {
		columns := a.split(nil, []byte(text))
		if len(columns) == 0 {
			t.Errorf("%s is not taken apart", name)
			continue
		}
		got, err := join([]byte("before"), columns, len(text))
		if err != nil || string(got) != "before"+text {
			t.Errorf("%s: %v: %q", name, err, got)
		}
	}
	for name, text := range map[string]string{"nothing": "", "one line": "a", "all differ": "a\nb\nc\nd", "octets": "a\x00\na\x00\na\x00\n"} {
		if columns := a.split(nil, []byte(text)); len(columns) != 0 {
			t.Errorf("%s is taken apart: %q", name, columns)
		}
	}
}

// A shape with more holes than split makes is refused before it takes memory.
func TestColumnsHoles(t *testing.T) {
	for holes, want := range map[int]error{maxHoles: nil, maxHoles + 1: errColumns} {
		columns := appendBlock([]byte{1}, make([]byte, holes)) // a shape of holes alone
		columns = append(columns, 1, 0)                        // a line that has it
		columns = append(columns, 0, 2, '7', '\n')             // its first value, which all others are
		columns = append(columns, bytes.Repeat([]byte{1}, holes-1)...)
		got, err := join(nil, columns, holes)
		if err != want || err == nil && string(got) != strings.Repeat("7", holes) {
			t.Errorf("%d holes: %v, %q", holes, err, got)
		}
	}
}

// Columns are much smaller than lines.
func TestColumnsSize(t *testing.T) {
	z, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1))
	if err != nil {
		t.Fatal(err)
	}
	defer z.Close()
	var a apart
	text := eventLines(200)
	lines, columns := len(z.EncodeAll(text, nil)), len(z.EncodeAll(a.split(nil, text), nil))
	t.Logf("200 events: %d octets as lines, %d as columns", lines, columns)
	if 3*columns > 2*lines {
		t.Error("columns save less than a third")
	}
}

// Whatever a text is, it comes back; whatever columns are, they end within bounds.
func FuzzColumns(f *testing.F) {
	f.Add(eventLines(5), 100)
	f.Add([]byte("\"a\":1\n\"a\":2\n"), 12)
	f.Add([]byte{1, 1, 0, 2, 0, 0, 0, 4, '1', '\n', '2', '\n'}, 3)
	var a apart
	f.Fuzz(func(t *testing.T, text []byte, size int) {
		if columns := a.split(nil, text); len(columns) > 0 {
			if got, err := join(nil, columns, len(text)); err != nil || !bytes.Equal(got, text) {
				t.Fatalf("%v: %q", err, got)
			}
		}
		size &= 0xffff
		if got, err := join(nil, text, size); err == nil && len(got) != size || len(got) > size+len(text)+1 {
			t.Fatalf("%d octets, want %d: %v", len(got), size, err)
		}
	})
}

func BenchmarkRecord(b *testing.B) {
	text := eventLines(200)
	for _, form := range []string{"columns", "lines"} {
		b.Run(form, func(b *testing.B) {
			var w recordWriter
			var err error
			if w.z, err = zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1)); err != nil {
				b.Fatal(err)
			}
			text := text
			if form == "lines" {
				text = append(bytes.Clone(text), hole) // is not taken apart
			}
			var out []byte
			b.ReportAllocs()
			for b.Loop() {
				if out, err = w.append(out[:0], marker{}, &Record{Events: 200, Text: text}); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(len(out))/200, "octets/event")
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/200, "ns/event")
		})
	}
}
