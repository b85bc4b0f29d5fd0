package main

import (
	"bufio"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/dnshark-io/dnshark/internal/sink"
)

func newOutputs(o *options) *cobra.Command {
	return &cobra.Command{
		Use:   "outputs",
		Short: "List where events can go",
		Long: `outputs lists what --output can name beside a format. Several outputs may be
named; each has its own format, filter and queue, and none waits for another:

  --output FORMAT                          standard output
  --output FORMAT:PATH[,OPTION=VALUE...]   a file; filter= comes last
  --output SCHEME://HOST?OPTION=VALUE&...  everything below

In a URL, ${NAME} is a variable of the environment: passwords need not be seen in
the list of processes. Times are as 500ms, 10s; sizes as 64KB, 1GB.`,
		Example: `  dnshark -o table -o json:/var/log/dnshark.json
  dnshark -o 'json:nx.json,filter=dns.rcode == "NXDOMAIN"' -o ecs:all.json`,
		Args: atMost(0),
		RunE: func(*cobra.Command, []string) error {
			w := bufio.NewWriter(o.std.out)
			list := func(options []sink.Option) {
				for _, option := range options {
					def := ""
					if option.Default != "" {
						def = " (" + option.Default + ")"
					}
					fmt.Fprintf(w, "    %-14s %-10s %s%s\n", option.Name, option.Type, option.Doc, def)
				}
			}
			fmt.Fprintln(w, "every output")
			list(sink.Common)
			for _, k := range sink.Kinds {
				fmt.Fprintf(w, "%s: %s\n  %s\n", strings.Join(k.Schemes(), ", "), k.Doc, k.Form)
				list(k.Options)
			}
			return w.Flush()
		},
	}
}
