package output

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/dnshark-io/dnshark/event"
)

// lines is an encoder of given text.
type lines string

func (l lines) Append(dst []byte, _ *event.Batch) []byte { return append(dst, l...) }

func TestAllow(t *testing.T) {
	for _, c := range []struct{ keys, in, want string }{
		{"a", `{"a":1,"b":2}`, `{"a":1}`},
		{"b", `{"a":1,"b":{"c":[1,{"d":"}\"]"}]}}`, `{"b":{"c":[1,{"d":"}\"]"}]}}`},
		{"a.b", `{"a":{"x":{"b":1},"b":2,"c":3},"b":4}`, `{"a":{"b":2}}`},
		{"a.b c", `{"a":{"x":1},"c":null}`, `{"c":null}`},
		{"a.b", `{"a":[{"b":1,"c":2},{"c":3},{"b":[4]}],"z":0}`, `{"a":[{"b":1},{},{"b":[4]}]}`},
		{"a.b", `{"a":"text"}`, `{}`},
		{"a.b", `{"a":["x","y"]}`, `{}`},
		{"a", `{"a":{}}`, `{"a":{}}`},
		{"z", `{"a":-1.5e3,"b":true}`, `{}`},
		{"a b.c d", `{"a":"\\","b":{"c":"\"","x":[[],{}]},"d":[]}`, `{"a":"\\","b":{"c":"\""},"d":[]}`},
		{"a", `{}`, `{}`},
		{"a", `no JSON`, `{}`},
		{"a", `{"a":`, `{}`},
		{"a", `{"a":"x`, `{}`},
	} {
		e, err := Allow(lines(c.in+"\n"+c.in+"\n"), "ecs", strings.Fields(c.keys))
		if err != nil {
			t.Fatal(err)
		}
		want := "before" + c.want + "\n" + c.want + "\n"
		if got := string(e.Append([]byte("before"), nil)); got != want {
			t.Errorf("%s of %s: %q, want %q", c.keys, c.in, got, want)
		}
	}
	for format, c := range map[string]struct{ keys, want string }{
		"csv":    {"time", "JSON lines"},
		"dnstap": {"time", "JSON lines"},
		"json":   {"time event dns.qname", `no event has "dns.qname"`},
		"ecs":    {"a..b", "no key"},
		"":       {"time", "JSON lines"},
	} {
		if _, err := Allow(lines(""), format, strings.Fields(c.keys)); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s %s: %v", format, c.keys, err)
		}
	}
	if _, err := Allow(lines(""), "json", []string{"dns"}); err == nil || !strings.Contains(err.Error(), "time and event") {
		t.Error(err)
	}
}

// leaves are the keys of a value that have no keys below them.
func leaves(v any, path string, found map[string]bool) {
	switch v := v.(type) {
	case map[string]any:
		for key, below := range v {
			leaves(below, strings.TrimPrefix(path+"."+key, "."), found)
		}
	case []any:
		for _, e := range v {
			leaves(e, path, found)
		}
	default:
		found[path] = true
	}
}

// Of every format of JSON lines, whatever is in the events: what is listed is there as it
// was, and nothing else is.
func TestAllowedFormats(t *testing.T) {
	checked := 0
	for _, name := range objects {
		plain := jsonLines(t, whole(encoder(t, name), sample(t)))
		all := map[string]bool{}
		for _, line := range plain {
			leaves(line, "", all)
		}
		keys := []string{}
		for key := range all {
			if (name != "json" || isKey(key)) && !strings.HasSuffix(key, ".") && (len(key)%2 == 0 || key == "time" || key == "event") {
				keys = append(keys, key)
			}
		}
		slices.Sort(keys)
		e, err := Allow(encoder(t, name), name, keys)
		if err != nil {
			t.Fatal(err)
		}
		out := e.Append(nil, sample(t))
		cut := jsonLines(t, out)
		if len(cut) != len(plain) || len(keys) < 3 {
			t.Fatalf("%s: %d lines of %d, %d keys", name, len(cut), len(plain), len(keys))
		}
		for i := range cut {
			checked++
			found, had := map[string]bool{}, map[string]bool{}
			leaves(cut[i], "", found)
			leaves(plain[i], "", had)
			for key := range found {
				if !under(key, keys) || !had[key] {
					t.Errorf("%s: line %d has %s", name, i, key)
				}
			}
			for key := range had {
				if under(key, keys) && !found[key] {
					t.Errorf("%s: line %d lacks %s", name, i, key)
				}
			}
			for key := range cut[i] {
				if slices.Contains(keys, key) && fmt.Sprint(cut[i][key]) != fmt.Sprint(plain[i][key]) {
					t.Errorf("%s: line %d: %s is another", name, i, key)
				}
			}
		}
	}
	t.Logf("%d lines of %d formats: what is listed stays, nothing else does", checked, len(objects))
}

// under reports whether a key or what it is in is listed.
func under(key string, keys []string) bool {
	return slices.ContainsFunc(keys, func(k string) bool { return key == k || strings.HasPrefix(key, k+".") })
}

func TestAllowAllocatesNothing(t *testing.T) {
	b := sample(t)
	e, err := Allow(encoder(t, "json"), "json", strings.Fields("time event dns.questions.name process.pid"))
	if err != nil {
		t.Fatal(err)
	}
	dst := e.Append(nil, b)
	dst = make([]byte, 0, 64*len(dst))
	if n := testing.AllocsPerRun(100, func() { e.Append(dst[:0], b) }); n > 0 {
		t.Errorf("%v allocations", n)
	}
}

// Whatever stands there, nothing that is not allowed comes out, and lines stay lines.
func FuzzAllow(f *testing.F) {
	f.Add(`{"a":1,"b":{"c":2}}`)
	f.Add(`{"b":[{"c":"\""},3]}`)
	f.Fuzz(func(t *testing.T, text string) {
		e, err := Allow(lines(text+"\n"), "ecs", []string{"a", "b.c"})
		if err != nil {
			t.Fatal(err)
		}
		out := e.Append(nil, nil)
		if len(out) > max(len(text)+1, 3) {
			t.Fatalf("%q: longer: %q", text, out)
		}
		var in, got map[string]any
		if !strings.Contains(text, "\n") && json.Unmarshal([]byte(text), &in) == nil && in != nil && compact(text) {
			if err := json.Unmarshal(out, &got); err != nil {
				t.Fatalf("%q: %v: %q", text, err, out)
			}
			for key := range got {
				if key != "a" && key != "b" {
					t.Errorf("%q: %q", text, out)
				}
			}
		}
	})
}

// compact reports whether JSON has no blanks, as encoders write it.
func compact(text string) bool { return !strings.ContainsAny(text, " \t\r") }
