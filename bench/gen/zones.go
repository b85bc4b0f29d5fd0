package main

import (
	"bufio"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
)

// Zones of the server. Only reserved names (RFC 2606) and addresses (RFC 5737,
// RFC 3849, RFC 1918) are in them.
const (
	plainZone   = "plain.example."
	signedZone  = "signed.example."
	reverseZone = "10.in-addr.arpa."
)

// names is how many names have records.
const names = 50_000

// asked is a name and the types of records that it has.
type asked struct {
	name  string
	types []string
}

// world is what the server serves.
type world struct {
	rng   *rand.Rand
	names []asked
	zones map[string]*strings.Builder
}

func newWorld(seed uint64) *world {
	w := &world{rng: rand.New(rand.NewPCG(seed, 1)), zones: map[string]*strings.Builder{}}
	for _, zone := range []string{plainZone, signedZone, reverseZone} {
		b := &strings.Builder{}
		w.zones[zone] = b
		fmt.Fprintf(b, "$ORIGIN %s\n$TTL 300\n@ 3600 IN SOA ns1 hostmaster 2026010100 7200 3600 1209600 300\n", zone)
		fmt.Fprintf(b, "@ 86400 IN NS ns1\n@ 86400 IN NS ns2\nns1 86400 IN A 198.51.100.1\nns2 86400 IN AAAA 2001:db8::53\n")
	}
	for i := range names {
		w.add(i)
	}
	// The place in the list is the rank: what a name holds must not go by it.
	w.rng.Shuffle(len(w.names), func(i, j int) { w.names[i], w.names[j] = w.names[j], w.names[i] })
	return w
}

var words = strings.Fields("www mail api cdn img shop news edge auth static login video play data m app git docs eu us-east tracker ads " +
	"blog cloud push sync time update files search maps music store pay secure assets beta dev portal media stream")

func (w *world) word() string { return words[w.rng.IntN(len(words))] }

// add adds the i-th name. Three of ten are in the signed zone.
func (w *world) add(i int) {
	zone := plainZone
	if i%10 < 3 {
		zone = signedZone
	}
	name := fmt.Sprintf("%s%d.%s", w.word(), i, w.word())
	if w.rng.IntN(3) == 0 {
		name = w.word() + "." + name
	}
	var types []string
	kind := w.rng.IntN(1000)
	record := func(owner, rtype, format string, args ...any) {
		fmt.Fprintf(w.zones[zone], "%s %d IN %s %s\n", owner, []int{20, 60, 300, 3600}[w.rng.IntN(4)], rtype, fmt.Sprintf(format, args...))
	}
	address := func(owner string, n int) {
		for j := range n {
			record(owner, "A", "203.0.%d.%d", (i+j)>>8&255, (i+j)&255)
		}
	}
	switch {
	case kind < 450:
		address(name, 1+w.rng.IntN(4))
		types = append(types, "A")
		if w.rng.IntN(10) < 6 {
			record(name, "AAAA", "2001:db8:%x::%x", w.rng.IntN(65536), i)
			types = append(types, "AAAA")
		}
	case kind < 650: // a chain of up to four aliases
		owner := name
		for link := range 1 + w.rng.IntN(4) {
			target := fmt.Sprintf("e%d-%d.%s.net", i, link, w.word())
			record(owner, "CNAME", "%s", target)
			owner = target
		}
		address(owner, 1+w.rng.IntN(3))
		types = append(types, "A", "A", "CNAME")
	case kind < 730:
		for j := range 1 + w.rng.IntN(3) {
			record(name, "MX", "%d mx%d.%s", 10*(j+1), j, name)
		}
		address("mx0."+name, 1)
		types = append(types, "MX")
	case kind < 800:
		record(name, "TXT", `"v=spf1 include:_spf%d.%s ip4:192.0.2.0/24 -all"`, i, plainZone)
		record(name, "TXT", `"site-verification=%016x%016x"`, w.rng.Uint64(), w.rng.Uint64())
		types = append(types, "TXT")
	case kind < 860:
		name = "_sip._tcp." + name
		for j := range 1 + w.rng.IntN(2) {
			record(name, "SRV", "%d 5 5060 sip%d.%s", 10*j, j, zone)
		}
		types = append(types, "SRV")
	case kind < 920:
		record(name, "HTTPS", `1 . alpn="h2,h3" ipv4hint=203.0.113.%d ipv6hint=2001:db8::%x`, i&255, i&65535)
		address(name, 1)
		types = append(types, "HTTPS", "A")
	case kind < 960: // a delegation
		for j := range 2 {
			record(name, "NS", "ns%d.%s", j, name)
			record(fmt.Sprintf("ns%d.%s", j, name), "A", "198.51.100.%d", i&255)
		}
		types = append(types, "NS", "A")
	case kind < 990:
		zone = reverseZone
		name = fmt.Sprintf("%d.%d.%d", i&255, i>>8&255, i>>16)
		record(name, "PTR", "host%d.%s", i, plainZone)
		types = append(types, "PTR")
	case kind < 995: // an answer that only TCP or fragments carry
		address(name, 150)
		types = append(types, "A")
	default:
		for range 9 {
			record(name, "TXT", `"%s"`, strings.Repeat(fmt.Sprintf("%015x.", w.rng.Uint64()>>4), 15))
		}
		types = append(types, "TXT")
	}
	w.names = append(w.names, asked{name + "." + zone, types})
}

func (w *world) writeZones(dir string) error {
	for zone, text := range w.zones {
		if err := os.WriteFile(filepath.Join(dir, zone+"zone"), []byte(text.String()), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// writeQueries writes n questions for dnsperf. Names are asked as often as their
// rank says (Zipf); 8 % of the questions are for names that nobody has, 3 % for
// types that the name has not, 1 % for the zone itself.
func (w *world) writeQueries(file string, n int, seed uint64) error {
	f, err := os.Create(file)
	if err != nil {
		return err
	}
	defer f.Close()
	out := bufio.NewWriter(f)
	rng := rand.New(rand.NewPCG(seed, 2))
	zipf := rand.NewZipf(rng, 1.1, 8, uint64(len(w.names)-1))
	for range n {
		name := &w.names[zipf.Uint64()]
		switch at := rng.IntN(100); {
		case at < 8:
			fmt.Fprintf(out, "%s-%x.%s A\n", words[rng.IntN(len(words))], rng.Uint32(), []string{plainZone, signedZone}[rng.IntN(2)])
		case at < 11:
			fmt.Fprintf(out, "%s LOC\n", name.name)
		case at < 12:
			fmt.Fprintf(out, "%s %s\n", []string{plainZone, signedZone}[rng.IntN(2)], []string{"SOA", "NS", "DNSKEY"}[rng.IntN(3)])
		default:
			fmt.Fprintf(out, "%s %s\n", name.name, name.types[rng.IntN(len(name.types))])
		}
	}
	if err := out.Flush(); err != nil {
		return err
	}
	return f.Close()
}
