package sink

import "slices"

// Kind is a kind of sink that users can name.
type Kind struct {
	Scheme string   // of its URL
	Also   []string // other schemes that it goes by, such as the one with TLS
	Form   string   // how it is written
	Doc    string   // a line
	// Delivery says when an event counts as delivered, and what can be lost or come
	// twice.
	Delivery string
	Example  string // of --output
	Options  []Option
	// Format is the format of events when the user names none.
	Format string
	// Open checks the target and returns its sink, connected or not.
	Open func(*Target) (Sink, error)
}

// Option is something that can be said of a target. Its default is "" where there
// is none.
type Option struct {
	Name, Type, Default, Doc string
}

// Kinds lists every kind of sink.
var Kinds = []*Kind{
	&file,
	&stream,
	&syslog,
	&webhook,
	&fluent,
	&redis,
	&natsStream,
	&kafka,
	&clickhouse,
	&loki,
	&elastic,
	&otlp,
}

// Common are the options of all kinds.
var Common = []Option{
	{"format", "format", "", "output format of events, see --help"},
	{"filter", "expression", "", "only events for which this holds, see: dnshark fields"},
	{"fields", "keys", "", "of formats of JSON lines only these keys and what is below them, as time+event+dns.rcode"},
	{"name", "text", "", "name in counters and in event_id; default: its place among the outputs"},
	{"queue", "size", "16MB", "how much may wait; what is more is dropped and counted"},
	{"linger", "time", "200ms", "for how long events are gathered"},
	{"batch", "size", "256KB", "how much is gathered at most"},
	{"spool", "size", "", "keep events on disk until they are delivered, at most so much; then the oldest are dropped"},
	{"spool-dir", "path", "", "where; default: " + spoolRoot + "/NAME"},
}

// Find returns the kind with that scheme, or nil.
func Find(scheme string) *Kind {
	if i := slices.IndexFunc(Kinds, func(k *Kind) bool { return k.Scheme == scheme || slices.Contains(k.Also, scheme) }); i >= 0 {
		return Kinds[i]
	}
	return nil
}

// Schemes returns those of the kind.
func (k *Kind) Schemes() []string { return append([]string{k.Scheme}, k.Also...) }

// schemes returns those of all kinds.
func schemes() (list []string) {
	for _, k := range Kinds {
		list = append(list, k.Schemes()...)
	}
	return list
}
