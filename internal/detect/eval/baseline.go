package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io/fs"
	"math"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/dnshark-io/dnshark"
	"github.com/dnshark-io/dnshark/dnswire"
	"github.com/dnshark-io/dnshark/event"
	"github.com/dnshark-io/dnshark/internal/suffix"
)

// baselines are the simple rules that others use: what the detectors must beat. Each
// gives a client, or a client and a domain, a score that a threshold is set on.
var baselines = []struct{ name, threat string }{
	{"unique subdomains of a domain", "dns_tunnel"},
	{"evenness of intervals", "dns_c2"},
	{"private answers to public names", "dns_hijacking"},
	{"NXDOMAIN answers of a client", "dns_dga"},
}

// evenAfter is how many intervals evenness is first computed of, and each how many again.
const evenAfter = 20

// scored is what one baseline says of one client and domain of a capture.
type scored struct {
	threats []threat // of the capture
	alert   event.Alert
	begin   int64
	names   map[string]bool
	last    int64
	gaps    []int64
	count   float64
	steps   []step // each time when the score was higher than ever
}

type step struct {
	score    float64
	time     int64
	messages int // of the client until then
}

// rise notes a score.
func (k *scored) rise(score float64, now int64, messages int) {
	if n := len(k.steps); n == 0 || score > k.steps[n-1].score {
		k.steps = append(k.steps, step{score, now, messages})
	}
}

// evenness is 1 less the median deviation of intervals from their median, in medians.
func evenness(gaps []int64) float64 {
	sorted := slices.Sorted(slices.Values(gaps))
	median := sorted[len(sorted)/2]
	for i, g := range sorted {
		sorted[i] = max(g-median, median-g)
	}
	slices.Sort(sorted)
	return max(0, 1-float64(sorted[len(sorted)/2])/float64(median))
}

// scores returns, by baseline, what it says of everybody in the captures of a directory.
func scores(corpus string) (all [][]*scored, threats []threat, err error) {
	all = make([][]*scored, len(baselines))
	err = filepath.WalkDir(corpus, func(path string, _ fs.DirEntry, err error) error {
		if err != nil || filepath.Ext(path) != ".pcap" {
			return err
		}
		var t truth
		text, err := os.ReadFile(strings.TrimSuffix(path, ".pcap") + ".json")
		if err != nil {
			return err
		}
		if err := json.Unmarshal(text, &t); err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		if len(t.Threats) == 0 && t.Threat != "" {
			t.Threats = []threat{t.threat}
		}
		threats = append(threats, t.Threats...)
		return scoreCapture(path, t.Threats, all)
	})
	return all, threats, err
}

func scoreCapture(path string, threats []threat, all [][]*scored) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	type who struct {
		baseline int
		client   netip.Addr
		domain   string
	}
	known := map[who]*scored{}
	messages := map[netip.Addr]int{}
	var suffixes suffix.Table
	for e, err := range dnshark.Read(context.Background(), f, dnshark.Options{Events: []string{"net_packet_dns"}, Host: "eval"}) {
		if err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		if len(e.Msg.Questions) == 0 {
			continue
		}
		client, server := e.Meta.SrcIP, e.Meta.DstIP
		if e.Msg.Flags.Response() {
			client, server = server, client
		}
		messages[client]++
		name := e.Msg.AppendNameLower(nil, e.Msg.Questions[0].Name)
		domain := string(suffixes.Registered(name))
		get := func(baseline int, domain string) *scored {
			key := who{baseline, client, domain}
			k := known[key]
			if k == nil {
				k = &scored{threats: threats, begin: e.Time, last: e.Time, names: map[string]bool{}}
				k.alert = event.Alert{Src: client, Server: server, Domain: domain, Start: e.Time}
				known[key], all[baseline] = k, append(all[baseline], k)
			}
			k.alert.End = e.Time
			return k
		}
		if domain != "" {
			k := get(0, domain)
			k.names[string(name)] = true
			k.rise(float64(len(k.names)), e.Time, messages[client])
			k = get(1, domain)
			if gap := e.Time - k.last; gap >= 1e9 {
				k.gaps, k.last = append(k.gaps, gap), e.Time
				if len(k.gaps)%evenAfter == 0 {
					k.rise(evenness(k.gaps), e.Time, messages[client])
				}
			}
		}
		if !e.Msg.Flags.Response() {
			continue
		}
		if e.Msg.RCode() == dnswire.RCodeNXDomain {
			k := get(3, "")
			k.count++
			k.rise(k.count, e.Time, messages[client])
		}
		for i := range e.Msg.Answer() {
			r := &e.Msg.Answer()[i]
			if r.Type != dnswire.TypeA && r.Type != dnswire.TypeAAAA || domain == "" {
				continue
			}
			if ip, _ := netip.AddrFromSlice(e.Msg.RData(r)); ip.Unmap().IsPrivate() || ip.Unmap().IsLoopback() || ip.IsUnspecified() {
				k := get(2, domain)
				k.count++
				k.rise(k.count, e.Time, messages[client])
				break
			}
		}
	}
	return nil
}

// outcome is what a threshold gives.
type outcome struct {
	threshold         float64
	hits, all, wrong  int
	after             []time.Duration // of hits
	messagesUntilHits []int
}

// try sets a threshold. Alarms count as those of the detectors do: one that is about
// no threat of its capture is wrong.
func try(list []*scored, name string, threshold float64, total int) outcome {
	o := outcome{threshold: threshold, all: total}
	first := map[*threat]*scored{}
	when := map[*scored]step{}
	for _, k := range list {
		at := slices.IndexFunc(k.steps, func(s step) bool { return s.score >= threshold })
		if at < 0 {
			continue
		}
		when[k] = k.steps[at]
		a := k.alert
		a.Threat, a.End = name, k.steps[at].time
		isThreat := false
		for i := range k.threats {
			th := &k.threats[i]
			if !th.is(&a) {
				continue
			}
			isThreat = true
			if before := first[th]; th.event() == name && (before == nil || when[before].time > a.End) {
				first[th] = k
			}
		}
		if !isThreat {
			o.wrong++
		}
	}
	o.hits = len(first)
	for _, k := range first {
		o.after = append(o.after, time.Duration(when[k].time-k.begin))
		o.messagesUntilHits = append(o.messagesUntilHits, when[k].messages)
	}
	slices.Sort(o.after)
	slices.Sort(o.messagesUntilHits)
	return o
}

// best returns the outcome with the threshold that has most hits, less wrong alarms times
// a price; of equal ones that with fewer wrong alarms, then the lowest threshold. It is infinite if
// none does better than no alarm at all.
func best(list []*scored, name string, total, price int) (b outcome) {
	var thresholds []float64
	for _, k := range list {
		for _, s := range k.steps {
			thresholds = append(thresholds, s.score)
		}
	}
	slices.Sort(thresholds)
	b = outcome{threshold: math.Inf(1), all: total} // never an alarm
	for _, th := range slices.Compact(thresholds) {
		o := try(list, name, th, total)
		now, before := o.hits-price*o.wrong, b.hits-price*b.wrong
		if now > before || now == before && o.wrong < b.wrong {
			b = o
		}
	}
	return b
}

// reportBaselines prints what the baselines find at their best.
func reportBaselines(corpus string) error {
	all, threats, err := scores(corpus)
	if err != nil {
		return err
	}
	fmt.Println("\n\nSimple rules, with the thresholds that are best on these captures:")
	for i, rule := range baselines {
		total := 0
		for j := range threats {
			if threats[j].event() == rule.threat {
				total++
			}
		}
		for price, text := range []string{"most found", "most found less false"} {
			o := best(all[i], rule.threat, total, price)
			fmt.Printf("  %-18s %-32s %-22s >= %-7.4g %d of %d found, %d missed, %d false", rule.threat, rule.name, text, o.threshold, o.hits, o.all, o.all-o.hits, o.wrong)
			if n := len(o.after); n > 0 {
				fmt.Printf(", median after %v, %d messages", o.after[n/2].Round(time.Millisecond), o.messagesUntilHits[n/2])
			}
			fmt.Println()
		}
	}
	return nil
}
