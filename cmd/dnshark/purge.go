package main

import (
	"fmt"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/dnshark-io/dnshark/internal/store"
	"github.com/dnshark-io/dnshark/internal/store/eventlog"
)

func newPurge(o *options) *cobra.Command {
	return &cobra.Command{
		Use:   "purge NAME|ADDRESS|HOST",
		Short: "Remove what the history knows of a name, an address or a host",
		Long: `purge removes from what dnshark --store DIR has seen all that is about a name and the
names under it, or an address, or that a host has seen, and leaves no octet of it in
the files. Records and whole events go that mention it. Counts per hour are not kept by host,
so of those only what has the name or address goes. End the dnshark that writes there first.
Other outputs and spools are not touched.`,
		Example: `  dnshark purge --store /var/lib/dnshark private.example.test`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 {
				return usagef("purge needs one name, address or host")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			switch dir := o.history.dir; {
			case dir == "":
				return usagef("which history? --store DIR says where it is")
			case strings.Contains(dir, "://"):
				return usagef("purge is for a history in a directory; a server has its own ways to delete")
			}
			subject, err := store.ParsePurgeSubject(args[0])
			if err != nil {
				return usagef("purge: %w", err)
			}
			events, err := eventlog.Purge(cmd.Context(), filepath.Join(o.history.dir, eventlog.DirName), subject)
			if err != nil {
				return fmt.Errorf("--store: %w", err)
			}
			rows, err := store.Purge(cmd.Context(), o.history.dir, subject)
			if err != nil {
				return fmt.Errorf("--store: %w", err)
			}
			if !o.quiet {
				fmt.Fprintf(o.std.err, "dnshark: purge: %d rows and %d events removed\n", rows, events.Events)
				if events.Damaged > 0 {
					fmt.Fprintf(o.std.err, "dnshark: purge: %d damaged pieces of events could not be searched, and are removed too\n", events.Damaged)
				}
			}
			return nil
		},
	}
}
