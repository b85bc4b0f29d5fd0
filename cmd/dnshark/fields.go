package main

import (
	"bufio"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/dnshark-io/dnshark/event"
)

func newFields(o *options) *cobra.Command {
	return &cobra.Command{
		Use:   "fields",
		Short: "List the fields that filters know",
		Long: `fields lists every field that --filter knows, with its type. Fields marked * may
have several values: a comparison holds when it holds for one of them.

An expression compares fields with values and joins comparisons:

  == != < <= > >=            dns.rcode == "NXDOMAIN", transaction.latency_us > 50ms
  in, not in                 qtype in (TXT, NULL), answer.ip in 10.0.0.0/8
  in file("PATH")            values from a file, one in a line
  =~ !~                      a regular expression (RE2): process.exe =~ "^/tmp/"
  .under("NAME", ...)        a name and all below it: qname.under("example.com")
  .contains .begins .ends    parts of a text: answer.data.contains("v=spf1")
  .exists()                  the event has such a value: process.pid.exists()
  len() count() labels()     octets of a text, number of values, labels of a name
  domain()                   registered domain of a name: domain(qname) == "example.co.uk"
  && || ! ( )                or: and, or, not

Names compare without case and final dot. != and "not in" hold where there is no
value.`,
		Args: atMost(0),
		RunE: func(*cobra.Command, []string) error {
			w := bufio.NewWriter(o.std.out)
			fmt.Fprintf(w, "%-28s %-9s %s\n", "FIELD", "TYPE", "WHAT IT IS")
			for _, p := range event.Paths {
				several := ""
				if p.List {
					several = "*"
				}
				fmt.Fprintf(w, "%-28s %-9s %s\n", p.Name+several, p.Kind, p.Doc)
			}
			return w.Flush()
		},
	}
}
