package filter

// nearest returns the name that differs least from text, or "" when all differ
// much.
func nearest(text string, names []string) string {
	if len(text) > 64 {
		return ""
	}
	best, most := "", len(text)/3+1
	for _, name := range names {
		if d := distance(text, name); d <= most {
			best, most = name, d-1
		}
	}
	return best
}

// distance counts the insertions, deletions and replacements between two texts.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			d := diagonal
			if a[i] != b[j] {
				d = 1 + min(diagonal, row[j], row[j+1])
			}
			diagonal, row[j+1] = row[j+1], d
		}
	}
	return row[len(b)]
}
