package event

import (
	"encoding/json"
	"math"
	"net/netip"
	"strconv"
	"strings"
	"testing"
	"time"
)

func TestAppendTime(t *testing.T) {
	e := &Event{text: &text{}}
	for _, ns := range []int64{
		0, 1, -1, 999_999_999, -1_000_000_000, 951_782_400_000_000_000, 951_868_799_999_999_999,
		1_709_164_800_123_456_789, 4_102_444_800_000_000_000, math.MaxInt64, math.MinInt64,
		-62_135_596_800, 1_795_000_000_000_000_000,
	} {
		want := time.Unix(0, ns).UTC().Format("2006-01-02T15:04:05.000000000Z")
		if got := string(AppendTime(nil, ns)); got != want {
			t.Errorf("AppendTime(%d) = %s, want %s", ns, got, want)
		}
		for range 2 { // the second time its second is known
			if e.Time = ns; string(e.appendTime(nil)) != want {
				t.Errorf("an event's time %d is %s, want %s", ns, e.appendTime(nil), want)
			}
		}
	}
}

func FuzzAppendTime(f *testing.F) {
	f.Add(int64(0))
	f.Fuzz(func(t *testing.T, ns int64) {
		want := time.Unix(0, ns).UTC().Format("2006-01-02T15:04:05.000000000Z")
		if got := string(AppendTime(nil, ns)); got != want {
			t.Errorf("AppendTime(%d) = %s, want %s", ns, got, want)
		}
	})
}

func TestAppendAddr(t *testing.T) {
	for _, want := range []string{"0.0.0.0", "255.255.255.255", "192.0.2.10", "::", "::1", "2001:db8::5", "::ffff:192.0.2.1"} {
		if got := string(AppendAddr(nil, netip.MustParseAddr(want))); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
	if got := AppendAddr(nil, netip.Addr{}); len(got) != 0 {
		t.Errorf("no address is written as %q", got)
	}
}

// Whatever the octets, the JSON is valid ASCII and gives the octets back.
func FuzzAppendQuoted(f *testing.F) {
	for _, s := range []string{"", "plain", `a"b\c`, "\x1b[2J\r\n\x00\x7f\x80\xff", "\u202e<script>", strings.Repeat(`"`, 20)} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		quoted := appendQuoted([]byte("x"), s)[1:]
		for _, c := range quoted {
			if c < 0x20 || c > 0x7e {
				t.Fatalf("%q holds octet %#x", quoted, c)
			}
		}
		var text string
		if err := json.Unmarshal(quoted, &text); err != nil {
			t.Fatalf("%s: %v", quoted, err)
		}
		if got := unescape(text); got != s {
			t.Fatalf("%q came back as %q", s, got)
		}
	})
}

// unescape undoes AppendSafe.
func unescape(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] != '\\':
			b.WriteByte(s[i])
		case s[i+1] == '\\':
			b.WriteByte('\\')
			i++
		default:
			b.WriteByte((s[i+1]-'0')*100 + (s[i+2]-'0')*10 + s[i+3] - '0')
			i += 3
		}
	}
	return b.String()
}

func TestCommLen(t *testing.T) {
	for _, comm := range []string{"", "dig", "12345678", "123456789", "123456789012345", "1234567890123456"} {
		var id Identity
		copy(id.Comm[:], comm)
		if got := string(id.AppendComm(nil)); got != comm {
			t.Errorf("got %q, want %q", got, comm)
		}
	}
}

func TestAppendUint(t *testing.T) {
	for _, v := range []uint64{0, 9, 10, 99, 100, 999, 1000, 9999, 10000, 99999, 100000, 123456, math.MaxUint64} {
		if got, want := string(AppendUint(nil, v)), strconv.FormatUint(v, 10); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
	for v := range uint64(200_000) {
		if got, want := string(AppendUint(nil, v)), strconv.FormatUint(v, 10); got != want {
			t.Fatalf("got %s, want %s", got, want)
		}
	}
}
