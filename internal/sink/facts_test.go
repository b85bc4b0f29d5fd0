package sink

import (
	"encoding/json"
	"fmt"
	"testing"
)

// Facts are what encoding/json reads, whatever stands in the event.
func TestFacts(t *testing.T) {
	blocks := []*Block{events(hostileNames...), hostileLines(t, "json")}
	names := 0
	for _, b := range blocks {
		for _, line := range b.Lines() {
			var e struct {
				Time, Event, Host string
				Metadata          struct {
					SrcPort int `json:"src_port"`
				}
				DNS struct {
					Rcode     string
					Questions []struct{ Name, Type string }
					Answer    []struct{ Data string }
				}
				Process struct {
					Comm      string
					Container struct{ Pod struct{ Name string } }
				}
			}
			if err := json.Unmarshal(line, &e); err != nil {
				t.Fatal(err)
			}
			var f facts
			f.read(line)
			name, kind, answers := "", "", []string{}
			if len(e.DNS.Questions) > 0 {
				name, kind = e.DNS.Questions[0].Name, e.DNS.Questions[0].Type
				names++
			}
			for record := range elements(f.answers) {
				answers = append(answers, text(get(record, "data")))
			}
			got := fmt.Sprintf("%q", append(answers, text(f.time), text(f.event), text(f.host), text(f.sourcePort), text(f.rcode), text(f.qname), text(f.qtype), text(f.comm), text(f.pod)))
			answers = answers[:0]
			for _, record := range e.DNS.Answer {
				answers = append(answers, record.Data)
			}
			want := fmt.Sprintf("%q", append(answers, e.Time, e.Event, e.Host, fmt.Sprint(e.Metadata.SrcPort), e.DNS.Rcode, name, kind, e.Process.Comm, e.Process.Container.Pod.Name))
			if got != want {
				t.Errorf("got %s, want %s of %s", got, want, line)
			}
		}
	}
	if names < 300 {
		t.Errorf("%d names", names)
	}
}

// Other people's JSON, and what is none, has facts or has none; nothing more comes of it.
func FuzzFacts(f *testing.F) {
	f.Add([]byte(dnsEvent(`a"b`)))
	f.Add([]byte(`{"dns":{"questions":[{"name":"`))
	f.Add([]byte(`{"a":}{]`))
	f.Fuzz(func(t *testing.T, line []byte) {
		var facts facts
		facts.read(line)
		for _, name := range partNames {
			token := appendToken(nil, facts.part(name))
			if len(token) == 0 || len(token) > natsPart+2 {
				t.Errorf("%q", token)
			}
		}
		for record := range elements(facts.answers) {
			text(get(record, "data"))
		}
	})
}

func BenchmarkEvent(b *testing.B) {
	block, line := events("www.example.com"), []byte(dnsEvent("www.example.com"))
	for name, make := range map[string]func(){
		"clickhouse": func() func() {
			s := &clickhouseSink{}
			return func() { s.body = s.appendRow(s.body[:0], block, 0, line) }
		}(),
		"otlp": func() func() {
			s := &otlpSink{target: &Target{}, ours: true}
			return func() { s.request(block, [][]byte{line}, 0) }
		}(),
		"loki": func() func() {
			s := &lokiSink{ours: true, metadata: true}
			return func() {
				s.streams = s.streams[:0]
				s.add(block, 0, line)
			}
		}(),
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				make()
			}
		})
	}
}
