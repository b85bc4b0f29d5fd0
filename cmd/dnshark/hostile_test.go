package main

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/dnshark-io/dnshark/internal/testkit"
)

// Captures made to break readers (sections E and F of the catalogue of hostile
// input beside the corpus): how many messages come out, what is counted, and
// how the program ends.
func TestHostileCaptures(t *testing.T) {
	dir := filepath.Join(testkit.Corpus(t, "hostile"), "synthetic", "pcap")
	bin := testkit.Dnshark(t)
	tested := map[string]bool{}
	slowest, largest := time.Duration(0), int64(0)
	for _, c := range []struct {
		file     string
		messages int
		counter  string // in what the program says at the end
		exit     int
	}{
		{"E01_tcp_len0.pcap", 1, "1 tcp_zero_length", 0},
		{"E02_tcp_bytewise.pcap", 1, "", 0},
		{"E03_prefix_split.pcap", 1, "", 0},
		{"E04_overlap_conflict.pcap", 1, "1 tcp_overlap_conflict", 0},
		{"E05_ooo.pcap", 1, "", 0},
		{"E06_gap.pcap", 1, "1 tcp_gap", 0},
		{"E07_5000_halfopen.pcap", 0, "5000 tcp_incomplete", 0},
		{"E08_flow_flood.pcap", 0, "tcp_incomplete", 0},
		{"E09_pipelined200.pcap", 200, "", 0},
		{"E10_rst_mid.pcap", 0, "1 tcp_incomplete", 0},
		{"E11_seqwrap.pcap", 1, "", 0},
		{"E12_midstream.pcap", 1, "", 0},
		{"E13_tfo.pcap", 1, "", 0},
		{"E14_http_on_53.pcap", 0, "1 not_dns", 0},
		{"E15_frag_ok.pcap", 1, "", 0},
		{"E15a_frag_rev.pcap", 1, "", 0},
		{"E15b_frag_overlap.pcap", 1, "ip_frag_overlap", 0},
		{"E15c_frag_missing.pcap", 0, "1 ip_frag_timeout", 0},
		{"E15d_frag_65k.pcap", 0, "ip_frag_too_big", 0},
		{"E15e_frag_flood.pcap", 0, "ip_frag_timeout", 0},
		{"E15f_tiny_first.pcap", 1, "", 0},
		{"E15g_v6_overlap.pcap", 0, "ip_frag_overlap", 0},
		{"E15h_v6_atomic.pcap", 1, "", 0},
		{"E15i_v6_100ext.pcap", 0, "1 ext_header_limit", 0},
		{"E15j_same_ipid.pcap", 2, "", 0},
		{"E16_udp_len_big.pcap", 1, "1 udp_len", 0},
		{"E16b_udp_len0.pcap", 0, "1 udp_len", 0},
		{"E16c_udp_len7.pcap", 0, "1 udp_len", 0},
		{"E16d_eth_padding.pcap", 1, "", 0},
		{"E16e_iptl_small.pcap", 0, "1 ip_len", 0},
		{"E17_qinq8.pcap", 1, "1 vlan_depth", 0},
		{"E18_snap.pcap", 1, "1 snap_truncated", 0},
		{"E20_unsolicited.pcap", 2, "", 0},
		{"F01_caplen_ffff.pcap", 1, "a packet of 4294967295 octets", exitCut},
		{"F01b_caplen_1g.pcap", 1, "octets", exitCut},
		{"F02_snap0.pcap", 1, "", 0},
		{"F03_magic_ns.pcap", 1, "", 0},
		{"F04_trunc_hdr.pcap", 1, "", exitCut},
		{"F04b_trunc_global.pcap", 0, "", exitCut},
		{"F05_ng_len0.pcapng", 0, "", exitCut},
		{"F05b_ng_len13.pcapng", 0, "", exitCut},
		{"F05c_ng_mismatch.pcapng", 0, "", exitCut},
		{"F06_ng_block4g.pcapng", 0, "", exitCut},
		{"F07_ng_100k_idb.pcapng", 1, "", 0},
		{"F08_ng_badif.pcapng", 0, "", exitCut},
		{"F08b_ng_cap.pcapng", 0, "", exitCut},
		{"F09_bomb.pcap.gz", 0, "expands more than 1000 times", 1},
		{"F10_ts_back.pcap", 4, "", 0},
		{"F11_linktype.pcap", 0, "link type 65000", exitError},
	} {
		tested[c.file] = true
		begin := time.Now()
		cmd := exec.Command(bin, "read", "-o", "json", "-e", "net_packet_dns", filepath.Join(dir, c.file))
		var out, said strings.Builder
		cmd.Stdout, cmd.Stderr = &out, &said
		mib, err := runWatched(cmd)
		code := 0
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			code = exit.ExitCode()
		}
		if n := strings.Count(out.String(), "\n"); n != c.messages || code != c.exit || !strings.Contains(said.String(), c.counter) {
			t.Errorf("%s: %d messages, exit code %d, want %d, %d and %q:\n%s", c.file, n, code, c.messages, c.exit, c.counter, said.String())
		}
		took := time.Since(begin)
		if took > 5*time.Second {
			t.Errorf("%s took %v", c.file, took)
		}
		slowest, largest = max(slowest, took), max(largest, mib)
		if mib > 64 {
			t.Errorf("%s took %d MiB", c.file, mib)
		}
	}
	t.Logf("%d captures, each with its messages, its reason and its exit code; at most %v and %d MiB", len(tested), slowest.Round(time.Millisecond), largest)
	files, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if name := f.Name(); !tested[name] && strings.Contains(name, ".pcap") {
			t.Errorf("%s is not tested", name)
		}
	}
}
