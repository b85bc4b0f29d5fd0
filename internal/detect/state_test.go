package detect

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// madeUpNames are domains that a program made up, each time the same.
func madeUpNames(n int) (names []string) {
	r := rand.New(rand.NewPCG(1, 2))
	for range n {
		var b strings.Builder
		for range 16 {
			b.WriteByte("bcdfghjklmnpqrstvwxz"[r.IntN(20)])
		}
		names = append(names, b.String()+".com")
	}
	return names
}

// restart returns a lab that goes on where l ends, with its state or with none.
func (l *lab) restart(with bool) *lab {
	l.t.Helper()
	next := newLab(l.t, Options{})
	next.now = l.now + 60e9
	if with {
		if err := next.stage.Load(l.stage.Save(time.Unix(0, l.now)), time.Unix(0, next.now)); err != nil {
			l.t.Fatal(err)
		}
	}
	return next
}

// Names that were asked for before a restart are not new after it: no storm of alerts.
func TestRestart(t *testing.T) {
	names := madeUpNames(40)
	dead := func(l *lab) {
		for _, name := range names {
			l.now += 1e9
			l.see(talk{m: reply(name, dns.TypeA, dns.RcodeNameError)})
		}
	}
	first := newLab(t, Options{})
	dead(first)
	if first.has("dns_dga", "made_up_names") == nil {
		t.Fatal("made-up names are no alert")
	}
	// Twice: what was loaded is saved again.
	with := first.restart(true).restart(true)
	dead(with)
	if len(with.all) != 0 {
		t.Errorf("the same names after a restart: %+v", with.all[0])
	}
	without := first.restart(false)
	dead(without)
	if without.has("dns_dga", "made_up_names") == nil {
		t.Error("without state the names are new, or the test shows nothing")
	}
}

// Where names led is known after a restart, and who asked.
func TestRestartKnows(t *testing.T) {
	first := newLab(t, Options{})
	first.see(talk{m: reply("app.example.com", dns.TypeA, 0, "A 198.51.100.7")})
	other := netip.MustParseAddr("192.0.2.77")
	for _, client := range []netip.Addr{labClient, other} {
		first.see(talk{client: client, m: reply("x.beacon.example", dns.TypeTXT, 0, "TXT hello")})
	}
	for _, with := range []bool{true, false} {
		l := first.restart(with)
		l.see(talk{m: reply("app.example.com", dns.TypeA, 0, "A 192.168.1.1")})
		if a := l.has("dns_hijacking", "rebinding"); (a != nil) != with {
			t.Errorf("with state %v: %+v", with, a)
		}
		for i := range 60 { // two clients know the domain, so it is no beacon of one
			l.now += 120e9
			l.see(talk{m: reply(fmt.Sprintf("%08x.beacon.example", i), dns.TypeTXT, 0, fmt.Sprintf("TXT command-%d-for-you", i))})
		}
		if a := l.has("dns_c2", "beacon"); (a == nil) != with {
			t.Errorf("with state %v: %+v", with, a)
		}
	}
}

// State that is torn, changed, old, of the future or of another version is refused, and never
// breaks anything.
func TestBadState(t *testing.T) {
	l := newLab(t, Options{})
	for _, name := range madeUpNames(100) {
		l.see(talk{m: reply(name, dns.TypeA, 0, "A 198.51.100.7")})
	}
	now := time.Unix(0, l.now)
	good := l.stage.Save(now)
	load := func(b []byte, at time.Time) error { return NewStage(&Options{}).Load(b, at) }
	if err := load(good, now.Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	for _, at := range []time.Time{now.Add(stateAge + time.Minute), now.Add(-2 * stateSlack)} {
		if err := load(good, at); err == nil || !strings.Contains(err.Error(), "it is of ") {
			t.Errorf("at %v: %v", at, err)
		}
	}
	for _, n := range []int{0, 1, len(stateHead), len(stateHead) + 40, len(good) / 2, len(good) - 1} {
		if load(good[:n], now) == nil {
			t.Errorf("%d of %d octets are taken for the whole", n, len(good))
		}
	}
	for range 20 {
		b := append([]byte{}, good...)
		b[rand.IntN(len(b))] ^= 1 << rand.IntN(8)
		if load(b, now) == nil {
			t.Error("a changed bit is not noticed")
		}
	}
	if err := load([]byte(strings.Replace(string(good), "detectors 2", "detectors 1", 1)), now); err == nil || !strings.Contains(err.Error(), "version") {
		t.Error(err)
	}
	// Whoever can make checksums makes no panic, and no memory beyond the tables.
	body := good[:len(good)-sha256.Size]
	for i := range 300 {
		b := append([]byte{}, body...)
		switch i % 3 {
		case 0:
			b = b[:len(stateHead)+40+rand.IntN(len(b)-len(stateHead)-40)]
		case 1:
			at := len(stateHead) + 40 + rand.IntN(min(200, len(b)-len(stateHead)-44))
			binary.LittleEndian.PutUint32(b[at:], rand.Uint32())
		default:
			for range 20 {
				b[len(stateHead)+40+rand.IntN(len(b)-len(stateHead)-40)] = byte(rand.Uint32())
			}
		}
		sum := sha256.Sum256(b)
		s := NewStage(&Options{})
		if s.Load(append(b, sum[:]...), now) == nil {
			l.stage = s
			l.see(talk{m: reply("www.example.com", dns.TypeA, 0, "A 198.51.100.7")})
		}
	}
}

// The file is bounded, however much is known.
func TestStateSize(t *testing.T) {
	l := newLab(t, Options{})
	for i := range 2_000_000 {
		l.stage.fresh.add(mixed(uint64(i)), l.now)
	}
	for i := range 200_000 {
		for j := range l.stage.slots {
			switch d := l.stage.slots[j].Detector.(type) {
			case *hijack:
				d.names.add(uint64(i), l.now).n = 6
			case *c2:
				d.users.add(uint64(i), l.now).client = netip.MustParseAddr("2001:db8::1")
			}
		}
	}
	b := l.stage.Save(time.Unix(0, l.now))
	t.Logf("%d octets", len(b))
	if len(b) > maxState {
		t.Errorf("%d octets; at most %d are read", len(b), maxState)
	}
	if err := newLab(t, Options{}).stage.Load(b, time.Unix(0, l.now)); err != nil {
		t.Error(err)
	}
}

func TestStateFile(t *testing.T) {
	dir := t.TempDir()
	if b, err := ReadState(dir); b != nil || err != nil {
		t.Errorf("%v, %v", b, err)
	}
	for _, text := range []string{"one", "two"} {
		if err := WriteState(dir, []byte(text)); err != nil {
			t.Fatal(err)
		}
		if b, err := ReadState(dir); err != nil || string(b) != text {
			t.Errorf("%s, %v", b, err)
		}
	}
	info, err := os.Stat(filepath.Join(dir, StateFile))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v: names are nobody else's business", info.Mode(), err)
	}
	if entries, _ := os.ReadDir(dir); len(entries) != 1 {
		t.Errorf("%v is left", entries)
	}
	if err := WriteState(filepath.Join(dir, "none"), nil); err == nil {
		t.Error("a directory that is not there")
	}
	if err := os.Truncate(filepath.Join(dir, StateFile), maxState+1); err != nil {
		t.Fatal(err)
	}
	if _, err := ReadState(dir); err == nil || !strings.Contains(err.Error(), "longer than") {
		t.Error(err)
	}
	if err := os.Remove(filepath.Join(dir, StateFile)); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(dir, StateFile), 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := ReadState(dir); err == nil {
		t.Error("a directory is read as state")
	}
}

// Hashes differ where octets do, of every length, and by key.
func TestHash(t *testing.T) {
	k, other := newHashKey(), newHashKey()
	seen := map[uint64]string{}
	add := func(b []byte) {
		h := k.hash(b)
		if before, ok := seen[h]; ok && before != string(b) {
			t.Errorf("%q and %q are alike", before, b)
		}
		seen[h] = string(b)
		if h == other.hash(b) {
			t.Errorf("%q: the key does not matter", b)
		}
	}
	for n := range 70 {
		zero := make([]byte, n)
		add(zero)
		for i := range n {
			for _, v := range []byte{1, 128, 255} {
				one := make([]byte, n)
				one[i] = v
				add(one)
			}
		}
	}
	for i := range 200_000 {
		add(fmt.Appendf(nil, "host%d.example.com", i))
	}
	// All bits are in use.
	ones := [64]int{}
	for h := range seen {
		for i := range ones {
			ones[i] += int(h >> i & 1)
		}
	}
	for i, n := range ones {
		if share := float64(n) / float64(len(seen)); share < 0.48 || share > 0.52 {
			t.Errorf("bit %d is set in %.3f of hashes", i, share)
		}
	}
}
