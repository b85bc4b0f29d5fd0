package main

import (
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/dnshark-io/dnshark/event"
)

type streams struct{ in, out, err *os.File }

func newRoot(std streams) *cobra.Command {
	o := &options{std: std}
	var files []string
	root := &cobra.Command{
		Use:   "dnshark",
		Short: "See every DNS answer, and who asked",
		Long: `dnshark shows every DNS answer that this host, a network interface or a capture
file sees, as a table or as JSON, with the process that asked.

Without a command it captures live on this host, which needs root (or CAP_BPF,
CAP_PERFMON and CAP_NET_ADMIN; CAP_NET_RAW for a single interface).

Output formats (-o):` + formats(),
		Example: `  sudo dnshark                          every answer of this host, live
  sudo dnshark -o json | jq .dns.rcode  the same as JSON, one object per line
  sudo dnshark -i eth0 --ports 53,5353  what passes an interface
  sudo dnshark -- curl example.test     what one command asks, and its children
  dnshark -r capture.pcap.gz            a capture file`,
		Args:          orCommand(o, unknownCommand),
		SilenceErrors: true,
		SilenceUsage:  true,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if len(files) > 0 {
				if len(o.command) > 0 {
					return usagef("-r and a command to run exclude each other")
				}
				return runRead(cmd.Context(), o, files)
			}
			return runLive(cmd.Context(), o)
		},
	}
	root.SetOut(std.out)
	root.SetErr(std.err)
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error {
		return usagef("%w; try `dnshark --help`", err)
	})
	root.PersistentPreRunE = func(cmd *cobra.Command, _ []string) error { return o.configure(cmd) }
	o.addOutput(root.PersistentFlags())
	root.PersistentFlags().StringVar(&o.config, "config", "", "read settings from a `FILE`, see: dnshark config --help")
	o.addLive(root.Flags())
	root.Flags().StringArrayVarP(&files, "read", "r", nil, "read a capture `FILE` instead, - for standard input")
	o.complete(root)
	root.AddCommand(newLive(o), newRead(o), newEvents(o), newFields(o), newExplain(o), newOutputs(o), newHistory(o), newTop(o), newNew(o), newPurge(o), newServe(o), newStore(o), newConfig(o), newDoctor(o), newVersion(o), newMan())
	return root
}

// orCommand takes what stands behind -- as a command to run, and leaves what
// stands before to check.
func orCommand(o *options, check cobra.PositionalArgs) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if n := cmd.ArgsLenAtDash(); n >= 0 {
			if args, o.command = args[:n], args[n:]; len(o.command) == 0 {
				return usagef("a command must follow --")
			}
		}
		return check(cmd, args)
	}
}

func unknownCommand(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	if _, err := os.Stat(args[0]); err == nil {
		return usagef("unknown command %q; to read a capture file: dnshark read %s", args[0], args[0])
	}
	hint := ""
	if s := cmd.SuggestionsFor(args[0]); len(s) > 0 {
		hint = "; did you mean " + strings.Join(s, " or ") + "?"
	}
	return usagef("unknown command %q%s; try `dnshark --help`", args[0], hint)
}

// atMost refuses more than n arguments.
func atMost(n int) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) > n {
			return usagef("%s does not take %q; try `%s --help`", cmd.CommandPath(), args[n], cmd.CommandPath())
		}
		return nil
	}
}

// oneLine returns an error's text on one line and safe for a terminal: errors
// quote file names and interface names, which may hold any octet.
func oneLine(err error) string {
	text := strings.ReplaceAll(err.Error(), "\n", "; ")
	return strings.ReplaceAll(string(event.AppendSafe(nil, text)), `\\`, `\`)
}
