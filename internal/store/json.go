package store

import (
	"strconv"
	"time"

	"github.com/dnshark-io/dnshark/event"
)

// AppendCOF appends the tuple as an object of the passive DNS Common Output
// Format.
func (t *Tuple) AppendCOF(dst []byte) []byte {
	dst = AppendText(append(dst, `{"rrname":`...), t.Name)
	dst = append(dst, `,"rrtype":`...)
	if name := t.Type.String(); name == "TYPE"+strconv.Itoa(int(t.Type)) {
		dst = strconv.AppendUint(dst, uint64(t.Type), 10)
	} else {
		dst = AppendText(dst, name)
	}
	dst = append(AppendText(append(dst, `,"rdata":[`...), t.RData), ']')
	for _, n := range []struct {
		key   string
		value int64
	}{{"time_first", t.First / 1e9}, {"time_last", t.Last / 1e9}, {"time_first_ms", t.First / 1e6}, {"time_last_ms", t.Last / 1e6}, {"count", t.Count}} {
		dst = strconv.AppendInt(append(append(append(dst, `,"`...), n.key...), `":`...), n.value, 10)
	}
	if t.Bailiwick != "" {
		dst = AppendText(append(dst, `,"bailiwick":`...), t.Bailiwick)
	}
	return append(event.AppendJSON(append(dst, `,"sensor_id":`...), t.Sensor), '}')
}

// AppendJSON appends {"value": ..., "count": ...}, with "first" of names.
func (r *Ranked) AppendJSON(dst []byte) []byte {
	dst = AppendText(append(dst, `{"value":`...), r.Value)
	dst = strconv.AppendInt(append(dst, `,"count":`...), r.Count, 10)
	if r.First != 0 {
		dst = append(time.Unix(0, r.First).UTC().AppendFormat(append(dst, `,"first":"`...), time.RFC3339Nano), '"')
	}
	return append(dst, '}')
}

// AppendText appends text of the store, which is printable ASCII with escapes
// already, as a JSON string.
func AppendText(dst []byte, text string) []byte {
	dst = append(dst, '"')
	return append(event.EscapeJSON(append(dst, text...), len(dst)), '"')
}
