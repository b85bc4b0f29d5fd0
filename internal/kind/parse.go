package kind

import (
	"fmt"
	"slices"
	"strings"

	"github.com/dnshark-io/dnshark/internal/nearest"
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

// Parse turns a list of names, aliases and sets into a set of kinds. A star at the
// end of a name stands for anything; a dash before it takes the kinds away, from the
// default set where nothing else is named. The error names the entry that is wrong
// and what may have been meant.
func Parse(names []string) (Set, error) {
	var s, without Set
	added := false
	for _, text := range names {
		name, exclude := strings.CutPrefix(text, "-")
		found, err := find(name)
		if err != nil {
			return 0, err
		}
		if exclude {
			without |= found
		} else {
			s, added = s|found, true
		}
	}
	if without != 0 && !added {
		s, _ = find(SetDefault)
	}
	if s != 0 && s&^without == 0 {
		return 0, fmt.Errorf("no event is left of %s", strings.Join(names, ","))
	}
	return s &^ without, nil
}

// find returns the kinds that a name stands for.
func find(name string) (found Set, err error) {
	prefix, star := strings.CutSuffix(name, "*")
	for i, k := range Catalogue {
		switch {
		case k.is(name) && k.Internal:
			return 0, fmt.Errorf("event %q is internal: it has no output of its own; ask for one of %s",
				name, strings.Join(dependants(name), ", "))
		case k.is(name), slices.Contains(k.Sets, name), star && !k.Internal && strings.HasPrefix(k.Name, prefix):
			found |= 1 << i
		}
	}
	if found == 0 {
		return 0, fmt.Errorf("unknown event or set %q%s; `dnshark events` lists them all", name, suggest(name))
	}
	return found, nil
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
	var known []string
	for _, k := range Catalogue {
		if !k.Internal {
			known = append(append(known, k.Name), k.Aliases...)
		}
	}
	for _, s := range Sets() {
		known = append(known, s.Term)
	}
	best := nearest.Name(name, known)
	if i := slices.IndexFunc(known, func(k string) bool { return strings.HasSuffix(k, "_"+name) }); best == "" && i >= 0 && len(name) > 2 {
		best = known[i]
	}
	if best == "" {
		return ""
	}
	return fmt.Sprintf("; did you mean %q?", best)
}
