package pcap

import "io"

const (
	aheadBytes  = 256 << 10
	aheadBlocks = 3
)

// ahead decompresses in its own goroutine, a few blocks ahead of the reader.
type ahead struct {
	full, empty chan []byte
	err         error // of the source; read after full is closed
	now, rest   []byte
	stop        chan struct{}
	src         io.ReadCloser
}

func readAhead(src io.ReadCloser) *ahead {
	a := &ahead{
		full: make(chan []byte, aheadBlocks), empty: make(chan []byte, aheadBlocks),
		stop: make(chan struct{}), src: src,
	}
	for range aheadBlocks {
		a.empty <- make([]byte, aheadBytes)
	}
	go a.run()
	return a
}

func (a *ahead) run() {
	defer a.src.Close()
	defer close(a.full)
	for {
		select {
		case <-a.stop:
			return
		case block := <-a.empty:
			// What a pipe has now is passed on at once.
			n := 0
			for n == 0 && a.err == nil {
				n, a.err = a.src.Read(block)
			}
			a.full <- block[:n] // there is room for every block
			if a.err != nil {
				return
			}
		}
	}
}

// Read implements io.Reader.
func (a *ahead) Read(p []byte) (int, error) {
	for len(a.rest) == 0 {
		if a.now != nil {
			a.empty <- a.now[:cap(a.now)]
			a.now = nil
		}
		block, ok := <-a.full
		if !ok {
			return 0, a.err
		}
		a.now, a.rest = block, block
	}
	n := copy(p, a.rest)
	a.rest = a.rest[n:]
	return n, nil
}

// Close ends the goroutine, which closes the source when that lets it: a read may
// wait for somebody else's pipe.
func (a *ahead) Close() error {
	close(a.stop)
	return nil
}
