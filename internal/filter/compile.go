package filter

import (
	"bytes"
	"net/netip"
	"slices"

	"github.com/dnshark-io/dnshark/dnswire"
	"github.com/dnshark-io/dnshark/event"
)

// compile turns an expression into a function.
func compile(x Expr) match {
	switch x := x.(type) {
	case *And:
		l, r := compile(x.L), compile(x.R)
		return func(w *work, e *event.Event) bool { return l(w, e) && r(w, e) }
	case *Or:
		l, r := compile(x.L), compile(x.R)
		return func(w *work, e *event.Event) bool { return l(w, e) || r(w, e) }
	case *Not:
		m := compile(x.X)
		return func(w *work, e *event.Event) bool { return !m(w, e) }
	}
	return compileCompare(x.(*Compare))
}

func compileCompare(c *Compare) match {
	p := c.Path
	switch {
	case c.Op == Exists:
		return func(_ *work, e *event.Event) bool { return p.Values(e) > 0 }
	case c.Op == True, c.Op == False:
		want := c.Op == True
		return func(_ *work, e *event.Event) bool {
			for i := range p.Values(e) {
				if p.Bool(e, i) == want {
					return true
				}
			}
			return false
		}
	case c.Func == FuncCount:
		test := c.testNumber()
		return func(_ *work, e *event.Event) bool { return test(uint64(p.Values(e))) }
	case c.Func == FuncLen, c.Func == FuncLabels:
		return c.measured()
	case p.Kind == event.KindAddr:
		return c.compileAddr()
	case c.Numbers != nil:
		return c.compileNumber()
	case p.Wire != nil && c.Func == FuncNone && (c.Op == Equal || c.Op == Under) && len(c.Texts) == 1:
		return c.compileName()
	}
	return c.compileText()
}

func (c *Compare) compileNumber() match {
	p := c.Path
	if c.Op == Equal && len(c.Numbers) == 1 {
		v := c.Numbers[0]
		return func(_ *work, e *event.Event) bool {
			for i := range p.Values(e) {
				if p.Number(e, i) == v {
					return true
				}
			}
			return false
		}
	}
	test := c.testNumber()
	return func(_ *work, e *event.Event) bool {
		for i := range p.Values(e) {
			if test(p.Number(e, i)) {
				return true
			}
		}
		return false
	}
}

// testNumber returns the comparison of a number.
func (c *Compare) testNumber() func(uint64) bool {
	v := c.Numbers[0]
	switch c.Op {
	case Less:
		return func(n uint64) bool { return n < v }
	case AtMost:
		return func(n uint64) bool { return n <= v }
	case Greater:
		return func(n uint64) bool { return n > v }
	case AtLeast:
		return func(n uint64) bool { return n >= v }
	}
	if len(c.Numbers) == 1 {
		return func(n uint64) bool { return n == v }
	}
	set := slices.Clone(c.Numbers)
	slices.Sort(set)
	return func(n uint64) bool { _, ok := slices.BinarySearch(set, n); return ok }
}

// measured compares the length of a text or the labels of a name.
func (c *Compare) measured() match {
	p, test, labels := c.Path, c.testNumber(), c.Func == FuncLabels
	return func(w *work, e *event.Event) bool {
		for i := range p.Values(e) {
			w.text = p.Text(w.text[:0], e, i)
			n := len(w.text)
			if labels {
				n = countLabels(w.text)
			}
			if test(uint64(n)) {
				return true
			}
		}
		return false
	}
}

// countLabels counts the labels of a name in presentation format.
func countLabels(name []byte) int {
	if len(name) == 0 || string(name) == "." {
		return 0
	}
	n := 1
	for i := 0; i < len(name); i++ {
		switch name[i] {
		case '\\':
			i++ // of \DDD the digits follow, which are no dots
		case '.':
			n++
		}
	}
	return n
}

func (c *Compare) compileAddr() match {
	p, ranges := c.Path, ranges(c.Prefixes)
	return func(_ *work, e *event.Event) bool {
		for i := range p.Values(e) {
			a := p.Addr(e, i)
			if !a.IsValid() {
				continue
			}
			// The last range that begins at or before a.
			n, found := slices.BinarySearchFunc(ranges, a, func(r addrRange, a netip.Addr) int { return r.first.Compare(a) })
			if found || n > 0 && a.Compare(ranges[n-1].last) <= 0 && a.BitLen() == ranges[n-1].last.BitLen() {
				return true
			}
		}
		return false
	}
}

// addrRange is a range of addresses of one family.
type addrRange struct{ first, last netip.Addr }

// ranges returns the addresses of prefixes in order, none twice. A prefix lies
// within another or apart from it.
func ranges(prefixes []netip.Prefix) (out []addrRange) {
	sorted := slices.Clone(prefixes)
	slices.SortFunc(sorted, func(a, b netip.Prefix) int {
		if d := a.Addr().Compare(b.Addr()); d != 0 {
			return d
		}
		return a.Bits() - b.Bits()
	})
	for _, p := range sorted {
		if n := len(out); n > 0 && p.Addr().Compare(out[n-1].last) <= 0 && p.Addr().BitLen() == out[n-1].last.BitLen() {
			continue
		}
		out = append(out, addrRange{p.Addr(), lastAddr(p)})
	}
	return out
}

func lastAddr(p netip.Prefix) netip.Addr {
	b := p.Addr().AsSlice()
	for i := p.Bits(); i < len(b)*8; i++ {
		b[i/8] |= 0x80 >> (i % 8)
	}
	a, _ := netip.AddrFromSlice(b)
	return a
}

// compileName compares a name where it stands in the message: as text it would
// cost several times as much.
func (c *Compare) compileName() match {
	p, equal := c.Path, c.Op == Equal
	wire, err := dnswire.AppendWireName(nil, c.Texts[0])
	if err != nil {
		return c.compileText()
	}
	return func(_ *work, e *event.Event) bool {
		for i := range p.Values(e) {
			if n := p.Wire(e, i); (!equal || int(n.Len) == len(wire)) && e.Msg.NameUnder(n, wire) {
				return true
			}
		}
		return false
	}
}

func (c *Compare) compileText() match {
	p, test, turn := c.Path, c.testText(), turns[c.Func]
	return func(w *work, e *event.Event) bool {
		for i := range p.Values(e) {
			w.text = p.Text(w.text[:0], e, i)
			text := w.text
			if turn != nil {
				text = turn(w, text)
			}
			if test(text) {
				return true
			}
		}
		return false
	}
}

// turns are the functions from text to text. They work in place.
var turns = [...]func(*work, []byte) []byte{
	FuncDomain: func(w *work, text []byte) []byte { return w.suffixes.Registered(text) },
	FuncLower: func(_ *work, text []byte) []byte {
		for i, b := range text {
			if b-'A' < 26 {
				text[i] = b | 0x20
			}
		}
		return text
	},
}

// testText returns the comparison of a text.
func (c *Compare) testText() func([]byte) bool {
	if c.Op == Matches {
		return c.Regexp.Match
	}
	v := c.Texts[0]
	switch c.Op {
	case Contains:
		sub := []byte(v)
		return func(b []byte) bool { return bytes.Contains(b, sub) }
	case Begins:
		return func(b []byte) bool { return len(b) >= len(v) && string(b[:len(v)]) == v }
	case Ends:
		return func(b []byte) bool { return len(b) >= len(v) && string(b[len(b)-len(v):]) == v }
	}
	if len(c.Texts) == 1 {
		if c.Op == Under {
			return func(b []byte) bool { return under(b, v) }
		}
		return func(b []byte) bool { return string(b) == v }
	}
	set := make(map[string]struct{}, len(c.Texts))
	for _, text := range c.Texts {
		set[text] = struct{}{}
	}
	if c.Op == Under {
		return func(b []byte) bool { return underOne(b, set) }
	}
	return func(b []byte) bool { _, ok := set[string(b)]; return ok }
}

// under reports whether a name is the other one or below it.
func under(name []byte, above string) bool {
	if above == "." {
		return true
	}
	at := len(name) - len(above)
	return at >= 0 && string(name[at:]) == above && (at == 0 || name[at-1] == '.' && !escaped(name[:at-1]))
}

// escaped reports whether what follows the text is escaped by its end.
func escaped(text []byte) bool {
	n := len(text)
	for n > 0 && text[n-1] == '\\' {
		n--
	}
	return (len(text)-n)%2 == 1
}

func underOne(name []byte, above map[string]struct{}) bool {
	if _, ok := above["."]; ok {
		return true
	}
	for at := 0; ; {
		if _, ok := above[string(name[at:])]; ok {
			return true
		}
		for {
			i := bytes.IndexByte(name[at:], '.')
			if i < 0 {
				return false
			}
			at += i + 1
			if !escaped(name[:at-1]) {
				break
			}
		}
	}
}
