// Package namescore tells how much a registered domain looks as if a program had made
// it up: by what letters follow each other in names that people chose, by words, digits
// and shape. The score is of the name alone; one name proves little.
package namescore

import "math/bits"

// What scores mean: see Scorer.Score.
const (
	Likely = 1.2
	Surely = 4
)

// NumFeatures is how many features a name has.
const NumFeatures = 30

// Features are what the trees compare.
type Features [NumFeatures]float32

// Places of the features that are looked at of many names together.
const (
	ofLength      = 0
	ofDigits      = 2 // their share
	ofVowels      = 4 // their share
	ofConsonants  = 5 // the longest run
	ofVariety     = 6 // different symbols, per symbol
	ofCost        = 7 // of what follows what, per symbol
	ofWeight      = 12
	ofCover       = 13 // by words
	ofHyphens     = 16
	ofSuffix      = 18
	ofAlternation = 28 // of vowels and others
)

// maxLabel is how much of a label is looked at.
const maxLabel = 32

const (
	symbols   = 38 // boundary, a to z, 0 to 9, everything else
	lettersAt = 1
	digitsAt  = 27
	other     = 37
)

func symbol(c byte) uint8 {
	switch {
	case 'a' <= c && c <= 'z':
		return lettersAt + c - 'a'
	case '0' <= c && c <= '9':
		return digitsAt + c - '0'
	}
	return other
}

// Tables are what was learned of names that people chose, and of made-up ones.
type Tables struct {
	// Trigram is -16 log2 of the probability of a symbol after two others, at most 255.
	Trigram [symbols * symbols * symbols]uint8
	// Four and Five are Bloom filters of runs of four and five symbols that several
	// chosen names have; Words of words.
	Four, Five, Words [1 << 14]uint64
	// Weights are of hashed runs of two to four symbols: made-up against chosen, x64.
	Weights [1 << 15]int8
	// TLD is -16 log2 of a hashed public suffix's share of chosen names.
	TLD [1 << 10]uint8
}

const (
	filterMask = 1<<20 - 1
	weightMask = 1<<15 - 1
	tldMask    = 1<<10 - 1
	prime      = 0x9e3779b97f4a7c15
)

func mix(h uint64) uint64 {
	h ^= h >> 32
	h *= prime
	return h ^ h>>29
}

func has(f *[1 << 14]uint64, h uint64) bool {
	a, b := h&filterMask, h>>20&filterMask
	return f[a/64]>>(a%64)&1 == 1 && f[b/64]>>(b%64)&1 == 1
}

func set(f *[1 << 14]uint64, h uint64) {
	a, b := h&filterMask, h>>20&filterMask
	f[a/64] |= 1 << (a % 64)
	f[b/64] |= 1 << (b % 64)
}

// wordHash extends the hash of a word by a symbol; begin with 0.
func wordHash(h uint64, s uint8) uint64 { return (h + uint64(s) + 1) * prime }

// Split divides a registered domain into its first label and the public suffix. Both
// may be empty.
func Split(registered []byte) (label, suffix []byte) {
	for i, c := range registered {
		if c == '.' {
			return registered[:i], registered[i+1:]
		}
	}
	return registered, nil
}

func hashText(text []byte) uint64 {
	h := uint64(len(text))
	for _, c := range text {
		h = (h ^ uint64(c)) * prime
	}
	return mix(h)
}

const (
	minWord = 3
	maxWord = 12
)

// Fill computes the features of a registered domain in lower case.
func (f *Features) Fill(t *Tables, registered []byte) {
	label, suffix := Split(registered)
	*f = Features{}
	whole := len(label)
	label = label[:min(len(label), maxLabel)]
	n := len(label)
	if n == 0 {
		return
	}
	var s [maxLabel + 3]uint8 // two boundaries before, one behind
	for i, c := range label {
		s[i+2] = symbol(c)
	}
	var seen uint64
	var digits, vowels, consonants, run, longestRun, changes, hyphens, hex, digitRun, longestDigits int
	for i := range n {
		c := s[i+2]
		seen |= 1 << c
		isDigit := c >= digitsAt && c < other
		if isDigit {
			digits++
			digitRun++
			longestDigits = max(longestDigits, digitRun)
		} else {
			digitRun = 0
		}
		if c == other {
			hyphens++
		}
		if isDigit || c >= lettersAt && c < lettersAt+6 {
			hex++
		}
		if i > 0 {
			before := s[i+1]
			if wasDigit := before >= digitsAt && before < other; wasDigit != isDigit {
				changes++
			}
		}
		if isVowel(c) {
			vowels++
			run = 0
		} else if c < digitsAt {
			consonants++
			run++
			longestRun = max(longestRun, run)
		} else {
			run = 0
		}
	}
	// What follows what.
	total, window, worst, best := 0, 0, 0, 1<<30
	var costs [maxLabel + 1]int
	for i := range n + 1 {
		c := int(t.Trigram[(int(s[i])*symbols+int(s[i+1]))*symbols+int(s[i+2])])
		costs[i] = c
		total += c
		window += c
		if i >= 5 {
			window -= costs[i-5]
		}
		if i >= 4 || i == n {
			worst, best = max(worst, window), min(best, window)
		}
	}
	four, five, weight, two := 0, 0, 0, 0
	for i := range n + 1 {
		h2 := mix(uint64(s[i+1])<<8 | uint64(s[i+2]) | 2<<40)
		weight += int(t.Weights[h2&weightMask])
		h3 := mix(uint64(s[i])<<16 | uint64(s[i+1])<<8 | uint64(s[i+2]) | 3<<40)
		weight += int(t.Weights[h3&weightMask])
		two += 2
		if i+3 >= n+3 || i >= n {
			continue
		}
		run4 := uint64(s[i])<<24 | uint64(s[i+1])<<16 | uint64(s[i+2])<<8 | uint64(s[i+3])
		h4 := mix(run4 | 4<<40)
		weight += int(t.Weights[h4&weightMask])
		two++
		if has(&t.Four, h4) {
			four++
		}
		if i+4 < n+3 && has(&t.Five, mix(run4<<8|uint64(s[i+4])|5<<56)) {
			five++
		}
	}
	highest, unlikely, alternate := 0, 0, 0
	for i, c := range costs[:n+1] {
		highest = max(highest, c)
		if c > 16*7 {
			unlikely++
		}
		if i > 0 && i < n && isVowel(s[i+2]) != isVowel(s[i+1]) {
			alternate++
		}
	}
	covered, words, longest := t.cover(s[2 : 2+n])

	l := float32(n)
	f[ofLength] = float32(whole)
	f[1] = float32(digits)
	f[ofDigits] = float32(digits) / l
	f[3] = float32(changes)
	f[ofVowels] = float32(vowels) / max(1, float32(vowels+consonants))
	f[ofConsonants] = float32(longestRun)
	f[ofVariety] = float32(bits.OnesCount64(seen)) / l
	f[ofCost] = float32(total) / (l + 1)
	f[8] = float32(worst)
	f[9] = float32(best)
	f[10] = float32(four) / l
	f[11] = float32(five) / l
	f[ofWeight] = float32(weight) / float32(two)
	f[ofCover] = float32(covered) / l
	f[14] = float32(words)
	f[15] = float32(longest)
	f[ofHyphens] = float32(hyphens)
	f[17] = float32(hex) / l
	f[ofSuffix] = float32(t.TLD[hashText(suffix)&tldMask])
	f[19] = float32(total)
	f[20] = float32(longestDigits)
	f[21] = float32(n - covered)
	f[22] = float32(weight)
	f[23] = float32(words) / l
	f[24] = float32(five)
	f[25] = float32(len(suffix))
	f[26] = float32(highest)
	f[27] = float32(unlikely) / l
	f[ofAlternation] = float32(alternate) / l
	f[29] = float32(four)
}

// cover finds words in symbols: how many symbols they cover at most, how many words
// that takes, and the length of the longest.
func (t *Tables) cover(s []uint8) (covered, words, longest int) {
	var most [maxLabel + 1]uint8 // symbols covered in s[:i]
	var count [maxLabel + 1]uint8
	for i := range len(s) {
		if most[i] > most[i+1] || most[i+1] == 0 {
			most[i+1], count[i+1] = most[i], count[i]
		}
		h := uint64(0)
		for j := i; j < len(s) && j-i < maxWord; j++ {
			if s[j] >= digitsAt {
				break
			}
			h = wordHash(h, s[j])
			size := j - i + 1
			if size < minWord || !has(&t.Words, mix(h)) {
				continue
			}
			if size == minWord && len(s) > 6 && most[i] == 0 && i > 0 {
				continue // short words are everywhere
			}
			longest = max(longest, size)
			if c := most[i] + uint8(size); c > most[j+1] || c == most[j+1] && count[i]+1 < count[j+1] {
				most[j+1], count[j+1] = c, count[i]+1
			}
		}
	}
	return int(most[len(s)]), int(count[len(s)]), longest
}

func isVowel(c uint8) bool {
	switch c {
	case lettersAt, lettersAt + 'e' - 'a', lettersAt + 'i' - 'a', lettersAt + 'o' - 'a', lettersAt + 'u' - 'a', lettersAt + 'y' - 'a':
		return true
	}
	return false
}

// Segment returns hashes of the words that cover most of a registered domain's label, and
// how many octets of it are in none.
func (t *Tables) Segment(dst []uint64, registered []byte) (words []uint64, uncovered int) {
	label, _ := Split(registered)
	n := min(len(label), maxLabel)
	var most, from [maxLabel + 1]uint8 // octets covered before i; where the word that ends at i begins, +1
	for i := range n {
		if most[i] > most[i+1] {
			most[i+1], from[i+1] = most[i], 0
		}
		h := uint64(0)
		for j := i; j < n && j-i < maxWord; j++ {
			c := symbol(label[j])
			if c >= digitsAt {
				break
			}
			h = wordHash(h, c)
			if size := j - i + 1; size >= minWord && most[i]+uint8(size) >= most[j+1] && has(&t.Words, mix(h)) {
				most[j+1], from[j+1] = most[i]+uint8(size), uint8(i)+1
			}
		}
	}
	for i := n; i > 0; {
		if from[i] == 0 {
			i--
			continue
		}
		begin := int(from[i]) - 1
		h := uint64(0)
		for _, c := range label[begin:i] {
			h = wordHash(h, symbol(c))
		}
		dst = append(dst, h)
		i = begin
	}
	return dst, n - int(most[n])
}
