package decode

import (
	"context"
	"io/fs"
	"path/filepath"
	"strings"
	"testing"

	"github.com/dnshark-io/dnshark/event"
	"github.com/dnshark-io/dnshark/internal/source"
	"github.com/dnshark-io/dnshark/internal/source/pcap"
	"github.com/dnshark-io/dnshark/internal/testkit"
)

// Every frame of every capture becomes exactly one thing, and so does every message.
func TestAccounts(t *testing.T) {
	files, frames := 0, uint64(0)
	for _, dir := range []string{"pcaps", "hostile", "threats"} {
		root := testkit.Corpus(t, dir)
		err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
			if err != nil || entry.IsDir() || !strings.Contains(filepath.Base(path), ".pcap") {
				return err
			}
			files++
			for _, o := range []Options{
				{Messages: true},
				{Messages: true, AnyPort: true, Packets: true, StreamBytes: 1, FragmentBytes: 1},
				{Packets: true},
			} {
				s := decodeAll(path, New(o))
				frames += s.Frames
				if s.Frames+s.FragReassembled != s.UDP+s.TCP+s.Fragments+s.Other+s.Dropped {
					t.Errorf("%s: %+v: frames: %v", path, o, s)
				}
				if s.Messages != s.Whole+s.Flagged+s.Partial+s.Malformed {
					t.Errorf("%s: %+v: messages: %v", path, o, s)
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("%d captures, %d frames in three ways", files, frames)
	if files < 100 || frames == 0 {
		t.Errorf("only %d captures with %d frames", files, frames)
	}
}

// decodeAll decodes what can be read of a file, which need not be all.
func decodeAll(path string, d *Decoder) Stats {
	lanes, _ := pcap.New([]string{path}, pcap.Options{}).Open(1)
	var b event.Batch
	lanes[0].Run(context.Background(), func(frames []source.Frame) error {
		for i := range frames {
			d.Frame(&frames[i], &b)
		}
		d.Tick(b.Now)
		b.Reset()
		return nil
	})
	d.Flush(&b)
	return d.Stats()
}
