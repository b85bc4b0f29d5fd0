package dnshark_test

import (
	"os"
	"os/exec"
	"strings"
	"testing"
)

// Everything that is linked is under a licence that is known, and packages carry its text.
func TestLicences(t *testing.T) {
	licences := func(args ...string) string {
		cmd := exec.Command("go", append([]string{"run", "./packaging/licences"}, args...)...)
		cmd.Stderr = os.Stderr
		out, err := cmd.Output()
		if err != nil {
			t.Fatal(err)
		}
		return string(out)
	}
	texts, bill, modules := licences(), licences("-sbom", "1.2.3"), 0
	for line := range strings.Lines(licences("-list")) {
		path, ids, _ := strings.Cut(strings.TrimSpace(line), "\t")
		modules++
		if ids == "" || !strings.Contains(texts, "==== "+path+" ") || !strings.Contains(bill, `"pkg:golang/`+path+"@") {
			t.Errorf("%s (%s) has no text, or is not in the bill of materials", path, ids)
		}
	}
	if modules < 20 {
		t.Errorf("only %d modules", modules)
	}
	t.Logf("%d modules, %d octets of licences", modules, len(texts))
}
