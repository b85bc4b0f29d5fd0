package detect

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// Threshold is one that users can set. Others are not theirs: they belong together,
// and were found on labelled captures.
type Threshold struct {
	Threat, Name string
	Doc          string // what it is, and what more or less of it does
	Default      float64
	Min, Max     float64
}

// String returns the threshold's name with that of its threat.
func (t *Threshold) String() string { return t.Threat + "." + t.Name }

// limit is a place in Thresholds.
type limit uint8

const (
	limitUp limit = iota
	limitBoth
	limitOdd
	limitGarbled
	limitMadeUp
	limitIntervals
	limitFluxAddrs
	limitFluxNets
	limitGuessedIDs
	limitUnasked
	limitRaces
	limitMoved
	limitSubstituted
	limitRebindTTL
	limitZones
	limitSteps
	numLimits
)

// Thresholds lists all, by threat. Their defaults stand beside the rules.
var Thresholds = [numLimits]Threshold{
	limitUp:          {"dns_tunnel", "octets-up", "octets of new labels that a client sends to one domain within an hour, and nothing of interest comes back", upMin, 500, 1e9},
	limitBoth:        {"dns_tunnel", "octets-down", "octets of new data that a client gets from one domain within an hour, for new names", bothDown, 500, 1e9},
	limitOdd:         {"dns_tunnel", "odd-queries", "queries of types that hardly anybody but tunnels uses, about one domain within an hour", oddMin, 3, 60000},
	limitGarbled:     {"dns_tunnel", "broken-messages", "messages between two hosts on a DNS port that are no DNS", garbledMin, 5, 1e9},
	limitMadeUp:      {"dns_dga", "domains", "domains of one client that do not exist; with fewer it is never an alert", 6, 6, lastNames},
	limitIntervals:   {"dns_c2", "beacon-intervals", "times that a beacon must come", beaconMin, 8, 1e6},
	limitFluxAddrs:   {"dns_c2", "flux-addresses", "different addresses of a name in fast flux", fluxAddrs, 8, 64},
	limitFluxNets:    {"dns_c2", "flux-networks", "networks that these are in: /16, or autonomous systems with --asn-table", fluxNets, 4, 64},
	limitGuessedIDs:  {"dns_cache_poisoning", "guessed-ids", "different wrong ids of replies about one name to one port", guessIDs, 3, 48},
	limitUnasked:     {"dns_cache_poisoning", "unasked-replies", "replies about one domain within ten minutes that nobody asked for", slowCount, 5, 1e9},
	limitRaces:       {"dns_cache_poisoning", "double-answers", "queries with two answers that have nothing in common", raceMin, 1, 1e6},
	limitMoved:       {"dns_hijacking", "moved-domains", "unrelated domains that move to one address within an hour", driftNames, 3, 48},
	limitSubstituted: {"dns_hijacking", "made-up-domains", "domains that look made up and have one address", substituted, 4, 1e6},
	limitRebindTTL:   {"dns_hijacking", "rebinding-ttl", "seconds: a private address with a longer TTL is no rebinding", rebindTTL, 1, 604800},
	limitZones:       {"dns_zone_transfer", "guessed-zones", "zones that a client asks a server for in vain, to be called guesses", guessedZones, 2, maxZones},
	limitSteps:       {"dns_zone_transfer", "walk-steps", "names that a client asks for because an NSEC record gave them as the next", walkSteps, 4, 1e9},
}

// at returns the value of a threshold.
func (o *Options) at(l limit) float64 {
	if v := o.Rules.limits[l]; v != 0 {
		return v
	}
	return Thresholds[l].Default
}

// ErrNoThreshold is that no threshold has a name.
var ErrNoThreshold = errors.New("there is no threshold")

// SetThreshold sets a threshold, named as dns_tunnel.octets-up.
func (r *Rules) SetThreshold(name, value string) error {
	var names []string
	threat, _, _ := strings.Cut(name, ".")
	for i := range Thresholds {
		t := &Thresholds[i]
		if t.String() != name {
			if t.Threat == threat {
				names = append(names, t.String())
			}
			continue
		}
		v, err := strconv.ParseFloat(value, 64)
		if err != nil || !(v >= t.Min && v <= t.Max) || v != float64(int64(v)) {
			return fmt.Errorf("%s is a whole number from %.0f to %.0f (default %.0f), not %q", t, t.Min, t.Max, t.Default, value)
		}
		r.limits[i] = v
		return nil
	}
	if len(names) == 0 {
		for i := range Thresholds {
			names = append(names, Thresholds[i].String())
		}
	}
	return fmt.Errorf("%w %q; there are %s", ErrNoThreshold, name, strings.Join(names, ", "))
}
