// Command train learns to tell made-up domains from chosen ones, and prints how well
// that works on families that it was not shown.
//
//	go run ./internal/namescore/train -chosen chosen.txt -made-up DIRECTORY -words /usr/share/dict/words [-o model.bin]
package main

import (
	"bufio"
	"flag"
	"fmt"
	"hash/fnv"
	"log"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"sort"
	"strings"

	"github.com/dnshark-io/dnshark/internal/namescore"
)

func lines(path string) (list []string) {
	f, err := os.Open(path)
	if err != nil {
		log.Fatal(err)
	}
	defer f.Close()
	for s := bufio.NewScanner(f); s.Scan(); {
		if t := strings.ToLower(strings.TrimSpace(s.Text())); t != "" {
			list = append(list, t)
		}
	}
	return list
}

// part assigns a name to one of n parts.
func part(name string, n uint32) uint32 {
	h := fnv.New32a()
	h.Write([]byte(name))
	return h.Sum32() % n
}

const folds = 5

// windows are how many failed look-ups of a host are judged together.
var windows = []int{6, 8, 10, 20, 40}

// Windows of dead domains, drawn at random, may be taken for a program's once in a
// thousand times. Windows of chosen names that are alike for another reason, which few
// hosts have, once in a hundred.
const (
	deadShare  = 0.999
	alikeShare = 0.99
)

// likenesses are what such windows have in common.
var likenesses = []func(a, b string) bool{
	func(a, b string) bool { return suffix(a) == suffix(b) },
	func(a, b string) bool { return suffix(a) == suffix(b) && len(a)-len(b) <= 1 && len(b)-len(a) <= 1 },
	func(a, b string) bool { return len(a)-len(suffix(a)) == len(b)-len(suffix(b)) },
	func(a, b string) bool { return a[0] == b[0] && len(a) > 1 && len(b) > 1 && a[1] == b[1] },
	func(string, string) bool { return true },
}

func suffix(name string) string {
	_, s := namescore.Split([]byte(name))
	return string(s)
}

// pool is a list of names that windows are drawn from.
type pool struct {
	texts []string
	names []namescore.Name
}

func newPool(s *namescore.Scorer, texts []string) *pool {
	p := &pool{texts: texts, names: make([]namescore.Name, len(texts))}
	for i, t := range texts {
		s.Fill(&p.names[i], []byte(t))
	}
	return p
}

// draw returns n different names which are alike, nil where there are not as many.
func (p *pool) draw(r *rand.Rand, n int, alike func(a, b string) bool) (list []*namescore.Name) {
	first := r.IntN(len(p.texts))
	list = append(list, &p.names[first])
	// Steps of a prime come to all places in an order of their own.
	const step = 1_000_003
	for i := 1; i < len(p.texts) && len(list) < n; i++ {
		if at := (first + i*step) % len(p.texts); alike(p.texts[first], p.texts[at]) {
			list = append(list, &p.names[at])
		}
	}
	if len(list) < n {
		return nil
	}
	return list
}

// any draws without a likeness.
func (p *pool) any(r *rand.Rand, n int) (list []*namescore.Name) {
	for _, at := range r.Perm(len(p.names))[:min(n, len(p.names))] {
		list = append(list, &p.names[at])
	}
	return list
}

// quantile sorts the values.
func quantile(values []float64, share float64) float64 {
	sort.Float64s(values)
	return values[int(float64(len(values))*share)]
}

// data are what is learned from.
type data struct {
	chosen, extra, dead, words []string
	families                   map[string][]string
}

// without returns the data without a fold, and what is in the fold. The salt is of the
// folding, so that folds can be folded again.
func (d *data) without(fold uint32, salt string) (rest, held *data) {
	rest, held = &data{extra: d.extra, words: d.words}, &data{words: d.words}
	split := func(list []string) (out, in []string) {
		for _, v := range list {
			if part(v+salt, folds) == fold {
				in = append(in, v)
			} else {
				out = append(out, v)
			}
		}
		return out, in
	}
	rest.chosen, held.chosen = split(d.chosen)
	rest.dead, held.dead = split(d.dead)
	rest.families, held.families = map[string][]string{}, map[string][]string{}
	for i, name := range d.names() {
		if uint32(i)%folds == fold {
			held.families[name] = d.families[name]
		} else {
			rest.families[name] = d.families[name]
		}
	}
	return rest, held
}

func (d *data) names() []string { return slices.Sorted(maps.Keys(d.families)) }

func main() {
	log.SetFlags(0)
	chosenFile := flag.String("chosen", "", "registered domains that people chose, a line each")
	more := flag.String("more", "", "more of them, with some that are not, for the statistics of letters only")
	dir := flag.String("made-up", "", "a file per family")
	dead := flag.String("dead", "", "domains that people had and gave up, for windows of a host's failed look-ups")
	wordFile := flag.String("words", "", "words, a line each")
	out := flag.String("o", "", "write the model of all data here")
	flag.Parse()
	all := &data{chosen: lines(*chosenFile), dead: lines(*dead), words: lines(*wordFile), families: map[string][]string{}}
	if *more != "" {
		all.extra = lines(*more)
	}
	files, err := filepath.Glob(filepath.Join(*dir, "*.txt"))
	if err != nil || len(files) == 0 {
		log.Fatalf("%s: no families: %v", *dir, err)
	}
	for _, f := range files {
		all.families[strings.TrimSuffix(filepath.Base(f), ".txt")] = lines(f)
	}
	var sum1, sum01 float64
	hosts, words := map[int]float64{}, map[int]float64{} // sums over families, by window
	highest := map[int]float64{}
	for fold := range uint32(folds) {
		rest, held := all.without(fold, "")
		s := &namescore.Scorer{Model: learn(rest)}
		scores := each(s, held.chosen)
		limit1, limit01 := quantile(scores, 0.99), quantile(scores, 0.999)
		limits, wordLimits := windowLimits(s, held)
		fmt.Printf("fold %d: thresholds %.2f (FPR 1 %%), %.2f (0.1 %%), of %d chosen names; of windows %.2f\n", fold+1, limit1, limit01, len(held.chosen), byWindow(limits))
		for _, name := range held.names() {
			list := each(s, held.families[name])
			a, b := above(list, limit1), above(list, limit01)
			sum1, sum01 = sum1+a, sum01+b
			fmt.Printf("  %-18s %.3f %.3f", name, a, b)
			p := newPool(s, held.families[name])
			r := rand.New(rand.NewPCG(3, 4))
			for _, w := range windows {
				const rounds = 500
				found, byWords := 0, 0
				for range rounds {
					list := p.any(r, w)
					switch {
					case float64(s.Together(list)) > limits[w]:
						found++
					case wordScore(list) > wordLimits[w]:
						byWords++
					}
				}
				hosts[w] += float64(found) / rounds
				words[w] += float64(found+byWords) / rounds
				fmt.Printf("   %d: %.2f %.2f", w, float64(found)/rounds, float64(found+byWords)/rounds)
			}
			fmt.Println()
		}
		for w, l := range limits {
			highest[w] = max(highest[w], l)
		}
	}
	n := float64(len(all.families))
	fmt.Printf("macro over %.0f unseen families: TPR %.3f at FPR 1 %%, %.3f at 0.1 %%\n", n, sum1/n, sum01/n)
	for _, w := range windows {
		fmt.Printf("hosts after %d failed look-ups: %.3f found at a window FPR of 0.001, %.3f with words that come again; the highest limit was %.2f\n", w, hosts[w]/n, words[w]/n, highest[w])
	}
	// What is promised of names, and of hosts after ten.
	if sum1/n < 0.80 || sum01/n < 0.50 || words[10]/n < 0.90 {
		log.Fatal("this is below 0.80, 0.50 and 0.90")
	}
	if *out != "" {
		if err := os.WriteFile(*out, learn(all).Encode(), 0o644); err != nil {
			log.Fatal(err)
		}
	}
}

func each(s *namescore.Scorer, names []string) (list []float64) {
	for _, v := range names {
		list = append(list, float64(s.Score([]byte(v))))
	}
	return list
}

// above returns the share of values above a limit.
func above(list []float64, limit float64) float64 {
	k := 0.0
	for _, v := range list {
		if v > limit {
			k++
		}
	}
	return k / float64(len(list))
}

func byWindow(limits map[int]float64) (list []float64) {
	for _, w := range windows {
		list = append(list, limits[w])
	}
	return list
}

// wordScore is what the detector compares for names of word lists.
func wordScore(list []*namescore.Name) float64 {
	again, whole := namescore.Shared(list)
	return again * whole
}

// windowLimits returns, by window, what names must exceed to be taken for a program's:
// together, and by words that come again.
func windowLimits(s *namescore.Scorer, held *data) (limits, words map[int]float64) {
	limits, words = map[int]float64{}, map[int]float64{}
	r := rand.New(rand.NewPCG(1, 2))
	dead, chosen := newPool(s, held.dead), newPool(s, held.chosen)
	for _, w := range windows {
		var together, shared []float64
		for range 20_000 {
			list := dead.any(r, w)
			together, shared = append(together, float64(s.Together(list))), append(shared, wordScore(list))
		}
		limits[w], words[w] = max(0, quantile(together, deadShare)), quantile(shared, deadShare)
		for _, alike := range likenesses {
			var values []float64
			for range 2000 {
				if list := chosen.draw(r, w, alike); list != nil {
					values = append(values, float64(s.Together(list)))
				}
			}
			if len(values) > 500 {
				limits[w] = max(limits[w], quantile(values, alikeShare))
			}
		}
	}
	return limits, words
}

// learn learns all there is to know.
func learn(d *data) *namescore.Model {
	m := learnNames(d)
	// What names look like together is learned of names whose family, and of dead ones
	// that, the scores were not learned from: those of others would be too sure.
	const perFamily = 300
	r := rand.New(rand.NewPCG(5, 6))
	var xs []namescore.Features
	var ys, ws []float32
	for fold := range uint32(folds) {
		rest, held := d.without(fold, "//")
		s := &namescore.Scorer{Model: learnNames(rest)}
		add := func(list []*namescore.Name, y float32) {
			if list != nil {
				var f namescore.Features
				s.FillTogether(&f, list)
				xs, ys, ws = append(xs, f), append(ys, y), append(ws, 1)
			}
		}
		window := func() int { return windows[r.IntN(len(windows))] }
		for _, name := range held.names() {
			p := newPool(s, held.families[name])
			for range perFamily {
				add(p.any(r, window()), 1)
			}
		}
		dead, chosen := newPool(s, d.dead), newPool(s, held.chosen)
		for i := range perFamily * len(held.families) {
			add(dead.any(r, window()), 0)
			add(dead.any(r, window()), 0)
			from := chosen
			if i%2 == 0 {
				from = dead
			}
			add(from.draw(r, window(), likenesses[i/2%len(likenesses)]), 0)
		}
	}
	// Shallow trees: of windows there are many, of families few.
	const trees, depth, rate = 80, 2, 0.1
	m.Alike = namescore.Boost(xs, ys, ws, trees, depth, rate)
	return m
}

// learnNames fills tables from half of the names and fits trees to the other half: names
// look more familiar to statistics that they are part of.
func learnNames(d *data) *namescore.Model {
	const trees, depth, rate = 120, 3, 0.2
	var forTables, forTrees []string
	for _, c := range d.chosen {
		if part(c+"/", 10) < 7 {
			forTables = append(forTables, c)
		} else {
			forTrees = append(forTrees, c)
		}
	}
	inTrees := map[string]bool{}
	for _, c := range d.chosen {
		inTrees[c] = true
	}
	tableFamilies, treeFamilies := map[string][]string{}, map[string][]string{}
	for name, list := range d.families {
		for _, v := range list {
			if part(v+"/", 10) < 2 {
				tableFamilies[name] = append(tableFamilies[name], v)
			} else {
				treeFamilies[name] = append(treeFamilies[name], v)
			}
		}
	}
	for _, e := range d.extra {
		if !inTrees[e] {
			forTables = append(forTables, e)
		}
	}
	t := namescore.Learn(forTables, tableFamilies, d.words)
	var xs []namescore.Features
	var ys, ws []float32
	add := func(list []string, y, w float32) {
		for _, v := range list {
			var f namescore.Features
			f.Fill(t, []byte(v))
			xs, ys, ws = append(xs, f), append(ys, y), append(ws, w)
		}
	}
	add(forTrees, 0, 1)
	for _, list := range treeFamilies {
		add(list, 1, float32(len(forTrees))/2/float32(len(treeFamilies))/float32(len(list)))
	}
	return &namescore.Model{Tables: t, Each: namescore.Boost(xs, ys, ws, trees, depth, rate)}
}
