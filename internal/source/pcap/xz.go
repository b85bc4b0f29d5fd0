package pcap

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"hash/crc32"
	"hash/crc64"
	"io"

	"github.com/ulikunitz/xz/lzma"
)

// xzReader reads .xz files (tukaani.org/xz/xz-file-format.txt; sections below
// are its). The container is read here and not by the library, because that
// makes dictionaries as large as a block asks for: up to 4 GiB.
type xzReader struct {
	in    counter
	block io.Reader // LZMA2 data of the current block, or nil
	check hash.Hash // of what the block holds, or nil
	sum   int       // length of the check field
	begin int64     // where the block's data begins
	first bool      // a stream was read
}

// counter counts what is read.
type counter struct {
	r *bufio.Reader
	n int64
}

func (c *counter) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += int64(n)
	return n, err
}

func (c *counter) ReadByte() (byte, error) {
	b, err := c.r.ReadByte()
	if err == nil {
		c.n++
	}
	return b, err
}

var (
	errXZ    = errors.New("damaged xz data")
	xzFooter = []byte("YZ")
)

func newXZ(r *bufio.Reader) *xzReader { return &xzReader{in: counter{r: r}} }

// Read implements io.Reader.
func (x *xzReader) Read(p []byte) (int, error) {
	for {
		if x.block == nil {
			if err := x.next(); err != nil {
				return 0, err
			}
			continue
		}
		n, err := x.block.Read(p)
		if x.check != nil {
			x.check.Write(p[:n])
		}
		if errors.Is(err, io.EOF) {
			if err = x.endBlock(); n == 0 && err == nil {
				continue
			}
		}
		return n, err
	}
}

// next goes to the next block, in this stream or the one after it.
func (x *xzReader) next() error {
	if x.sum < 0 || !x.first {
		return x.stream()
	}
	size, err := x.in.ReadByte()
	if err != nil {
		return within(err)
	}
	if size == 0 {
		return x.index()
	}
	return x.header(int(size))
}

// stream reads a stream header (2.1.1), behind padding (2.2).
func (x *xzReader) stream() error {
	var h [12]byte
	for {
		_, err := io.ReadFull(&x.in, h[:4])
		if err != nil {
			return err // the file may end here
		}
		if !x.first || [4]byte(h[:4]) != [4]byte{} {
			break
		}
	}
	if _, err := io.ReadFull(&x.in, h[4:]); err != nil {
		return within(err)
	}
	if !bytes.HasPrefix(h[:], magicXZ) || binary.LittleEndian.Uint32(h[8:]) != crc32.ChecksumIEEE(h[6:8]) {
		return errXZ
	}
	x.first, x.check = true, nil
	switch kind := h[7]; kind {
	case 0:
		x.sum = 0
	case 1:
		x.sum, x.check = 4, crc32.NewIEEE()
	case 4:
		x.sum, x.check = 8, crc64.New(crc64.MakeTable(crc64.ECMA))
	case 10:
		x.sum, x.check = 32, sha256.New()
	default:
		return fmt.Errorf("%w: xz check %d; decompress it first: xz -d", ErrUnsupported, kind)
	}
	return nil
}

// header reads a block header (3.1), which has 4*(size+1) octets.
func (x *xzReader) header(size int) error {
	h := make([]byte, 4*(size+1))
	h[0] = byte(size)
	if _, err := io.ReadFull(&x.in, h[1:]); err != nil {
		return within(err)
	}
	end := len(h) - 4
	if binary.LittleEndian.Uint32(h[end:]) != crc32.ChecksumIEEE(h[:end]) {
		return errXZ
	}
	f := bytes.NewReader(h[2:end])
	for _, size := range []byte{0x40, 0x80} { // lengths, which are not needed
		if h[1]&size != 0 {
			if _, err := binary.ReadUvarint(f); err != nil {
				return errXZ
			}
		}
	}
	const lzma2 = 0x21
	id, err := f.ReadByte()
	properties, err2 := f.ReadByte()
	bits, err3 := f.ReadByte()
	if err != nil || err2 != nil || err3 != nil {
		return errXZ
	}
	if h[1]&3 != 0 || id != lzma2 || properties != 1 {
		return fmt.Errorf("%w: an xz filter other than LZMA2; decompress it first: xz -d", ErrUnsupported)
	}
	dictionary, err := lzma.DecodeDictCap(bits)
	if err != nil {
		return errXZ
	}
	if dictionary > maxWindow {
		return fmt.Errorf("%w: it needs a window of %d MiB; decompress it first: xz -d", ErrUnsupported, dictionary>>20)
	}
	if x.check != nil {
		x.check.Reset()
	}
	x.begin = x.in.n
	x.block, err = lzma.Reader2Config{DictCap: int(max(dictionary, lzma.MinDictCap))}.NewReader2(&x.in)
	return err
}

// endBlock reads what is behind a block's data (3.3 and 3.4).
func (x *xzReader) endBlock() error {
	x.block = nil
	var buf [3 + sha256.Size]byte
	padding := int(-(x.in.n - x.begin) & 3)
	if _, err := io.ReadFull(&x.in, buf[:padding+x.sum]); err != nil {
		return within(err)
	}
	if x.check == nil {
		return nil
	}
	want := x.check.Sum(nil)
	if x.sum < sha256.Size { // CRCs are stored with the low octet first
		for i, j := 0, len(want)-1; i < j; i, j = i+1, j-1 {
			want[i], want[j] = want[j], want[i]
		}
	}
	if !bytes.Equal(buf[padding:padding+x.sum], want) {
		return errXZ
	}
	return nil
}

// index passes over the index (4) and the stream's footer (2.1.2): they serve
// those who seek.
func (x *xzReader) index() error {
	begin := x.in.n - 1
	n, err := binary.ReadUvarint(&x.in)
	for i := uint64(0); err == nil && i < 2*n; i++ {
		_, err = binary.ReadUvarint(&x.in)
	}
	if err != nil {
		return within(err)
	}
	var buf [3 + 4 + 12]byte
	rest := buf[:-(x.in.n-begin)&3+4+12]
	if _, err := io.ReadFull(&x.in, rest); err != nil {
		return within(err)
	}
	if !bytes.HasSuffix(rest, xzFooter) {
		return errXZ
	}
	x.sum = -1 // no stream is open
	return nil
}

// within says that a file must not end here.
func within(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}
