// Package recent remembers what was used of late, in bounded memory.
package recent

import "time"

const (
	// keep is how long something is of use after its end: until the last query
	// from there met its answer or the time limit.
	keep = 30 * time.Second
	// enough entries make a generation, unless it is younger than keep.
	enough = 4096
	// maxCached bounds a generation whatever its age.
	maxCached = 16384
)

// Map is a map that forgets what was not used between one and two
// generations.
type Map[K comparable, V any] struct {
	young, old map[K]V
	since      int64 // Unix time of the first entry of young, ns
}

// Get returns what was put for k, at a Unix time in ns.
func (r *Map[K, V]) Get(now int64, k K) (V, bool) {
	v, ok := r.young[k]
	if !ok {
		if v, ok = r.old[k]; ok {
			r.Put(now, k, v)
		}
	}
	return v, ok
}

// Put remembers v for k, at a Unix time in ns.
func (r *Map[K, V]) Put(now int64, k K, v V) {
	n := len(r.young)
	if n == 0 || n >= maxCached || n >= enough && now-r.since >= int64(keep) {
		r.young, r.old = make(map[K]V), r.young
		r.since = now
	}
	r.young[k] = v
}
