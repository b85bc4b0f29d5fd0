package main

import (
	"bufio"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/dnshark-io/dnshark/internal/output"
	"github.com/dnshark-io/dnshark/internal/sink"
)

func newOutputs(o *options) *cobra.Command {
	return &cobra.Command{
		Use:   "outputs [SCHEME]",
		Short: "List where events can go, or describe one",
		Long: `outputs lists what --output can name beside a format. Several outputs may be
named; each has its own format, filter and queue, and none waits for another:

  --output FORMAT                          standard output
  --output FORMAT:PATH[,OPTION=VALUE...]   a file; filter= comes last
  --output SCHEME://HOST?OPTION=VALUE&...  everything else

In a URL, ${NAME} is a variable of the environment: passwords need not be seen in
the list of processes. Times are as 500ms, 10s; sizes as 64KB, 1GB.`,
		Example: `  dnshark outputs https
  dnshark -o table -o json:/var/log/dnshark.json
  dnshark -o 'json:nx.json,filter=dns.rcode == "NXDOMAIN"' -o ecs:all.json`,
		Args: atMost(1),
		ValidArgsFunction: func(*cobra.Command, []string, string) (schemes []string, _ cobra.ShellCompDirective) {
			for _, k := range sink.Kinds {
				schemes = append(schemes, k.Scheme+"\t"+k.Doc)
			}
			return schemes, cobra.ShellCompDirectiveNoFileComp
		},
		RunE: func(_ *cobra.Command, args []string) error {
			w := bufio.NewWriter(o.std.out)
			if len(args) == 0 {
				listOutputs(w)
				return w.Flush()
			}
			k := sink.Find(args[0])
			if k == nil {
				return usagef("no output is called %q; `dnshark outputs` lists all", args[0])
			}
			describeOutput(w, k)
			return w.Flush()
		},
	}
}

func listOutputs(w io.Writer) {
	for _, k := range sink.Kinds {
		fmt.Fprintf(w, "%s\n    %s\n", strings.Join(k.Schemes(), ", "), k.Doc)
	}
	fmt.Fprintln(w, "\noptions of every output")
	listOptions(w, sink.Common)
	fmt.Fprintln(w, "\n`dnshark outputs SCHEME` describes one and its options.")
}

func describeOutput(w io.Writer, k *sink.Kind) {
	fmt.Fprintf(w, "%s: %s\n\n  %s\n", strings.Join(k.Schemes(), ", "), k.Doc, k.Form)
	if k.Delivery != "" {
		fmt.Fprintf(w, "\n%s\n", k.Delivery)
	}
	if k.Example != "" {
		fmt.Fprintf(w, "\nfor example\n  dnshark %s\n", k.Example)
	}
	fmt.Fprintln(w, "\noptions, and those of every output")
	listOptions(w, k.Options)
}

func listOptions(w io.Writer, options []sink.Option) {
	for _, o := range options {
		about := o.Type
		if o.Default != "" {
			about += ", default " + o.Default
		}
		fmt.Fprintf(w, "  %-16s %s (%s)\n", o.Name, o.Doc, about)
	}
}

// completeOutput completes formats, schemes, and behind a URL's ? its options.
func completeOutput(_ *cobra.Command, _ []string, text string) (words []string, _ cobra.ShellCompDirective) {
	scheme, rest, isURL := strings.Cut(text, "://")
	if !isURL {
		for _, f := range output.Formats {
			words = append(words, f.Name+"\t"+f.Doc)
		}
		for _, k := range sink.Kinds {
			for _, s := range k.Schemes() {
				words = append(words, s+"://\t"+k.Doc)
			}
		}
		return words, cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveNoSpace
	}
	_, options, behind := strings.Cut(rest, "?")
	k := sink.Find(scheme)
	if !behind || k == nil {
		return nil, cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveNoSpace
	}
	last := options[strings.LastIndexByte(options, '&')+1:]
	begin := text[:len(text)-len(last)]
	for _, o := range slices.Concat(k.Options, sink.Common) {
		name, _, value := strings.Cut(last, "=")
		choices, isChoice := strings.CutPrefix(o.Type, "one of ")
		switch {
		case !value:
			words = append(words, begin+o.Name+"=\t"+o.Doc)
		case name == o.Name && isChoice:
			for _, c := range strings.Split(choices, ", ") {
				words = append(words, begin+name+"="+c)
			}
		}
	}
	return words, cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveNoSpace
}
