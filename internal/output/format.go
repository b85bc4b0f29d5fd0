package output

import (
	"fmt"
	"math/bits"
	"slices"
	"strings"

	"github.com/dnshark-io/dnshark/event"
	"github.com/dnshark-io/dnshark/internal/kind"
)

// Format is an output format that users can name.
type Format struct {
	Name  string
	Doc   string   // a line
	Kinds kind.Set // the events that it has a form for; 0 means all
	// Binary says that the output is not text.
	Binary bool
	// Whole says that an output is one file, to which nothing can be added and of
	// which nothing may be missing.
	Whole bool
	// New returns the format's encoder.
	New func(Settings) (Encoder, error)
}

// Settings are what a format can be told.
type Settings struct {
	Width    int    // columns of the terminal, 0: lines are never cut
	Colour   bool   // the terminal shows colours
	Template string // text of --template
}

// Formats lists every format.
var Formats = []*Format{
	{Name: "table", Doc: "lines for people", New: func(s Settings) (Encoder, error) { return NewTable(s.Width, s.Colour), nil }},
	{Name: "json", Doc: "dnshark's own JSON, with all that is known", New: func(Settings) (Encoder, error) { return NewJSON(), nil }},
	&tracee,
	&traceeV1beta1,
	&eve,
	&zeek,
	&zeekTSV,
	&ecs,
	&ocsf,
	&cof,
	&rfc8427,
	&csv,
	&dnstap,
	&pcapng,
	&parquetFormat,
	&templateFormat,
	{Name: "none", Doc: "nothing, for measuring", New: func(Settings) (Encoder, error) { return None{}, nil }},
}

// FormatNames returns the names of all formats.
func FormatNames() (names []string) {
	for _, f := range Formats {
		names = append(names, f.Name)
	}
	return names
}

// FindFormat returns the format of that name.
func FindFormat(name string) (*Format, error) {
	i := slices.IndexFunc(Formats, func(f *Format) bool { return f.Name == name })
	if i < 0 {
		return nil, fmt.Errorf("unknown output format %q; formats are %s", name, strings.Join(FormatNames(), ", "))
	}
	return Formats[i], nil
}

// Carries returns which kinds of s the format has a form for.
func (f *Format) Carries(s kind.Set) kind.Set {
	if f.Kinds == 0 {
		return s
	}
	return s & f.Kinds
}

// Framed is an Encoder whose output has a beginning or an end of its own: each
// file begins with what Header appends and ends with what Trailer appends.
type Framed interface {
	Header(dst []byte) []byte
	Trailer(dst []byte) []byte
}

// header returns what output of e begins with.
func header(e Encoder, dst []byte) []byte {
	if f, ok := e.(Framed); ok {
		return f.Header(dst)
	}
	return dst
}

// trailer returns what output of e ends with.
func trailer(e Encoder, dst []byte) []byte {
	if f, ok := e.(Framed); ok {
		return f.Trailer(dst)
	}
	return dst
}

// Frame returns what each file of e's output begins and ends with.
func Frame(e Encoder) (begin, end func(dst []byte) []byte) {
	return func(dst []byte) []byte { return header(e, dst) }, func(dst []byte) []byte { return trailer(e, dst) }
}

// Stateless reports whether several goroutines may encode at once, each with a
// worker.
func Stateless(e Encoder) bool {
	_, ok := e.(stateless)
	return ok
}

type stateless interface {
	// worker returns an encoder for one goroutine, the same where it remembers
	// nothing.
	worker() Encoder
}

// OncePerEvent reports whether an encoder writes an event once, by however many
// names it goes.
func OncePerEvent(e Encoder) bool {
	if a, cut := e.(*allowed); cut {
		e = a.Encoder
	}
	_, ok := e.(interface{ oncePerEvent() })
	return ok
}

// perEvent is the encoder of a format that has a function for one event. It is
// called once for an event, whatever its kinds: the format tells messages, not
// names of events.
type perEvent struct {
	kinds           kind.Set
	append          func(dst []byte, e *event.Event) []byte
	header, trailer string
}

func (p *perEvent) worker() Encoder { return p }

func (p *perEvent) oncePerEvent() {}

// Header implements Framed.
func (p *perEvent) Header(dst []byte) []byte { return append(dst, p.header...) }

// Trailer implements Framed.
func (p *perEvent) Trailer(dst []byte) []byte { return append(dst, p.trailer...) }

// Append implements Encoder.
func (p *perEvent) Append(dst []byte, b *event.Batch) []byte {
	for i := range b.Events {
		if e := &b.Events[i]; kind.Set(e.Kinds)&p.kinds != 0 {
			e.Begin()
			dst = p.append(dst, e)
		}
	}
	return dst
}

// new returns p for Format.New.
func (p *perEvent) new(Settings) (Encoder, error) { return p, nil }

// perKind is perEvent for a format that tells the names of events: its function
// is called for every kind of an event, with its index in the catalogue.
type perKind struct {
	kinds  kind.Set
	append func(dst []byte, e *event.Event, k int) []byte
}

func (p *perKind) worker() Encoder { return p }

// Append implements Encoder.
func (p *perKind) Append(dst []byte, b *event.Batch) []byte {
	for i := range b.Events {
		e := &b.Events[i]
		for kinds := kind.Set(e.Kinds) & p.kinds; kinds != 0; kinds &= kinds - 1 {
			e.Begin()
			dst = p.append(dst, e, bits.TrailingZeros32(uint32(kinds)))
		}
	}
	return dst
}

// new returns p for Format.New.
func (p *perKind) new(Settings) (Encoder, error) { return p, nil }

// kinds returns the set of the kinds with these names.
func kinds(names ...string) kind.Set {
	s, err := kind.Parse(names)
	if err != nil {
		panic(err) // a kind of that name does not exist
	}
	return s
}

// What formats carry.
var (
	kindResponse   = kinds("net_packet_dns_response")
	kindRequest    = kinds("net_packet_dns_request")
	kindDNS        = kinds("net_packet_dns")
	kindUnanswered = kinds("net_packet_dns_unanswered")
	kindTCP        = kinds("net_packet_tcp")
	kindUDP        = kinds("net_packet_udp")
	kindPackets    = kinds("net_packet_ip") | kindTCP | kindUDP

	kindAlerts = kinds(kind.SetAlerts)
	kindLoss   = kinds(kind.SetLoss)

	kindMessages = kindResponse | kindRequest | kindDNS // a message as it was seen
)
