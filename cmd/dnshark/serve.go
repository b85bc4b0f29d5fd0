package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/dnshark-io/dnshark/internal/web"
)

func newServe(o *options) *cobra.Command {
	var listen string
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Serve the history to programs on this host, as DNSDB does",
		Long: `serve answers look-ups in what dnshark --store DIR has seen, also while that writes:
  /dnsdb/v2/lookup/{rrset,rdata}/{name,ip,raw}/VALUE   DNSDB version 2, for dnsdbq and others
  /query/NAME, /query/IP, /query/CIDR                  passive DNS Common Output Format

An object is one record, not an RRset. There is no key and no TLS, so only addresses
of loopback and Unix sockets are served.`,
		Example: `  dnshark serve --store /var/lib/dnshark --listen 127.0.0.1:8053
  DNSDB_SERVER=http://127.0.0.1:8053 DNSDB_API_KEY=none dnsdbq -r '*.example.test'`,
		Args: atMost(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			h, err := o.readStore()
			if err != nil {
				return err
			}
			defer h.Close()
			l, err := web.Listen(listen)
			if err != nil {
				return withExit(exitUsage, fmt.Errorf("--listen: %w", err))
			}
			if !o.quiet {
				fmt.Fprintf(o.std.err, "dnshark: serving at %s\n", l.Addr())
			}
			return (&web.Server{Store: h}).Serve(cmd.Context(), l)
		},
	}
	cmd.Flags().StringVar(&listen, "listen", "127.0.0.1:8053", "`ADDRESS` of this host, or unix:PATH")
	return cmd
}
