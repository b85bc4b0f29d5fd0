package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/dnshark-io/dnshark/dnswire"
	"github.com/dnshark-io/dnshark/internal/testkit"
)

// tsharkDiffers names the captures for which tshark and dnshark show different
// responses, and why dnshark is right to.
var tsharkDiffers = map[string]string{
	"OISF+suricata-verify/tests__flow-drop-iponly-02__input.pcap":                              icmpQuote,
	"OISF+suricata-verify/tests__smb2-07__20171220_smb_psexec_add_user.pcap":                   icmpQuote,
	"zeek+zeek/testing__btest__Traces__communityid__icmp6.pcap":                                icmpQuote,
	"zeek+zeek/testing__btest__Traces__icmp__icmp-destunreach-udp.pcap":                        icmpQuote,
	"DNS-OARC+dnscap/src__test__sll2.pcap":                                                     "a label holds a dot, which tshark does not escape (RFC 1035 section 5.1): its text is that of another name",
	"dmachard+DNS-collector/tests__testsdata__pcap__dnsdump_udp_truncated+tcp_fragmented.pcap": "the answer has 2048 records; an event shows the first 256 and says so (records_capped)",
	"zeek+zeek/testing__btest__Traces__dns__dns-edns-bad-length.pcap":                          "an EDNS option is longer than its record; tshark gives up the whole message, and with it a good answer (RFC 6891 section 6.1.2: the fault is the OPT record's)",
}

const icmpQuote = "tshark also shows the answer that an ICMP error quotes (RFC 792, RFC 4443): a copy sent back by the client's host, not one more answer"

// For every capture of the corpus that tshark can read, the responses on port
// 53 are those that tshark shows: ids, response codes, questions, and the
// owner, type and address of every record.
func TestResponsesEqualTshark(t *testing.T) {
	dir := testkit.Corpus(t, "pcaps")
	testkit.NeedPrograms(t, "tshark")
	bin := testkit.Dnshark(t)
	files, responses, differ := 0, 0, 0
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		theirs, err := tsharkResponses(path)
		if err != nil {
			return nil // a licence, or a format that tshark does not know
		}
		files++
		responses += len(theirs)
		ours := ourResponses(t, bin, path)
		name, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		reason, known := tsharkDiffers[name]
		missing, extra := difference(theirs, ours), difference(ours, theirs)
		if len(missing)+len(extra) == 0 {
			if known {
				t.Errorf("%s no longer differs; take it off the list", name)
			}
			return nil
		}
		differ++
		if known {
			t.Logf("%s: tshark shows %d responses, dnshark %d: %s", name, len(theirs), len(ours), reason)
			return nil
		}
		t.Errorf("%s: tshark shows %d responses, dnshark %d\nonly tshark:\n  %s\nonly dnshark:\n  %s", name,
			len(theirs), len(ours), strings.Join(missing, "\n  "), strings.Join(extra, "\n  "))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d captures, %d responses by tshark, %d captures differ", files, responses, differ)
	if files < 150 {
		t.Errorf("only %d captures compared: the corpus has more", files)
	}
}

// difference returns the members of a that b lacks, as multisets.
func difference(a, b []string) (only []string) {
	left := map[string]int{}
	for _, s := range b {
		left[s]++
	}
	for _, s := range a {
		if left[s]--; left[s] < 0 {
			only = append(only, s)
		}
	}
	slices.Sort(only)
	return only
}

// tsharkResponses returns a line for each response in a capture.
func tsharkResponses(path string) (list []string, err error) {
	cmd := exec.Command("tshark", "-n", "-r", path, "-Y", "dns.flags.response==1 && (udp.port==53 || tcp.port==53)",
		"-T", "pdml")
	out, err := cmd.Output()
	var exit *exec.ExitError
	if errors.As(err, &exit) && !bytes.Contains(exit.Stderr, []byte("cut short")) {
		return nil, err
	}
	var message *strings.Builder
	isResponse, bitmap := false, false
	finish := func() {
		if message != nil && isResponse {
			list = append(list, message.String())
		}
		message = nil
	}
	dec := xml.NewDecoder(bytes.NewReader(out))
	for {
		token, err := dec.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, err
		}
		start, ok := token.(xml.StartElement)
		if !ok {
			continue
		}
		attr := map[string]string{}
		for _, a := range start.Attr {
			attr[a.Name.Local] = a.Value
		}
		switch {
		case start.Name.Local == "packet":
			finish()
		case start.Name.Local == "proto" && attr["name"] == "dns":
			finish()
			message, isResponse = &strings.Builder{}, false
		case message == nil:
		default:
			show := attr["show"]
			switch attr["name"] {
			case "dns.id":
				id, err := strconv.ParseUint(show, 0, 16)
				if err != nil {
					return nil, err
				}
				fmt.Fprintf(message, "%d", id)
			case "dns.flags.response":
				isResponse = show == "1"
			case "dns.flags.rcode":
				fmt.Fprintf(message, " rcode %s", show)
			case "dns.qry.name":
				fmt.Fprintf(message, " ? %s", show)
			case "dns.resp.name":
				fmt.Fprintf(message, " | %s", show)
				bitmap = false
			case "dns.resp.type":
				// The types in an NSEC record's bitmap have the same name.
				if !bitmap {
					fmt.Fprintf(message, " %s", show)
				}
				bitmap = bitmap || show == "47" || show == "50"
			case "dns.qry.type", "dns.a", "dns.aaaa":
				fmt.Fprintf(message, " %s", show)
			}
		}
	}
	finish()
	for i := range list {
		// The OPT record is not among dnshark's records: it has a place of its own.
		list[i] = strings.Replace(list[i], " | <Root> 41", "", 1)
	}
	return list, nil
}

// ourResponses returns the same lines for what dnshark reads.
func ourResponses(t *testing.T, bin, path string) (list []string) {
	t.Helper()
	out, err := exec.Command(bin, "read", "-q", "-o", "json", "-e", "net_packet_dns_response", path).Output()
	var exit *exec.ExitError
	if err != nil && (!errors.As(err, &exit) || exit.ExitCode() != exitCut) {
		t.Errorf("%s: %v: %s", path, err, exit.Stderr)
	}
	type record struct{ Name, Type, Data string }
	scan := bufio.NewScanner(bytes.NewReader(out))
	scan.Buffer(nil, 1<<20)
	for scan.Scan() {
		var e struct {
			DNS struct {
				ID                            uint16
				RCode                         string
				Questions                     []record
				Answer, Authority, Additional []record
			}
		}
		if err := json.Unmarshal(scan.Bytes(), &e); err != nil {
			t.Fatalf("%v: %s", err, scan.Bytes())
		}
		var line strings.Builder
		rcode, ok := dnswire.ParseRCode(e.DNS.RCode)
		if !ok {
			t.Fatalf("response code %q", e.DNS.RCode)
		}
		fmt.Fprintf(&line, "%d rcode %d", e.DNS.ID, rcode&0xf)
		for _, q := range e.DNS.Questions {
			fmt.Fprintf(&line, " ? %s %s", tsharkName(q.Name), typeNumber(t, q.Type))
		}
		for _, r := range slices.Concat(e.DNS.Answer, e.DNS.Authority, e.DNS.Additional) {
			// tshark takes the owner of an SRV record apart.
			if r.Type != "SRV" || !strings.HasPrefix(r.Name, "_") {
				fmt.Fprintf(&line, " | %s", tsharkName(r.Name))
			}
			fmt.Fprintf(&line, " %s", typeNumber(t, r.Type))
			// An UPDATE may name a type without data (RFC 2136 section 2.4).
			if r.Data != "" && (r.Type == "A" || r.Type == "AAAA") {
				fmt.Fprintf(&line, " %s", r.Data)
			}
		}
		list = append(list, line.String())
	}
	return list
}

func typeNumber(t *testing.T, name string) string {
	t.Helper()
	n, ok := dnswire.ParseType(name)
	if !ok {
		t.Fatalf("type %q", name)
	}
	return strconv.Itoa(int(n))
}

func tsharkName(name string) string {
	if name == "." {
		return "<Root>"
	}
	return name
}
