package output

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/bits"
	"strings"
	"text/template"

	"github.com/dnshark-io/dnshark/event"
)

// templateFormat writes what a Go template (text/template) makes of an event,
// whose fields are the keys of the JSON: {{.dns.rcode}}, {{range .dns.answer}}.
// A line end is added where there is none. It is made for people and scripts,
// not for speed: every event goes through JSON.
var templateFormat = Format{
	Name: "template",
	Doc:  "what --template makes of an event",
	New: func(s Settings) (Encoder, error) {
		if s.Template == "" {
			return nil, fmt.Errorf("format template needs --template, such as --template '{{.time}} {{.dns.rcode}}'")
		}
		t, err := template.New("template").Funcs(templateFuncs).Parse(s.Template)
		if err != nil {
			return nil, err
		}
		return &templateEncoder{template: t, json: NewJSON()}, nil
	},
}

var templateFuncs = template.FuncMap{
	// json writes a value as JSON: {{json .dns.edns}}.
	"json": func(v any) (string, error) {
		text, err := json.Marshal(v)
		return string(text), err
	},
	// join writes a list's elements with text between them: {{join .dns.flags ","}}.
	"join": func(list []any, between string) string {
		texts := make([]string, len(list))
		for i, v := range list {
			texts[i] = fmt.Sprint(v)
		}
		return strings.Join(texts, between)
	},
}

type templateEncoder struct {
	template *template.Template
	json     *JSON
	line     []byte
	out      bytes.Buffer
}

// Append implements Encoder. Where the template fails for an event, its line
// ends with the reason.
func (t *templateEncoder) Append(dst []byte, b *event.Batch) []byte {
	for i := range b.Events {
		e := &b.Events[i]
		for kinds := e.Kinds; kinds != 0; kinds &= kinds - 1 {
			t.line = t.json.append(t.line[:0], e, bits.TrailingZeros32(kinds))
			t.out.Reset()
			if err := t.execute(); err != nil {
				dst = append(dst, t.out.Bytes()...)
				dst = append(event.AppendSafe(append(dst, "[error: "...), err.Error()), ']', '\n')
				continue
			}
			dst = append(dst, t.out.Bytes()...)
			if n := len(dst); n == 0 || dst[n-1] != '\n' {
				dst = append(dst, '\n')
			}
		}
	}
	return dst
}

func (t *templateEncoder) execute() error {
	var fields map[string]any
	d := json.NewDecoder(bytes.NewReader(t.line))
	d.UseNumber() // ids of 64 bits are not rounded
	if err := d.Decode(&fields); err != nil {
		return err
	}
	return t.template.Execute(&t.out, fields)
}
