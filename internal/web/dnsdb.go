package web

import (
	"bufio"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/dnshark-io/dnshark/dnswire"
	"github.com/dnshark-io/dnshark/event"
	"github.com/dnshark-io/dnshark/internal/store"
)

func ping(w http.ResponseWriter, _ *http.Request) { reply(w, "application/json", `{"ping":"ok"}`) }

func rateLimit(w http.ResponseWriter, _ *http.Request) {
	reply(w, "application/json", fmt.Sprintf(`{"rate":{"limit":"unlimited","remaining":"n/a","reset":"n/a","results_max":%d,"offset_max":10000000}}`, maxRows))
}

func reply(w http.ResponseWriter, kind, text string) {
	w.Header().Set("Content-Type", kind)
	fmt.Fprintln(w, text)
}

// lookup is DNSDB's. Every record is an object of its own, also of an RRset: which
// records came together is not kept. So aggr says nothing here.
func (s *Server) lookup(w http.ResponseWriter, r *http.Request) {
	q, err := parseLookup(r)
	if err == nil {
		err = parseParameters(q, r)
	}
	if err != nil {
		http.Error(w, "Error: "+safe(err.Error()), http.StatusBadRequest)
		return
	}
	human := isTrue(r.URL.Query().Get("humantime"))
	array := r.PathValue("what") == "rrset"
	w.Header().Set("Content-Type", "application/x-ndjson")
	out := bufio.NewWriter(w)
	out.WriteString("{\"cond\":\"begin\"}\n")
	var line []byte
	more, err := s.Store.Lookup(r.Context(), q, func(t *store.Tuple) error {
		line = append(appendObject(append(line[:0], `{"obj":`...), t, array, human), "}\n"...)
		_, err := out.Write(line)
		return err
	})
	switch {
	case err != nil:
		out.WriteString(`{"cond":"failed","msg":` + string(event.AppendJSON(nil, why(err))) + "}\n")
	case more:
		out.WriteString("{\"cond\":\"limited\",\"msg\":\"Result limit reached\"}\n")
	default:
		out.WriteString("{\"cond\":\"succeeded\"}\n")
	}
	out.Flush()
}

// query is that of the passive DNS Common Output Format: names, addresses and
// ranges of addresses.
func (s *Server) query(w http.ResponseWriter, r *http.Request) {
	q := &store.Query{}
	value := r.PathValue("value")
	err := q.ParseNet(value)
	if err != nil {
		err = q.ParseName(value)
	}
	if err == nil {
		err = parseParameters(q, r)
	}
	if err != nil {
		http.Error(w, safe(err.Error()), http.StatusBadRequest)
		return
	}
	w.Header().Set("Content-Type", "application/x-ndjson")
	out := bufio.NewWriter(w)
	var line []byte
	_, err = s.Store.Lookup(r.Context(), q, func(t *store.Tuple) error {
		line = append(t.AppendCOF(line[:0]), '\n')
		_, err := out.Write(line)
		return err
	})
	if err != nil {
		panic(http.ErrAbortHandler) // the format cannot say that something is missing
	}
	out.Flush()
}

func why(err error) string {
	if tooLong(err) {
		return "the question takes too long"
	}
	return "the store cannot be read"
}

func tooLong(err error) bool {
	return errors.Is(err, context.DeadlineExceeded) || strings.Contains(err.Error(), "interrupted")
}

func safe(text string) string { return string(event.AppendSafe(nil, text)) }

func parseLookup(r *http.Request) (*store.Query, error) {
	q := &store.Query{}
	value := r.PathValue("value")
	what, by := r.PathValue("what"), r.PathValue("by")
	var err error
	switch what + "/" + by {
	case "rrset/name":
		err = q.ParseName(value)
	case "rdata/name":
		q.By = store.ByTarget
		err = q.ParseName(value)
	case "rdata/ip":
		err = q.ParseNet(strings.Replace(value, ",", "/", 1))
	case "rrset/raw", "rdata/raw":
		if what == "rdata" {
			q.By = store.ByTarget
		}
		err = parseRaw(q, value, what == "rdata")
	default:
		return nil, fmt.Errorf("no look-up %s/%s", what, by)
	}
	if err != nil {
		return nil, err
	}
	switch typ := strings.ToUpper(r.PathValue("type")); typ {
	case "", "ANY", "ANY-DNSSEC":
	default:
		var ok bool
		if q.Type, ok = dnswire.ParseType(typ); !ok {
			return nil, fmt.Errorf("%s is no type of records", typ)
		}
	}
	if zone := r.PathValue("bailiwick"); zone != "" {
		var z store.Query
		if err := z.ParseName(zone); err != nil || z.Wild != store.Exact {
			return nil, fmt.Errorf("%s is no bailiwick", zone)
		}
		q.Bailiwick = z.Text
	}
	return q, nil
}

// parseRaw reads a name in wire form, or RDATA that is an address or a name.
func parseRaw(q *store.Query, value string, rdata bool) error {
	wire, err := hex.DecodeString(value)
	if err != nil {
		return errors.New("the octets are not in hexadecimal")
	}
	if q.Text, err = store.NameFromWire(wire); err == nil || !rdata {
		return err
	}
	if a, ok := netip.AddrFromSlice(wire); ok {
		return q.ParseNet(a.String())
	}
	return errors.New("of raw RDATA only addresses and names can be looked up")
}

func parseParameters(q *store.Query, r *http.Request) error {
	values := r.URL.Query()
	number := func(key string, to *int, most int) error {
		text := values.Get(key)
		if text == "" {
			return nil
		}
		n, err := strconv.Atoi(text)
		if err != nil || n < 0 {
			return fmt.Errorf("%s is a number", key)
		}
		*to = min(n, most)
		return nil
	}
	if err := errors.Join(number("limit", &q.Limit, maxRows), number("offset", &q.Offset, 1<<62)); err != nil {
		return err
	}
	if q.Limit == 0 && values.Get("limit") != "" {
		q.Limit = maxRows
	}
	now := time.Now().Unix()
	for key, to := range map[string]*int64{
		"time_first_after": &q.First.Since, "time_first_before": &q.First.Until,
		"time_last_after": &q.Last.Since, "time_last_before": &q.Last.Until,
	} {
		text := values.Get(key)
		if text == "" {
			continue
		}
		n, err := strconv.ParseInt(text, 10, 64)
		if err != nil || n > 1<<33 || n < -(1<<33) {
			return fmt.Errorf("%s is a time, in seconds", key)
		}
		if n < 0 {
			n += now
		}
		// Seconds are whole: what was seen within the last one is in.
		if *to = max(n, 0) * 1e9; strings.HasSuffix(key, "before") {
			*to += 1e9 - 1
		}
	}
	return q.Check()
}

func isTrue(text string) bool { return text == "t" || text == "true" || text == "1" }

// appendObject appends a tuple as DNSDB has it: names have their final dots.
func appendObject(dst []byte, t *store.Tuple, array, human bool) []byte {
	dst = strconv.AppendInt(append(dst, `{"count":`...), t.Count, 10)
	dst = appendTime(append(dst, `,"time_first":`...), t.First, human)
	dst = appendTime(append(dst, `,"time_last":`...), t.Last, human)
	dst = store.AppendText(append(dst, `,"rrname":`...), dotted(t.Name))
	dst = store.AppendText(append(dst, `,"rrtype":`...), t.Type.String())
	if array && t.Bailiwick != "" {
		dst = store.AppendText(append(dst, `,"bailiwick":`...), dotted(t.Bailiwick))
	}
	dst = append(dst, `,"rdata":`...)
	if !array {
		return append(store.AppendText(dst, t.DottedRData()), '}')
	}
	return append(store.AppendText(append(dst, '['), t.DottedRData()), ']', '}')
}

func appendTime(dst []byte, ns int64, human bool) []byte {
	if human {
		return append(time.Unix(0, ns).UTC().AppendFormat(append(dst, '"'), time.RFC3339), '"')
	}
	return strconv.AppendInt(dst, ns/1e9, 10)
}

func dotted(name string) string {
	if name == "." {
		return name
	}
	return name + "."
}
