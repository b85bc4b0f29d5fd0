package main

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/spf13/pflag"
)

// TestConfigurationPage compares docs/configuration.md with the flags that it is
// made of. UPDATE=1 writes it.
func TestConfigurationPage(t *testing.T) {
	var b strings.Builder
	b.WriteString(`# Configuration

Made from the flags; do not edit. Each setting is a flag (` + "`--NAME`" + `), a variable of the environment
(` + "`DNSHARK_NAME`" + `, with _ for -) and a line of a file in YAML or TOML that ` + "`--config`" + ` or
` + "`DNSHARK_CONFIG`" + ` names. Flags win over the environment, that over the file, that over the defaults.
` + "`dnshark config check`" + ` says whether dnshark would start, ` + "`dnshark config show`" + ` every value and its origin.

| setting | type | default | what it is |
|---|---|---|---|
`)
	cell := strings.NewReplacer("|", "\\|", "`", "")
	allFlags().VisitAll(func(f *pflag.Flag) {
		def := f.DefValue
		if f.Name == "host" {
			def = "this host's name"
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", f.Name, f.Value.Type(), cell.Replace(strings.Trim(def, "[]")), cell.Replace(f.Usage))
	})
	const page = "../../docs/configuration.md"
	if os.Getenv("UPDATE") != "" {
		if err := os.WriteFile(page, []byte(b.String()), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != b.String() {
		t.Errorf("%s is old; write it with UPDATE=1 go test ./cmd/dnshark -run TestConfigurationPage", page)
	}
}
