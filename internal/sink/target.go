package sink

import (
	"errors"
	"fmt"
	"math"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/dnshark-io/dnshark/internal/nearest"
)

// Target says where one output goes, and how.
type Target struct {
	Kind   *Kind
	Format string   // of events
	Filter string   // expression, "" for all
	Name   string   // in counters and ids
	Host   string   // this host
	URL    *url.URL // of a file, only its Path counts
	// Header and Trailer are what each file and each connection begins and ends
	// with, in formats that have such.
	Header, Trailer func(dst []byte) []byte
	Binary          bool // the format is not lines
	Whole           bool // each file is one block, with all that it begins and ends with
	Log             func(format string, args ...any)

	values map[string]string
}

// Parse reads what is written behind --output:
//
//	FORMAT                       standard output
//	FORMAT:PATH[,OPTION=VALUE]   a file; filter= takes all that follows
//	SCHEME://HOST/...?OPTION=VALUE&...
//
// ${NAME} in a URL is the environment's, so that secrets need not be arguments.
// It returns an error that tells what could be meant. A target without a Kind is
// standard output.
func Parse(text string) (*Target, error) {
	t := &Target{values: map[string]string{}}
	if scheme, _, ok := strings.Cut(text, "://"); ok && !strings.ContainsAny(scheme, ":,/") {
		if t.Kind = Find(scheme); t.Kind == nil {
			return nil, unknown("kind of output", scheme, schemes())
		}
		if err := t.readURL(text); err != nil {
			return nil, err
		}
	} else if err := t.readFile(text); err != nil {
		return nil, err
	}
	return t, t.check()
}

func (t *Target) readURL(text string) (err error) {
	missing := ""
	text = os.Expand(text, func(name string) string {
		value, ok := os.LookupEnv(name)
		if !ok {
			missing = name
		}
		// '+' is a space in options only.
		return strings.ReplaceAll(url.QueryEscape(value), "+", "%20")
	})
	if missing != "" {
		return fmt.Errorf("the environment has no %s", missing)
	}
	if t.URL, err = url.Parse(text); err != nil {
		// The error quotes the URL, and with it passwords.
		if strings.Contains(text, "@") {
			return errors.New("not a URL; in a password, write what is not a letter or digit as %XX")
		}
		return fmt.Errorf("not a URL: %w", err.(*url.Error).Err)
	}
	query, err := url.ParseQuery(t.URL.RawQuery)
	if err != nil {
		return fmt.Errorf("options: %w", err)
	}
	for name, values := range query {
		t.values[name] = values[len(values)-1]
	}
	return nil
}

func (t *Target) readFile(text string) error {
	where, options, _ := strings.Cut(text, ",")
	format, path, toFile := strings.Cut(where, ":")
	t.values["format"] = format
	t.URL = &url.URL{Path: path}
	if toFile && path != "-" {
		t.Kind = &file
		if path == "" {
			return fmt.Errorf("%s: needs a path", where)
		}
	}
	for options != "" {
		name, rest, ok := strings.Cut(options, "=")
		if !ok {
			return fmt.Errorf("%q is no OPTION=VALUE", name)
		}
		value, after := rest, ""
		if name != "filter" {
			value, after, _ = strings.Cut(rest, ",")
		}
		t.values[name], options = value, after
	}
	return nil
}

// check refuses options that the kind does not have and values that are not of
// their type.
func (t *Target) check() error {
	options := t.options()
	var names []string
	for _, o := range options {
		names = append(names, o.Name)
	}
	for name, value := range t.values {
		i := 0
		for ; i < len(options) && options[i].Name != name; i++ {
		}
		if i == len(options) {
			return unknown("option", name, names)
		}
		if why := options[i].wrong(value); why != "" {
			return fmt.Errorf("%s=%s: %s", name, value, why)
		}
	}
	t.Format, t.Filter, t.Name = t.values["format"], t.values["filter"], t.values["name"]
	if t.Format == "" && t.Kind != nil {
		t.Format = t.Kind.Format
	}
	if strings.Trim(t.Name, idOctets) != "" {
		return fmt.Errorf("name=%s: letters, digits, '.' and '_' only", t.Name)
	}
	return t.checkSpool()
}

// options returns all options. A kind may have another default for a common one.
func (t *Target) options() []Option {
	if t.Kind == nil {
		return Common
	}
	return options(t.Kind.Options, Common)
}

// wrong says why value is none of the option's, or "".
func (o *Option) wrong(value string) string {
	var err error
	switch o.Type {
	case "size":
		_, err = ParseSize(value)
	case "time":
		if _, err := ParseTime(value); err != nil {
			return err.Error()
		}
	case "number":
		_, err = strconv.ParseUint(value, 10, 31)
	case "yes/no":
		if value != "yes" && value != "no" {
			return "yes or no"
		}
	default:
		if of, ok := strings.CutPrefix(o.Type, "one of "); ok {
			for _, v := range strings.Split(of, ", ") {
				if v == value {
					return ""
				}
			}
			return o.Type
		}
	}
	if err != nil {
		return err.Error()
	}
	return ""
}

// value is what was said of an option, or its default.
func (t *Target) value(name string) string {
	if v, ok := t.values[name]; ok {
		return v
	}
	for _, o := range t.options() {
		if o.Name == name {
			return o.Default
		}
	}
	panic("no option " + name)
}

// Text, Size (octets), Time, Number and Yes return an option of that type, which
// Parse has checked; where it was not given and has no default, the zero value.
func (t *Target) Text(name string) string { return t.value(name) }

func (t *Target) Size(name string) int64 {
	n, _ := ParseSize(t.value(name))
	return n
}

func (t *Target) Time(name string) time.Duration {
	d, _ := ParseTime(t.value(name))
	return d
}

func (t *Target) Number(name string) int {
	n, _ := strconv.Atoi(t.value(name))
	return n
}

func (t *Target) Yes(name string) bool { return t.value(name) == "yes" }

// Given reports whether the user set the option.
func (t *Target) Given(name string) bool { _, ok := t.values[name]; return ok }

// Needs returns the files that the output reads while it works, the directories in
// which it makes files, and whether it uses the network or a Unix socket.
func (t *Target) Needs() (read, write []string, network bool) {
	for _, o := range t.options() {
		if path := t.Text(o.Name); o.Type == "path" && o.Name != "spool-dir" && path != "" {
			// Certificates and secrets are replaced while we run.
			read = append(read, filepath.Dir(path))
		}
	}
	if t.Size("spool") > 0 {
		write = append(write, t.spoolDir())
	}
	switch t.Kind {
	case nil:
	case &file:
		write = append(write, filepath.Dir(t.URL.Path))
		if real, err := filepath.EvalSymlinks(t.URL.Path); err == nil {
			write = append(write, filepath.Dir(real))
		}
	default:
		network = true
	}
	return read, write, network
}

// Plain reports whether it is a format for standard output, and nothing else.
func (t *Target) Plain() bool { return t.Kind == nil && len(t.values) == 1 }

// String returns where it goes, for people: without passwords and options.
func (t *Target) String() string {
	if t.Kind == nil {
		return "standard output"
	}
	if t.URL.Scheme == "" {
		return t.URL.Path
	}
	return t.URL.Scheme + "://" + t.URL.Host + t.URL.Path
}

// secrets are what of a target's text nobody else should read: the password before a host,
// and values of options. ${NAME} is none.
var secrets = regexp.MustCompile(`(://[^/?#@]*:|[?&](?:password|token|api-key|shared-key|headers)=)(?:\$\{\w+\})?([^&@\s$][^&@\s]*)`)

// Mask returns the text of a target without passwords, tokens and keys.
func Mask(text string) string {
	_, rest, ok := strings.Cut(text, "://")
	if !ok {
		return text
	}
	if host, _, _ := strings.Cut(rest, "?"); !strings.Contains(host, "@") {
		// What stands behind a colon is a port.
		head, options, found := strings.Cut(text, "?")
		if !found {
			return text
		}
		return head + secrets.ReplaceAllString("?"+options, "${1}[hidden]")
	}
	return secrets.ReplaceAllString(text, "${1}[hidden]")
}

// ParseSize reads a number of octets: 4096, 64KB, 100MB, 1GB; powers of 1024, as
// B, KB, KiB, MB, MiB, GB or GiB.
func ParseSize(text string) (int64, error) {
	number := strings.TrimRight(text, "BKMGTi")
	unit := int64(1)
	switch strings.TrimSuffix(strings.TrimSuffix(text[len(number):], "B"), "i") {
	case "":
	case "K":
		unit = 1 << 10
	case "M":
		unit = 1 << 20
	case "G":
		unit = 1 << 30
	case "T":
		unit = 1 << 40
	default:
		number = ""
	}
	n, err := strconv.ParseInt(number, 10, 64)
	if err != nil || n < 0 || n > math.MaxInt64/unit {
		return 0, fmt.Errorf("%q is no size; sizes are as 64KB, 100MB, 1GB", text)
	}
	return n * unit, nil
}

// ParseTime reads a length of time: what time.ParseDuration reads, or days, as 7d.
func ParseTime(text string) (time.Duration, error) {
	d, err := time.ParseDuration(text)
	if days, ok := strings.CutSuffix(text, "d"); ok {
		var n uint64
		n, err = strconv.ParseUint(days, 10, 16)
		d = time.Duration(n) * 24 * time.Hour
	}
	if err != nil || d < 0 {
		return 0, errors.New("a time is a number with ms, s, m, h or d")
	}
	return d, nil
}

func unknown(what, name string, known []string) error {
	hint := "; there are " + strings.Join(known, ", ")
	if near := nearest.Name(name, known); near != "" {
		hint = "; did you mean " + near + "?"
	}
	return fmt.Errorf("unknown %s %q%s", what, name, hint)
}
