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
	"math/rand/v2"
	"os"
	"path/filepath"
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
var windows = []int{5, 10, 20, 40}

// clipped is a score as detectors count it: one name must not decide.
func clipped(v float64) float64 { return max(-6, min(8, v)) }

// mean returns the mean score of n names drawn at random.
func mean(r *rand.Rand, scores []float64, n int) (sum float64) {
	for range n {
		sum += clipped(scores[r.IntN(len(scores))])
	}
	return sum / float64(n)
}

// windowLimit returns the mean that one in a thousand windows of n names exceeds.
func windowLimit(scores []float64, n int) float64 {
	r := rand.New(rand.NewPCG(1, 2))
	means := make([]float64, 50_000)
	for i := range means {
		means[i] = mean(r, scores, n)
	}
	sort.Float64s(means)
	return means[len(means)*999/1000]
}

// windowShare returns the share of windows of n names whose mean exceeds the limit.
func windowShare(scores []float64, n int, limit float64) float64 {
	r := rand.New(rand.NewPCG(3, 4))
	const rounds = 1000
	above := 0
	for range rounds {
		if mean(r, scores, n) > limit {
			above++
		}
	}
	return float64(above) / rounds
}

func main() {
	log.SetFlags(0)
	chosenFile := flag.String("chosen", "", "registered domains that people chose, a line each")
	more := flag.String("more", "", "more of them, with some that are not, for the statistics of letters only")
	dir := flag.String("made-up", "", "a file per family")
	dead := flag.String("dead", "", "domains that people had and gave up, for windows of a host's failed look-ups")
	wordFile := flag.String("words", "", "words, a line each")
	trees := flag.Int("trees", 120, "number of trees")
	depth := flag.Int("depth", 3, "of a tree")
	rate := flag.Float64("rate", 0.2, "how much a tree counts")
	out := flag.String("o", "", "write the model of all data here")
	flag.Parse()
	chosen, words := lines(*chosenFile), lines(*wordFile)
	var extra []string
	if *more != "" {
		extra = lines(*more)
	}
	families := map[string][]string{}
	var names []string
	files, err := filepath.Glob(filepath.Join(*dir, "*.txt"))
	if err != nil || len(files) == 0 {
		log.Fatalf("%s: no families: %v", *dir, err)
	}
	for _, f := range files {
		n := strings.TrimSuffix(filepath.Base(f), ".txt")
		families[n] = lines(f)
		names = append(names, n)
	}
	sort.Strings(names)
	var sum1, sum01, n float64
	var given []string
	if *dead != "" {
		given = lines(*dead)
	}
	hosts := map[int]float64{} // sums over families, by window
	for fold := range uint32(folds) {
		known, unknown := map[string][]string{}, map[string][]string{}
		for i, name := range names {
			if uint32(i)%folds == fold {
				unknown[name] = families[name]
			} else {
				known[name] = families[name]
			}
		}
		var train, test []string
		for _, c := range chosen {
			if part(c, folds) == fold {
				test = append(test, c)
			} else {
				train = append(train, c)
			}
		}
		t, model := learn(train, extra, known, words, *trees, *depth, *rate)
		scores := score(t, model, test)
		sort.Float64s(scores)
		limits := map[int]float64{}
		var deadScores []float64
		if len(given) > 0 {
			deadScores = score(t, model, given)
			for _, w := range windows {
				limits[w] = windowLimit(deadScores, w)
			}
		}
		limit1, limit01 := scores[len(scores)*99/100], scores[len(scores)*999/1000]
		fmt.Printf("fold %d: thresholds %.2f (FPR 1 %%), %.2f (0.1 %%), of %d chosen names\n", fold+1, limit1, limit01, len(test))
		for _, name := range names {
			if unknown[name] == nil {
				continue
			}
			s := score(t, model, unknown[name])
			tpr := func(limit float64) float64 {
				k := 0.0
				for _, v := range s {
					if v > limit {
						k++
					}
				}
				return k / float64(len(s))
			}
			a, b := tpr(limit1), tpr(limit01)
			sum1, sum01, n = sum1+a, sum01+b, n+1
			fmt.Printf("  %-18s %.3f %.3f", name, a, b)
			for _, w := range windows {
				if len(given) > 0 {
					share := windowShare(s, w, limits[w])
					hosts[w] += share
					fmt.Printf("   %d: %.2f", w, share)
				}
			}
			fmt.Println()
		}
	}
	fmt.Printf("macro over %.0f unseen families: TPR %.3f at FPR 1 %%, %.3f at 0.1 %%\n", n, sum1/n, sum01/n)
	for _, w := range windows {
		if len(given) > 0 {
			fmt.Printf("hosts after %d failed look-ups, by their mean score: %.3f found at a window FPR of 0.001\n", w, hosts[w]/n)
		}
	}
	if *out != "" {
		t, model := learn(chosen, extra, families, words, *trees, *depth, *rate)
		if err := os.WriteFile(*out, namescore.Encode(t, model), 0o644); err != nil {
			log.Fatal(err)
		}
	}
}

// learn fills tables from half of the names and fits trees to the other half: names
// look more familiar to statistics that they are part of.
func learn(chosen, extra []string, families map[string][]string, words []string, trees, depth int, rate float64) (*namescore.Tables, *namescore.Trees) {
	var forTables, forTrees []string
	for _, c := range chosen {
		if part(c+"/", 10) < 7 {
			forTables = append(forTables, c)
		} else {
			forTrees = append(forTrees, c)
		}
	}
	inTrees := map[string]bool{}
	for _, c := range chosen {
		inTrees[c] = true
	}
	tableFamilies, treeFamilies := map[string][]string{}, map[string][]string{}
	for name, list := range families {
		for _, v := range list {
			if part(v+"/", 10) < 2 {
				tableFamilies[name] = append(tableFamilies[name], v)
			} else {
				treeFamilies[name] = append(treeFamilies[name], v)
			}
		}
	}
	for _, e := range extra {
		if !inTrees[e] {
			forTables = append(forTables, e)
		}
	}
	t := namescore.Learn(forTables, tableFamilies, words)
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
	return t, namescore.Boost(xs, ys, ws, trees, depth, rate)
}

func score(t *namescore.Tables, model *namescore.Trees, names []string) (list []float64) {
	for _, v := range names {
		var f namescore.Features
		f.Fill(t, []byte(v))
		list = append(list, float64(model.Score(&f)))
	}
	return list
}
