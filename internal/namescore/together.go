package namescore

import (
	"bytes"
	"math"
	"slices"
)

// One program makes names that are alike: of one length, under the same suffixes, with
// the same share of vowels, of the same words. People's names are not. So names that a
// host failed to look up are judged together: how made up they look on average, and how
// much they differ.

// MostTogether is how many names are judged together at most.
const MostTogether = 40

// Name is what is kept of a registered domain. Longer ones than MaxName are cut.
type Name struct {
	Score float32   // as Clipped returns it
	Words [3]uint32 // hashes of its first words, 0 for none
	Whole bool      // two to four words are all that its label is made of
	size  uint8
	text  [MaxName]byte
}

// MaxName is how much of a registered domain a Name keeps.
const MaxName = 48

// Text returns the domain.
func (n *Name) Text() []byte { return n.text[:n.size] }

// Clipped is Score within bounds, so that one name does not decide about many.
func (s *Scorer) Clipped(registered []byte) float32 { return max(-6, min(8, s.Score(registered))) }

// Fill sets the name to a registered domain in lower case, without final dot.
func (s *Scorer) Fill(n *Name, registered []byte) {
	*n = Name{Score: s.Clipped(registered)}
	n.size = uint8(copy(n.text[:], registered))
	words, uncovered := s.Tables.Segment(s.words[:0], registered)
	s.words = words
	n.Whole = uncovered <= 1 && len(words) >= 2 && len(words) <= 4
	for i := range words[:min(len(words), len(n.Words))] {
		n.Words[i] = uint32(words[i]) | 1
	}
}

// Together returns the log-odds that one program made all names, of one to MostTogether.
func (s *Scorer) Together(names []*Name) float32 {
	s.FillTogether(&s.features, names)
	return s.Alike.Score(&s.features)
}

// FillTogether computes the features of names together.
func (s *Scorer) FillTogether(f *Features, names []*Name) {
	names = names[:min(len(names), MostTogether)]
	each := s.each[:len(names)]
	for i, n := range names {
		each[i].Fill(s.Tables, n.Text())
	}
	k := 0
	put := func(v float64) { f[k] = float32(v); k++ }
	both := func(mean, deviation float64) { put(mean); put(deviation) }
	share := func(is func(i int) bool) {
		count := 0
		for i := range names {
			if is(i) {
				count++
			}
		}
		put(float64(count) / float64(len(names)))
	}

	*f = Features{}
	put(float64(len(names)))
	var scores [MostTogether]float32
	for i, n := range names {
		scores[i] = n.Score
	}
	sorted := scores[:len(names)]
	both(spread(len(names), func(i int) float32 { return scores[i] }))
	slices.Sort(sorted)
	put(float64(sorted[len(names)/4]))
	put(float64(sorted[len(names)/2]))
	both(column(each, ofLength))
	share(func(i int) bool { return isNewSuffix(names[:i], names[i]) })
	for _, which := range []int{ofCost, ofVowels, ofAlternation, ofCover, ofVariety, ofWeight} {
		both(column(each, which))
	}
	_, deviation := column(each, ofDigits)
	put(deviation)
	share(func(i int) bool { return each[i][ofDigits] > 0 })
	share(func(i int) bool { return each[i][ofHyphens] > 0 })
	again, whole := Shared(names)
	put(again)
	put(whole)
	put(s.sharedRuns(names))
	for _, which := range []int{ofSuffix, ofConsonants} {
		mean, _ := column(each, which)
		put(mean)
	}
}

// column is spread of one feature.
func column(each []Features, which int) (mean, deviation float64) {
	return spread(len(each), func(i int) float32 { return each[i][which] })
}

// spread returns the mean and the standard deviation of n values.
func spread(n int, value func(i int) float32) (mean, deviation float64) {
	for i := range n {
		mean += float64(value(i))
	}
	mean /= float64(n)
	for i := range n {
		d := float64(value(i)) - mean
		deviation += d * d
	}
	return mean, math.Sqrt(deviation / float64(n))
}

// isNewSuffix reports whether no name before has the suffix of a name.
func isNewSuffix(before []*Name, n *Name) bool {
	_, suffix := Split(n.Text())
	return !slices.ContainsFunc(before, func(b *Name) bool {
		_, other := Split(b.Text())
		return bytes.Equal(suffix, other)
	})
}

// Shared returns how many words come again, per name, and the share of names that words
// cover.
func Shared(names []*Name) (again, whole float64) {
	for i, n := range names {
		if n.Whole {
			whole++
		}
		for _, w := range n.Words {
			if w != 0 && slices.ContainsFunc(names[:i], func(b *Name) bool { return slices.Contains(b.Words[:], w) }) {
				again++
			}
		}
	}
	return again / float64(len(names)), whole / float64(len(names))
}

// sharedRuns returns the share of runs of four octets of labels that another name, or
// the same one, has too.
func (s *Scorer) sharedRuns(names []*Name) float64 {
	runs := s.runs[:0]
	for _, n := range names {
		label, _ := Split(n.Text())
		for ; len(label) >= 4; label = label[1:] {
			runs = append(runs, uint32(label[0])<<24|uint32(label[1])<<16|uint32(label[2])<<8|uint32(label[3]))
		}
	}
	s.runs = runs
	slices.Sort(runs) // a table of hashes could be made to collide
	again := 0
	for i := 1; i < len(runs); i++ {
		if runs[i] == runs[i-1] {
			again++
		}
	}
	return float64(again) / float64(max(1, len(runs)))
}
