package detect

import (
	"embed"
	"fmt"
	"slices"
	"strings"
	"sync"
)

// What is in allow/, a file per sort of service. A line is a domain, the threats of which
// names below it are no evidence, and in a comment why and where that is written.
//
//go:embed allow/*.txt
var allowFiles embed.FS

// shipped returns the domains of all files. They are part of the program: a line that
// cannot be read is a bug.
var shipped = sync.OnceValue(func() (all []Allowed) {
	entries, err := allowFiles.ReadDir("allow")
	if err != nil {
		panic(err)
	}
	for _, entry := range entries {
		text, err := allowFiles.ReadFile("allow/" + entry.Name())
		if err != nil {
			panic(err)
		}
		list, err := readAllowed(strings.TrimSuffix(entry.Name(), ".txt"), string(text))
		if err != nil {
			panic(err)
		}
		all = append(all, list...)
	}
	return all
})

// Shipped returns the domains that dnshark allows by itself.
func Shipped() []Allowed { return slices.Clone(shipped()) }

// readAllowed reads lines as "DOMAIN THREAT[,THREAT] # REASON; SOURCE".
func readAllowed(list, text string) (all []Allowed, err error) {
	at := 0
	for line := range strings.Lines(text) {
		at++
		line, _, _ = strings.Cut(line, "#")
		words := strings.Fields(line)
		if len(words) == 0 {
			continue
		}
		var r Rules
		if len(words) != 2 {
			return nil, fmt.Errorf("%s:%d: want a domain and its threats", list, at)
		}
		if err := r.AddAllowed(words[0], strings.Split(words[1], ",")); err != nil {
			return nil, fmt.Errorf("%s:%d: %w", list, at, err)
		}
		r.Allow[0].List = list
		all = append(all, r.Allow[0])
	}
	return all, nil
}
