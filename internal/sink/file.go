package sink

import (
	"context"
	"errors"
	"os"
)

// file is a file that outputs are appended to.
var file = Kind{
	Scheme:   "file",
	Form:     "FORMAT:PATH[,OPTION=VALUE...] or file:///PATH?OPTION=VALUE&...",
	Doc:      "a file",
	Delivery: "An event counts as delivered when the kernel has it. After an error, such as a full disk, the block is written again.",
	Example:  "-o 'json:/var/log/dnshark.json,filter=dns.rcode == \"NXDOMAIN\"'",
	Format:   "json",
	Options:  []Option{},
	Open:     func(t *Target) (Sink, error) { return &fileSink{target: t}, nil },
}

type fileSink struct {
	target *Target
	file   *os.File
}

// Open implements Opener.
func (f *fileSink) Open() error {
	file, err := os.OpenFile(f.target.URL.Path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o666)
	if err != nil {
		return err
	}
	if info, err := file.Stat(); err == nil && info.Size() == 0 {
		if _, err := file.Write(f.target.Header(nil)); err != nil {
			return errors.Join(err, file.Close())
		}
	}
	f.file = file
	return nil
}

// Deliver implements Sink.
func (f *fileSink) Deliver(_ context.Context, b *Block) error {
	if f.file == nil {
		if err := f.Open(); err != nil {
			return err
		}
	}
	_, err := f.file.Write(b.Text)
	return err
}

// Close implements Sink.
func (f *fileSink) Close() error {
	if f.file == nil {
		return nil
	}
	_, err := f.file.Write(f.target.Trailer(nil))
	if closing := f.file.Close(); err == nil {
		err = closing
	}
	return err
}

// Stream is a sink that is open already, such as standard output.
type Stream struct {
	Target *Target
	File   *os.File
	begun  bool
}

// Deliver implements Sink.
func (s *Stream) Deliver(_ context.Context, b *Block) error {
	if !s.begun {
		s.begun = true
		if _, err := s.File.Write(s.Target.Header(nil)); err != nil {
			return err
		}
	}
	_, err := s.File.Write(b.Text)
	return err
}

// Close implements Sink.
func (s *Stream) Close() error {
	if !s.begun {
		return nil
	}
	_, err := s.File.Write(s.Target.Trailer(nil))
	return err
}
