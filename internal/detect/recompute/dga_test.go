package recompute

import (
	"slices"
	"strings"

	"github.com/miekg/dns"

	"github.com/dnshark-io/dnshark/internal/namescore"
)

func init() {
	recomputations["made_up_names"] = madeUp
	recomputations["word_lists"] = madeUp
	recomputations["rendezvous"] = rendezvous
}

// missing is a domain that does not exist, and that the client never asked for before.
type missing struct {
	time int64
	name string
}

// missed returns those of the alert's client until its end, the oldest first.
func missed(v *view, a *alert) (list []missing) {
	exists, seen := news{}, news{}
	for _, m := range v.messages {
		if m.time > a.end() {
			break
		}
		if !m.response() || m.repeat || m.registered == "" || within(m.name, "arpa") {
			continue
		}
		switch {
		case m.Rcode == dns.RcodeSuccess && len(m.Answer) > 0:
			exists.add(m.registered, m.time)
		case m.Rcode == dns.RcodeNameError && (m.labels == "" || m.labels == "www") && m.client.Addr() == a.Src:
			if seen.add(m.registered, m.time) && !exists.has(m.registered, m.time) {
				list = append(list, missing{m.time, m.registered})
			}
		}
	}
	return list
}

// Scores are the model's, which packets do not hold: that they are the same here says
// which names it was given.
var scorer = namescore.New()

func score(name string) float32 { return max(-6, min(8, scorer.Score([]byte(name)))) }

func mean(list []missing) float64 {
	var sum float32
	for _, m := range slices.Backward(list) {
		sum += score(m.name)
	}
	return float64(sum / float32(len(list)))
}

// campaign returns when the first name came that the client was told of, in an alert at
// most six hours after it.
func campaign(v *view, a *alert, last []missing) float64 {
	if since, ok := v.campaigns[a.Src]; (!ok || a.end()-since > 6*hour) && len(last) > 0 {
		v.campaigns[a.Src] = last[0].time
	}
	return float64(v.campaigns[a.Src] / 1000)
}

func madeUp(v *view, a *alert) figures {
	all := missed(v, a)
	count := int(a.Evidence["domains_without_answer"].(float64))
	n := map[string]float64{}
	names := map[string]bool{}
	all = slices.DeleteFunc(all, func(m missing) bool { return a.end()-m.time > 6*hour })
	all = all[max(0, len(all)-64):]
	if a.Kind == "word_lists" {
		count = len(all)
	}
	if a.Kind == "made_up_names" && !slices.Contains([]int{6, 8, 10, 20, 40}, count) || count > len(all) {
		return figures{n, nil}
	}
	last := all[len(all)-count:]
	n["domains_without_answer"], n["mean_score"] = float64(count), mean(last)
	n["shortest"], n["longest"] = 64, 0
	again, whole := 0, 0
	known := map[uint64]int{} // names that have a word
	for _, m := range slices.Backward(last) {
		names[m.name] = true
		n["shortest"], n["longest"] = min(n["shortest"], float64(min(48, len(m.name)))), max(n["longest"], float64(min(48, len(m.name))))
		words, rest := scorer.Tables.Segment(nil, []byte(m.name))
		if rest <= 1 && len(words) >= 2 && len(words) <= 4 {
			whole++
		}
		words = words[:min(len(words), 3)]
		for _, w := range words {
			if known[w] > 0 {
				again++
			}
		}
		for _, w := range words {
			known[w]++
		}
	}
	n["shared_words"] = float64(again) / float64(count) * float64(whole) / float64(count)
	n["seconds"] = float64(a.end()-last[0].time) / 1e9
	together := make([]*namescore.Name, count)
	for i, m := range last {
		together[count-1-i] = &namescore.Name{}
		scorer.Fill(together[count-1-i], []byte(m.name))
	}
	n[value] = float64(scorer.Together(together))
	if a.Kind == "word_lists" {
		n[value] = n["shared_words"]
	}
	n[start], n[end] = campaign(v, a, last), float64(a.end()/1000)
	return figures{n, map[string]func(string) bool{"names": some(names)}}
}

func rendezvous(v *view, a *alert) figures {
	all := missed(v, a)
	last := all[max(0, len(all)-10):]
	for len(last) > 0 && a.end()-last[0].time > 6*hour {
		last = last[1:]
	}
	own := float64(scorer.Score([]byte(canonical(a.Domain))))
	_, suffix := namescore.Split([]byte(a.Domain))
	n := map[string]float64{"score": own, "mean_score_of_the_last": mean(last), "the_last": float64(len(last)), value: own}
	n[threshold] = max(0, min(1.2, n["mean_score_of_the_last"]-1.5))
	n[start], n[end] = campaign(v, a, nil), float64(a.end()/1000)
	return figures{n, map[string]func(string) bool{"suffix": func(s string) bool { return s == strings.ToLower(string(suffix)) }}}
}
