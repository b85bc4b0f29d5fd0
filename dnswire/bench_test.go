package dnswire

import (
	"testing"
	"time"
)

// answer is a response with one question, a CNAME and an A record.
var answer = []byte("\x12\x34\x81\x80\x00\x01\x00\x02\x00\x00\x00\x00" +
	"\x03www\x07example\x03com\x00\x00\x01\x00\x01" +
	"\xc0\x0c\x00\x05\x00\x01\x00\x00\x01\x2c\x00\x06\x03web\xc0\x10" +
	"\xc0\x2d\x00\x01\x00\x01\x00\x00\x01\x2c\x00\x04\xc0\x00\x02\x92")

// appendAll appends the text of everything in m.
func appendAll(dst []byte, m *Message) []byte {
	for i := range m.Questions {
		q := &m.Questions[i]
		dst = m.AppendName(dst, q.Name)
		dst = q.Type.Append(dst)
		dst = q.Class.Append(dst)
	}
	for i := range m.Records {
		r := &m.Records[i]
		dst = m.AppendName(dst, r.Name)
		dst = r.Type.Append(dst)
		dst = r.Class.Append(dst)
		dst = m.AppendRData(dst, r)
	}
	for o := range m.Options() {
		dst = o.Code.Append(dst)
		dst = m.AppendOption(dst, o)
	}
	return m.RCode().Append(dst)
}

func BenchmarkUnpack(b *testing.B) {
	var m Message
	b.ReportAllocs()
	b.SetBytes(int64(len(answer)))
	for b.Loop() {
		m.Unpack(answer)
	}
}

func BenchmarkAppendAll(b *testing.B) {
	var m Message
	var dst []byte
	b.ReportAllocs()
	b.SetBytes(int64(len(answer)))
	for b.Loop() {
		m.Unpack(answer)
		dst = appendAll(dst[:0], &m)
	}
}

func BenchmarkAppendName(b *testing.B) {
	var m Message
	var dst []byte
	m.Unpack(answer)
	for b.Loop() {
		dst = m.AppendName(dst[:0], m.Questions[0].Name)
	}
}

func BenchmarkHashName(b *testing.B) {
	var m Message
	m.Unpack(answer)
	var h uint64
	for b.Loop() {
		h ^= m.HashName(m.Questions[0].Name, 1)
	}
}

// BenchmarkCorpus reads and writes all messages of the corpus.
func BenchmarkCorpus(b *testing.B) {
	rows := readCorpus(b)
	var m Message
	var dst []byte
	octets := 0
	for _, row := range rows {
		octets += len(row.raw)
	}
	b.ReportAllocs()
	b.SetBytes(int64(octets))
	for b.Loop() {
		for _, row := range rows {
			m.Unpack(row.raw)
			dst = appendAll(dst[:0], &m)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(octets), "ns/octet")
}

// TestCost: 50 ns for each octet at worst, over every message of the corpus,
// the least of five measurements.
func TestCost(t *testing.T) {
	if testing.Short() {
		t.Skip("measures time")
	}
	rows := append(readCorpus(t), readSynthetic(t)...)
	var m Message
	var dst []byte
	worst, worstID := 0.0, ""
	for _, row := range rows {
		if len(row.raw) < HeaderLen {
			continue
		}
		least := time.Hour
		rounds := 1 + 2000/len(row.raw)
		for range 5 {
			start := time.Now()
			for range rounds {
				m.Unpack(row.raw)
				dst = appendAll(dst[:0], &m)
			}
			least = min(least, time.Since(start)/time.Duration(rounds))
		}
		if cost := float64(least.Nanoseconds()) / float64(len(row.raw)); cost > worst {
			worst, worstID = cost, row.ID
		}
	}
	t.Logf("worst: %.1f ns per octet, %s", worst, worstID)
	if worst > 50 {
		t.Errorf("%s costs %.1f ns per octet, more than 50", worstID, worst)
	}
}

// TestNoAllocation: a message that has grown reads and writes without any.
func TestNoAllocation(t *testing.T) {
	rows := append(readCorpus(t), readSynthetic(t)...)
	var m Message
	var dst []byte
	all := func() {
		for _, row := range rows {
			m.Unpack(row.raw)
			dst = appendAll(dst[:0], &m)
		}
	}
	all()
	if n := testing.AllocsPerRun(1, all); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
