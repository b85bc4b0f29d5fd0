package main

import (
	"net/netip"
	"testing"
	"time"

	"github.com/dnshark-io/dnshark/event"
)

func TestBest(t *testing.T) {
	threats := []threat{{Threat: "dns_tunnel", Src: "192.0.2.1"}, {Threat: "dns_tunnel", Src: "192.0.2.2"}}
	from := func(src string, scores ...float64) *scored {
		k := &scored{threats: threats, alert: event.Alert{Src: netip.MustParseAddr(src)}}
		for i, v := range scores {
			k.rise(v, int64(i+1)*1e9, 2*(i+1))
		}
		return k
	}
	list := []*scored{from("192.0.2.1", 10, 50, 40), from("192.0.2.2", 5), from("192.0.2.9", 6), from("192.0.2.9", 20)}
	if o := best(list, "dns_tunnel", 2, 0); o.hits != 2 || o.wrong != 2 || o.threshold != 5 {
		t.Errorf("most hits: %+v", o)
	}
	o := best(list, "dns_tunnel", 2, 1)
	if o.hits != 1 || o.wrong != 0 || o.threshold != 50 || o.after[0] != 2*time.Second || o.messagesUntilHits[0] != 4 {
		t.Errorf("most hits less wrong ones: %+v", o)
	}
	if o := best(list, "dns_c2", 0, 0); o.hits != 0 {
		t.Errorf("alarms of one threat are hits of another: %+v", o)
	}
}

func TestEvenness(t *testing.T) {
	if got := evenness([]int64{60e9, 60e9, 60e9, 900e9}); got != 1 {
		t.Errorf("one pause among even intervals: %v", got)
	}
	if got := evenness([]int64{1e9, 10e9, 20e9, 35e9, 60e9}); got > 0.3 {
		t.Errorf("uneven intervals: %v", got)
	}
}
