package main

import (
	"context"
	"errors"
	"os"

	"github.com/spf13/cobra"

	"github.com/dnshark-io/dnshark/internal/source/pcap"
)

func newRead(o *options) *cobra.Command {
	return &cobra.Command{
		Use:   "read FILE... | -",
		Short: "Show the events of capture files",
		Long: `read shows the events of capture files, in the order given: pcap and pcapng, plain
or compressed with gzip, zstd, lz4 or xz; - is standard input. Times are the packets' own.

A file that ends in the middle of a packet yields all events before that, a
message, and exit code 3.

Output formats (-o):` + formats(),
		Example: `  dnshark read a.pcap b.pcapng.zst
  tcpdump -w - port 53 | dnshark read -`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 {
				return usagef("read needs a capture file, or - for standard input")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, files []string) error { return runRead(cmd.Context(), o, files) },
	}
}

func runRead(ctx context.Context, o *options, files []string) error {
	if err := o.check(); err != nil {
		return err
	}
	// Creating the output would empty the capture before it is read.
	if target, err := os.Stat(o.file); o.file != "" && err == nil {
		for _, name := range files {
			if info, err := os.Stat(name); err == nil && os.SameFile(target, info) {
				return usagef("%s is to be read; write to another file", o.file)
			}
		}
	}
	o.observer, o.inputs = "both", files
	err := o.run(ctx, pcap.New(files, pcap.Options{Stdin: o.std.in}), false)
	if errors.Is(err, pcap.ErrCut) {
		return withExit(exitCut, err)
	}
	return err
}
