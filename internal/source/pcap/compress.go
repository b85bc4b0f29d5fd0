package pcap

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"sync/atomic"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"
)

// Magic numbers of compressed files: RFC 1952, RFC 8878, the LZ4 frame format
// and the .xz format.
var (
	magicGzip = []byte{0x1f, 0x8b}
	magicZstd = []byte{0x28, 0xb5, 0x2f, 0xfd}
	magicLZ4  = []byte{0x04, 0x22, 0x4d, 0x18}
	magicXZ   = []byte{0xfd, '7', 'z', 'X', 'Z', 0}
)

// maxWindow bounds the memory that a zstd or xz file may ask for. It is what
// xz -9 and zstd --ultra -21 ask for.
const maxWindow = 64 << 20

// A file may expand by maxRatio, once it made more than anyRatio octets: packets
// compress 10 to 50 times, a flood of equal ones some 350 times, what is made to
// fill disks and days a thousand times and more.
const (
	maxRatio = 1000
	anyRatio = 16 << 20
)

// decompress tells compressed files by their first octets, never by their name.
func decompress(r io.Reader) (io.ReadCloser, error) {
	in := &stored{r: r}
	b := bufio.NewReaderSize(in, 64<<10)
	magic, err := b.Peek(6)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	var plain io.ReadCloser
	switch {
	case bytes.HasPrefix(magic, magicGzip):
		plain, err = gzip.NewReader(b)
	case bytes.HasPrefix(magic, magicZstd):
		var z *zstd.Decoder
		if z, err = zstd.NewReader(b, zstd.WithDecoderMaxWindow(maxWindow), zstd.WithDecoderConcurrency(2)); err == nil {
			return &damage{ReadCloser: z.IOReadCloser(), stored: in}, nil // it decodes ahead by itself
		}
	case bytes.HasPrefix(magic, magicLZ4):
		plain, err = io.NopCloser(lz4.NewReader(b)), nil
	case bytes.HasPrefix(magic, magicXZ):
		plain, err = io.NopCloser(newXZ(b)), nil
	default:
		return io.NopCloser(b), nil
	}
	switch {
	case err == nil:
		return readAhead(&damage{ReadCloser: plain, stored: in}), nil
	case isEnd(err):
		return nil, fmt.Errorf("%w within the header of its compression", ErrCut)
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return nil, err
	}
	return nil, fmt.Errorf("%w: %w", ErrNotCapture, err)
}

// stored counts what is read of a file. A decompressor may read on another goroutine.
type stored struct {
	r io.Reader
	n atomic.Int64
}

func (c *stored) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n.Add(int64(n))
	return n, err
}

// damage tells of compressed data that cannot or should not be read on.
type damage struct {
	io.ReadCloser
	stored *stored
	made   int64
}

func (d *damage) Read(p []byte) (int, error) {
	n, err := d.ReadCloser.Read(p)
	d.made += int64(n)
	switch {
	case d.made > anyRatio && d.made/maxRatio > d.stored.n.Load():
		err = fmt.Errorf("%w: it expands more than %d times, which captures do not; decompress it first if you trust it", ErrUnsupported, maxRatio)
	case err == nil, isEnd(err), errors.Is(err, ErrUnsupported),
		errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
	case errors.Is(err, zstd.ErrWindowSizeExceeded), errors.Is(err, zstd.ErrDecoderSizeExceeded):
		err = fmt.Errorf("%w: it needs a window of more than %d MiB; decompress it first: zstd -d --long=31", ErrUnsupported, maxWindow>>20)
	default:
		err = fmt.Errorf("%w: %w", ErrCut, err)
	}
	return n, err
}

// isEnd reports whether a stream ended, in order or not.
func isEnd(err error) bool { return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) }

// cutAtEnd turns the end of a file, where a record should go on, into ErrCut.
func cutAtEnd(err error) error {
	if errors.Is(err, io.EOF) {
		return ErrCut
	}
	return err
}
