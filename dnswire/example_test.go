package dnswire_test

import (
	"fmt"

	"github.com/dnshark-io/dnshark/dnswire"
)

var response = []byte("\x12\x34\x81\x80\x00\x01\x00\x02\x00\x00\x00\x01" +
	"\x07example\x03org\x00\x00\x0f\x00\x01" +
	"\xc0\x0c\x00\x0f\x00\x01\x00\x00\x01\x2c\x00\x09\x00\x0a\x04mail\xc0\x0c" +
	"\xc0\x0c\x00\x10\x00\x01\x00\x00\x01\x2c\x00\x0c\x0bv=spf1 -all" +
	"\x00\x00\x29\x04\xd0\x00\x00\x80\x00\x00\x0b\x00\x0f\x00\x07\x00\x03stale")

func Example() {
	var m dnswire.Message // reuse it
	m.Unpack(response)
	var text []byte // and this
	for r := range m.All() {
		if r.Type == dnswire.TypeOPT {
			continue
		}
		text = m.AppendName(text[:0], r.Name)
		text = r.Type.Append(append(text, ' '))
		text = m.AppendRData(append(text, ' '), r)
		fmt.Printf("%s\n", text)
	}
	for o := range m.Options() {
		fmt.Printf("%s %s\n", o.Code, m.AppendOption(nil, o))
	}
	// Output:
	// example.org MX 10 mail.example.org
	// example.org TXT "v=spf1 -all"
	// EDE 3 (Stale Answer): stale
}

// A message that is cut keeps what stands before the cut, and says why.
func ExampleMessage_Unpack() {
	var m dnswire.Message
	broken := m.Unpack(response[:66])
	fmt.Println(broken, m.Count[dnswire.SectionAnswer], m.Seen[dnswire.SectionAnswer])
	for r := range m.All() {
		fmt.Printf("%s %s\n", r.Type, m.AppendRData(nil, r))
	}
	// Output:
	// rdata_range 2 1
	// MX 10 mail.example.org
}

// A fault in one record's data is that record's: its text is hex, and the
// records after it are read.
func ExampleRecord() {
	raw := append([]byte{}, response...)
	raw[43] = 99 // the length of the label "mail"
	var m dnswire.Message
	fmt.Println(m.Unpack(raw))
	for r := range m.All() {
		fmt.Printf("%s %s %s\n", r.Type, r.Fault, m.AppendRData(nil, r))
	}
	// Output:
	// none
	// MX label_type \# 9 000a636d61696cc00c
	// TXT none "v=spf1 -all"
	// OPT none EDE: 3 (Stale Answer): stale
}

func ExampleAppendWireName() {
	wire, err := dnswire.AppendWireName(nil, `a\.b.example`)
	fmt.Printf("%q %v\n", wire, err)
	// Output: "\x03a.b\aexample\x00" <nil>
}

func ExampleParseType() {
	for _, name := range []string{"https", "TYPE65", "nonsense"} {
		t, ok := dnswire.ParseType(name)
		fmt.Println(t, ok)
	}
	// Output:
	// HTTPS true
	// HTTPS true
	// TYPE0 false
}
