// Package suffix finds the registered domain of a name: a public suffix and one
// label, by the public suffix list (publicsuffix.org) that golang.org/x/net
// carries.
package suffix

import (
	"bytes"
	"hash/maphash"
	"strings"
	"unsafe"

	"golang.org/x/net/publicsuffix"
)

// Table remembers what it found, for names come again. The zero value is ready for use;
// it belongs to one worker.
type Table struct {
	seed  maphash.Seed
	slots []slot // a name has one place; newer names overwrite older ones
}

type slot struct {
	hash uint64 // of the name, 0 when empty
	from uint16 // where its registered domain begins
}

const tableSlots = 1 << 15

// Registered returns the part of a name, in presentation format and lower case,
// that somebody registered. It is empty for a public suffix itself.
func (t *Table) Registered(name []byte) []byte {
	if t.slots == nil {
		t.seed = maphash.MakeSeed()
	}
	return t.RegisteredOf(name, maphash.Bytes(t.seed, name))
}

// RegisteredOf is Registered for who has a hash of the name, by which nobody can choose
// names that collide. All hashes of a table are of one function.
func (t *Table) RegisteredOf(name []byte, hash uint64) []byte {
	if t.slots == nil {
		t.slots = make([]slot, tableSlots)
	}
	hash |= 1
	s := &t.slots[hash>>32%tableSlots]
	if s.hash != hash {
		s.hash, s.from = hash, uint16(find(name))
	}
	return name[s.from:]
}

// Delegated reports whether a name's top-level domain is in the list, as all that
// exist are. The name is as in Registered.
func Delegated(name []byte) bool {
	if len(name) == 0 {
		return true
	}
	suffix, icann := publicsuffix.PublicSuffix(unsafe.String(&name[0], len(name))) // as in find
	return icann || strings.Contains(suffix, ".")
}

// Bought reports whether a registered domain is under a suffix of a registry, where
// domains are bought, and not of a company that gives names to its customers.
func Bought(registered []byte) bool {
	if len(registered) == 0 {
		return false
	}
	_, icann := publicsuffix.PublicSuffix(unsafe.String(&registered[0], len(registered))) // as in find
	return icann
}

func find(name []byte) int {
	if len(name) == 0 || name[0] == '.' { // the root
		return len(name)
	}
	// The text is not kept, and nothing writes to it meanwhile.
	suffix, _ := publicsuffix.PublicSuffix(unsafe.String(&name[0], len(name)))
	if len(suffix) >= len(name) {
		return len(name)
	}
	at := len(name) - len(suffix) - 1
	for {
		at = bytes.LastIndexByte(name[:at], '.')
		if at <= 0 || !escaped(name[:at]) {
			return at + 1
		}
	}
}

// escaped reports whether what follows the text is escaped by its end.
func escaped(text []byte) bool {
	n := len(text)
	for n > 0 && text[n-1] == '\\' {
		n--
	}
	return (len(text)-n)%2 == 1
}
