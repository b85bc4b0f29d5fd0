package main

import "testing"

// Lines as the programs print them.
func TestCount(t *testing.T) {
	for _, c := range []struct {
		program, line string
		want          int
	}{
		{"dnshark -o json", `{"v":1,"event":"net_packet_dns_response","time":"2026-11-23T01:27:48Z"}`, 1},
		{"dnshark with detectors", `{"v":1,"event":"dns_tunnel","time":"2026-11-23T01:27:48Z"}`, 0},
		{"dnshark -o none", `dnshark: shown: 50000 net_packet_dns_response, 3 net_packet_dns_unanswered`, 50000},
		{"dnshark -o none", `dnshark: transactions: 50000 queries: 50000 answered; 0 unaccounted`, 0},
		{"tcpdump -n", `01:27:48.796 IP 10.53.0.1.53 > 10.53.0.2.46299: 34 NXDomain*- 0/1/0 (97)`, 1},
		{"tcpdump -n", `01:27:48.796 IP 10.53.0.1.53 > 10.53.0.2.46299: 1822*- 3/0/1 A 203.0.2.72, A 203.0.2.73, A 203.0.2.74 (105)`, 1},
		{"tcpdump -n", `01:27:51.992 IP6 fd53::1.53 > fd53::2.46289: Flags [.], seq 1:2, ack 9, win 69, options [nop,nop,TS val 34 ecr 36], length 203 3494*- 2/0/1 TXT "a" (201)`, 1},
		{"tcpdump -n", `01:27:51.816 IP 10.53.0.1.53 > 10.53.0.2.51989: Flags [P.], seq 7526:7581, ack 2884, win 65, length 55 [prefix length(13062) != length(53)] (invalid)`, 0},
		{"tcpdump -n", `01:27:51.816 IP 10.53.0.2.46299 > 10.53.0.1.53: 34+ A? host.plain.example. (97)`, 0},
		{"dnscap -g", "\tdns QUERY,NOERROR,0,qr|aa|rd \\", 1},
		{"dnscap -g", `[93] 2026-11-23 01:27:48.793862 [#0 udp.pcap 4095] \`, 0}, // what follows may be nothing
		{"dnscap -g", "\t[10.53.0.1].53 [10.53.0.2].41482  \\", 0},
		{"tshark -T fields", "1795397271.8\t10.53.0.1\t10.53.0.2\t\t\t0x03e7,0x03e8\t0,0\ta,b\t1,1\t\t\t\t\t\t", 2},
		{"tshark -T fields", "Running as user \"root\" and group \"root\". This could be dangerous.", 0},
		{"tshark -T ek", `{"layers":{"dns":[{"dns_dns_id":"0x03e7","dns_dns_flags":"0x8500"},{"dns_dns_id":"0x03e8"}]}}`, 2},
		{"tshark -T ek", `{"layers":{"dns":{"dns_dns_id":["0x03e7","0x03e8"]}}}`, 2},
		{"tshark -T ek", `{"index":{"_index":"packets-2026-11-23"}}`, 0},
	} {
		for _, p := range programs("dnshark", "floor", "reference") {
			if p.name != c.program {
				continue
			}
			if got := p.count([]byte(c.line)); got != c.want {
				t.Errorf("%s: %d responses in %s, want %d", c.program, got, c.line, c.want)
			}
		}
	}
}
