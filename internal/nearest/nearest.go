// Package nearest guesses what was meant by a name that nobody knows.
package nearest

// Name returns the known name that differs least from text, or "" when all differ
// in more than half of its octets.
func Name(text string, known []string) string {
	const longest = 64 // of what is worth the work
	if len(text) > longest {
		return ""
	}
	best, most := "", len(text)/2
	for _, name := range known {
		if d := distance(text, name); d <= most {
			best, most = name, d-1
		}
	}
	return best
}

// distance is Levenshtein's: how many octets to insert, delete or replace.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j]+1, diagonal+1)
		}
	}
	return row[len(b)]
}
