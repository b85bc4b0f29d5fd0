package eventlog

import (
	"net/netip"
	"time"
)

// token is a value in a line: what stands between the quotes of a string, or a
// number. Offsets are octets in the line.
type token struct {
	begin, end int
	key        []byte // the member that it is, or is in the list of
	parent     []byte // the member that holds the object; nil at the top
	text       bool   // a string
}

const (
	maxDepth  = 16
	maxTokens = 1 << 12
)

// scan appends the values of a line of JSON. It is false for what is none, or is
// too deep, too long or has control characters; what it appended is then of no
// use.
func scan(list []token, line []byte) ([]token, bool) {
	var parents [maxDepth][]byte
	depth := 0 // of objects and lists
	var isList [maxDepth]bool
	var key []byte
	for i := 0; i < len(line); {
		switch c := line[i]; {
		case c == '"':
			begin := i + 1
			for i++; i < len(line) && line[i] != '"'; i++ {
				if line[i] == '\\' {
					i++
				}
				if i >= len(line) || line[i] < ' ' {
					return list, false
				}
			}
			if i >= len(line) {
				return list, false
			}
			end := i
			i++
			if i < len(line) && line[i] == ':' && depth > 0 && !isList[depth-1] {
				key = line[begin:end]
				i++
				continue
			}
			if list = append(list, token{begin, end, key, parent(&parents, depth), true}); len(list) > maxTokens {
				return list, false
			}
		case c == '{' || c == '[':
			if depth == maxDepth {
				return list, false
			}
			parents[depth], isList[depth] = key, c == '['
			depth++
			i++
		case c == '}' || c == ']':
			if depth == 0 {
				return list, false
			}
			depth--
			key = parents[depth]
			i++
		case c == '-' || c >= '0' && c <= '9':
			begin := i
			for i < len(line) && (line[i] >= '0' && line[i] <= '9' || line[i] == '-' || line[i] == '+' || line[i] == '.' || line[i] == 'e' || line[i] == 'E') {
				i++
			}
			if list = append(list, token{begin, i, key, parent(&parents, depth), false}); len(list) > maxTokens {
				return list, false
			}
		case c < ' ':
			return list, false
		default: // commas, true, false, null
			i++
		}
	}
	return list, depth == 0
}

func parent(parents *[maxDepth][]byte, depth int) []byte {
	if depth == 0 {
		return nil
	}
	return parents[depth-1]
}

// factKind is what events are found by.
type factKind byte

const (
	factTime factKind = iota
	factEvent
	factName
	factAddr
	factProcess
	factContainer
	factRCode
	noFact
)

// fact says what a value tells.
func (t *token) fact() factKind {
	if !t.text {
		return noFact
	}
	switch string(t.key) {
	case "time":
		if t.parent == nil {
			return factTime
		}
	case "event":
		if t.parent == nil {
			return factEvent
		}
	case "name":
		if p := string(t.parent); p == "questions" || p == "answer" {
			return factName
		}
	case "query", "domain":
		return factName
	case "src_ip", "dst_ip":
		return factAddr
	case "data":
		if string(t.parent) == "answer" {
			return factAddr // if it is one
		}
	case "src", "server":
		if string(t.parent) == "alert" {
			return factAddr
		}
	case "comm", "exe":
		if p := string(t.parent); p == "process" || p == "server_process" {
			return factProcess
		}
	case "id":
		if string(t.parent) == "container" {
			return factContainer
		}
	case "rcode":
		return factRCode
	}
	return noFact
}

// parseAddr reads an address, and no more octets than one has.
func parseAddr(text []byte) (netip.Addr, bool) {
	if len(text) < 2 || len(text) > 45 {
		return netip.Addr{}, false
	}
	a, err := netip.ParseAddr(string(text))
	return a.Unmap(), err == nil
}

// parseTime reads the time of an event, ns since the Unix epoch.
func parseTime(text []byte) (int64, bool) {
	if len(text) > 40 {
		return 0, false
	}
	t, err := time.Parse(time.RFC3339Nano, string(text))
	return t.UnixNano(), err == nil
}

// labels calls f with the offset of every label of a name, the first one first.
// The name is as in JSON: a backslash is two.
func labels(name []byte, f func(at int)) {
	f(0)
	for i := 0; i < len(name); i++ {
		switch name[i] {
		case '\\':
			if i += 2; i < len(name) && name[i] == '\\' { // what is escaped is itself escaped in JSON
				i++
			}
		case '.':
			if i+1 < len(name) {
				f(i + 1)
			}
		}
	}
}
