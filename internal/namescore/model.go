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

type model struct {
	tables *Tables
	trees  *Trees
}

var load = sync.OnceValue(func() *model {
	t, trees, err := Decode(packed)
	if err != nil {
		panic(err) // the build is broken
	}
	return &model{t, trees}
})

// Scorer scores names. It belongs to one worker; make it with New.
type Scorer struct {
	model    *model
	features Features
}

// New returns a scorer with the model that dnshark was built with.
func New() *Scorer { return &Scorer{model: load()} }

// Score returns the log-odds that a registered domain, in lower case and without final
// dot, was made up by a program: above Likely one in a hundred of chosen names is, above
// Surely one in a thousand. It allocates nothing.
func (s *Scorer) Score(registered []byte) float32 {
	s.features.Fill(s.model.tables, registered)
	return s.model.trees.Score(&s.features)
}

// Segment is that of Tables, with the words that dnshark was built with.
func (s *Scorer) Segment(dst []uint64, registered []byte) (words []uint64, uncovered int) {
	return s.model.tables.Segment(dst, registered)
}

// Encode returns a model as octets.
func Encode(t *Tables, trees *Trees) []byte {
	var b bytes.Buffer
	w, _ := gzip.NewWriterLevel(&b, gzip.BestCompression)
	for _, v := range []any{t, trees.Base, uint32(len(trees.Nodes)), trees.Nodes, uint32(len(trees.Roots)), trees.Roots} {
		if err := binary.Write(w, binary.LittleEndian, v); err != nil {
			panic(err) // a buffer takes everything
		}
	}
	if err := w.Close(); err != nil {
		panic(err)
	}
	return b.Bytes()
}

// Decode reads what Encode wrote.
func Decode(octets []byte) (*Tables, *Trees, error) {
	z, err := gzip.NewReader(bytes.NewReader(octets))
	if err != nil {
		return nil, nil, err
	}
	const most = 4 << 20
	r := io.LimitReader(z, most)
	t, trees := &Tables{}, &Trees{}
	read := func(v any) {
		if err == nil {
			err = binary.Read(r, binary.LittleEndian, v)
		}
	}
	var nodes, roots uint32
	read(t)
	read(&trees.Base)
	read(&nodes)
	if err == nil && nodes > most/16 {
		err = fmt.Errorf("%d nodes", nodes)
	}
	if err == nil {
		trees.Nodes = make([]Node, nodes)
	}
	read(trees.Nodes)
	read(&roots)
	if err == nil && roots > nodes {
		err = fmt.Errorf("%d roots of %d nodes", roots, nodes)
	}
	if err == nil {
		trees.Roots = make([]int32, roots)
	}
	read(trees.Roots)
	return t, trees, err
}
