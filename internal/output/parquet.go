package output

import (
	"math/bits"
	"slices"
	"strings"

	"github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/compress/zstd"

	"github.com/dnshark-io/dnshark/event"
	"github.com/dnshark-io/dnshark/internal/kind"
)

// parquetFormat is a Parquet file. Its columns are the paths of package event, with
// _ for the dots: a filter's dns.rcode is the column dns_rcode, null where an event
// has no value. Names are in lower case, text is as in filters; what filters cannot
// ask for is not in there.
//
// Lists of records, of questions and of ancestors are lists of structs, as DuckDB,
// ClickHouse and Spark read them. Numbers are signed 64 bits and times are
// microseconds, because not all readers take others; time_ns has the rest.
//
// A file can be read once it was closed: its table of contents is at the end.
var parquetFormat = Format{
	Name:   "parquet",
	Doc:    "Parquet file, a column per field, for DuckDB, ClickHouse, Spark",
	Binary: true,
	Whole:  true,
	New:    func(Settings) (Encoder, error) { return newParquet(), nil },
}

// Bounds of a row group, which is kept in memory until it is whole, and of what is
// put into columns at a time: octets of messages, times what their text may take.
const (
	parquetRows  = 1 << 15
	parquetGroup = 16 << 20
	parquetChunk = 1 << 20
)

// parquetEncoder gathers events. What it appends is what the file has got by then.
type parquetEncoder struct {
	w       *parquet.GenericWriter[any]
	columns []parquetColumn
	file    pending
	begun   bool
	rows    int
	octets  int

	values []parquet.Value
	text   []byte
	chunk  []parquetRow
}

// parquetRow is an event as one of its kinds.
type parquetRow struct {
	e    *event.Event
	kind int
}

// parquetColumn is a column, or a part of one that is a list of structs.
type parquetColumn struct {
	name   string // in the list, "" for a list of single values
	list   string // of the list, "" where there is none
	node   parquet.Node
	at     int // index of the leaf
	levels int // of a value's definition
	none   parquet.Value
	// add appends the values of an event, each with its levels.
	add func(p *parquetEncoder, c *parquetColumn, row *parquetRow)
}

// parquetMagic begins a file. The encoder writes it itself, with the first event,
// so that it is seen to have begun.
const parquetMagic = "PAR1"

// pending is what was written and not handed over.
type pending struct {
	text []byte
	skip int
}

func (p *pending) Write(b []byte) (int, error) {
	n := min(p.skip, len(b))
	p.skip -= n
	p.text = append(p.text, b[n:]...)
	return len(b), nil
}

func newParquet() *parquetEncoder {
	p := &parquetEncoder{columns: parquetColumns()}
	root := parquetGroupNode{}
	for i := range p.columns {
		switch c := &p.columns[i]; {
		case c.list == "":
			root.add(c.name, c.node)
		case c.name == "":
			root.add(c.list, parquet.List(c.node))
		default:
			if i == 0 || p.columns[i-1].list != c.list {
				element := &parquetGroupNode{}
				for _, part := range p.columns[i:] {
					if part.list != c.list {
						break
					}
					element.add(part.name, part.node)
				}
				root.add(c.list, parquet.List(element))
			}
		}
	}
	schema := parquet.NewSchema("events", &root)
	for i := range p.columns {
		c := &p.columns[i]
		path := []string{c.name}
		if c.list != "" {
			if path = []string{c.list, "list", "element"}; c.name != "" {
				path = append(path, c.name)
			}
		}
		leaf, ok := schema.Lookup(path...)
		if !ok {
			panic("no column " + strings.Join(path, "."))
		}
		c.at, c.levels = leaf.ColumnIndex, leaf.MaxDefinitionLevel
		c.none = parquet.Value{}.Level(0, 0, c.at)
	}
	p.w = parquet.NewGenericWriter[any](&p.file, schema, parquet.Compression(&zstd.Codec{Level: zstd.SpeedDefault}),
		parquet.CreatedBy("dnshark", "", ""), parquet.PageBufferSize(64<<10), parquet.DictionaryMaxBytes(1<<20),
		parquet.ColumnIndexSizeLimit(func([]string) int { return 64 }))
	return p
}

// parquetGroupNode is a group whose fields stay in order; parquet.Group sorts them.
type parquetGroupNode struct {
	parquet.Group
	fields []parquet.Field
}

func (g *parquetGroupNode) add(name string, n parquet.Node) {
	if g.Group == nil {
		g.Group = parquet.Group{}
	}
	g.Group[name] = n
	g.fields = append(g.fields, parquet.Group{name: n}.Fields()...)
}

// Fields implements parquet.Node.
func (g *parquetGroupNode) Fields() []parquet.Field { return g.fields }

// parquetTwice are paths whose values another column has.
func parquetTwice(name string) bool {
	return slices.Contains([]string{"qname", "qtype", "qclass"}, name) ||
		slices.ContainsFunc([]string{"answer.", "authority.", "additional."}, func(p string) bool { return strings.HasPrefix(name, p) })
}

// parquetColumns returns the columns. The parts of a list stand together, as in
// event.Paths.
func parquetColumns() []parquetColumn {
	columns := []parquetColumn{
		{name: "time", node: parquet.Encoded(parquet.Timestamp(parquet.Microsecond), &parquet.DeltaBinaryPacked), add: func(p *parquetEncoder, c *parquetColumn, row *parquetRow) {
			p.put(parquet.Int64Value(row.e.Time/1000), 0, c)
		}},
		{name: "time_ns", node: parquet.Encoded(parquet.Int(64), &parquet.DeltaBinaryPacked), add: func(p *parquetEncoder, c *parquetColumn, row *parquetRow) {
			p.put(parquet.Int64Value(row.e.Time), 0, c)
		}},
		{name: "event", node: parquet.Encoded(parquet.String(), &parquet.RLEDictionary), add: func(p *parquetEncoder, c *parquetColumn, row *parquetRow) {
			p.put(parquet.ByteArrayValue([]byte(kind.Catalogue[row.kind].Name)), 0, c)
		}},
	}
	lists := map[string]int{} // how many lists stand below a name
	for _, path := range event.Paths {
		if path.List {
			lists[above(path.Name)]++
		}
	}
	for _, path := range event.Paths {
		if path.Name == "time" || parquetTwice(path.Name) {
			continue
		}
		c := parquetColumn{node: parquetNode(path), name: strings.ReplaceAll(path.Name, ".", "_")}
		switch {
		case !path.List:
			c.add = func(p *parquetEncoder, c *parquetColumn, row *parquetRow) { p.one(c, path, row.e) }
			if path.Count != nil || path.Kind == event.KindAddr {
				c.node = parquet.Optional(c.node)
			}
		case above(path.Name) != "" && lists[above(path.Name)] > 1:
			c.list = strings.ReplaceAll(above(path.Name), ".", "_")
			c.name = path.Name[len(c.list)+1:]
			fallthrough
		default:
			if c.list == "" {
				c.list, c.name = c.name, ""
			}
			if path.Kind == event.KindAddr { // not every record has one
				c.node = parquet.Optional(c.node)
			}
			c.add = func(p *parquetEncoder, c *parquetColumn, row *parquetRow) { p.many(c, path, row.e) }
		}
		columns = append(columns, c)
	}
	return columns
}

// above returns a path's name without its last word.
func above(name string) string { return name[:max(strings.LastIndexByte(name, '.'), 0)] }

func parquetNode(p *event.Path) parquet.Node {
	switch p.Kind {
	case event.KindNumber:
		return parquet.Encoded(parquet.Int(64), &parquet.RLEDictionary)
	case event.KindTime:
		return parquet.Encoded(parquet.Timestamp(parquet.Microsecond), &parquet.RLEDictionary)
	case event.KindBool:
		return parquet.Leaf(parquet.BooleanType)
	}
	return parquet.Encoded(parquet.String(), &parquet.RLEDictionary)
}

// put appends a value that is there, or the first of several.
func (p *parquetEncoder) put(v parquet.Value, repetition int, c *parquetColumn) {
	v.SetRepetitionLevel(repetition)
	v.SetDefinitionLevel(c.levels)
	v.SetColumnIndex(c.at)
	p.values = append(p.values, v)
}

func (p *parquetEncoder) one(c *parquetColumn, path *event.Path, e *event.Event) {
	if path.Values(e) > 0 {
		if v := p.value(path, e, 0); !v.IsNull() {
			p.put(v, 0, c)
			return
		}
	}
	p.values = append(p.values, c.none)
}

func (p *parquetEncoder) many(c *parquetColumn, path *event.Path, e *event.Event) {
	n := path.Values(e)
	if n == 0 {
		p.values = append(p.values, c.none)
		return
	}
	for i := range n {
		v, repetition := p.value(path, e, i), min(i, 1)
		if v.IsNull() {
			p.values = append(p.values, v.Level(repetition, c.levels-1, c.at))
			continue
		}
		p.put(v, repetition, c)
	}
}

// value returns a path's value, null for an address that there is not. Text is in
// p.text, or in what that was before it grew.
func (p *parquetEncoder) value(path *event.Path, e *event.Event, i int) parquet.Value {
	at := len(p.text)
	switch path.Kind {
	case event.KindNumber:
		return parquet.Int64Value(int64(path.Number(e, i)))
	case event.KindTime:
		return parquet.Int64Value(int64(path.Number(e, i)) / 1000)
	case event.KindBool:
		return parquet.BooleanValue(path.Bool(e, i))
	case event.KindAddr:
		a := path.Addr(e, i)
		if !a.IsValid() {
			return parquet.Value{}
		}
		p.text = event.AppendAddr(p.text, a)
	default:
		p.text = path.Text(p.text, e, i)
	}
	return parquet.ByteArrayValue(p.text[at:len(p.text):len(p.text)])
}

// Append implements Encoder.
func (p *parquetEncoder) Append(dst []byte, b *event.Batch) []byte {
	octets := 0
	for i := range b.Events {
		e := &b.Events[i]
		for kinds := e.Kinds; kinds != 0; kinds &= kinds - 1 {
			p.chunk = append(p.chunk, parquetRow{e, bits.TrailingZeros32(kinds)})
			if octets += len(e.Msg.Raw) + len(e.Msg.Records)*64; octets >= parquetChunk {
				p.write(octets)
				octets = 0
			}
		}
	}
	p.write(octets)
	return p.take(dst)
}

// write puts the chunk into the columns.
func (p *parquetEncoder) write(octets int) {
	if len(p.chunk) == 0 {
		return
	}
	if !p.begun {
		p.begun = true
		p.file = pending{append(p.file.text, parquetMagic...), len(parquetMagic)}
	}
	writers := p.w.ColumnWriters()
	for i := range p.columns {
		c := &p.columns[i]
		p.values, p.text = p.values[:0], p.text[:0]
		for j := range p.chunk {
			c.add(p, c, &p.chunk[j])
		}
		_, err := writers[c.at].WriteRowValues(p.values)
		must(err)
	}
	p.rows += len(p.chunk)
	p.octets += octets
	p.chunk = p.chunk[:0]
	if p.rows >= parquetRows || p.octets >= parquetGroup {
		p.rows, p.octets = 0, 0
		must(p.w.Flush())
	}
}

// must ends what cannot be: values that are not of their columns. Memory is all
// that is written to.
func must(err error) {
	if err != nil {
		panic(err)
	}
}

// take appends what was written since.
func (p *parquetEncoder) take(dst []byte) []byte {
	dst = append(dst, p.file.text...)
	p.file.text = p.file.text[:0]
	return dst
}

// Header implements Framed.
func (p *parquetEncoder) Header(dst []byte) []byte { return dst }

// Trailer implements Framed: the last row group and the table of contents. What is
// appended next begins another file.
func (p *parquetEncoder) Trailer(dst []byte) []byte {
	must(p.w.Close())
	dst = p.take(dst)
	p.w.Reset(&p.file)
	p.begun, p.rows, p.octets = false, 0, 0
	return dst
}
