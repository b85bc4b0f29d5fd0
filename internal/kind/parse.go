package kind

import (
	"fmt"
	"slices"
	"strings"
)

// Sets returns the names of all sets, each with the kinds that belong to it.
func Sets() []Item {
	var sets []Item
	for _, k := range Catalogue {
		for _, name := range k.Sets {
			i := slices.IndexFunc(sets, func(s Item) bool { return s.Term == name })
			if i < 0 {
				sets = append(sets, Item{name, k.Name})
			} else {
				sets[i].Doc += ", " + k.Name
			}
		}
	}
	return sets
}

// Parse turns a list of names, aliases and sets into a set of kinds. The error
// names the entry that is wrong and what may have been meant.
func Parse(names []string) (Set, error) {
	var s Set
	for _, name := range names {
		found := Set(0)
		for i, k := range Catalogue {
			switch {
			case k.is(name) && k.Internal:
				return 0, fmt.Errorf("event %q is internal: it has no output of its own; ask for one of %s",
					name, strings.Join(dependants(name), ", "))
			case k.is(name), slices.Contains(k.Sets, name):
				found |= 1 << i
			}
		}
		if found == 0 {
			return 0, fmt.Errorf("unknown event or set %q%s; `dnshark events` lists them all", name, suggest(name))
		}
		s |= found
	}
	return s, nil
}

func dependants(name string) (names []string) {
	for _, k := range Catalogue {
		if slices.Contains(k.DependsOn, name) {
			names = append(names, k.Name)
		}
	}
	return names
}

// suggest returns the known name that is nearest to an unknown one.
func suggest(name string) string {
	best, distance := "", len(name)/2+1
	consider := func(known string) {
		if d := editDistance(name, known); d < distance {
			best, distance = known, d
		}
		if len(name) > 2 && best == "" && strings.HasSuffix(known, "_"+name) {
			best = known
		}
	}
	for _, k := range Catalogue {
		if k.Internal {
			continue
		}
		consider(k.Name)
		for _, a := range k.Aliases {
			consider(a)
		}
	}
	for _, s := range Sets() {
		consider(s.Term)
	}
	if best == "" {
		return ""
	}
	return fmt.Sprintf("; did you mean %q?", best)
}

// editDistance is Levenshtein's: how many octets to insert, delete or replace.
func editDistance(a, b string) int {
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
