// Package truth says how many responses captures hold, from whoever made them.
package truth

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
)

// File is its name in the directory of captures.
const File = "truth.json"

// Truth is what the generator knows.
type Truth struct {
	Seed     uint64            `json:"seed"`
	Names    int               `json:"names"`
	Versions map[string]string `json:"versions"`
	Captures []Capture         `json:"captures"`
}

// Capture is a file NAME.pcap.
type Capture struct {
	Name      string `json:"name"`
	Responses int    `json:"responses"`
}

// Read reads the file of a directory.
func Read(dir string) (*Truth, error) {
	text, err := os.ReadFile(filepath.Join(dir, File))
	if err != nil {
		return nil, fmt.Errorf("%w; `make bench-captures` makes them", err)
	}
	t := &Truth{}
	return t, json.Unmarshal(text, t)
}

// Find returns the capture of that name, or nil.
func (t *Truth) Find(name string) *Capture {
	for i := range t.Captures {
		if t.Captures[i].Name == name {
			return &t.Captures[i]
		}
	}
	return nil
}
