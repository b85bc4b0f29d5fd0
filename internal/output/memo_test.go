package output

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"testing"

	"github.com/miekg/dns"

	"github.com/dnshark-io/dnshark/dnswire"
	"github.com/dnshark-io/dnshark/event"
)

// compared are an encoder with a memo and one without.
type compared struct {
	memo, plain *JSON
	batch       event.Batch
	text, want  []byte
}

func compare() *compared {
	c := &compared{memo: NewJSON(), plain: NewJSON()}
	c.memo.memo, c.plain.size = event.NewMemo(make([]byte, 256<<10)), 0
	return c
}

// message fails where the memo makes another text of a message.
func (c *compared) message(t testing.TB, raw []byte, kinds uint32) {
	c.batch.Reset()
	e := c.batch.Next()
	e.Kinds = kinds
	e.Msg.Unpack(raw)
	c.text, c.want = c.memo.Append(c.text[:0], &c.batch), c.plain.Append(c.want[:0], &c.batch)
	if !bytes.Equal(c.text, c.want) {
		t.Fatalf("message %x\nwith memo    %s\nwithout memo %s", raw, c.text, c.want)
	}
}

// vary changes the id of a message, TTLs where change says so, and at times any
// other octet.
func vary(raw []byte, change uint64) {
	r := rand.New(rand.NewPCG(change, 0))
	var m dnswire.Message
	m.Unpack(bytes.Clone(raw))
	binary.BigEndian.PutUint16(raw, uint16(r.Uint32()))
	for rec := range m.All() {
		if change%4 != 0 {
			binary.BigEndian.PutUint32(raw[rec.Off-6:], r.Uint32()>>r.IntN(32))
		}
	}
	if change%8 == 7 {
		raw[2+r.IntN(len(raw)-2)] ^= 1 << r.IntN(8)
	}
}

// What is remembered is what would be written anew, octet for octet, whatever
// the message.
func TestMemo(t *testing.T) {
	c := compare()
	for _, h := range corpus(t) {
		if len(h.raw) < dnswire.HeaderLen {
			continue
		}
		raw := bytes.Clone(h.raw)
		for i := range uint64(12) {
			if i%2 == 1 {
				copy(raw, h.raw)
			}
			c.message(t, raw, 1<<(i/3%4))
			vary(raw, i+uint64(len(raw)))
		}
	}
	t.Logf("%d messages known", c.memo.memo.Known)
	if c.memo.memo.Known < 5000 {
		t.Error("few messages are known")
	}
}

// answer returns a response with several TTLs.
func answer(t testing.TB, n int) []byte {
	t.Helper()
	m := new(dns.Msg)
	m.SetQuestion("aaaaaaaa.example.", dns.TypeA)
	m.Id = 1 // 192.0 looks like a pointer to the id, from where a random one could lead anywhere
	m.Response, m.Compress = true, true
	for i := range n {
		m.Answer = append(m.Answer, &dns.A{
			Hdr: dns.RR_Header{Name: "aaaaaaaa.example.", Rrtype: dns.TypeA, Class: dns.ClassINET, Ttl: 300}, A: []byte{192, 0, 2, byte(i)},
		})
	}
	raw, err := m.Pack()
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// The same answer with other TTLs is known; the same hash is not enough.
func TestMemoTTL(t *testing.T) {
	c, raw := compare(), answer(t, 3)
	known := func(want uint64) {
		t.Helper()
		c.message(t, raw, 1)
		if c.memo.memo.Known != want {
			t.Fatalf("%d messages known, want %d", c.memo.memo.Known, want)
		}
	}
	known(0)
	known(0) // seen twice, so from now on
	known(1)
	ttl := len(raw) - 4 - 6
	for i := range uint64(10) {
		binary.BigEndian.PutUint32(raw[ttl:], uint32(1)<<(i*3))
		raw[0]++
		known(2 + i)
	}
	raw[len(raw)-1]++ // another address
	known(11)
	raw[len(raw)-1]--
	known(12)
}

// A name may lead into a TTL. Then it is another name when the TTL is another.
func TestMemoNameInTTL(t *testing.T) {
	c, raw := compare(), answer(t, 2)
	first := len(raw) - 16 - 10 // TTL of the first record
	copy(raw[first:], []byte{1, 'x', 0, 0})
	binary.BigEndian.PutUint16(raw[len(raw)-16:], 0xc000|uint16(first))
	for i := range 6 {
		raw[first+1] = byte('a' + i/3)
		c.message(t, raw, 1)
		if want := []byte{'"', 'a' + byte(i/3), '"'}; !bytes.Contains(c.text, want) {
			t.Fatalf("no name %s in %s", want, c.text)
		}
	}
}

func FuzzMemo(f *testing.F) {
	f.Add(answer(f, 3), uint64(3))
	for i, h := range corpus(f) {
		if i%16 == 0 && len(h.raw) < 2000 {
			f.Add(h.raw, uint64(i))
		}
	}
	c := compare()
	f.Fuzz(func(t *testing.T, raw []byte, change uint64) {
		if len(raw) < dnswire.HeaderLen {
			return
		}
		raw = bytes.Clone(raw)
		for i := range uint64(5) {
			c.message(t, raw, 1<<(change%4))
			if i > 0 {
				vary(raw, change+i)
			}
		}
	})
}

// BenchmarkMemo: what a message costs that is always known, and one that never is.
func BenchmarkMemo(b *testing.B) {
	for _, bench := range []struct {
		name  string
		size  int
		names uint32 // in turn
	}{{"none", 0, 1 << 31}, {"known", jsonMemory, 1}, {"new", jsonMemory, 1 << 31}, {"too-many", jsonMemory, 1 << 16}} {
		b.Run(bench.name, func(b *testing.B) {
			j, batch, raw := NewJSON(), &event.Batch{}, answer(b, 3)
			j.size = bench.size
			e := batch.Next()
			e.Kinds = 1
			e.Msg.Unpack(raw)
			var dst []byte
			for i := uint32(0); b.Loop(); i++ {
				for k := range 8 { // all in the first label
					raw[13+k] = 'a' + byte(i%bench.names>>(4*k)&15)
				}
				dst = j.Append(dst[:0], batch)
			}
		})
	}
}
