package filter

import (
	"strings"
	"testing"

	"github.com/dnshark-io/dnshark/event"
	"github.com/dnshark-io/dnshark/internal/kind"
)

// Whatever stands in the JSON can be asked for, but for what stands there twice
// and what no question is about.
func TestEveryFieldHasAPath(t *testing.T) {
	without := []string{
		"event",        // the line emits only what was asked for
		"dns_response", // the contract's form of dns.questions and dns.answer
		"dns_questions",
		"dns.edns.options", "dns.edns.ext_rcode", "dns.sha256", "dns.sections",
		"dns.flags", // a path each: dns.response, dns.aa, ...
		"ip.flags", "tcp.flags",
		"dns.answer.fault", "dns.answer.size", "dns.answer.sha256",
		"process.container.labels_omitted", "process.container.pod.labels_omitted",
		"process.truncated", "transaction.caused_by.rule",
		"alert.confidence", "alert.value", "alert.threshold", "alert.window_s", "alert.evidence", "alert.benign_explanations_rejected",
		"loss.by_reason", "loss.start", "loss.end", "loss.duration_s", "loss.unfinished",
		"server_process", // with the keys of process
	}
	for _, k := range kind.Catalogue {
		for _, f := range k.Fields {
			names := map[string]bool{}
			for _, s := range f.Sub {
				if s.Type != "object" && s.Type != "[]object" {
					names[f.Name+"."+strings.ReplaceAll(s.Name, "[]", "")] = true
				}
			}
			if len(f.Sub) == 0 {
				names[f.Name] = true
			}
		names:
			for name := range names {
				for _, prefix := range without {
					if name == prefix || strings.HasPrefix(name, prefix+".") {
						continue names
					}
				}
				if _, ok := event.FindPath(name); !ok {
					t.Errorf("%s: %s cannot be asked for", k.Name, name)
				}
			}
		}
	}
}
