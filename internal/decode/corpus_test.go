package decode

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/dnshark-io/dnshark/event"
	"github.com/dnshark-io/dnshark/internal/source"
	"github.com/dnshark-io/dnshark/internal/source/pcap"
	"github.com/dnshark-io/dnshark/internal/testkit"
)

// result is what a capture file gave.
type result struct {
	queries, responses int
	broken             int // messages that are incomplete
	stats              Stats
}

// readCapture decodes a file the way the line does.
func readCapture(t testing.TB, d *Decoder, path string) (r result) {
	t.Helper()
	lanes, err := pcap.New([]string{path}, pcap.Options{}).Open(1)
	if err != nil {
		t.Fatal(err)
	}
	defer lanes[0].Close()
	var b event.Batch
	count := func() {
		for i := range b.Events {
			e := &b.Events[i]
			if e.Msg.Flags.Response() {
				r.responses++
			} else {
				r.queries++
			}
			if e.Msg.Broken != 0 {
				r.broken++
			}
		}
		b.Reset()
	}
	err = lanes[0].Run(context.Background(), func(frames []source.Frame) error {
		for i := range frames {
			d.Frame(&frames[i], &b)
		}
		d.Tick(b.Now)
		count()
		return nil
	})
	if err != nil && !errors.Is(err, pcap.ErrCut) {
		t.Errorf("%s: %v", path, err)
	}
	d.Flush(&b)
	count()
	r.stats = d.Stats()
	return r
}

// The messages of every capture are those of the table, which are tshark's
// unless a reason stands there.
func TestCaptures(t *testing.T) {
	dir := testkit.Corpus(t, "pcaps")
	table, err := os.Open("testdata/captures.txt")
	if err != nil {
		t.Fatal(err)
	}
	defer table.Close()
	files, responses := 0, 0
	for lines := bufio.NewScanner(table); lines.Scan(); {
		line, _, _ := strings.Cut(lines.Text(), "#")
		if line == "" {
			continue
		}
		var want result
		var name string
		if _, err := fmt.Sscan(line, &want.queries, &want.responses, &name); err != nil {
			t.Fatal(err)
		}
		got := readCapture(t, New(Options{Messages: true}), filepath.Join(dir, name))
		if got.queries != want.queries || got.responses != want.responses {
			t.Errorf("%s: %d queries and %d responses, want %d and %d (%v)",
				name, got.queries, got.responses, want.queries, want.responses, got.stats)
		}
		files++
		responses += got.responses
	}
	t.Logf("%d captures, %d responses", files, responses)
}

// What the transport rows (E) of the catalogue of hostile input give.
func TestHostileTransport(t *testing.T) {
	dir := testkit.Corpus(t, "hostile/synthetic/pcap")
	type counts = map[string]uint64
	for _, row := range []struct {
		name             string
		messages, broken int
		want             counts
	}{
		{"E01_tcp_len0", 1, 0, counts{"tcp_zero_length": 1}},
		{"E02_tcp_bytewise", 1, 0, nil},
		{"E03_prefix_split", 1, 0, nil},
		{"E04_overlap_conflict", 1, 0, counts{"tcp_overlap_conflict": 1}},
		{"E05_ooo", 1, 0, counts{"tcp_out_of_order": 1}},
		{"E06_gap", 1, 0, counts{"tcp_out_of_order": 2, "tcp_gap": 1, "tcp_resync": 1, "tcp_incomplete": 1}},
		{"E07_5000_halfopen", 0, 0, counts{"tcp_midstream": 5000, "tcp_incomplete": 5000}},
		{"E08_flow_flood", 0, 0, nil},
		{"E09_pipelined200", 200, 0, nil},
		{"E10_rst_mid", 0, 0, counts{"tcp_incomplete": 1}},
		{"E11_seqwrap", 1, 0, nil},
		{"E12_midstream", 1, 0, counts{"tcp_midstream": 1, "tcp_resync": 1}},
		{"E13_tfo", 1, 0, nil},
		{"E14_http_on_53", 0, 0, counts{"not_dns": 1}},
		{"E15_frag_ok", 1, 0, nil},
		{"E15a_frag_rev", 1, 0, nil},
		{"E15b_frag_overlap", 1, 1, counts{"ip_frag_overlap": 2}},
		{"E15c_frag_missing", 0, 0, counts{"ip_frag_timeout": 1}},
		{"E15d_frag_65k", 0, 0, counts{"ip_frag_too_big": 1}},
		// 50 of the 5,000 datagrams are first fragments, of other ports.
		{"E15e_frag_flood", 0, 0, counts{"ip_frag_timeout": 4950}},
		{"E15f_tiny_first", 1, 0, nil},
		{"E15g_v6_overlap", 0, 0, counts{"ip_frag_overlap": 1}},
		{"E15h_v6_atomic", 1, 0, nil},
		{"E15i_v6_100ext", 0, 0, counts{"ext_header_limit": 1}},
		{"E15j_same_ipid", 2, 0, nil},
		{"E16_udp_len_big", 1, 0, counts{"udp_len": 1}},
		{"E16b_udp_len0", 0, 0, counts{"udp_len": 1}},
		{"E16c_udp_len7", 0, 0, counts{"udp_len": 1}},
		{"E16d_eth_padding", 1, 0, nil},
		{"E16e_iptl_small", 0, 0, counts{"ip_len": 1}},
		{"E17_qinq8", 1, 0, counts{"vlan_depth": 1}},
		{"E18_snap", 1, 1, counts{"snap_truncated": 1}},
		{"E20_unsolicited", 2, 0, nil},
	} {
		t.Run(row.name, func(t *testing.T) {
			r := readCapture(t, New(Options{Messages: true}), filepath.Join(dir, row.name+".pcap"))
			if got := r.queries + r.responses; got != row.messages || r.broken != row.broken {
				t.Errorf("%d messages, %d of them broken, want %d and %d", got, r.broken, row.messages, row.broken)
			}
			if row.name == "E08_flow_flood" { // where holes are given up is not the point
				if r.stats.TCPGap == 0 {
					t.Error(r.stats)
				}
				return
			}
			counters(t, r.stats, row.want)
		})
	}
}
