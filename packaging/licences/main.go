// Command licences tells under which licences dnshark's modules are: their texts, as
// packages carry them, with -list a line for each, with -sbom a bill of materials
// (CycloneDX 1.5). It fails where a module has none that is known.
package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// marks are what only the text of a licence has, by its SPDX id.
var marks = []struct{ id, text string }{
	{"Apache-2.0", "apache license version 2.0"},
	{"MPL-2.0", "mozilla public license version 2.0"},
	{"ISC", "permission to use, copy, modify, and/or distribute this software for any purpose"},
	{"BSD-3-Clause", "to endorse or promote products"},
	{"BSD-2-Clause", "redistributions in binary form must reproduce"},
	{"MIT", "permission is hereby granted, free of charge"},
	{"CC0-1.0", "cc0 1.0 universal"},
	{"Unlicense", "free and unencumbered software released into the public domain"},
}

type module struct {
	Path, Version, Dir string
	Main               bool
}

func main() {
	list := flag.Bool("list", false, "a line for each module: path, licence")
	sbom := flag.String("sbom", "", "a bill of materials of this `VERSION` of dnshark")
	flag.Parse()
	if err := run(os.Stdout, *list, *sbom); err != nil {
		fmt.Fprintln(os.Stderr, "licences:", err)
		os.Exit(1)
	}
}

func run(w io.Writer, list bool, sbom string) error {
	modules, err := linked()
	if err != nil {
		return err
	}
	out := bufio.NewWriter(w)
	bill := bill{Format: "CycloneDX", Spec: "1.5", Version: 1}
	bill.Metadata.Component = component{Type: "application", Name: "dnshark", Version: sbom, Licences: spdx("Apache-2.0")}
	for _, m := range modules {
		files, err := texts(m.Dir)
		if err != nil {
			return err
		}
		var ids []string
		for _, f := range files {
			if id := identify(f.text); id != "" && !slices.Contains(ids, id) {
				ids = append(ids, id)
			}
		}
		if len(ids) == 0 {
			return fmt.Errorf("%s: no licence that is known in %s", m.Path, m.Dir)
		}
		if sbom != "" {
			bill.Components = append(bill.Components, component{
				Type: "library", Name: m.Path, Version: m.Version, Purl: "pkg:golang/" + m.Path + "@" + m.Version, Licences: spdx(ids...),
			})
			continue
		}
		if list {
			fmt.Fprintf(out, "%s\t%s\n", m.Path, strings.Join(ids, ", "))
			continue
		}
		for _, f := range files {
			fmt.Fprintf(out, "==== %s %s: %s\n\n%s\n\n", m.Path, m.Version, f.name, strings.TrimSpace(f.text))
		}
	}
	if sbom != "" {
		encoder := json.NewEncoder(out)
		encoder.SetIndent("", " ")
		if err := encoder.Encode(bill); err != nil {
			return err
		}
	}
	return out.Flush()
}

// bill is a CycloneDX bill of materials; neither time nor serial number, so that the
// same source makes the same octets.
type bill struct {
	Format   string `json:"bomFormat"`
	Spec     string `json:"specVersion"`
	Version  int    `json:"version"`
	Metadata struct {
		Component component `json:"component"`
	} `json:"metadata"`
	Components []component `json:"components"`
}

type component struct {
	Type     string    `json:"type"`
	Name     string    `json:"name"`
	Version  string    `json:"version"`
	Purl     string    `json:"purl,omitempty"`
	Licences []licence `json:"licenses"`
}

type licence struct {
	Licence struct {
		ID string `json:"id"`
	} `json:"license"`
}

func spdx(ids ...string) (list []licence) {
	for _, id := range ids {
		var l licence
		l.Licence.ID = id
		list = append(list, l)
	}
	return list
}

// linked returns the modules of which the program has code.
func linked() ([]module, error) {
	cmd := exec.Command("go", "list", "-deps", "-tags", "grpcnotrace", "-json=Module", "./cmd/dnshark")
	cmd.Env = append(os.Environ(), "GOOS=linux", "CGO_ENABLED=0")
	cmd.Stderr = os.Stderr
	text, err := cmd.Output()
	if err != nil {
		return nil, err
	}
	seen := map[string]module{}
	for d := json.NewDecoder(strings.NewReader(string(text))); ; {
		var p struct{ Module *module }
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return nil, err
		}
		if p.Module != nil && !p.Module.Main {
			seen[p.Module.Path] = *p.Module
		}
	}
	var modules []module
	for _, m := range seen {
		modules = append(modules, m)
	}
	slices.SortFunc(modules, func(a, b module) int { return strings.Compare(a.Path, b.Path) })
	return modules, nil
}

type file struct{ name, text string }

// texts returns a module's licences and notices.
func texts(dir string) (files []file, err error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		name := strings.ToUpper(e.Name())
		if !e.Type().IsRegular() || strings.HasSuffix(name, ".GO") ||
			!strings.HasPrefix(name, "LICEN") && !strings.HasPrefix(name, "COPYING") && !strings.HasPrefix(name, "NOTICE") && !strings.HasPrefix(name, "COPYRIGHT") {
			continue
		}
		text, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			return nil, err
		}
		files = append(files, file{e.Name(), string(text)})
	}
	return files, nil
}

func identify(text string) string {
	words := strings.ToLower(strings.Join(strings.FieldsFunc(text, func(r rune) bool { return r <= ' ' || r == '*' }), " "))
	words = strings.ReplaceAll(words, "license, version", "license version")
	for _, m := range marks {
		if strings.Contains(words, m.text) {
			return m.id
		}
	}
	return ""
}
