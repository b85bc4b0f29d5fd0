package main

import (
	"fmt"
	"strings"
	"testing"

	"github.com/dnshark-io/dnshark/internal/kind"
)

// Every kind of alert is explained: what it is, what looks alike, what to do, and how not
// to be told of it. What is said of the last is a flag that is taken, whatever the alert says.
func TestExplainEveryKind(t *testing.T) {
	for _, in := range kind.Incidents {
		for _, domain := range []string{"t.example", `a\"'; rm -rf .example`} {
			line := fmt.Sprintf(`{"alert":{"id":"1","threat":%q,"kind":%q,"severity":"high","technique":%q,"domain":%q,"src":"192.0.2.1"}}`, in.Threat, in.Kind, in.Technique, domain)
			var b strings.Builder
			if n, err := explain(&b, strings.NewReader(line), 0); err != nil || n != 1 {
				t.Fatal(n, err)
			}
			want := []string{explanations[in.Threat].what, in.Alike, "  next      ", "https://attack.mitre.org/techniques/" + strings.ReplaceAll(in.Technique, ".", "/")}
			if domain == "t.example" {
				want = append(want, "--alert-suppress 'threat="+in.Name()+" domain=t.example client=192.0.2.1'")
			}
			for _, text := range want {
				if text == "" || !strings.Contains(b.String(), text) {
					t.Errorf("%s: no %q in\n%s", in.Name(), text, b.String())
				}
			}
			if strings.Contains(b.String(), "'threat") != (domain == "t.example") {
				t.Errorf("%s: a shell would run what the alert says: %s", in.Name(), b.String())
			}
		}
	}
}
