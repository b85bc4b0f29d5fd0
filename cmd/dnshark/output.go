package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dnshark-io/dnshark/internal/filter"
	"github.com/dnshark-io/dnshark/internal/kind"
	"github.com/dnshark-io/dnshark/internal/line"
	"github.com/dnshark-io/dnshark/internal/output"
	"github.com/dnshark-io/dnshark/internal/sink"
	"github.com/dnshark-io/dnshark/internal/web"
)

// checkOutputs reads --output and refuses what cannot be, before anything is
// opened.
func (o *options) checkOutputs() error {
	outputs := o.outputs
	if len(outputs) == 0 && o.serve == nil {
		outputs = []string{""}
	}
	o.targets = nil
	for i, text := range outputs {
		t, err := sink.Parse(text)
		if err != nil {
			return usagef("--output: %w", err)
		}
		if t.Name == "" {
			t.Name = sink.DefaultName(i)
		}
		if o.serve != nil && t.Name == web.OutputName {
			return usagef("--output: the name %s is that of what serve keeps", t.Name)
		}
		if slices.ContainsFunc(o.targets, func(other *sink.Target) bool { return other.Name == t.Name || other.Kind == nil && t.Kind == nil }) {
			return usagef("--output: two outputs go to %s", t)
		}
		t.Host = o.host
		t.Log = o.logger(t.String())
		o.targets = append(o.targets, t)
	}
	if len(o.targets) == 1 && o.targets[0].Plain() && o.serve == nil {
		only := o.targets[0]
		o.format, o.targets = only.Format, nil
		terminal := o.std.out
		if o.file != "" {
			terminal = nil
		}
		_, err := o.encoder(o.format, terminal)
		return err
	}
	if o.file != "" {
		return usagef("-w is for one output; say where each goes, as -o json:%s", o.file)
	}
	for _, t := range o.targets {
		if _, err := o.open(t); err != nil {
			return err
		}
	}
	return nil
}

// logger returns what tells on standard error how an output is.
func (o *options) logger(of string) func(format string, args ...any) {
	return func(format string, args ...any) {
		fmt.Fprintf(o.std.err, "dnshark: %s: %s\n", of, oneLine(fmt.Errorf(format, args...)))
	}
}

// open returns the output of a target, which does nothing yet.
func (o *options) open(t *sink.Target) (*sink.Output, error) {
	out := &sink.Output{Target: t, Kinds: ^kind.Set(0), Host: o.host}
	terminal := o.std.out
	if t.Kind != nil {
		terminal = nil
	}
	encoder, err := o.encoder(t.Format, terminal)
	if err != nil {
		return nil, err
	}
	if t.Given("fields") {
		keys := strings.FieldsFunc(t.Text("fields"), func(r rune) bool { return strings.ContainsRune("+, ", r) })
		if encoder, err = output.Allow(encoder, t.Format, keys); err != nil {
			return nil, usagef("--output %s: %w", t, err)
		}
	}
	out.Encoder = encoder
	if t.Filter != "" {
		if out.Filter, err = filter.Parse(t.Filter); err != nil {
			return nil, usagef("--output %s: filter: %w", t, err)
		}
	}
	out.Carried = ^kind.Set(0) // the formats that fit by themselves carry all
	if format, err := output.FindFormat(t.Format); err == nil {
		out.Carried = format.Carries(out.Carried)
		if t.Binary, t.Whole = format.Binary, format.Whole; t.Whole && (t.Kind == nil || t.Kind.Scheme != "file") {
			return nil, usagef("--output %s: format %s makes whole files: -o %s:PATH,rotate=64MB, or -o %s -w FILE for a single one",
				t, format.Name, format.Name, format.Name)
		}
	}
	t.Header, t.Trailer = output.Frame(encoder)
	if t.Kind == nil {
		out.Sink = &sink.Stream{Target: t, File: o.std.out}
		return out, nil
	}
	if out.Sink, err = t.Kind.Open(t); err != nil {
		return nil, usagef("--output %s: %w", t, err)
	}
	return out, nil
}

// carried returns those of the events that a format of the outputs has a form for.
func (o *options) carried(set kind.Set) (carried kind.Set) {
	for _, name := range o.formatsInUse() {
		if format, err := output.FindFormat(name); err == nil {
			carried |= format.Carries(set)
		} else {
			return set // the formats that fit by themselves carry all
		}
	}
	return carried
}

func (o *options) formatNames() string { return strings.Join(o.formatsInUse(), ", ") }

func (o *options) formatsInUse() (names []string) {
	if o.serve != nil {
		names = append(names, "json")
	} else if len(o.targets) == 0 {
		return []string{o.format}
	}
	for _, t := range o.targets {
		names = append(names, t.Format)
	}
	return names
}

// encoder returns the encoder of a format, or without a name the one that fits
// out. What is not for a terminal has no out.
func (o *options) encoder(name string, out *os.File) (output.Encoder, error) {
	settings := output.Settings{Template: o.template}
	if out != nil {
		if size, err := unix.IoctlGetWinsize(int(out.Fd()), unix.TIOCGWINSZ); err == nil {
			settings.Width, settings.Colour = int(size.Col), os.Getenv("NO_COLOR") == ""
		}
	}
	if name == "" {
		name = "json"
		if settings.Width > 0 {
			name = "table"
		}
	}
	format, err := output.FindFormat(name)
	if err != nil {
		return nil, withExit(exitUsage, err)
	}
	if o.template != "" && !slices.Contains(o.formatsInUse(), "template") {
		return nil, usagef("--template is for -o template")
	}
	if format.Binary && settings.Width > 0 {
		return nil, usagef("format %s is not for terminals: write to a file (-w FILE) or a pipe", name)
	}
	encoder, err := format.New(settings)
	if err != nil {
		return nil, withExit(exitUsage, err)
	}
	return encoder, nil
}

// writer is where events go.
type writer struct {
	line.Writer
	// copies says that batches must own their memory.
	copies  bool
	once    bool           // an event is written once, by however many names it goes
	outputs []*sink.Output // nil for a single plain one

	// run calls the line, on every processor where that helps.
	run    func(line func() error) error
	begin  func()       // what the format begins with comes, events or none
	end    func() error // delivers everything
	file   *output.File // of -w, or nil
	closed bool
}

// grace is for how long what waits at the end is still delivered.
const grace = 10 * time.Second

// openWriter opens what --output and -w say.
func (o *options) openWriter(live bool) (*writer, error) {
	if o.screen != nil {
		return &writer{Writer: o.screen, once: true, run: call, begin: func() {}, end: func() error { return nil }}, nil
	}
	if len(o.targets) > 0 || o.serve != nil {
		return o.openOutputs(live)
	}
	w := &writer{run: call}
	terminal, to := o.std.out, io.Writer(o.std.out)
	if o.file != "" {
		file, err := output.OpenFile(o.file)
		if err != nil {
			return nil, err
		}
		w.file, terminal, to = file, file.File, file
	}
	encoder, err := o.encoder(o.format, terminal)
	if err != nil {
		return nil, err
	}
	w.once = output.OncePerEvent(encoder)
	// Files are encoded on all processors; live events are few, and whoever
	// watches wants them at once.
	if output.Stateless(encoder) && !live {
		p := output.NewParallel(encoder, to, runtime.GOMAXPROCS(0))
		w.Writer, w.run, w.begin, w.end, w.copies = p, p.Run, p.Begin, p.Close, true
	} else {
		one := output.NewWriter(encoder, to, live)
		w.Writer, w.begin, w.end = one, one.Begin, one.Close
	}
	return w, nil
}

func (o *options) openOutputs(live bool) (*writer, error) {
	outputs, once := &sink.Outputs{Grace: grace}, true
	start := func(out *sink.Output, err error) error {
		if err == nil {
			err = out.Start(!live)
		}
		if err != nil {
			return errors.Join(err, outputs.Close())
		}
		outputs.List, once = append(outputs.List, out), once && output.OncePerEvent(out.Encoder)
		return nil
	}
	if o.serve != nil {
		if err := start(o.serve.hub.Output(), nil); err != nil {
			return nil, err
		}
	}
	for _, t := range o.targets {
		if err := start(o.open(t)); err != nil {
			return nil, err
		}
	}
	return &writer{Writer: outputs, outputs: outputs.List, once: once, run: call, begin: func() {}, end: outputs.Close}, nil
}

func call(line func() error) error { return line() }

// hurry lets no output wait for its receiver any more.
func (w *writer) hurry() {
	for _, o := range w.outputs {
		o.Queue.Hurry()
	}
}

// close writes everything, once. It takes how the run ended, and returns that
// with what went wrong now.
func (w *writer) close(err error) error {
	if w.closed {
		return err
	}
	w.closed = true
	if err == nil {
		w.begin()
	}
	if closing := w.end(); !errors.Is(err, closing) {
		err = errors.Join(err, closing)
	}
	if w.file != nil {
		if err == nil {
			err = w.file.Empty()
		}
		err = errors.Join(err, w.file.Close())
	}
	return err
}
