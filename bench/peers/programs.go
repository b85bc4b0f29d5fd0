package main

import (
	"bytes"
	"regexp"
	"strconv"
)

// program is something that reads a capture and shows its responses.
type program struct {
	name string
	note string
	argv []string // %f is the file
	// count tells how many responses a line of the output shows.
	count func(line []byte) int
	slow  bool // it reads the small captures only
	ours  bool
}

// programs are in the order in which they run. The first one is what the ratios
// refer to.
func programs(dnshark, floor, reference string) []program {
	fields := []string{"tshark", "-n", "-r", "%f", "-Y", "dns.flags.response==1", "-T", "fields"}
	for _, f := range []string{"frame.time_epoch", "ip.src", "ip.dst", "udp.srcport", "udp.dstport", "dns.id", "dns.flags.rcode",
		"dns.qry.name", "dns.qry.type", "dns.resp.name", "dns.resp.type", "dns.resp.ttl", "dns.a", "dns.aaaa", "dns.cname"} {
		fields = append(fields, "-e", f)
	}
	response := occurrences(`"event":"net_packet_dns_response"`) // and not dnshark's other events, such as alerts
	return []program{
		{name: "dnshark -o json", note: "all sections, EDNS, pairing, reassembly, fragments", argv: []string{dnshark, "read", "-q", "-e", "net_packet_dns_response", "-o", "json", "%f"}, count: response, ours: true},
		{name: "dnshark -o none", note: "the same without JSON", argv: []string{dnshark, "read", "-e", "net_packet_dns_response", "-o", "none", "%f"}, count: summary, ours: true},
		{name: "dnshark with detectors", note: "as without arguments: all detectors, JSON", argv: []string{dnshark, "read", "-q", "-o", "json", "%f"}, count: response, ours: true},
		{name: "floor", note: "by hand: the contract's fields; no pairing, no reassembly; reads the file whole", argv: []string{floor, "%f"}, count: object},
		{name: "reference", note: "gopacket, miekg/dns, encoding/json: the contract's fields; reassembly", argv: []string{reference, "%f"}, count: object},
		{name: "tcpdump -n", note: "text, a line per packet", argv: []string{"tcpdump", "-n", "-r", "%f"}, count: tcpdumpLine},
		{name: "dnscap -g", note: "text, all sections; reassembly, fragments", argv: []string{"dnscap", "-N", "-T",
			"-o", "use_layers=yes", "-o", "defrag_ipv4=yes", "-o", "defrag_ipv6=yes", "-o", "reassemble_tcp=yes", "-s", "r", "-g", "-r", "%f"}, count: prefix("\tdns ")},
		{name: "tshark -T fields", note: "15 fields", argv: fields, count: tsharkFields, slow: true},
		{name: "tshark -T ek", note: "JSON, everything", argv: []string{"tshark", "-n", "-r", "%f", "-Y", "dns.flags.response==1", "-T", "ek"}, count: occurrences(`"dns_dns_id":`), slow: true},
	}
}

var emitted = regexp.MustCompile(`^dnshark: shown: (\d+) net_packet_dns_response`)

// summary reads dnshark's last line.
func summary(line []byte) int {
	m := emitted.FindSubmatch(line)
	if m == nil {
		return 0
	}
	n, _ := strconv.Atoi(string(m[1]))
	return n
}

func object(line []byte) int { return prefix("{")(line) }

func prefix(p string) func([]byte) int {
	return func(line []byte) int {
		if bytes.HasPrefix(line, []byte(p)) {
			return 1
		}
		return 0
	}
}

// occurrences counts a key. Of one with several values, as an array, each counts.
func occurrences(key string) func([]byte) int {
	return func(line []byte) int {
		n := 0
		for {
			at := bytes.Index(line, []byte(key))
			if at < 0 {
				return n
			}
			line = line[at+len(key):]
			n++
			if len(line) > 0 && line[0] == '[' {
				end := bytes.IndexByte(line, ']')
				n += bytes.Count(line[:max(end, 0)], []byte(","))
			}
		}
	}
}

// tcpdump shows a response as id, flags, the numbers of records, then the first
// records.
var answerLine = regexp.MustCompile(`\.53 > [^ ]+: .*?\b\d+[*|$-]* (\[[^ ]*\] )?(\d+/\d+/\d+|[A-Z][A-Za-z]+\*?-? )`)

func tcpdumpLine(line []byte) int {
	if answerLine.Match(line) {
		return 1
	}
	return 0
}

// tsharkFields counts the ids in a line: a packet with several messages is one
// line, with several values in each column.
func tsharkFields(line []byte) int {
	columns := bytes.Split(line, []byte("\t"))
	if len(columns) < 15 || len(columns[5]) == 0 {
		return 0
	}
	return 1 + bytes.Count(columns[5], []byte(","))
}
