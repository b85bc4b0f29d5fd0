package output

import (
	"bytes"
	"encoding/json"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	tap "github.com/dnstap/golang-dnstap"
	"google.golang.org/protobuf/proto"

	"github.com/dnshark-io/dnshark/event"
	"github.com/dnshark-io/dnshark/internal/kind"
	"github.com/dnshark-io/dnshark/internal/testkit"
)

// readDnstap reads a file with the reader of those who made the format.
func readDnstap(t testing.TB, out []byte) (list []*tap.Dnstap) {
	t.Helper()
	r, err := tap.NewReader(bytes.NewReader(out), nil)
	if err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 1<<20)
	for {
		n, err := r.ReadFrame(buf)
		if err != nil {
			if err.Error() != "EOF" {
				t.Fatal(err)
			}
			return list
		}
		m := &tap.Dnstap{}
		if err := proto.Unmarshal(buf[:n], m); err != nil {
			t.Fatal(err)
		}
		list = append(list, m)
	}
}

func TestDnstap(t *testing.T) {
	b := sample(t)
	list := readDnstap(t, whole(encoder(t, "dnstap"), b))
	if len(list) != 10 {
		t.Fatalf("%d messages", len(list))
	}
	for i, d := range list {
		m, e := d.GetMessage(), &b.Events[i]
		message, address := m.GetResponseMessage(), m.GetResponseAddress()
		if i == 9 {
			message, address = m.GetQueryMessage(), m.GetQueryAddress()
		}
		if d.GetType() != tap.Dnstap_MESSAGE || string(d.Identity) != "host.example" || !bytes.Equal(message, e.Msg.Raw) ||
			net.IP(address).String() != e.Meta.SrcIP.String() {
			t.Errorf("%d: %v", i, d)
		}
		if e.Asker.ID != nil && !json.Valid(d.Extra) {
			t.Errorf("%d: extra is %s", i, d.Extra)
		}
	}
	for i, want := range map[int]tap.Message_Type{
		0: tap.Message_CLIENT_RESPONSE, 3: tap.Message_AUTH_RESPONSE, 6: tap.Message_UPDATE_RESPONSE, 9: tap.Message_CLIENT_QUERY,
	} {
		if got := list[i].GetMessage().GetType(); got != want {
			t.Errorf("%d is a %v, want %v", i, got, want)
		}
	}
	m := list[0].GetMessage()
	if m.GetQueryTimeSec() != 1795000000 || m.GetQueryTimeNsec() != 123_222_222 || m.GetResponseTimeNsec() != 124_456_789 || m.GetQueryPort() != 40000 ||
		m.GetSocketFamily() != tap.SocketFamily_INET || m.GetSocketProtocol() != tap.SocketProtocol_UDP {
		t.Errorf("%v", m)
	}
	if m := list[5].GetMessage(); m.GetSocketFamily() != tap.SocketFamily_INET6 || m.GetSocketProtocol() != tap.SocketProtocol_TCP || m.QueryTimeSec != nil {
		t.Errorf("%v", m)
	}
	// A resolver's own question.
	b.Events[0].Txn.Cause = &event.Cause{}
	if got := readDnstap(t, whole(encoder(t, "dnstap"), b))[0].GetMessage().GetType(); got != tap.Message_RESOLVER_RESPONSE {
		t.Errorf("a resolver's answer is a %v", got)
	}
}

// Any message comes back as it was.
func TestBinaryHostile(t *testing.T) {
	var all event.Batch
	var want [][]byte
	for _, h := range corpus(t) {
		e := all.Next()
		e.Meta.SrcIP, e.Meta.DstIP = sample(t).Events[5].Meta.SrcIP, sample(t).Events[5].Meta.DstIP
		e.Msg.Unpack(h.raw)
		want = append(want, h.raw)
	}
	kind.NewMarker(kindDNS).Process(&all)
	list := readDnstap(t, whole(encoder(t, "dnstap"), &all))
	if len(list) != len(want) {
		t.Fatalf("%d messages of %d", len(list), len(want))
	}
	for i, d := range list {
		if m := d.GetMessage(); !bytes.Equal(append(m.GetQueryMessage(), m.GetResponseMessage()...), want[i]) {
			t.Errorf("message %d changed", i)
		}
	}
	if out := tshark(t, whole(encoder(t, "pcapng"), &all), "-T", "fields", "-e", "frame.number"); strings.Count(out, "\n") != len(want) {
		t.Errorf("tshark sees %d of %d packets", strings.Count(out, "\n"), len(want))
	}
}

func tshark(t testing.TB, file []byte, args ...string) string {
	t.Helper()
	testkit.NeedPrograms(t, "tshark")
	path := filepath.Join(t.TempDir(), "x.pcapng")
	if err := os.WriteFile(path, file, 0o600); err != nil {
		t.Fatal(err)
	}
	var stderr bytes.Buffer
	cmd := exec.Command("tshark", append([]string{"-n", "-r", path}, args...)...)
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v: %s", err, stderr.String())
	}
	return string(out)
}

func TestPcapng(t *testing.T) {
	out := tshark(t, whole(encoder(t, "pcapng"), sample(t)), "-T", "fields", "-E", "separator=|",
		"-e", "frame.time_epoch", "-e", "ip.src", "-e", "ipv6.src", "-e", "dns.id", "-e", "dns.qry.name", "-e", "frame.comment", "-e", "exported_pdu.src_port")
	lines := strings.Split(strings.TrimSpace(out), "\n")
	if len(lines) != 10 {
		t.Fatalf("%d lines:\n%s", len(lines), out)
	}
	for i, want := range map[int]string{
		0: "1795000000.124456789|192.0.2.53||0x1267|www.Example.com|pid=31337 comm=dig exe=/usr/bin/dig uid=1000 attribution=query_egress state=answered|53",
		5: "1795000000.129456789||2001:db8::53|0x126c|six.example.com|state=unsolicited|53",
		9: "1795000000.133456789|192.0.2.10||0x0063|www.example.com|pid=31337 comm=dig exe=/usr/bin/dig uid=1000 attribution=query_egress state=pending|40000",
	} {
		if lines[i] != want {
			t.Errorf("packet %d is\n%s, want\n%s", i, lines[i], want)
		}
	}
}
