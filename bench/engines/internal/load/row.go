package load

import (
	"bytes"
	"cmp"
	"net/netip"
	"slices"
	"strings"

	"github.com/dnshark-io/dnshark/internal/store"
)

// Row is what one asker was told of one tuple.
type Row struct {
	store.Seen
	Key   []byte // of the name: labels from the last to the first, a NUL after each
	RData []byte // of A and AAAA the address, else the text
}

// Asker is who asked, as one text.
func (r *Row) Asker() string { return r.Comm + "\x00" + r.Exe + "\x00" + r.Container }

// Rows returns what an aggregate holds, in the order of Key, type and RData:
// neighbours of an ordered table are then written together.
func Rows(a *store.Aggregate) (rows []Row) {
	for s := range a.Tuples {
		r := Row{Seen: *s, Key: store.Key(s.Name), RData: []byte(s.Tuple.RData)}
		if IsAddress(int(s.Type)) {
			if addr, err := netip.ParseAddr(s.Tuple.RData); err == nil {
				r.RData = addr.AsSlice()
			}
		}
		rows = append(rows, r)
	}
	slices.SortFunc(rows, func(a, b Row) int {
		return cmp.Or(bytes.Compare(a.Key, b.Key), cmp.Compare(a.Type, b.Type), bytes.Compare(a.RData, b.RData),
			strings.Compare(a.Bailiwick, b.Bailiwick), strings.Compare(a.Sensor, b.Sensor), strings.Compare(a.Asker(), b.Asker()))
	})
	return rows
}

// IsAddress reports whether a type is A or AAAA.
func IsAddress(t int) bool { return t == 1 || t == 28 }

// Text is the inverse of Row.RData.
func Text(t int, rdata []byte) string {
	if a, ok := netip.AddrFromSlice(rdata); ok && IsAddress(t) {
		return a.String()
	}
	return string(rdata)
}

// Below is where keys of what is below a name end: before the returned one.
func Below(key []byte) []byte { return append(slices.Clone(key[:len(key)-1]), 1) }

// Name is the inverse of store.Key.
func Name(key []byte) string {
	labels := strings.Split(strings.TrimSuffix(string(key), "\x00"), "\x00")
	slices.Reverse(labels)
	return strings.Join(labels, ".")
}
