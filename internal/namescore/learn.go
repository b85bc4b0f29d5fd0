package namescore

import (
	"math"
	"sort"
)

// Learn fills tables from chosen names, made-up names and words. Made-up names come by
// family, and each family counts the same.
func Learn(chosen []string, madeUp map[string][]string, words []string) *Tables {
	t := &Tables{}
	tri := make([]float64, len(t.Trigram))
	four, five := map[uint64]int{}, map[uint64]int{}
	tlds := map[uint64]int{}
	for _, name := range chosen {
		label, suffix := Split([]byte(name))
		s := withBoundaries(label)
		for i := 2; i < len(s); i++ {
			tri[(int(s[i-2])*symbols+int(s[i-1]))*symbols+int(s[i])]++
		}
		for i := 0; i+3 < len(s); i++ {
			run4 := uint64(s[i])<<24 | uint64(s[i+1])<<16 | uint64(s[i+2])<<8 | uint64(s[i+3])
			four[mix(run4|4<<40)]++
			if i+4 < len(s) {
				five[mix(run4<<8|uint64(s[i+4])|5<<56)]++
			}
		}
		tlds[hashText(suffix)&tldMask]++
	}
	// Seldom runs are smoothed with what follows one symbol.
	for a := range symbols {
		for b := range symbols {
			row := tri[(a*symbols+b)*symbols:][:symbols]
			sum := 0.0
			for _, v := range row {
				sum += v
			}
			var pair [symbols]float64
			pairs := 0.0
			for x := range symbols {
				for c := range symbols {
					v := tri[(x*symbols+b)*symbols+c]
					pair[c] += v
					pairs += v
				}
			}
			for c := range symbols {
				back := (pair[c] + 0.5) / (pairs + 0.5*symbols)
				p := (row[c] + 8*back) / (sum + 8)
				t.Trigram[(a*symbols+b)*symbols+c] = quantise(p)
			}
		}
	}
	for h, n := range four {
		if n >= 2 {
			set(&t.Four, h)
		}
	}
	for h, n := range five {
		if n >= 2 {
			set(&t.Five, h)
		}
	}
	for i := range t.TLD {
		t.TLD[i] = quantise((float64(tlds[uint64(i)]) + 0.5) / float64(len(chosen)+512))
	}
	for _, w := range words {
		if len(w) < minWord || len(w) > maxWord {
			continue
		}
		h := uint64(0)
		for i := range len(w) {
			h = wordHash(h, symbol(w[i]))
		}
		set(&t.Words, mix(h))
	}
	t.learnWeights(chosen, madeUp)
	return t
}

func quantise(p float64) uint8 { return uint8(min(255, math.Round(-16*math.Log2(p)))) }

func withBoundaries(label []byte) []uint8 {
	label = label[:min(len(label), maxLabel)]
	s := make([]uint8, len(label)+3)
	for i, c := range label {
		s[i+2] = symbol(c)
	}
	return s
}

// runs calls f with the hashes of all runs of two to four symbols.
func runs(s []uint8, f func(h uint64)) {
	n := len(s) - 3
	for i := range n + 1 {
		f(mix(uint64(s[i+1])<<8|uint64(s[i+2])|2<<40) & weightMask)
		f(mix(uint64(s[i])<<16|uint64(s[i+1])<<8|uint64(s[i+2])|3<<40) & weightMask)
		if i < n {
			f(mix(uint64(s[i])<<24|uint64(s[i+1])<<16|uint64(s[i+2])<<8|uint64(s[i+3])|4<<40) & weightMask)
		}
	}
}

// learnWeights compares how often runs are in made-up and in chosen names: naive
// Bayes, which knows nothing of how runs go together and so fits families less.
func (t *Tables) learnWeights(chosen []string, madeUp map[string][]string) {
	good, bad := make([]float64, weightMask+1), make([]float64, weightMask+1)
	goods, bads := 0.0, 0.0
	for _, name := range chosen {
		label, _ := Split([]byte(name))
		runs(withBoundaries(label), func(h uint64) { good[h]++; goods++ })
	}
	for _, family := range madeUp {
		each := float64(len(chosen)) / float64(len(madeUp)) / float64(len(family))
		for _, name := range family {
			label, _ := Split([]byte(name))
			runs(withBoundaries(label), func(h uint64) { bad[h] += each; bads += each })
		}
	}
	for h := range good {
		w := math.Log(((bad[h] + 2) / (bads + 2*weightMask)) / ((good[h] + 2) / (goods + 2*weightMask)))
		t.Weights[h] = int8(max(-127, min(127, math.Round(w*24))))
	}
}

// Boost fits trees to features: labels 1 made up, 0 chosen, each with a weight.
func Boost(xs []Features, ys []float32, weights []float32, trees, depth int, rate float64) *Trees {
	const bins = 64
	limits := [NumFeatures][]float32{}
	binned := make([][NumFeatures]uint8, len(xs))
	for f := range NumFeatures {
		values := make([]float32, 0, 20000)
		for i := 0; i < len(xs); i += max(1, len(xs)/20000) {
			values = append(values, xs[i][f])
		}
		sort.Slice(values, func(i, j int) bool { return values[i] < values[j] })
		var cut []float32
		for b := 1; b < bins; b++ {
			v := values[b*len(values)/bins]
			if len(cut) == 0 || v > cut[len(cut)-1] {
				cut = append(cut, v)
			}
		}
		limits[f] = cut
		for i := range xs {
			binned[i][f] = uint8(sort.Search(len(cut), func(k int) bool { return xs[i][f] <= cut[k] }))
		}
	}
	out := &Trees{}
	score := make([]float64, len(xs))
	g, h := make([]float64, len(xs)), make([]float64, len(xs))
	node := make([]int16, len(xs))
	for range trees {
		for i := range xs {
			p := 1 / (1 + math.Exp(-score[i]))
			g[i], h[i] = float64(weights[i])*(p-float64(ys[i])), float64(weights[i])*max(1e-6, p*(1-p))
			node[i] = 0
		}
		root := len(out.Nodes)
		out.Roots = append(out.Roots, int32(root))
		out.Nodes = append(out.Nodes, Node{Feature: -1})
		level := []int16{0}
		for d := 0; d <= depth && len(level) > 0; d++ {
			place := map[int16]int{}
			for k, n := range level {
				place[n] = k
			}
			hist := make([][NumFeatures][bins][2]float64, len(level))
			sums := make([][2]float64, len(level))
			for i := range xs {
				k, ok := place[node[i]]
				if !ok {
					continue
				}
				sums[k][0] += g[i]
				sums[k][1] += h[i]
				for f := range NumFeatures {
					b := binned[i][f]
					hist[k][f][b][0] += g[i]
					hist[k][f][b][1] += h[i]
				}
			}
			var next []int16
			for k, n := range level {
				at := root + int(n)
				out.Nodes[at].Value = float32(-rate * sums[k][0] / (sums[k][1] + 1))
				if d == depth {
					continue
				}
				const lambda, least = 1.0, 5.0
				base := sums[k][0] * sums[k][0] / (sums[k][1] + lambda)
				gain, feature, bin := 1e-3, -1, 0
				for f := range NumFeatures {
					var lg, lh float64
					for b := range limits[f] {
						lg += hist[k][f][b][0]
						lh += hist[k][f][b][1]
						rg, rh := sums[k][0]-lg, sums[k][1]-lh
						if lh < least || rh < least {
							continue
						}
						if v := lg*lg/(lh+lambda) + rg*rg/(rh+lambda) - base; v > gain {
							gain, feature, bin = v, f, b
						}
					}
				}
				if feature < 0 {
					continue
				}
				left := int16(len(out.Nodes) - root)
				out.Nodes = append(out.Nodes, Node{Feature: -1}, Node{Feature: -1})
				out.Nodes[at].Feature, out.Nodes[at].Limit = int8(feature), limits[feature][bin]
				out.Nodes[at].Left, out.Nodes[at].Right = left, left+1
				next = append(next, left, left+1)
				for i := range xs {
					if node[i] == n {
						if int(binned[i][feature]) <= bin {
							node[i] = left
						} else {
							node[i] = left + 1
						}
					}
				}
			}
			level = next
		}
		for i := range xs {
			score[i] += float64(out.Nodes[root+int(node[i])].Value)
		}
	}
	return out
}
