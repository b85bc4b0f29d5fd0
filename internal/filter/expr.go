package filter

import (
	"net/netip"
	"regexp"

	"github.com/dnshark-io/dnshark/event"
)

// Expr is a checked expression: *And, *Or, *Not or *Compare. Other targets than
// functions are made from it.
type Expr interface{ expr() }

// And holds when both hold.
type And struct{ L, R Expr }

// Or holds when one holds.
type Or struct{ L, R Expr }

// Not holds when X does not.
type Not struct{ X Expr }

// Compare holds when Op holds for a value of Path, as Func turned it.
type Compare struct {
	Path *event.Path
	Func Func
	Op   Op
	// What the value is compared with, by the kind of the value: for In and
	// Under several, otherwise one.
	Texts    []string
	Numbers  []uint64
	Prefixes []netip.Prefix // an address is a prefix of full length
	Regexp   *regexp.Regexp
}

func (*And) expr()     {}
func (*Or) expr()      {}
func (*Not) expr()     {}
func (*Compare) expr() {}

// Func is what is done to a value before it is compared.
type Func uint8

// The functions.
const (
	FuncNone   Func = iota
	FuncLen         // octets of text
	FuncCount       // values of the path
	FuncLabels      // labels of a name
	FuncDomain      // the registered domain of a name, by the public suffix list
	FuncLower       // text in lower case
)

// functions by what users call them.
var functions = []struct {
	name string
	f    Func
	of   func(event.Kind) bool
	to   event.Kind
	doc  string
}{
	{"len", FuncLen, isText, event.KindNumber, "octets of a text"},
	{"count", FuncCount, func(event.Kind) bool { return true }, event.KindNumber, "how many values there are"},
	{"labels", FuncLabels, isName, event.KindNumber, "labels of a name"},
	{"domain", FuncDomain, isName, event.KindName, "registered domain of a name, by the public suffix list"},
	{"lower", FuncLower, isText, event.KindText, "text in lower case"},
}

func isText(k event.Kind) bool { return k == event.KindText || k == event.KindName }
func isName(k event.Kind) bool { return k == event.KindName }

// Op is a comparison.
type Op uint8

// The comparisons. Their opposites are made with Not.
const (
	Exists   Op = iota // the path has a value
	True               // of KindBool
	False              // of KindBool
	Equal              // to one of the values
	Less               // than the number
	AtMost             // the number
	Greater            // than the number
	AtLeast            // the number
	Matches            // the regular expression (RE2)
	Contains           // the text
	Begins             // with the text
	Ends               // with the text
	Under              // the name is one of the names or below it
)
