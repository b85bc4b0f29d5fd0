package output

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/dnshark-io/dnshark/event"
	"github.com/dnshark-io/dnshark/internal/kind"
)

// objects are the formats of which every line is one JSON object.
var objects = []string{"json", "tracee", "tracee-v1beta1", "eve", "zeek", "ecs", "ocsf", "cof", "rfc8427"}

// Allow returns the encoder of a format that writes, of what e writes, only these keys
// and what is below them. A key inside of another follows it with a dot; lists count for
// nothing: dns.answer.data is the data of every record. It returns an error where the
// format is none of JSON lines, or has no such key as far as that is known.
func Allow(e Encoder, format string, keys []string) (Encoder, error) {
	if !slices.Contains(objects, format) {
		return nil, fmt.Errorf("fields= is for formats of JSON lines (%s), not for %s", strings.Join(objects, ", "), format)
	}
	if len(keys) == 0 {
		return nil, errors.New("fields= names no key")
	}
	if format == "json" {
		for _, key := range keys {
			if !isKey(key) {
				return nil, fmt.Errorf("fields: no event has %q; docs/events.md lists all keys", key)
			}
		}
		// Receivers sort by them, and tell events apart.
		if !slices.Contains(keys, "time") || !slices.Contains(keys, "event") {
			return nil, errors.New("fields: time and event must be among them")
		}
	}
	a := &allowed{Encoder: e}
	for _, key := range keys {
		n := &a.root
		for rest, more := key, true; more; {
			if rest == "" || rest[0] == '.' {
				return nil, fmt.Errorf("fields: %q is no key", key)
			}
			n.child(rest).whole = true // some formats have dots in keys
			var part string
			part, rest, more = strings.Cut(rest, ".")
			n = n.child(part)
		}
	}
	return a, nil
}

// isKey reports whether an event of dnshark's own JSON has the key.
func isKey(key string) bool {
	if key == "event" {
		return true
	}
	// What the answering process has is what the asking one has.
	if rest, ok := strings.CutPrefix(key, event.FieldServerProcess.Name+"."); ok {
		key = event.FieldProcess.Name + "." + rest
	}
	name, below, deep := strings.Cut(key, ".")
	for _, k := range kind.Catalogue {
		for _, f := range k.Fields {
			if f.Name != name {
				continue
			}
			if !deep {
				return true
			}
			for _, s := range f.Sub {
				if strings.ReplaceAll(s.Name, "[]", "") == below {
					return true
				}
			}
		}
	}
	return false
}

// allowed is an Encoder that takes from lines what is not allowed.
type allowed struct {
	Encoder
	root allowedKey
}

// allowedKey is a key that is allowed, whole or in part.
type allowedKey struct {
	key   string
	whole bool
	below []*allowedKey
}

func (n *allowedKey) child(key string) *allowedKey {
	for _, c := range n.below {
		if c.key == key {
			return c
		}
	}
	c := &allowedKey{key: key}
	n.below = append(n.below, c)
	return c
}

// Append implements Encoder.
func (a *allowed) Append(dst []byte, b *event.Batch) []byte {
	from := len(dst)
	dst = a.Encoder.Append(dst, b)
	c := cutter{buf: dst, end: from}
	for from < len(dst) {
		line := bytes.IndexByte(dst[from:], '\n')
		if line < 0 {
			break
		}
		before := c.end
		c.at, c.stop = from, from+line
		from += line + 1
		if c.peek() != '{' || !c.value(&a.root) || c.at != from-1 {
			// Not what an encoder writes: nothing of it is allowed.
			if c.end = before; line >= len("{}") {
				c.write('{')
				c.write('}')
			}
		}
		c.write('\n')
	}
	return dst[:c.end]
}

// cutter copies JSON inside of one buffer, from at to end, which is never behind at.
type cutter struct {
	buf     []byte
	at, end int
	stop    int // the end of the line
}

func (c *cutter) write(b byte) {
	c.buf[c.end] = b
	c.end++
}

// peek returns the next octet, 0 at the end.
func (c *cutter) peek() byte {
	if c.at < c.stop {
		return c.buf[c.at]
	}
	return 0
}

// value copies of a value what is allowed below n. It reports whether it was JSON.
func (c *cutter) value(n *allowedKey) bool {
	switch c.peek() {
	case '{':
		return c.object(n)
	case '[':
		return c.array(n)
	}
	return c.skip() // a value that has nothing below it
}

func (c *cutter) object(n *allowedKey) bool {
	c.at++
	c.write('{')
	for first := true; c.peek() != '}'; {
		if !first && c.peek() == ',' {
			c.at++
		}
		begin := c.at
		if c.peek() != '"' || !c.skip() || c.peek() != ':' {
			return false
		}
		key, value := c.buf[begin+1:c.at-1], c.at+1
		c.at = value
		allowed := n.find(key)
		if allowed == nil {
			if !c.skip() {
				return false
			}
			first = first && c.peek() != ','
			continue
		}
		undo, some := c.end, c.buf[c.end-1] != '{'
		if some {
			c.write(',')
		}
		c.end += copy(c.buf[c.end:], c.buf[begin:value])
		inside := c.end
		if allowed.whole {
			if !c.skip() {
				return false
			}
			c.end += copy(c.buf[c.end:], c.buf[value:c.at])
		} else if !c.value(allowed) {
			return false
		}
		if text := c.buf[inside:c.end]; len(text) == 0 || !allowed.whole && (string(text) == "{}" || string(text) == "[]") {
			c.end = undo
		}
		first = first && c.peek() != ','
	}
	c.at++
	c.write('}')
	return true
}

func (c *cutter) array(n *allowedKey) bool {
	c.at++
	c.write('[')
	for c.peek() != ']' {
		if c.peek() == ',' {
			c.at++
		}
		if c.buf[c.end-1] != '[' {
			c.write(',')
		}
		before := c.end
		if !c.value(n) {
			return false
		}
		if c.end == before && c.buf[c.end-1] == ',' {
			c.end--
		}
	}
	c.at++
	c.write(']')
	return true
}

func (n *allowedKey) find(key []byte) *allowedKey {
	for _, c := range n.below {
		if c.key == string(key) {
			return c
		}
	}
	return nil
}

// skip passes a value.
func (c *cutter) skip() bool {
	for depth := 0; c.at < c.stop; {
		switch c.buf[c.at] {
		case '"':
			for c.at++; c.at < c.stop && c.buf[c.at] != '"'; c.at++ {
				if c.buf[c.at] == '\\' {
					c.at++
				}
			}
			if c.at++; c.at > c.stop {
				return false
			}
		case '{', '[':
			depth++
			c.at++
			continue
		case '}', ']':
			depth--
			c.at++
		case ',', ':':
			c.at++
			continue
		default: // a number, true, false, null
			for c.at < c.stop && bytes.IndexByte([]byte(",]}"), c.buf[c.at]) < 0 {
				c.at++
			}
		}
		if depth <= 0 {
			return depth == 0
		}
	}
	return false
}
