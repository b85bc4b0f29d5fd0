package filter

import (
	"bufio"
	"fmt"
	"net/netip"
	"os"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/dnshark-io/dnshark/dnswire"
	"github.com/dnshark-io/dnshark/event"
	"github.com/dnshark-io/dnshark/internal/nearest"
)

// parser reads
//
//	or      = and { ("||" | "or") and }
//	and     = unary { ("&&" | "and") unary }
//	unary   = ("!" | "not") unary | "(" or ")" | compare
//	compare = value [ op literal | ["not"] "in" set ] | path "." method "(" literals ")"
//	value   = path | function "(" path ")"
//	set     = literal | ("(" | "[" | "{") literals (")" | "]" | "}") | "file" "(" text ")" | "cidr" "(" text ")"
type parser struct {
	lexer
	token token
	err   *Error
	depth int
}

func parse(text string) (Expr, error) {
	p := &parser{lexer: lexer{text: text}}
	if len(text) > maxText {
		return nil, &Error{Text: text[:maxText], Column: maxText, Message: fmt.Sprintf("an expression has at most %d octets", maxText)}
	}
	p.advance()
	x := p.or()
	if p.err == nil && p.token.kind != tokenEnd {
		p.fail(p.token.at, "%s does not belong here", show(p.token))
	}
	if p.err != nil {
		return nil, p.err
	}
	return x, nil
}

func (l *lexer) wrong(at int, format string, args ...any) *Error {
	return &Error{Text: l.text, Column: at, Message: fmt.Sprintf(format, args...)}
}

// fail keeps the first error and ends the reading.
func (p *parser) fail(at int, format string, args ...any) *Error {
	if p.err == nil {
		p.err = p.wrong(at, format, args...)
	}
	p.token = token{kind: tokenEnd, at: len(p.text)}
	return p.err
}

func (p *parser) advance() token {
	t := p.token
	if p.err == nil {
		next, err := p.next()
		if err != nil {
			p.fail(err.Column, "%s", err.Message)
		} else {
			p.token = next
		}
	}
	return t
}

// accept takes the token when it is one of the signs or keywords.
func (p *parser) accept(words ...string) bool {
	if p.token.kind != tokenSign && p.token.kind != tokenWord {
		return false
	}
	for _, w := range words {
		if p.token.text == w {
			p.advance()
			return true
		}
	}
	return false
}

func (p *parser) expect(sign string) {
	if !p.accept(sign) {
		p.fail(p.token.at, "want %s, not %s", sign, show(p.token))
	}
}

func show(t token) string {
	switch t.kind {
	case tokenEnd:
		return "the end"
	case tokenText:
		return strconv.QuoteToASCII(t.text)
	}
	return t.text
}

func (p *parser) or() Expr {
	x := p.and()
	for p.accept("||", "or") {
		x = &Or{x, p.and()}
	}
	return x
}

func (p *parser) and() Expr {
	x := p.unary()
	for p.accept("&&", "and") {
		x = &And{x, p.unary()}
	}
	return x
}

func (p *parser) unary() Expr {
	if p.depth++; p.depth > maxDepth {
		p.fail(p.token.at, "more than %d parentheses and negations inside each other", maxDepth)
	}
	defer func() { p.depth-- }()
	switch {
	case p.accept("!", "not"):
		return &Not{p.unary()}
	case p.accept("("):
		x := p.or()
		p.expect(")")
		return x
	}
	return p.compare()
}

// compare reads a comparison.
func (p *parser) compare() Expr {
	c := &Compare{}
	at := p.token.at
	method, kind, ok := p.value(c)
	if !ok {
		return c
	}
	if method != "" {
		p.method(c, kind, method, at)
		return c
	}
	sign := p.token
	switch {
	case p.accept("==", "!="):
		c.Op = Equal
		p.literal(c, kind)
	case p.accept("<", "<=", ">", ">="):
		c.Op = map[string]Op{"<": Less, "<=": AtMost, ">": Greater, ">=": AtLeast}[sign.text]
		p.number(c, kind, sign)
	case p.accept("=~", "!~", "matches"):
		c.Op = Matches
		p.regexp(c, kind, sign)
	case p.accept("in"):
		c.Op = Equal
		p.set(c, kind)
	case p.accept("not"):
		c.Op = Equal
		p.expect("in")
		p.set(c, kind)
		return &Not{c}
	case kind == event.KindBool:
		c.Op = True
	default:
		p.fail(sign.at, "want a comparison after %s, as == or in, not %s", p.text[at:sign.at], show(sign)).
			hint(c.Path.Name + " == ...")
	}
	switch sign.text {
	case "!=", "!~":
		return &Not{c}
	}
	return c
}

func (e *Error) hint(h string) { e.Hint = h }

// value reads what is compared: a path, or a function of one. method is what
// follows the path when that is called.
func (p *parser) value(c *Compare) (method string, kind event.Kind, ok bool) {
	t := p.advance()
	if t.kind != tokenWord {
		p.fail(t.at, "want a field, not %s", show(t))
		return "", 0, false
	}
	if !p.accept("(") {
		return "", c.find(p, t, t.text), p.err == nil
	}
	if i := strings.LastIndexByte(t.text, '.'); i >= 0 {
		return t.text[i+1:], c.find(p, t, t.text[:i]), p.err == nil
	}
	for _, f := range functions {
		if f.name != t.text {
			continue
		}
		arg := p.advance()
		k := c.find(p, arg, arg.text)
		if p.err == nil && !f.of(k) {
			p.fail(arg.at, "%s() is for texts and names, and %s is of type %v", f.name, arg.text, k)
		}
		p.expect(")")
		c.Func = f.f
		return "", f.to, p.err == nil
	}
	var names []string
	for _, f := range functions {
		names = append(names, f.name)
	}
	p.fail(t.at, "there is no function %s; functions are %s", t.text, strings.Join(names, ", ")).hint(nearest.Name(t.text, names))
	return "", 0, false
}

// find sets the path.
func (c *Compare) find(p *parser, t token, name string) event.Kind {
	path, ok := event.FindPath(name)
	if !ok {
		var names []string
		for _, known := range event.Paths {
			names = append(names, known.Name)
		}
		p.fail(t.at, "there is no field %q", name).hint(nearest.Name(name, names))
		return 0
	}
	c.Path = path
	return path.Kind
}

// methods by what users call them.
var methods = []struct {
	name string
	op   Op
	of   func(event.Kind) bool
}{
	{"exists", Exists, nil},
	{"under", Under, isName},
	{"contains", Contains, isText},
	{"begins", Begins, isText},
	{"ends", Ends, isText},
	{"matches", Matches, isText},
}

// method reads the arguments of a method.
func (p *parser) method(c *Compare, kind event.Kind, name string, at int) {
	var names []string
	for _, m := range methods {
		names = append(names, m.name)
		if m.name != name {
			continue
		}
		if m.of != nil && !m.of(kind) {
			p.fail(at, "%s() is for texts and names, and %s is of type %v", name, c.Path.Name, kind)
			return
		}
		switch c.Op = m.op; m.op {
		case Exists:
		case Matches:
			p.pattern(c)
		case Under:
			p.set(c, kind)
			for p.accept(",") {
				p.set(c, kind)
			}
		default:
			p.literal(c, event.KindText)
			if isName(kind) {
				c.Texts[0] = strings.ToLower(c.Texts[0])
			}
		}
		p.expect(")")
		return
	}
	p.fail(at, "there is no method %s; methods are %s", name, strings.Join(names, ", ")).hint(nearest.Name(name, names))
}

// number reads the right side of < and >.
func (p *parser) number(c *Compare, kind event.Kind, sign token) {
	if kind != event.KindNumber && kind != event.KindTime && (!c.Path.Ordered || c.Func != FuncNone) {
		p.fail(sign.at, "%s compares numbers, and %s is of type %v", sign.text, c.Path.Name, kind)
		return
	}
	p.literal(c, kind)
}

func (p *parser) regexp(c *Compare, kind event.Kind, sign token) {
	if !isText(kind) {
		p.fail(sign.at, "%s is for texts and names, and %s is of type %v", sign.text, c.Path.Name, kind)
		return
	}
	p.pattern(c)
}

func (p *parser) pattern(c *Compare) {
	t := p.advance()
	if t.kind != tokenText {
		p.fail(t.at, "want a regular expression in quotes, not %s", show(t))
		return
	}
	re, err := regexp.Compile(t.text)
	if err != nil {
		p.fail(t.at, "%v", err)
		return
	}
	c.Regexp = re
}

// closing brackets of sets.
var closing = map[string]string{"(": ")", "[": "]", "{": "}"}

// set reads one value or several.
func (p *parser) set(c *Compare, kind event.Kind) {
	t := p.token
	switch {
	case p.accept("(", "[", "{"):
		for p.err == nil {
			p.literal(c, kind)
			if !p.accept(",") {
				break
			}
		}
		p.expect(closing[t.text])
	case t.kind == tokenWord && t.text == "file":
		p.advance()
		p.expect("(")
		name := p.advance()
		if p.err == nil && name.kind != tokenText {
			p.fail(name.at, "want the name of a file in quotes, not %s", show(name))
		}
		p.expect(")")
		if p.err == nil {
			p.file(c, kind, name)
		}
	case t.kind == tokenWord && t.text == "cidr":
		p.advance()
		p.expect("(")
		p.literal(c, kind)
		for p.accept(",") {
			p.literal(c, kind)
		}
		p.expect(")")
	default:
		p.literal(c, kind)
	}
}

// file reads values from a file, one in a line; # begins a comment.
func (p *parser) file(c *Compare, kind event.Kind, name token) {
	f, err := os.Open(name.text)
	if err != nil {
		p.fail(name.at, "%v", err)
		return
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	for n := 1; lines.Scan(); n++ {
		text, _, _ := strings.Cut(lines.Text(), "#")
		if text = strings.TrimSpace(text); text == "" {
			continue
		}
		if why := c.add(kind, text, true); why != "" {
			p.fail(name.at, "%s, line %d: %s", name.text, n, why)
			return
		}
	}
	if err := lines.Err(); err != nil {
		p.fail(name.at, "%s: %v", name.text, err)
	}
}

// literal reads one value.
func (p *parser) literal(c *Compare, kind event.Kind) {
	t := p.advance()
	if t.kind == tokenEnd || t.kind == tokenSign {
		p.fail(t.at, "want a value, not %s", show(t))
		return
	}
	if t.kind == tokenWord && kind != event.KindBool && c.Path.Code == nil {
		p.fail(t.at, "want a value, not %s", t.text).hint(strconv.Quote(t.text))
		return
	}
	if why := c.add(kind, t.text, t.kind == tokenText); why != "" {
		p.fail(t.at, "%s", why)
	}
}

// add adds a value of a kind, or says why it is none.
func (c *Compare) add(kind event.Kind, text string, quoted bool) (why string) {
	if len(c.Texts)+len(c.Numbers)+len(c.Prefixes) >= maxValues {
		return fmt.Sprintf("more than %d values", maxValues)
	}
	switch kind {
	case event.KindNumber:
		if d, err := time.ParseDuration(text); err == nil && strings.HasSuffix(c.Path.Name, "_us") && d >= 0 && !isDigit(text[len(text)-1]) {
			c.Numbers = append(c.Numbers, uint64(d.Microseconds()))
			return ""
		}
		n, err := strconv.ParseUint(text, 0, 64)
		if err != nil {
			return fmt.Sprintf("%s is a number, and %s is none", c.Path.Name, strconv.QuoteToASCII(text))
		}
		c.Numbers = append(c.Numbers, n)
	case event.KindTime:
		t, err := time.Parse(time.RFC3339Nano, text)
		if err != nil || t.Year() < 1970 || t.Year() >= 2262 { // what ns in 64 bits can tell
			return fmt.Sprintf("%s is a time as 2026-01-02T03:04:05Z, and %s is none", c.Path.Name, strconv.QuoteToASCII(text))
		}
		c.Numbers = append(c.Numbers, uint64(t.UnixNano()))
	case event.KindBool:
		if c.Op == True || c.Op == False {
			return fmt.Sprintf("%s is compared with one value", c.Path.Name)
		}
		switch text {
		case "true":
			c.Op = True
		case "false":
			c.Op = False
		default:
			return fmt.Sprintf("%s is true or false, not %s", c.Path.Name, strconv.QuoteToASCII(text))
		}
	case event.KindAddr:
		prefix, err := netip.ParsePrefix(text)
		if err != nil {
			a, addrErr := netip.ParseAddr(text)
			if addrErr != nil || a.Zone() != "" {
				return fmt.Sprintf("%s is an address, and %s is neither that nor a prefix", c.Path.Name, strconv.QuoteToASCII(text))
			}
			prefix = netip.PrefixFrom(a.Unmap(), a.Unmap().BitLen())
		}
		// Events have no mapped addresses.
		if a := prefix.Addr(); a.Is4In6() && prefix.Bits() >= 96 {
			prefix = netip.PrefixFrom(a.Unmap(), prefix.Bits()-96)
		}
		c.Prefixes = append(c.Prefixes, prefix.Masked())
	case event.KindName:
		name, err := canonical(text)
		if err != nil {
			return fmt.Sprintf("%s is a domain name, and %s is none", c.Path.Name, strconv.QuoteToASCII(text))
		}
		c.Texts = append(c.Texts, name)
	default:
		if c.Path.Code != nil && c.Func == FuncNone && (c.Op >= Equal && c.Op <= AtLeast) {
			n, ok := c.Path.Code(text)
			if !ok {
				return fmt.Sprintf("%s has no value %s", c.Path.Name, strconv.QuoteToASCII(text))
			}
			c.Numbers = append(c.Numbers, n)
		}
		c.Texts = append(c.Texts, text)
	}
	return ""
}

// canonical returns a name as events show it: in lower case, without the final
// dot, escaped where it must be and nowhere else.
func canonical(text string) (string, error) {
	wire, err := dnswire.AppendWireName(nil, text)
	if err != nil {
		return "", err
	}
	// The name as the question of a message, whose text it then is.
	raw := append(make([]byte, dnswire.HeaderLen, dnswire.HeaderLen+len(wire)+4), wire...)
	raw[5] = 1
	var m dnswire.Message
	m.Unpack(append(raw, 0, 1, 0, 1))
	if len(m.Questions) != 1 {
		return "", dnswire.ErrName
	}
	return string(m.AppendNameLower(nil, m.Questions[0].Name)), nil
}
