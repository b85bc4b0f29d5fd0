// Package privacy takes from events what tells of people, before they reach the
// history and any output: addresses become pseudonyms, names are cut or hashed,
// texts are left out.
package privacy

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"strings"

	"github.com/dnshark-io/dnshark/event"
	"github.com/dnshark-io/dnshark/internal/suffix"
)

// Options says what is taken.
type Options struct {
	Addrs  bool // every address becomes a pseudonym; those that share a prefix still do
	Cut    bool // names are cut to the registered domain
	Hash   bool // names become a keyed hash; excludes Cut
	Text   bool // texts of records, and of EDNS
	Args   bool // arguments of processes; whoever reads processes sees to it
	Secret Secret
}

// Secret is the key of pseudonyms and hashes. Who has it can tell which address is
// behind a pseudonym.
type Secret [32]byte

// Parse reads a list of: ips, names=domain, names=hash, text, args, all (which is ips,
// names=hash, text and args).
func Parse(list []string) (o Options, err error) {
	for _, what := range list {
		switch strings.TrimSpace(what) {
		case "ips":
			o.Addrs = true
		case "names=domain":
			o.Cut = true
		case "names=hash":
			o.Hash = true
		case "text":
			o.Text = true
		case "args":
			o.Args = true
		case "all":
			o.Addrs, o.Hash, o.Text, o.Args = true, true, true, true
		default:
			return o, fmt.Errorf("%q is none of ips, names=domain, names=hash, text, args, all", what)
		}
	}
	if o.Cut && o.Hash {
		return o, errors.New("names are cut or hashed, not both")
	}
	return o, nil
}

// Any reports whether a Stage has something to do.
func (o *Options) Any() bool { return o.Addrs || o.names() || o.Text }

func (o *Options) names() bool { return o.Cut || o.Hash }

// ReadSecret reads 64 hex digits from a file. Without a path the secret is new, so
// nothing of this run can be compared with that of another.
func ReadSecret(path string) (s Secret, err error) {
	if path == "" {
		_, err = rand.Read(s[:])
		return s, err
	}
	f, err := os.Open(path)
	if err != nil {
		return s, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, 4096))
	if err != nil {
		return s, err
	}
	key, err := hex.DecodeString(strings.TrimSpace(string(text)))
	if err != nil || len(key) != len(s) {
		return s, fmt.Errorf("%s: want %d hex digits, as of `openssl rand -hex %d`", path, 2*len(s), len(s))
	}
	return Secret(key), nil
}

// Stage is the step that does it. It serves one goroutine.
type Stage struct {
	o        Options
	addrs    *pseudonyms
	names    *hasher
	suffixes suffix.Table
	buf      []byte
	name     []byte
	text     []byte
}

// NewStage returns the step for the options.
func NewStage(o Options) *Stage {
	s := &Stage{o: o}
	if o.Addrs {
		s.addrs = newPseudonyms(&o.Secret)
	}
	if o.Hash {
		s.names = newHasher(&o.Secret)
	}
	return s
}

// Process changes every event of the batch.
func (s *Stage) Process(b *event.Batch) {
	for i := range b.Events {
		e := &b.Events[i]
		if s.o.Addrs {
			e.Meta.SrcIP, e.Meta.DstIP = s.addr(e.Meta.SrcIP), s.addr(e.Meta.DstIP)
			if c := e.Txn.Cause; c != nil {
				c = b.HoldCause(c)
				c.Client = netip.AddrPortFrom(s.addr(c.Client.Addr()), c.Client.Port())
				e.Txn.Cause = c
			}
		}
		if e.HasMessage() {
			s.message(b, e)
		}
		if e.Alert != nil {
			e.Alert = s.alert(e.Alert)
		}
	}
}

func (s *Stage) addr(a netip.Addr) netip.Addr {
	if !s.o.Addrs {
		return a
	}
	return s.addrs.of(a)
}

// left stands for what was left out.
const left = "(redacted)"

// alert returns a changed copy. Alerts are few.
func (s *Stage) alert(a *event.Alert) *event.Alert {
	changed := *a
	changed.Src, changed.Server, changed.Domain = s.addr(a.Src), s.addr(a.Server), s.sample(a.Domain)
	changed.Evidence = make([]event.Evidence, len(a.Evidence))
	for i, e := range a.Evidence {
		if e.Texts != nil {
			texts := make([]string, len(e.Texts))
			for j, t := range e.Texts {
				texts[j] = s.sample(t)
			}
			e.Texts = texts
		}
		changed.Evidence[i] = e
	}
	return &changed
}

// sample changes an address, a network or a name that stands in a text. What is none of these is left out.
func (s *Stage) sample(text string) string {
	if text == "" {
		return ""
	}
	if a, err := netip.ParseAddr(text); err == nil {
		return s.addr(a).String()
	}
	if p, err := netip.ParsePrefix(text); err == nil {
		return netip.PrefixFrom(s.addr(p.Masked().Addr()), p.Bits()).Masked().String()
	}
	name, ok := s.textName(text)
	if !ok {
		return left
	}
	return name
}
