package main

import (
	"os"
	"testing"
)

// Every labelled threat is found, and no look-alike is called one.
func TestCorpus(t *testing.T) {
	const corpus = "../../../../shared/corpus/threats"
	if _, err := os.Stat(corpus); err != nil {
		t.Skip("no captures: ", err)
	}
	found, wrong, err := evaluateAll(corpus, []string{"alerts"}, false)
	if err != nil {
		t.Fatal(err)
	}
	threats := 0
	for name, list := range found {
		for _, r := range list {
			if threats++; !r.found {
				t.Errorf("%s: %s of %s is missed", name, r.name, r.file)
			}
		}
	}
	for name, list := range wrong {
		for _, r := range list {
			t.Errorf("%s: %s of %s is none (%s, %s)", name, r.name, r.file, r.kind, r.severity)
		}
	}
	t.Logf("%d threats, all found", threats)
}
