package filter

import "strings"

type tokenKind uint8

const (
	tokenEnd     tokenKind = iota
	tokenWord              // a path, a function or a keyword
	tokenText              // in quotes
	tokenLiteral           // begins with a digit or holds a colon: number, time span, address, prefix
	tokenSign
)

type token struct {
	kind tokenKind
	text string // of tokenText: what the quotes hold, escapes resolved
	at   int
}

// signs, the longer ones first.
var signs = []string{"&&", "||", "==", "!=", "<=", ">=", "=~", "!~", "<", ">", "!", "(", ")", "[", "]", "{", "}", ","}

type lexer struct {
	text string
	at   int
}

func isLetter(c byte) bool { return c == '_' || c|0x20 >= 'a' && c|0x20 <= 'z' }
func isDigit(c byte) bool  { return c >= '0' && c <= '9' }

// next returns the next token.
func (l *lexer) next() (token, *Error) {
	for l.at < len(l.text) && strings.IndexByte(" \t\r\n", l.text[l.at]) >= 0 {
		l.at++
	}
	if l.at == len(l.text) {
		return token{tokenEnd, "", l.at}, nil
	}
	at, c := l.at, l.text[l.at]
	switch {
	case c == '"' || c == '\'' || c == '`':
		return l.quoted(c)
	case isLetter(c) || isDigit(c) || c == ':':
		for l.at < len(l.text) && (isLetter(l.text[l.at]) || isDigit(l.text[l.at]) || strings.IndexByte(".:/-", l.text[l.at]) >= 0) {
			l.at++
		}
		t := token{tokenWord, l.text[at:l.at], at}
		if isDigit(c) || strings.IndexByte(t.text, ':') >= 0 {
			t.kind = tokenLiteral
		}
		return t, nil
	}
	for _, sign := range signs {
		if strings.HasPrefix(l.text[at:], sign) {
			l.at += len(sign)
			return token{tokenSign, sign, at}, nil
		}
	}
	return token{}, l.wrong(at, "%q means nothing here", c)
}

// Quote returns text as the language writes it.
func Quote(text string) string {
	return `"` + quoter.Replace(text) + `"`
}

var quoter = strings.NewReplacer(`\`, `\\`, `"`, `\"`)

// quoted reads text in quotes: between " and ' a backslash makes the next quote
// or backslash plain and stays before anything else, as in domain names and
// regular expressions; between ` nothing is special.
func (l *lexer) quoted(quote byte) (token, *Error) {
	var b strings.Builder
	at := l.at
	for i := at + 1; i < len(l.text); i++ {
		c := l.text[i]
		switch {
		case c == quote:
			l.at = i + 1
			return token{tokenText, b.String(), at}, nil
		case c == '\\' && quote != '`' && i+1 < len(l.text) && (l.text[i+1] == quote || l.text[i+1] == '\\'):
			i++
			c = l.text[i]
		}
		b.WriteByte(c)
	}
	return token{}, l.wrong(at, "this quote is never closed")
}
