package storetest

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/dnshark-io/dnshark/internal/store"
	"github.com/dnshark-io/dnshark/internal/store/eventlog"
)

// Finder finds whole events.
type Finder interface {
	Find(ctx context.Context, q *eventlog.Query, f func(line []byte) error) (more bool, err error)
}

// sample is an event as live capture makes it, with a CNAME before the answer.
func sample(at time.Time, name, answer, comm string) string {
	return fmt.Sprintf(`{"time":"%[1]s","event":"net_packet_dns_response","host":"web1","observer":"client","metadata":{"src_ip":"192.0.2.53","dst_ip":"10.1.2.3","src_port":53,"dst_port":40000,"protocol":17,"packet_len":90,"iface":""},`+
		`"dns":{"id":7,"opcode":"QUERY","rcode":"NOERROR","flags":["qr","ra"],"questions":[{"name":"%[2]s","type":"A","class":"IN"}],`+
		`"answer":[{"name":"%[2]s","type":"CNAME","class":"IN","ttl":60,"data":"%[4]s.CDN.test"},{"name":"%[4]s.CDN.test","type":"A","class":"IN","ttl":60,"data":"%[3]s"}],"authority":[],"additional":[],"counts":{"qd":1,"an":2,"ns":0,"ar":0},"size":62,"incomplete":false,"anomalies":[]},`+
		`"transaction":{"state":"answered","latency_us":700,"retransmits":0},`+
		`"process":{"attribution":"query_egress","pid":4711,"tid":4711,"ppid":1,"uid":1000,"comm":"%[4]s","exe":"/usr/bin/%[4]s","container":{"id":"0123456789abcdef","name":"web"}},`+
		`"server_process":{"pid":53,"comm":"named","exe":"/usr/sbin/named","container":{"id":"fedcba9876543210"}}}`+"\n",
		at.UTC().Format("2006-01-02T15:04:05.000000000Z"), name, answer, comm)
}

// RunEvents finds events of all kinds. put writes lines, in order, to where the
// finder that it returns looks.
func RunEvents(t *testing.T, put func(t *testing.T, lines ...string) Finder) {
	www := sample(Noon, "WWW.Example.test", "192.0.2.80", "curl")
	mail := sample(Noon.Add(time.Minute), "mail.example.test", "2001:db8::25", "postfix")
	dot := sample(Noon.Add(2*time.Minute), `a\\.example.test`, "198.51.100.7", "odd")
	deep := sample(Noon.Add(3*time.Hour), "a.b.c.d.e.f.g.h.i.j.deep.test", "198.51.100.8", "curl")
	alert := `{"time":"` + Noon.Add(4*time.Hour).UTC().Format("2006-01-02T15:04:05.000000000Z") + `","event":"dns_tunnel","host":"web1",` +
		`"alert":{"id":"1","threat":"dns_tunnel","severity":"high","src":"10.9.9.9","domain":"T.example","server":"192.0.2.99"},"process":{"pid":1,"comm":"iodine","exe":"/usr/sbin/iodine"}}` + "\n"
	all := []string{www, mail, dot, deep, alert}
	r := put(t, all...)
	find := func(q eventlog.Query) (list []string) {
		more, err := r.Find(t.Context(), &q, func(line []byte) error { list = append(list, string(line)); return nil })
		if err != nil {
			t.Errorf("%+v: %v", q, err)
		}
		if more {
			list = append(list, "more")
		}
		return list
	}
	net := netip.MustParsePrefix
	for _, test := range []struct {
		q    eventlog.Query
		want []string
	}{
		{eventlog.Query{}, all},
		{eventlog.Query{Limit: 5}, all},
		{eventlog.Query{Limit: 2}, []string{www, mail, "more"}},
		{eventlog.Query{Name: "www.example.TEST."}, []string{www}},
		{eventlog.Query{Name: "example.test"}, nil},
		{eventlog.Query{Name: "*.example.test"}, []string{www, mail}},
		{eventlog.Query{Name: "*.www.example.test"}, []string{www}},
		{eventlog.Query{Name: "*.test"}, []string{www, mail, dot, deep}},
		{eventlog.Query{Name: "*.xample.test"}, nil},
		{eventlog.Query{Name: `a\.example.test`}, []string{dot}},
		{eventlog.Query{Name: "curl.cdn.test"}, []string{www, deep}},
		{eventlog.Query{Name: "*.cdn.test", Process: "postfix"}, []string{mail}},
		{eventlog.Query{Name: "t.example"}, []string{alert}},
		{eventlog.Query{Name: "*.example"}, []string{alert}},
		{eventlog.Query{Name: "*.."}, all},
		{eventlog.Query{Name: `'; DROP TABLE dnshark; --`}, nil},
		{eventlog.Query{Addr: net("192.0.2.80/32")}, []string{www}},
		{eventlog.Query{Addr: net("192.0.2.64/28")}, nil},
		{eventlog.Query{Addr: net("192.0.2.80/28")}, []string{www}},
		{eventlog.Query{Addr: net("192.0.2.53/32")}, []string{www, mail, dot, deep}},
		{eventlog.Query{Addr: net("192.0.2.96/27")}, []string{alert}},
		{eventlog.Query{Addr: net("2001:db8::/33")}, []string{mail}},
		{eventlog.Query{Addr: net("2001:db8::25/128")}, []string{mail}},
		{eventlog.Query{Addr: net("10.0.0.0/8")}, all},
		{eventlog.Query{Addr: net("0.0.0.0/0"), Kind: "dns_tunnel"}, []string{alert}},
		{eventlog.Query{Process: "curl"}, []string{www, deep}},
		{eventlog.Query{Process: "/usr/bin/postfix"}, []string{mail}},
		{eventlog.Query{Process: "named"}, []string{www, mail, dot, deep}},
		{eventlog.Query{Process: "/usr/sbin/iodine"}, []string{alert}},
		{eventlog.Query{Container: "0123456789ab", Name: "mail.example.test"}, []string{mail}},
		{eventlog.Query{Container: "fedcba987654", Process: "odd"}, []string{dot}},
		{eventlog.Query{Container: "0123456789abff"}, nil},
		{eventlog.Query{RCode: "NOERROR", Process: "odd"}, []string{dot}},
		{eventlog.Query{RCode: "NXDOMAIN"}, nil},
		{eventlog.Query{Kind: "dns_tunnel"}, []string{alert}},
		{eventlog.Query{Range: store.Range{Since: Noon.Add(time.Minute).UnixNano(), Until: Noon.Add(2 * time.Minute).UnixNano()}}, []string{mail, dot}},
		{eventlog.Query{Range: store.Range{Since: Noon.UnixNano() + 1}, Kind: "net_packet_dns_response"}, []string{mail, dot, deep}},
		{eventlog.Query{Range: store.Range{Until: Noon.UnixNano()}}, []string{www}},
	} {
		if got := find(test.q); !slices.Equal(got, test.want) {
			t.Errorf("%+v:\n%s\nwant\n%s", test.q, strings.Join(got, ""), strings.Join(test.want, ""))
		}
		if q := test.q; q.Limit == 0 {
			q.Newest = true
			want := slices.Clone(test.want)
			slices.Reverse(want)
			for _, q.Limit = range []int{0, max(1, len(want))} {
				if got := find(q); !slices.Equal(got, want) {
					t.Errorf("newest of %+v:\n%s\nwant\n%s", q, strings.Join(got, ""), strings.Join(want, ""))
				}
			}
		}
	}
	if got := find(eventlog.Query{Newest: true, Limit: 2}); !slices.Equal(got, []string{alert, deep, "more"}) {
		t.Error(got)
	}
	for _, q := range []eventlog.Query{{Name: "a.*"}, {Name: "a..b"}, {Container: "short"}, {Addr: netip.PrefixFrom(netip.MustParseAddr("::ffff:1.2.3.4"), 120)}} {
		if _, err := r.Find(t.Context(), &q, nil); !errors.Is(err, eventlog.ErrQuery) {
			t.Errorf("%+v: %v", q, err)
		}
	}
	stop := errors.New("stopped")
	if _, err := r.Find(t.Context(), &eventlog.Query{}, func([]byte) error { return stop }); !errors.Is(err, stop) {
		t.Error(err)
	}
}
