package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/knadh/koanf/parsers/toml/v2"
	"github.com/knadh/koanf/parsers/yaml"
	"github.com/knadh/koanf/providers/env/v2"
	"github.com/knadh/koanf/providers/rawbytes"
	"github.com/knadh/koanf/v2"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/dnshark-io/dnshark/internal/nearest"
	"github.com/dnshark-io/dnshark/internal/sink"
)

const (
	envPrefix = "DNSHARK_"
	envConfig = envPrefix + "CONFIG"
	// maxConfig bounds what is read of a configuration file.
	maxConfig = 1 << 20
)

// config is what a configuration file and the environment say. Their names are
// those of the long flags: --ring-memory is ring-memory there, and
// DNSHARK_RING_MEMORY.
type config struct {
	path string
	text []byte
	file *koanf.Koanf
	env  *koanf.Koanf
}

// readConfig reads a file, "" for none, and the environment.
func readConfig(path string) (*config, error) {
	c := &config{path: path, file: koanf.New("\x00"), env: koanf.New("\x00")}
	variables := env.Provider("\x00", env.Opt{Prefix: envPrefix, TransformFunc: func(name, value string) (string, any) {
		return strings.ReplaceAll(strings.ToLower(strings.TrimPrefix(name, envPrefix)), "_", "-"), value
	}})
	if err := c.env.Load(variables, nil); err != nil || path == "" {
		return c, err
	}
	var parser koanf.Parser
	switch filepath.Ext(path) {
	case ".yaml", ".yml", ".json": // of which YAML is a superset
		parser = yaml.Parser()
	case ".toml":
		parser = toml.Parser()
	default:
		return nil, usagef("%s: a configuration file ends with .yaml or .toml", path)
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if c.text, err = io.ReadAll(io.LimitReader(f, maxConfig+1)); err != nil {
		return nil, err
	}
	if len(c.text) > maxConfig {
		return nil, usagef("%s: longer than %d octets", path, maxConfig)
	}
	if err := c.file.Load(rawbytes.Provider(c.text), parser); err != nil {
		return nil, usagef("%s: %w", path, err)
	}
	return c, nil
}

// apply gives the flags that were not set their values. All are the flags that
// some command has: a file may serve several.
func (c *config) apply(flags, all *pflag.FlagSet) error {
	var names []string
	all.VisitAll(func(f *pflag.Flag) { names = append(names, f.Name) })
	for _, name := range c.file.Keys() {
		name, _, _ = strings.Cut(name, "\x00")
		if slices.Contains(names, name) {
			continue
		}
		hint := "; `dnshark config show` lists all"
		if near := nearest.Name(name, names); near != "" {
			hint = "; did you mean " + near + "?"
		}
		return usagef("%s: unknown setting %q%s", c.at(name), name, hint)
	}
	var err error
	flags.VisitAll(func(f *pflag.Flag) {
		if f.Changed || err != nil {
			return
		}
		// The origin stays with the flag, for those who ask.
		if value := c.env.String(f.Name); value != "" {
			variable := envPrefix + strings.ToUpper(strings.ReplaceAll(f.Name, "-", "_"))
			err = set(f, value, variable)
		} else if value := c.file.Get(f.Name); value != nil {
			err = set(f, value, c.at(f.Name))
		}
	})
	return err
}

// at returns where in the file a setting stands, as FILE:LINE.
func (c *config) at(name string) string {
	n := 0
	for line := range strings.Lines(string(c.text)) {
		n++
		rest, ok := strings.CutPrefix(strings.TrimLeft(line, `"' `), name)
		if rest = strings.TrimLeft(rest, `"' `); ok && (strings.HasPrefix(rest, ":") || strings.HasPrefix(rest, "=")) {
			return fmt.Sprintf("%s:%d", c.path, n)
		}
	}
	return c.path
}

// originOf is the annotation of a flag with where its value comes from.
const originOf = "origin"

// set gives a flag a value of a file or of the environment.
func set(f *pflag.Flag, value any, origin string) error {
	var list []string
	items, isList := value.([]any)
	if !isList {
		items = []any{value}
	}
	for _, item := range items {
		text, err := settingText(item)
		if conditions, ok := item.(map[string]any); ok && f.Name == "alert-suppress" {
			text, err = conditionsOf(conditions)
		}
		if err != nil {
			return usagef("%s: %s: %w", origin, f.Name, err)
		}
		list = append(list, text)
	}
	several, ok := f.Value.(pflag.SliceValue)
	var err error
	switch {
	case ok && isList:
		err = several.Replace(list)
	case isList:
		err = errors.New("takes one value, not a list")
	default:
		err = f.Value.Set(list[0])
	}
	if err != nil {
		return usagef("%s: %s: %w", origin, f.Name, err)
	}
	if f.Annotations == nil {
		f.Annotations = map[string][]string{}
	}
	f.Annotations[originOf] = []string{origin}
	return nil
}

// settingText returns a value as it would stand behind a flag. A map is an output:
// path or url, and its options.
func settingText(value any) (string, error) {
	options, ok := value.(map[string]any)
	if !ok {
		return fmt.Sprint(value), nil
	}
	query, target := url.Values{}, ""
	for name, v := range options {
		text := fmt.Sprint(v)
		if yes, ok := v.(bool); ok {
			text = map[bool]string{true: "yes", false: "no"}[yes]
		}
		switch name {
		case "url":
			target += text
		case "path":
			path, err := filepath.Abs(text)
			if err != nil {
				return "", err
			}
			target += (&url.URL{Scheme: "file", Path: path}).String()
		default:
			query.Set(name, text)
		}
	}
	if _, both := options["path"]; target == "" || both && options["url"] != nil {
		return "", errors.New("an output needs a path or a url, and not both")
	}
	if len(query) == 0 {
		return target, nil
	}
	if strings.Contains(target, "?") {
		return target + "&" + query.Encode(), nil
	}
	return target + "?" + query.Encode(), nil
}

// configure reads the configuration for the command that is about to run.
func (o *options) configure(cmd *cobra.Command) error {
	path := o.config
	if path == "" {
		path = os.Getenv(envConfig)
	}
	c, err := readConfig(path)
	if err != nil {
		return err
	}
	return c.apply(cmd.Flags(), allFlags())
}

// allFlags returns the flags that a configuration may set: those of capturing.
func allFlags() *pflag.FlagSet {
	all := pflag.NewFlagSet("", pflag.ContinueOnError)
	o := &options{}
	o.addOutput(all)
	o.addLive(all)
	(&serving{}).add(all)
	return all
}

func newConfig(o *options) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "config",
		Short: "Check or show the configuration",
		Long: `config is about --config FILE, in YAML or TOML. A setting has the name of its flag:

  events: [default, net_packet_dns_unanswered]
  filter: 'dns.rcode != "NOERROR"'
  ring-memory: 64
  output:
    - json:/var/log/dnshark.json
    - {path: /var/log/nx.json, format: ecs, filter: 'dns.rcode == "NXDOMAIN"'}

Flags win over the environment (DNSHARK_RING_MEMORY=64), that over the file, that
over the defaults. DNSHARK_CONFIG names a file, too. Nothing is read unless named.`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return usagef("config needs check or show; try `%s --help`", cmd.CommandPath())
			}
			return usagef("unknown command %q; there are check and show", args[0])
		},
		RunE: func(*cobra.Command, []string) error { return nil },
	}
	check := &cobra.Command{
		Use:   "check",
		Short: "Say whether dnshark would start with this configuration",
		Args:  atMost(0),
		RunE: func(*cobra.Command, []string) error {
			if err := o.checkLive(); err != nil {
				return err
			}
			_, err := fmt.Fprintln(o.std.out, "ok")
			return err
		},
	}
	show := &cobra.Command{
		Use:   "show",
		Short: "Show every setting, its value and where that comes from",
		Args:  atMost(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			w := bufio.NewWriter(o.std.out)
			all := allFlags()
			cmd.Flags().VisitAll(func(f *pflag.Flag) {
				if all.Lookup(f.Name) != nil {
					showSetting(w, f)
				}
			})
			return w.Flush()
		},
	}
	o.addLive(check.Flags())
	o.addLive(show.Flags())
	cmd.AddCommand(check, show)
	return cmd
}

// showSetting writes a setting as YAML that --config takes.
func showSetting(w io.Writer, f *pflag.Flag) {
	origin := "default"
	if from := f.Annotations[originOf]; len(from) > 0 {
		origin = from[0]
	} else if f.Changed {
		origin = "--" + f.Name
	}
	value := quoteSetting(f.Value.String())
	if f.Name == "store" {
		value = quoteSetting(sink.Mask(f.Value.String()))
	}
	if several, ok := f.Value.(pflag.SliceValue); ok {
		var list []string
		for _, v := range several.GetSlice() {
			if f.Name == "output" {
				v = sink.Mask(v)
			}
			list = append(list, quoteSetting(v))
		}
		value = "[" + strings.Join(list, ", ") + "]"
	} else if f.Value.Type() != "string" {
		value = f.Value.String()
	}
	fmt.Fprintf(w, "%s: %s # %s\n", f.Name, value, origin)
}

// quoteSetting returns a YAML string in double quotes.
func quoteSetting(text string) string {
	return fmt.Sprintf("%+q", text)
}
