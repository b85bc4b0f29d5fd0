package web

import (
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/dnshark-io/dnshark/internal/filter"
)

const (
	batchEvents  = 200
	batchPause   = 100 * time.Millisecond // from one batch to the next
	heartbeat    = 15 * time.Second       // so that both ends notice when the other is gone
	maxFilter    = 4 << 10                // octets of an expression
	streamWrites = 10 * time.Second       // for a write to get through
)

// stream sends live events (Server-Sent Events). It ends when the reader goes or does
// not read, or the server ends.
func (s *Server) stream(w http.ResponseWriter, r *http.Request, p *parameters) error {
	if s.Hub == nil {
		return &problem{status: http.StatusServiceUnavailable, detail: "nothing is captured here: live events are at the dnshark that captures"}
	}
	f, err := streamFilter(p.text("filter"))
	if err != nil {
		return err
	}
	reader, err := s.Hub.Join(f)
	if err != nil {
		return &problem{status: http.StatusServiceUnavailable, detail: err.Error()}
	}
	defer reader.Leave()
	control := http.NewResponseController(w)
	if err := control.SetReadDeadline(time.Time{}); err != nil {
		return err
	}
	h := w.Header()
	h.Set("Content-Type", "text/event-stream")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Accel-Buffering", "no")
	var out []byte
	send := func() error {
		if err := control.SetWriteDeadline(time.Now().Add(streamWrites)); err != nil {
			return err
		}
		if _, err := w.Write(out); err != nil {
			return err
		}
		return control.Flush()
	}
	out = append(out, ": live\nretry: 2000\n\n"...)
	if send() != nil {
		return nil
	}
	beat := time.NewTicker(heartbeat)
	defer beat.Stop()
	var lines []byte
	for {
		select {
		case <-r.Context().Done():
			return nil
		case <-s.done.Done():
			return nil
		case <-beat.C:
			out = append(out[:0], ":\n\n"...)
		case <-reader.Ready():
			var lost uint64
			lines, lost = reader.Take(lines[:0], batchEvents)
			out = appendBatch(appendLost(out[:0], lost), lines)
		}
		costly := reader.Costly()
		if costly {
			out = append(out, "event: error\ndata: {\"detail\":\"the filter takes too long\"}\n\n"...)
		}
		if send() != nil || costly {
			return nil
		}
		select {
		case <-r.Context().Done():
			return nil
		case <-time.After(batchPause):
		}
	}
}

func appendLost(dst []byte, n uint64) []byte {
	if n == 0 {
		return dst
	}
	dst = strconv.AppendUint(append(dst, "event: lost\ndata: {\"count\":"...), n, 10)
	return append(dst, "}\n\n"...)
}

// appendBatch appends lines of JSON as one array.
func appendBatch(dst, lines []byte) []byte {
	if len(lines) == 0 {
		return dst
	}
	dst = append(dst, "event: events\ndata: ["...)
	at := len(dst)
	dst = append(dst, lines...)
	for i := at; i < len(dst); i++ {
		if dst[i] == '\n' {
			dst[i] = ','
		}
	}
	dst[len(dst)-1] = ']'
	return append(dst, "\n\n"...)
}

func streamFilter(text string) (*filter.Filter, error) {
	if text == "" {
		return nil, nil
	}
	if len(text) > maxFilter {
		return nil, badRequest(fmt.Sprintf("a filter has at most %d octets", maxFilter))
	}
	f, err := filter.Parse(text)
	var wrong *filter.Error
	if errors.As(err, &wrong) {
		return nil, &problem{status: http.StatusBadRequest, detail: safe(wrong.Error()), column: wrong.Column + 1}
	}
	return f, err
}
