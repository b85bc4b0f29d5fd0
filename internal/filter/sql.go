package filter

import (
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"net/netip"
	"regexp"
	"strings"

	"github.com/dnshark-io/dnshark/event"
)

// Dialect is a database's SQL.
type Dialect uint8

// The dialects. SQLite needs a function regexp(pattern, text), which its users
// define: RE2, as here.
const (
	SQLite Dialect = iota
	ClickHouse
)

// Form is what a column holds of a path's values.
type Form uint8

// The forms.
const (
	FormValue  Form = iota // the values themselves
	FormCode               // the numbers behind values that are names; see event.Path.Code
	FormDomain             // the registered domains of names
)

// Columns tells where a store keeps the values of a path.
type Columns interface {
	// Column returns a column's name, or another expression of SQL. Of a path that
	// is a List it yields a list: an array in ClickHouse, the text of a JSON array in
	// SQLite. Otherwise it is NULL where the event has no value. Text is as the
	// path's function makes it; a time is a number of ns; a bool is 1 or 0. An
	// address is an IPv6 in ClickHouse, 32 lower-case hexadecimal digits in SQLite,
	// IPv4 mapped, and NULL in the list where a record has none.
	Column(p *event.Path, f Form) (sql string, ok bool)
}

// ErrNoSQL says that an expression cannot be asked of a store.
var ErrNoSQL = errors.New("not kept in the store")

// maxSQLValues bounds the placeholders of one comparison: databases refuse more
// than some thousand.
const maxSQLValues = 4096

// SQL returns the expression as a condition with placeholders, and their
// arguments. It is true where the expression holds and false elsewhere, never
// NULL. Nothing that users wrote stands in the text. Its errors wrap ErrNoSQL.
func (f *Filter) SQL(d Dialect, c Columns) (text string, args []any, err error) {
	q := &query{dialect: d, columns: c}
	q.expr(f.Expr)
	return q.text.String(), q.args, q.err
}

// query is a condition in the making.
type query struct {
	dialect Dialect
	columns Columns
	text    strings.Builder
	args    []any
	err     error
}

// add appends text, and arguments for its placeholders.
func (q *query) add(text string, args ...any) {
	q.text.WriteString(text)
	q.args = append(q.args, args...)
}

func (q *query) expr(x Expr) {
	switch x := x.(type) {
	case *And:
		q.pair(x.L, " AND ", x.R)
	case *Or:
		q.pair(x.L, " OR ", x.R)
	case *Not:
		q.add("(NOT ")
		q.expr(x.X)
		q.add(")")
	case *Compare:
		q.compare(x)
	}
}

func (q *query) pair(l Expr, op string, r Expr) {
	q.add("(")
	q.expr(l)
	q.add(op)
	q.expr(r)
	q.add(")")
}

func (q *query) compare(c *Compare) {
	form := FormValue
	switch {
	case c.Func == FuncDomain:
		form = FormDomain
	case c.Func == FuncNone && c.Path.Code != nil && c.Numbers != nil:
		form = FormCode
	}
	column, ok := q.columns.Column(c.Path, form)
	switch n := len(c.Texts) + len(c.Numbers) + len(c.Prefixes); {
	case q.err != nil:
		return
	case !ok:
		q.err = fmt.Errorf("%s: %w", c.Path.Name, ErrNoSQL)
		return
	case n > maxSQLValues:
		q.err = fmt.Errorf("%s: %d values, at most %d can be asked for: %w", c.Path.Name, n, maxSQLValues, ErrNoSQL)
		return
	case c.Op == Exists && c.Path.List:
		q.add("(" + q.length(column) + " > 0)")
		return
	case c.Op == Exists:
		q.add("(" + column + " IS NOT NULL)")
		return
	case c.Func == FuncCount && c.Path.List:
		q.numbers(c, q.length(column))
		return
	case c.Func == FuncCount:
		q.numbers(c, "("+column+" IS NOT NULL)")
		return
	}
	// What does not exist does not compare, and does not make the rest unknown.
	switch {
	case !c.Path.List:
		q.add("coalesce(")
		q.value(c, column)
		q.add(", 0)")
	case q.dialect == SQLite:
		q.add("EXISTS (SELECT 1 FROM json_each(" + column + ") WHERE ")
		q.value(c, "value")
		q.add(")")
	default:
		q.add("arrayExists(x -> coalesce(")
		q.value(c, "x")
		q.add(", 0), " + column + ")")
	}
}

// length is the number of a list's values.
func (q *query) length(column string) string {
	if q.dialect == SQLite {
		return "json_array_length(" + column + ")"
	}
	return "length(" + column + ")"
}

// value compares one value, v.
func (q *query) value(c *Compare, v string) {
	switch {
	case c.Op == True:
		q.add(v + " = 1")
	case c.Op == False:
		q.add(v + " = 0")
	case c.Func == FuncLen:
		q.numbers(c, "length("+v+")")
	case c.Func == FuncLabels:
		q.numbers(c, q.labels(v))
	case c.Path.Kind == event.KindAddr:
		q.ranges(c, v)
	case c.Numbers != nil:
		q.numbers(c, v)
	case c.Func == FuncLower:
		q.texts(c, "lower("+v+")")
	default:
		q.texts(c, v)
	}
}

// any appends conditions of which one must hold.
func (q *query) any(n int, f func(i int)) {
	if n == 0 {
		q.add("0")
		return
	}
	q.add("(")
	for i := range n {
		if i > 0 {
			q.add(" OR ")
		}
		f(i)
	}
	q.add(")")
}

// in appends that v is one of the arguments.
func (q *query) in(v string, args []any) {
	if len(args) == 0 {
		q.add("0")
		return
	}
	q.add(v+" IN (?"+strings.Repeat(", ?", len(args)-1)+")", args...)
}

func (q *query) numbers(c *Compare, v string) {
	var list []any
	for _, n := range c.Numbers {
		switch {
		case q.dialect != SQLite:
			list = append(list, n)
		case n <= math.MaxInt64:
			list = append(list, int64(n))
		}
	}
	op, ok := map[Op]string{Less: " < ?", AtMost: " <= ?", Greater: " > ?", AtLeast: " >= ?"}[c.Op]
	switch {
	case !ok:
		q.in(v, list)
	case len(list) > 0:
		q.add(v+op, list[0])
	default: // more than SQLite can hold
		if c.Op == Less || c.Op == AtMost {
			q.add("(" + v + " IS NOT NULL)")
		} else {
			q.add("0")
		}
	}
}

// labels counts the dots between labels: a backslash before one makes it a part
// of a label, unless that is escaped itself.
func (q *query) labels(v string) string {
	whole := `replace(` + v + `, '` + q.slash(2) + `', '')`
	return `CASE WHEN ` + v + ` IN ('', '.') THEN 0 ELSE 1 + length(` + whole + `) - length(replace(` + whole + `, '.', ''))` +
		` - (length(` + whole + `) - length(replace(` + whole + `, '` + q.slash(1) + `.', ''))) / 2 END`
}

// slash is n backslashes inside quotes.
func (q *query) slash(n int) string {
	if q.dialect == ClickHouse {
		n *= 2
	}
	return strings.Repeat(`\`, n)
}

// ranges compares addresses, of which those of IPv4 are mapped.
func (q *query) ranges(c *Compare, v string) {
	ranges := ranges(c.Prefixes)
	q.any(len(ranges), func(i int) {
		r := ranges[i]
		q.between(v, r.first, r.last)
		if mapped := netip.MustParsePrefix("::ffff:0:0/96"); r.first.Is6() && r.first.Compare(mapped.Addr()) <= 0 && r.last.Compare(lastAddr(mapped)) >= 0 {
			q.add(" AND NOT ")
			q.between(v, mapped.Addr(), lastAddr(mapped))
		}
	})
}

func (q *query) between(v string, first, last netip.Addr) {
	a, b := first.As16(), last.As16()
	if q.dialect == SQLite {
		q.add("("+v+" BETWEEN ? AND ?)", hex.EncodeToString(a[:]), hex.EncodeToString(b[:]))
		return
	}
	q.add("("+v+" BETWEEN toIPv6(?) AND toIPv6(?))", netip.AddrFrom16(a).String(), netip.AddrFrom16(b).String())
}

func (q *query) texts(c *Compare, v string) {
	if c.Op == Matches {
		if q.dialect == SQLite {
			q.add("regexp(?, "+v+")", c.Regexp.String())
		} else {
			q.add("match("+v+", ?)", c.Regexp.String())
		}
		return
	}
	var list []any
	for _, text := range c.Texts {
		if printable(text) { // nothing else can be found
			list = append(list, text)
		}
	}
	switch c.Op {
	case Equal:
		q.in(v, list)
		return
	case Under:
		q.any(len(list), func(i int) { q.under(v, list[i].(string)) })
		return
	}
	forms := map[Op][2]string{
		Contains: {"instr(%s, ?) > 0", "position(%s, ?) > 0"},
		Begins:   {"substr(%s, 1, length(?)) = ?", "startsWith(%s, ?)"},
		Ends:     {"substr(%s, -length(?)) = ?", "endsWith(%s, ?)"},
	}[c.Op]
	switch {
	case len(list) == 0:
		q.add("0")
	case list[0] == "":
		q.add(v + " IS NOT NULL")
	default:
		form := fmt.Sprintf(forms[q.dialect], v)
		for range strings.Count(form, "?") - 1 {
			list = append(list, list[0])
		}
		q.add(form, list...)
	}
}

func printable(text string) bool {
	return strings.IndexFunc(text, func(r rune) bool { return r < 0x20 || r > 0x7e }) < 0
}

// under appends that v is a name or below it.
func (q *query) under(v, name string) {
	if name == "." {
		q.add(v + " IS NOT NULL")
		return
	}
	if q.dialect == ClickHouse {
		q.add("("+v+" = ? OR endsWith("+v+", ?) AND match("+v+", ?))", name, "."+name, `(?:^|[^\\])(?:\\\\)*\.`+regexp.QuoteMeta(name)+`$`)
		return
	}
	// The dot is no dot between labels behind an odd number of backslashes.
	before := "substr(" + v + ", 1, length(" + v + ") - ?)"
	q.add("("+v+" = ? OR substr("+v+", -?) = ? AND (length("+before+") - length(rtrim("+before+`, '\'))) % 2 = 0)`,
		name, len(name)+1, "."+name, len(name)+1, len(name)+1)
}
