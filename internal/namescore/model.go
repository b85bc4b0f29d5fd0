package namescore

import (
	"bytes"
	"compress/gzip"
	_ "embed"
	"encoding/binary"
	"fmt"
	"io"
	"sync"
)

// packed is the model that train wrote; the lists that it is made of are not part of
// dnshark.
//
//go:embed model.bin
var packed []byte

// Model is what was learned.
type Model struct {
	Tables *Tables
	Each   *Trees // of one name
	Alike  *Trees // of names together
}

var load = sync.OnceValue(func() *Model {
	m, err := Decode(packed)
	if err != nil {
		panic(err) // the build is broken
	}
	return m
})

// Scorer scores names. It belongs to one worker; make it with New.
type Scorer struct {
	*Model
	features Features
	each     [MostTogether]Features
	words    []uint64
	runs     []uint32
}

// New returns a scorer with the model that dnshark was built with.
func New() *Scorer { return &Scorer{Model: load()} }

// Score returns the log-odds that a registered domain, in lower case and without final
// dot, was made up by a program: above Likely one in a hundred of chosen names is, above
// Surely one in a thousand. It allocates nothing.
func (s *Scorer) Score(registered []byte) float32 {
	s.features.Fill(s.Tables, registered)
	return s.Each.Score(&s.features)
}

// Encode returns the model as octets.
func (m *Model) Encode() []byte {
	var b bytes.Buffer
	w, _ := gzip.NewWriterLevel(&b, gzip.BestCompression)
	write := func(list ...any) {
		for _, v := range list {
			if err := binary.Write(w, binary.LittleEndian, v); err != nil {
				panic(err) // a buffer takes everything
			}
		}
	}
	write(m.Tables)
	for _, t := range []*Trees{m.Each, m.Alike} {
		write(t.Base, uint32(len(t.Nodes)), t.Nodes, uint32(len(t.Roots)), t.Roots)
	}
	if err := w.Close(); err != nil {
		panic(err)
	}
	return b.Bytes()
}

// Decode reads what Encode wrote.
func Decode(octets []byte) (*Model, error) {
	z, err := gzip.NewReader(bytes.NewReader(octets))
	if err != nil {
		return nil, err
	}
	const most = 4 << 20
	r := io.LimitReader(z, most)
	read := func(v any) {
		if err == nil {
			err = binary.Read(r, binary.LittleEndian, v)
		}
	}
	m := &Model{Tables: &Tables{}, Each: &Trees{}, Alike: &Trees{}}
	read(m.Tables)
	for _, t := range []*Trees{m.Each, m.Alike} {
		var nodes, roots uint32
		read(&t.Base)
		read(&nodes)
		if err == nil && nodes > most/16 {
			err = fmt.Errorf("%d nodes", nodes)
		}
		if err == nil {
			t.Nodes = make([]Node, nodes)
		}
		read(t.Nodes)
		read(&roots)
		if err == nil && roots > nodes {
			err = fmt.Errorf("%d roots of %d nodes", roots, nodes)
		}
		if err == nil {
			t.Roots = make([]int32, roots)
		}
		read(t.Roots)
	}
	return m, err
}
