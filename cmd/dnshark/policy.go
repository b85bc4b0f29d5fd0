package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/fsnotify/fsnotify"
	"github.com/spf13/pflag"

	"github.com/dnshark-io/dnshark/internal/detect"
	"github.com/dnshark-io/dnshark/internal/kind"
	"github.com/dnshark-io/dnshark/internal/policy"
)

func (o *options) addPolicy(f *pflag.FlagSet) {
	f.StringArrayVarP(&o.policyPaths, "policy", "p", nil, "read policies from a `FILE` or directory; they say which events to show")
	f.StringArrayVar(&o.scopes, "scope", nil, "show only events within a `SCOPE`, as comm=curl or uid!=0,1000 (as Tracee's)")
}

// loadPolicies reads what --policy, --scope and comparisons in --events say. It
// leaves nil when there are none. Files that speak of alerts only leave the choice of events
// to --events.
func (o *options) loadPolicies() (err error) {
	if o.rules, err = o.alerts.rules(); err != nil {
		return err
	}
	if len(o.policyPaths) > 0 {
		set, err := policy.Load(o.policyPaths)
		if err != nil {
			return withExit(exitUsage, err)
		}
		if set.Alerts != nil {
			o.rules.Merge(set.Alerts)
		}
		if len(set.Policies) > 0 {
			if len(o.scopes) > 0 || !slices.Equal(o.events, []string{kind.SetDefault}) {
				return usagef("--policy says which events to show; leave out --events and --scope")
			}
			o.policies, o.byFile = set, true
			return nil
		}
	}
	o.policies, err = fromFlags(o.events, o.scopes)
	return err
}

// fromFlags makes a policy without a name of flags, or nil when they need none. An
// event may be followed by a comparison, as
// net_packet_dns_response.data.dst_port=53,5353; commas divide events too.
func fromFlags(events, scopes []string) (*policy.Set, error) {
	p, scope := &policy.Policy{}, &policy.Conditions{}
	for _, text := range scopes {
		expr, why := policy.Scope(text, slices.Contains(scopes, policy.Follow))
		if why != "" {
			return nil, usagef("--scope: %s", why)
		}
		scope.AddTracee(text, expr)
	}
	p.Scope = scope.String()
	var whens [32]policy.Conditions
	var kinds, without kind.Set
	last, compared := "", false // the comparison that a value may follow
	flush := func() error {
		if last == "" {
			return nil
		}
		name, comparison, _ := strings.Cut(last, ".")
		name, exclude := strings.CutPrefix(name, "-")
		found, err := kind.Parse([]string{name})
		if err != nil {
			return withExit(exitUsage, err)
		}
		if exclude {
			without |= found
			return nil
		}
		when := ""
		if comparison != "" {
			compared = true
			var why string
			if when, why = policy.Data(comparison); why != "" {
				return usagef("--events %s: %s", last, why)
			}
		}
		kinds |= found
		for i := range kind.Catalogue {
			if found.Has(i) {
				whens[i].AddTracee(comparison, when)
			}
		}
		return nil
	}
	for _, text := range events {
		if _, err := kind.Parse([]string{text}); err != nil && strings.ContainsAny(last, "=<>") && !namesEvent(text) {
			last += "," + text // one more value
			continue
		}
		if err := flush(); err != nil {
			return nil, err
		}
		last = text
	}
	if err := flush(); err != nil {
		return nil, err
	}
	if !compared && p.Scope == "" {
		return nil, nil
	}
	if kinds == 0 {
		kinds, _ = kind.Parse([]string{kind.SetDefault})
	}
	if kinds &^= without; kinds == 0 {
		return nil, usagef("--events: no event is left")
	}
	for i := range kind.Catalogue {
		if kinds.Has(i) {
			p.Rules = append(p.Rules, policy.Rule{Kind: i, When: whens[i].String()})
		}
	}
	return &policy.Set{Policies: []*policy.Policy{p}}, nil
}

// namesEvent reports whether text begins with an event, before a comparison.
func namesEvent(text string) bool {
	name, _, ok := strings.Cut(text, ".")
	if !ok {
		return false
	}
	_, err := kind.Parse([]string{name})
	return err == nil
}

// settle is how long files may change before they are read again: editors write
// in several steps.
const settle = 200 * time.Millisecond

// watchPolicies reads the policies again when their files change or SIGHUP comes,
// until ctx ends, and gives them to use. Bad ones are told, and the old ones stay.
func (o *options) watchPolicies(ctx context.Context, use func(*policy.Set) error) error {
	files, err := fsnotify.NewWatcher()
	if err != nil {
		return fmt.Errorf("watching policy files: %w", err)
	}
	for _, path := range o.policyPaths {
		// Of a file the directory: editors and Kubernetes replace files.
		if info, err := os.Stat(path); err == nil && !info.IsDir() {
			path = filepath.Dir(path)
		}
		if err := files.Add(path); err != nil {
			files.Close()
			return fmt.Errorf("watching policy files: %w", err)
		}
	}
	hangup := make(chan os.Signal, 1)
	signal.Notify(hangup, syscall.SIGHUP)
	known := policy.Fingerprint(o.policyPaths)
	go func() {
		defer files.Close()
		defer signal.Stop(hangup)
		var due <-chan time.Time
		latest := known
		for {
			select {
			case <-ctx.Done():
				return
			case <-hangup:
				known = policy.Fingerprint(o.policyPaths)
				o.reloadPolicies(use)
			case <-files.Events:
				// Other files of the directory, such as our own output, must not
				// put it off.
				if due == nil {
					due = time.After(settle)
				}
			case <-files.Errors:
			case <-due:
				due = nil
				switch now := policy.Fingerprint(o.policyPaths); now {
				case known:
				case latest:
					known = now
					o.reloadPolicies(use)
				default: // they may change still
					latest, due = now, time.After(settle)
				}
			}
		}
	}()
	return nil
}

func (o *options) reloadPolicies(use func(*policy.Set) error) {
	set, err := policy.Load(o.policyPaths)
	if err == nil {
		err = use(set)
	}
	if err != nil {
		fmt.Fprintf(o.std.err, "dnshark: policies stay as they were: %s\n", oneLine(err))
		return
	}
	fmt.Fprintf(o.std.err, "dnshark: policies read again: %d\n", len(set.Policies))
}

// usePolicies returns what gives new policies to the steps that were begun with others,
// either of which may be nil. What they may need is what capture was begun with.
func (o *options) usePolicies(stage *policy.Stage, detection *detect.Stage, needs kind.Needs) func(*policy.Set) error {
	return func(set *policy.Set) error {
		switch {
		case o.byFile && len(set.Policies) == 0:
			return errors.New("none of them names events any more; start dnshark again")
		case !o.byFile && len(set.Policies) > 0:
			return errors.New("they name events, which none did before; start dnshark again")
		case set.Kinds().Needs()&^needs != 0:
			return errors.New("they ask for events that capture was not begun for; start dnshark again")
		}
		rules, err := o.alerts.rules()
		if err != nil {
			return err
		}
		if set.Alerts != nil {
			rules.Merge(set.Alerts)
			if err := rules.Check(); err != nil {
				return err
			}
		}
		if detection != nil {
			detection.Use(rules)
		}
		if o.byFile {
			stage.Use(set)
		}
		return nil
	}
}
