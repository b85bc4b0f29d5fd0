package main

import (
	"bytes"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/dnshark-io/dnshark/internal/sink"
)

// TestOutputsPage compares docs/outputs.md with the sinks that it is made of.
// UPDATE=1 writes it.
func TestOutputsPage(t *testing.T) {
	var b bytes.Buffer
	b.WriteString(`# Outputs

Made from the sinks; do not edit. Events go to one or several outputs, each with its own format,
filter and queue:

    dnshark -o table -o json:/var/log/dnshark.json -o 'https://hooks.example/dns?format=ecs&filter=dns.rcode%20!=%20%22NOERROR%22'

A queue keeps what its receiver does not take yet, up to ` + "`queue`" + `; what is more is dropped and counted, and
neither the capture nor another output waits. ` + "`dnshark read`" + ` waits: it drops nothing. Deliveries that fail
are tried again with growing pauses of up to 9 s. At the end dnshark waits 10 s for what is still there. The
summary and ` + "`--metrics`" + ` tell for each output what became of its events: delivered, waiting, overflow,
refused (the receiver will never take it) or abandoned (dnshark ended first). What has to outlive a receiver
that is away, or a crash, goes through the disk: ` + "`spool`" + `, see [the spool](spool.md).

Events of JSON formats carry ` + "`event_id`" + ` where each is a message of its own: HOST-BOOT-OUTPUT-NUMBER. It
is the same when an event comes twice, and no other event has it.

Options are written behind the URL, percent-encoded (%20 for a space, %26 for &). ` + "`${NAME}`" + ` is a variable
of the environment; it is encoded by itself. Passwords, tokens and keys are also read from files (` + "`password-file=`" + `),
again when these change. With TLS the receiver's certificate is always verified.

`)
	cell := strings.NewReplacer("|", "\\|", "`", "")
	table := func(options []sink.Option) {
		b.WriteString("\n| option | type | default | what it is |\n|---|---|---|---|\n")
		for _, o := range options {
			fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", o.Name, o.Type, o.Default, cell.Replace(o.Doc))
		}
	}
	b.WriteString("## Every output\n")
	table(sink.Common)
	for _, k := range sink.Kinds {
		fmt.Fprintf(&b, "\n## %s\n\n%s.\n\n    %s\n", strings.Join(k.Schemes(), ", "), strings.ToUpper(k.Doc[:1])+k.Doc[1:], strings.ReplaceAll(k.Form, ", ", "\n    "))
		if k.Delivery != "" {
			fmt.Fprintf(&b, "\n%s\n", k.Delivery)
		}
		if k.Example != "" {
			fmt.Fprintf(&b, "\nFor example:\n\n    dnshark %s\n", k.Example)
		}
		if len(k.Options) > 0 {
			table(k.Options)
		}
	}
	const page = "../../docs/outputs.md"
	if os.Getenv("UPDATE") != "" {
		if err := os.WriteFile(page, b.Bytes(), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, b.Bytes()) {
		t.Errorf("%s is old; write it with UPDATE=1 go test ./cmd/dnshark -run TestOutputsPage", page)
	}
}

// The examples are what users can type.
func TestOutputExamples(t *testing.T) {
	for _, k := range sink.Kinds {
		if k.Example == "" {
			continue
		}
		os.Expand(k.Example, func(name string) string {
			t.Setenv(name, "x")
			return ""
		})
		target, err := sink.Parse(strings.Trim(strings.TrimPrefix(k.Example, "-o "), "'"))
		if err != nil || target.Kind != k {
			t.Errorf("%s: %v", k.Example, err)
		}
	}
}

func TestCompleteOutput(t *testing.T) {
	for text, want := range map[string]string{
		"":                              "json\tdnshark's own JSON, with all that is known",
		"sys":                           "syslog+tls://\t",
		"syslog+tcp://h?":               "syslog+tcp://h?facility=\t",
		"syslog+tcp://h?ca=x&fra":       "syslog+tcp://h?ca=x&framing=\t",
		"syslog+tcp://h?ca=x&framing=o": "syslog+tcp://h?ca=x&framing=octets",
		"tcp://h?queue=":                "",
		"nothing://h?":                  "",
		"tcp://h":                       "",
	} {
		words, _ := completeOutput(nil, nil, text)
		if want == "" && len(words) > 0 || want != "" && !slices.ContainsFunc(words, func(w string) bool { return strings.HasPrefix(w, want) }) {
			t.Errorf("%s: %q, want %q", text, words, want)
		}
	}
}
