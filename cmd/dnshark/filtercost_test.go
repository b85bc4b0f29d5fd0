package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/dnshark-io/dnshark/internal/testkit"
)

// maxFilterCost is how much more a run may cost with an expression than without.
const maxFilterCost = 0.15

// filters are expressions that hold for the messages with an id below %d.
var filters = []string{
	`dns.id < %d`,
	`dns.rcode in (NOERROR, NXDOMAIN) && dns.id < %d`,
	`qname.under("example") && dns.id < %d`,
	`qname == "www.example.com" || process.comm == "curl" || dns.id < %d`,
	`!(answer.ip in 10.0.0.0/8) && dns.id < %d`,
}

// An expression that holds for 1 % of the events costs little beside reading
// them. Nothing is written, or the fewer events would pay for the filter.
// DNSHARK_BENCH_FILTER=ROUNDS measures time too.
func TestFilterCost(t *testing.T) {
	testkit.NeedPrograms(t, "valgrind")
	args := []string{"-o", "none", "-e", "net_packet_dns_response"}
	file, empty := guardCapture(t, guardUDP, guardResponses), guardCapture(t, guardUDP, 0)
	without := instructions(t, file, args) - instructions(t, empty, args)
	for _, text := range filters {
		text = fmt.Sprintf(text, guardResponses/100)
		if n := countLines(t, exec.Command(testkit.Dnshark(t), "read", "-q", "-o", "json", "-e", "net_packet_dns_response", "-f", text, file)); n != guardResponses/100 {
			t.Errorf("%s: %d events, want %d", text, n, guardResponses/100)
		}
		args := append(args, "-f", text)
		cost := float64(instructions(t, file, args)-instructions(t, empty, args))/float64(without) - 1
		t.Logf("%s: %.1f %% more instructions than %d per response", text, 100*cost, without/guardResponses)
		if cost > maxFilterCost {
			t.Errorf("%s costs %.1f %%, want at most %.0f %%", text, 100*cost, 100*maxFilterCost)
		}
	}
	if rounds, err := strconv.Atoi(os.Getenv("DNSHARK_BENCH_FILTER")); err == nil {
		filterTimes(t, rounds)
	}
}

// filterTimes is the same by the clock, with a million responses.
func filterTimes(t *testing.T, rounds int) {
	file := filepath.Join(t.TempDir(), "million.pcap")
	writeResponses(t, file, million)
	args := [][]string{{"read", "-q", "-o", "none", "-e", "net_packet_dns_response", file}}
	for _, text := range filters {
		args = append(args, append(slices.Clone(args[0]), "-f", fmt.Sprintf(text, 1<<16/100)))
	}
	times := make([][]float64, len(args))
	for range rounds {
		for i, a := range args {
			cpu, _ := usage(t, testkit.Dnshark(t), a...)
			times[i] = append(times[i], float64(cpu)/float64(time.Millisecond))
		}
	}
	// What disturbs a run makes it longer, never shorter.
	without := slices.Min(times[0])
	for i, a := range args {
		least, what := slices.Min(times[i]), "no filter"
		if i > 0 {
			what = a[len(a)-1]
		}
		t.Logf("%.0f ms at least, %.0f in the middle, %+.1f %%: %s", least, median(times[i]), 100*(least/without-1), what)
		if least > without*(1+maxFilterCost) {
			t.Errorf("%s costs more than %.0f %%", what, 100*maxFilterCost)
		}
	}
}
