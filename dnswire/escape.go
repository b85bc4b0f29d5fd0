package dnswire

import "errors"

// How an octet is written in presentation format (RFC 1035 section 5.1).
const (
	escapeNone  = 0
	escapeSlash = 1 // \X
	escapeDDD   = 2 // \DDD
	escapeTwice = 3 // \\ and then \DDD: an element of a comma-separated list
)

var (
	// escapeLabel is for labels: no blank, and nothing that is special in zone
	// files.
	escapeLabel = escapeTable(`."\;@$()`, 0x20)
	// escapeQuoted is for text inside quotes.
	escapeQuoted = escapeTable(`"\`, 0x1f)
	// escapeText is for text that a semicolon ends.
	escapeText = escapeTable(`"\;`, 0x1f)
	// escapeALPN is for a value in a list in quotes (RFC 9460 appendix A.1).
	escapeALPN = alpnTable()
)

func escapeTable(special string, control int) (t [256]uint8) {
	for c := range t {
		if c <= control || c >= 0x7f {
			t[c] = escapeDDD
		}
	}
	for _, c := range []byte(special) {
		t[c] = escapeSlash
	}
	return t
}

func alpnTable() (t [256]uint8) {
	t = escapeTable(`"`, 0x1f)
	t[','], t['\\'] = escapeTwice, escapeTwice
	return t
}

func appendEscaped(dst, octets []byte, table *[256]uint8) []byte {
	for _, c := range octets {
		switch table[c] {
		case escapeNone:
			dst = append(dst, c)
		case escapeSlash:
			dst = append(dst, '\\', c)
		case escapeTwice:
			dst = append(dst, '\\', '\\', '\\', '0'+c/100, '0'+c/10%10, '0'+c%10)
		default:
			dst = append(dst, '\\', '0'+c/100, '0'+c/10%10, '0'+c%10)
		}
	}
	return dst
}

// appendQuoted appends a character-string in quotes.
func appendQuoted(dst, octets []byte) []byte {
	dst = append(dst, '"')
	at := len(dst)
	dst = append(dst, octets...)
	for i, c := range octets {
		if escapeQuoted[c] != escapeNone {
			dst = appendEscaped(dst[:at+i], octets[i:], &escapeQuoted)
			break
		}
	}
	return append(dst, '"')
}

// ErrEscape is the error of text that is not in presentation format.
var ErrEscape = errors.New("dnswire: bad escape in presentation format")

// ErrName is the error of text that is not a domain name.
var ErrName = errors.New("dnswire: not a domain name")

// AppendUnescaped appends the octets of text, in which \DDD is the octet with
// that decimal value and \X is X (RFC 1035 section 5.1). It is the inverse of
// the escaping in this package's text, quotes and dots apart.
func AppendUnescaped(dst []byte, text string) ([]byte, error) {
	for i := 0; i < len(text); {
		c, n := unescape(text[i:])
		if n == 0 {
			return dst, ErrEscape
		}
		dst = append(dst, c)
		i += n
	}
	return dst, nil
}

// unescape reads one octet; n is 0 for an escape that is cut or out of range.
func unescape(text string) (c byte, n int) {
	switch {
	case text[0] != '\\':
		return text[0], 1
	case len(text) < 2:
		return 0, 0
	case text[1] < '0' || text[1] > '9':
		return text[1], 2
	case len(text) < 4:
		return 0, 0
	}
	v := 0
	for _, d := range []byte(text[1:4]) {
		if d < '0' || d > '9' {
			return 0, 0
		}
		v = v*10 + int(d-'0')
	}
	if v > 255 {
		return 0, 0
	}
	return byte(v), 4
}

// AppendWireName appends the wire form of a name in presentation format, with
// or without its final dot. It is the inverse of Message.AppendName.
func AppendWireName(dst []byte, text string) ([]byte, error) {
	start := len(dst)
	if text == "." {
		return append(dst, 0), nil
	}
	if text == "" {
		return dst, ErrName
	}
	length := len(dst) // of the current label
	dst = append(dst, 0)
	for i := 0; i < len(text); {
		c, n := unescape(text[i:])
		if n == 0 {
			return dst[:start], ErrEscape
		}
		i += n
		if n == 1 && c == '.' {
			if dst[length] == 0 {
				return dst[:start], ErrName
			}
			length = len(dst)
			dst = append(dst, 0)
			continue
		}
		if dst[length]++; dst[length] > 63 {
			return dst[:start], ErrName
		}
		dst = append(dst, c)
	}
	if dst[length] != 0 {
		dst = append(dst, 0)
	}
	if len(dst)-start > MaxNameLen {
		return dst[:start], ErrName
	}
	return dst, nil
}
