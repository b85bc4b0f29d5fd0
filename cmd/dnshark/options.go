package main

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/dnshark-io/dnshark/dnswire"
	"github.com/dnshark-io/dnshark/event"
	"github.com/dnshark-io/dnshark/internal/detect"
	"github.com/dnshark-io/dnshark/internal/filter"
	"github.com/dnshark-io/dnshark/internal/kind"
	"github.com/dnshark-io/dnshark/internal/output"
	"github.com/dnshark-io/dnshark/internal/policy"
	"github.com/dnshark-io/dnshark/internal/privacy"
	"github.com/dnshark-io/dnshark/internal/proc"
	"github.com/dnshark-io/dnshark/internal/runtimes"
	"github.com/dnshark-io/dnshark/internal/screen"
	"github.com/dnshark-io/dnshark/internal/sink"
)

// options is what the command line says. Its fields are the flags'.
type options struct {
	std    streams
	config string // its file

	events []string
	filter string

	noSandbox  bool
	privacy    []string
	privacyKey string
	inputs     []string // capture files to read

	policyPaths []string
	scopes      []string
	policies    *policy.Set // nil without any; see loadPolicies
	byFile      bool        // policies are those of policyPaths
	alerts      alertOptions
	rules       *detect.Rules // of alerts, by flags and policies

	outputs  []string
	format   string         // of the only output, "": what fits it
	targets  []*sink.Target // of the outputs, when there are several or one is not a plain format
	template string
	file     string
	ports    []string
	count    uint64
	timeout  time.Duration
	stats    time.Duration
	quiet    bool
	screen   *screen.Board // instead of outputs, or nil

	statsFormat string

	host string

	history storeOptions
	state   string // directory for what detectors know of names

	maxRecords     int
	streamMemory   int // MiB
	fragmentMemory int // MiB
	ringMemory     int // MiB

	iface      string
	metrics    string
	metricsTop int
	duration   time.Duration
	observer   string
	runtimes   []string
	args       string
	exeHash    bool

	choice  choiceOptions
	command []string // to run and to follow
	serve   *serving // of dnshark serve, else nil
}

const (
	// maxMaxRecords is how many records fit the longest message: each has at
	// least eleven octets.
	maxMaxRecords = 65535 / 11
	maxMemory     = 64 << 10 // MiB
)

// maxPorts bounds the list of DNS ports: the kernel compares each packet's
// ports with all of them.
const maxPorts = 16

func (o *options) addOutput(f *pflag.FlagSet) {
	f.StringSliceVarP(&o.events, "events", "e", []string{kind.SetDefault}, "`LIST` of events and sets of events to show, see: dnshark events")
	o.addPolicy(f)
	o.alerts.add(f)
	o.choice.addMessages(f)
	f.StringVarP(&o.filter, "filter", "f", "", "show only events for which `EXPRESSION` holds, see: dnshark fields")
	f.StringArrayVarP(&o.outputs, "output", "o", nil, "`FORMAT` of those above (default: table on a terminal, json elsewhere), or where to and how, see: dnshark outputs; may be given several times")
	f.StringVar(&o.template, "template", "", "Go `TEMPLATE` of an event for -o template, such as '{{.time}} {{.dns.rcode}}'; fields as in the JSON")
	f.StringVarP(&o.file, "write", "w", "", "write events to `FILE` instead of standard output")
	f.StringSliceVar(&o.ports, "ports", []string{"53"}, "DNS `PORTS`; any: messages on every port, told by their structure")
	f.Uint64Var(&o.count, "count", 0, "end after `N` events")
	f.DurationVar(&o.timeout, "timeout", 5*time.Second, "call a query unanswered after this `TIME`")
	f.DurationVar(&o.stats, "stats", 0, "print counters to standard error every `TIME`")
	f.StringVar(&o.statsFormat, "stats-format", "text", "`FORMAT` of counters and summary: text or json")
	o.history.add(f)
	f.StringVar(&o.host, "host", hostname(), "`NAME` of this host in events")
	f.IntVar(&o.maxRecords, "max-records", dnswire.MaxRecords, "show at most `N` records of a message; the rest is counted")
	f.IntVar(&o.streamMemory, "stream-memory", 32, "`MIB` for putting TCP streams together")
	f.IntVar(&o.fragmentMemory, "fragment-memory", 4, "`MIB` for putting IP fragments together")
	f.StringSliceVar(&o.privacy, "privacy", nil, "`LIST` of what to take from events before history and outputs: ips, names=domain, names=hash, text, args, all; see docs/security.md")
	f.StringVar(&o.privacyKey, "privacy-key", "", "`FILE` with the key of pseudonyms, 64 hex digits; without it they differ from run to run")
	f.BoolVar(&o.noSandbox, "no-sandbox", false, "keep what the program never uses: other system calls and files, see docs/security.md")
	f.BoolVarP(&o.quiet, "quiet", "q", false, "print no summary at the end")
}

func (o *options) addLive(f *pflag.FlagSet) {
	f.StringVarP(&o.iface, "interface", "i", "", "capture on one `INTERFACE` instead of at all sockets of the host")
	f.IntVar(&o.ringMemory, "ring-memory", 16, "`MIB` for packets on their way from the kernel, rounded up to a power of two")
	f.StringVar(&o.metrics, "metrics", "", "serve Prometheus metrics at an `ADDRESS` of this host, as 127.0.0.1:9553 or unix:/run/dnshark.sock")
	f.IntVar(&o.metricsTop, "metrics-top", 0, "in metrics also count responses by domain, process and server: `N` of each that are seen often, and all others together")
	f.StringVar(&o.state, "state", "", "keep in a `DIR` what detectors know of names, from run to run (default: that of --store)")
	f.DurationVar(&o.duration, "duration", 0, "end after this `TIME`")
	o.addRuntimes(f)
	f.StringVar(&o.observer, "observer", "client", "which `END` of a conversation inside this host to show: client, server or both")
	o.choice.add(f)
	f.StringVar(&o.args, "args", "redacted", "what to `SHOW` of command lines: none, redacted (no values of arguments that look secret) or all")
	f.BoolVar(&o.exeHash, "exe-hash", false, "tell the SHA-256 of executables; the first events of a program come without it")
}

func (o *options) addRuntimes(f *pflag.FlagSet) {
	f.StringSliceVar(&o.runtimes, "container-runtime", []string{"auto"}, "`LIST` of sockets of container runtimes to ask for names, images and labels: auto, unix:///PATH, or none alone")
}

// complete tells shells what the values of flags may be.
func (o *options) complete(cmd *cobra.Command) {
	values := func(list ...string) cobra.CompletionFunc {
		return cobra.FixedCompletions(list, cobra.ShellCompDirectiveNoFileComp)
	}
	var events []string
	for _, k := range kind.Catalogue {
		if !k.Internal {
			events = append(events, k.Name+"\t"+k.Summary)
		}
	}
	for _, s := range kind.Sets() {
		events = append(events, s.Term+"\t"+s.Doc)
	}
	for flag, f := range map[string]cobra.CompletionFunc{
		"events":             values(events...),
		"output":             completeOutput,
		"stats-format":       values("text", "json"),
		"alert-min-severity": values(event.SeverityNames...),
		"observer":           values("client", "server", "both"),
		"args":               values(proc.ArgsNames...),
		"ports":              values("53", "5353", "5355", "any"),
		"container-runtime":  values("auto", "none", "unix://"),
	} {
		if err := cmd.RegisterFlagCompletionFunc(flag, f); err != nil {
			panic(err) // a flag of that name does not exist
		}
	}
	if err := cmd.RegisterFlagCompletionFunc("filter", completeFilter); err != nil {
		panic(err)
	}
}

// completeFilter completes the field that an expression ends with.
func completeFilter(_ *cobra.Command, _ []string, text string) (words []string, _ cobra.ShellCompDirective) {
	begin := strings.LastIndexFunc(text, func(r rune) bool { return r == ' ' || r == '(' || r == '!' }) + 1
	for _, p := range event.Paths {
		if strings.HasPrefix(p.Name, text[begin:]) {
			words = append(words, text[:begin]+p.Name+"\t"+p.Doc)
		}
	}
	return words, cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveNoSpace
}

// kinds returns the events that were asked for and that the format has a form
// for.
func (o *options) kinds() (kind.Set, error) {
	asked, err := o.asked()
	if err != nil {
		return 0, err
	}
	carried := o.carried(asked)
	if carried == 0 {
		return 0, usagef("format %s has no form for %s; it carries %s", o.formatNames(), kindNames(asked), kindNames(o.carried(^kind.Set(0))))
	}
	return carried, nil
}

func (o *options) asked() (kind.Set, error) {
	if o.policies != nil {
		return o.policies.Kinds(), nil
	}
	set, err := kind.Parse(o.events)
	if err != nil {
		return 0, withExit(exitUsage, err)
	}
	if set == 0 {
		return 0, usagef("--events needs at least one event or set; `dnshark events` lists them all")
	}
	return set, nil
}

// kindNames returns the names of the kinds of a set.
func kindNames(set kind.Set) string {
	var list []string
	for i, k := range kind.Catalogue {
		if set.Has(i) {
			list = append(list, k.Name)
		}
	}
	return strings.Join(list, ", ")
}

// dnsPorts returns the DNS ports, and whether messages on other ports are wanted
// too.
func (o *options) dnsPorts() (ports []uint16, anyPort bool, err error) {
	for _, text := range o.ports {
		if text == "any" {
			anyPort = true
			continue
		}
		p, err := strconv.ParseUint(text, 10, 16)
		if err != nil || p == 0 {
			return nil, false, usagef("--ports: %q is no port; ports are 1 to 65535, or any", text)
		}
		ports = append(ports, uint16(p))
	}
	if len(o.ports) == 0 || len(ports) > maxPorts {
		return nil, false, usagef("--ports takes 1 to %d ports", maxPorts)
	}
	return ports, anyPort, nil
}

func (o *options) observers() (*policy.Observer, error) {
	switch o.observer {
	case "client":
		return &policy.Observer{Client: true}, nil
	case "server":
		return &policy.Observer{Server: true}, nil
	case "both":
		return &policy.Observer{Client: true, Server: true}, nil
	}
	return nil, usagef("--observer is client, server or both, not %q", o.observer)
}

// processes returns the step that says more about processes.
func (o *options) processes() (*proc.Table, error) {
	args, err := proc.ParseArgs(o.args)
	if err != nil {
		return nil, usagef("--args: %v", err)
	}
	if private, err := privacy.Parse(o.privacy); err == nil && private.Args {
		args = proc.ArgsNone
	}
	table := &proc.Table{Args: args}
	if o.exeHash {
		table.HashExes()
	}
	return table, nil
}

// containerRuntimes returns whom to ask about containers.
func (o *options) containerRuntimes() (*runtimes.Set, error) {
	r, err := runtimes.Parse(o.runtimes)
	if err != nil {
		return nil, usagef("--container-runtime: %v", err)
	}
	return r, nil
}

// formats lists the output formats, a line each.
func formats() string {
	var b strings.Builder
	for _, f := range output.Formats {
		fmt.Fprintf(&b, "\n  %-15s %s", f.Name, f.Doc)
	}
	return b.String()
}

// match returns the filter, or nil when none was given.
func (o *options) match() (*filter.Filter, error) {
	if o.filter == "" {
		return nil, nil
	}
	f, err := filter.Parse(o.filter)
	if err != nil {
		return nil, usagef("--filter: %w", err)
	}
	return f, nil
}

// check refuses values before anything is opened.
func (o *options) check() error {
	switch {
	case o.timeout <= 0:
		return usagef("--timeout must be positive")
	case o.statsFormat != "text" && o.statsFormat != "json":
		return usagef("--stats-format is text or json, not %q", o.statsFormat)
	case o.maxRecords < 1 || o.maxRecords > maxMaxRecords:
		return usagef("--max-records is 1 to %d", maxMaxRecords)
	case o.streamMemory < 1 || o.streamMemory > maxMemory || o.fragmentMemory < 1 || o.fragmentMemory > maxMemory:
		return usagef("--stream-memory and --fragment-memory are 1 to %d MiB", maxMemory)
	}
	if _, err := privacy.Parse(o.privacy); err != nil {
		return usagef("--privacy: %w", err)
	}
	if err := o.loadPolicies(); err != nil {
		return err
	}
	if err := o.checkOutputs(); err != nil {
		return err
	}
	kinds, err := o.kinds()
	if err != nil {
		return err
	}
	// Who asks for events by name is told of those that will not come.
	if asked, _ := o.asked(); asked != kinds && !o.quiet && o.policies == nil && !slices.Contains(o.events, kind.SetDefault) {
		fmt.Fprintf(o.std.err, "dnshark: format %s has no form for %s\n", o.formatNames(), kindNames(asked&^kinds))
	}
	// One output of several may have nothing to tell.
	for _, t := range o.targets {
		if format, err := output.FindFormat(t.Format); err == nil && format.Carries(kinds) == 0 {
			fmt.Fprintf(o.std.err, "dnshark: output %s stays empty: format %s has no form for %s\n", t, format.Name, kindNames(kinds))
		}
	}
	return nil
}

// anonymiser returns the step that takes what --privacy says, or nil.
func (o *options) anonymiser() (*privacy.Stage, error) {
	private, err := privacy.Parse(o.privacy)
	if err != nil || !private.Any() {
		return nil, err
	}
	if private.Secret, err = privacy.ReadSecret(o.privacyKey); err != nil {
		return nil, withExit(exitUsage, fmt.Errorf("--privacy-key: %w", err))
	}
	return privacy.NewStage(private), nil
}
