package main

import (
	"bufio"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/dnshark-io/dnshark/internal/kind"
)

func newEvents(o *options) *cobra.Command {
	return &cobra.Command{
		Use:   "events [NAME]",
		Short: "List the events, or describe one",
		Args:  atMost(1),
		ValidArgsFunction: func(*cobra.Command, []string, string) (names []string, _ cobra.ShellCompDirective) {
			for _, k := range kind.Catalogue {
				names = append(names, k.Name+"\t"+k.Summary)
			}
			return names, cobra.ShellCompDirectiveNoFileComp
		},
		RunE: func(_ *cobra.Command, args []string) error {
			w := bufio.NewWriter(o.std.out)
			if len(args) == 0 {
				listEvents(w)
				return w.Flush()
			}
			k, ok := kind.Find(args[0])
			if !ok {
				_, err := kind.Parse(args)
				return withExit(exitUsage, err)
			}
			describe(w, k)
			return w.Flush()
		},
	}
}

func listEvents(w io.Writer) {
	fmt.Fprintf(w, "%-28s %-26s %s\n", "EVENT", "SETS", "WHAT IT TELLS")
	for _, k := range kind.Catalogue {
		sets := strings.Join(k.Sets, ",")
		if k.Internal {
			sets = "(internal)"
		}
		fmt.Fprintf(w, "%-28s %-26s %s\n", k.Name, sets, k.Summary)
		if len(k.Aliases) > 0 {
			fmt.Fprintf(w, "  also called %s\n", strings.Join(k.Aliases, ", "))
		}
	}
	fmt.Fprintf(w, "\n%-28s %s\n", "SET", "EVENTS")
	for _, s := range kind.Sets() {
		fmt.Fprintf(w, "%-28s %s\n", s.Term, s.Doc)
	}
	fmt.Fprintln(w, "\n`dnshark events NAME` describes an event and its fields.")
}

// describe prints a kind in the order of the contract's page.
func describe(w io.Writer, k *kind.Kind) {
	heading(w, "NAME")
	fmt.Fprintf(w, "  %s - %s\n", k.Name, k.Summary)
	if len(k.Aliases) > 0 {
		fmt.Fprintf(w, "  also called %s\n", strings.Join(k.Aliases, ", "))
	}
	heading(w, "DESCRIPTION")
	for _, line := range wrap(k.Description, 76) {
		fmt.Fprintf(w, "  %s\n", line)
	}
	heading(w, "EVENT SETS")
	if k.Internal {
		fmt.Fprintln(w, "  none: internal, a building block of other events")
	} else {
		fmt.Fprintf(w, "  %s\n", strings.Join(k.Sets, ", "))
	}
	if len(k.Fields) > 0 {
		heading(w, "DATA FIELDS")
	}
	for _, f := range k.Fields {
		field(w, 2, f.Name, f.Type, f.Doc)
		for _, sub := range f.Sub {
			depth := strings.Count(sub.Name, ".")
			field(w, 4+2*depth, sub.Name[strings.LastIndexByte(sub.Name, '.')+1:], sub.Type, sub.Doc)
		}
	}
	if len(k.DependsOn) > 0 {
		heading(w, "DEPENDENCIES")
		for _, name := range k.DependsOn {
			reference(w, name)
		}
	}
	if len(k.UseCases) > 0 {
		heading(w, "USE CASES")
		items(w, k.UseCases)
	}
	for _, s := range k.Sections {
		heading(w, s.Title)
		fmt.Fprintf(w, "  %s\n", s.Intro)
		items(w, s.Items)
	}
	heading(w, "RELATED EVENTS")
	for _, name := range k.Related {
		reference(w, name)
	}
}

func heading(w io.Writer, title string) {
	if title != "NAME" {
		fmt.Fprintln(w)
	}
	fmt.Fprintln(w, title)
}

func field(w io.Writer, indent int, name, typ, doc string) {
	fmt.Fprintf(w, "%*s%s (%s): ", indent, "", name, typ)
	for i, line := range wrap(doc, 76-indent) {
		if i > 0 {
			fmt.Fprintf(w, "%*s", indent+2, "")
		}
		fmt.Fprintln(w, line)
	}
}

func items(w io.Writer, list []kind.Item) {
	for _, i := range list {
		fmt.Fprintf(w, "  - %s: %s\n", i.Term, i.Doc)
	}
}

func reference(w io.Writer, name string) {
	k, _ := kind.Find(name)
	fmt.Fprintf(w, "  - %s: %s\n", name, k.Summary)
}

// wrap breaks text into lines of at most width columns where words allow it.
func wrap(text string, width int) (lines []string) {
	line := ""
	for word := range strings.FieldsSeq(text) {
		if line != "" && len(line)+1+len(word) > width {
			lines = append(lines, line)
			line = ""
		}
		if line != "" {
			line += " "
		}
		line += word
	}
	return append(lines, line)
}
