package event

// Process is what is known of a process beside its Identity. It is shared by
// events and, from Render on, never changed. Its strings are any octets, "" when
// unknown.
type Process struct {
	Exe       string // path of the executable
	Cwd       string // working directory when it was executed
	Args      string // first octets of the command line, each argument with a NUL, secrets taken out
	StartTime int64  // ns since the Unix epoch, 0 when unknown
	ExeSHA256 string // of the executable, in hex
	// Ancestors are who forked the process, who forked that one and so on, at
	// most MaxAncestors, each as it was when it forked. Of a process that was not
	// seen to be born they are its parent when it was read of, and so on.
	Ancestors []Ancestor

	text []byte
}

// Ancestor is a process that another one descends from.
type Ancestor struct {
	PID       uint32
	Comm      [16]byte // as in Identity
	Exe       string
	StartTime int64
}

// MaxAncestors bounds Process.Ancestors.
const MaxAncestors = 5

// How many octets of JSON a process may have, whatever its paths are made of:
// about 6 KiB in all, and there are two of them in an event.
const (
	maxPathText      = 1 << 10 // exe, cwd
	maxArgsText      = 1536
	maxAncestorsText = 1536
	maxUserText      = 128
	maxHostText      = 512
)

// Render makes the process's part of an event's JSON, which is then copied into
// every event that it stands in. It returns the length.
func (p *Process) Render() int {
	p.text = p.append(make([]byte, 0, 256))
	return len(p.text)
}

// appendTo appends the keys of the process, each with a comma before it.
func (p *Process) appendTo(dst []byte) []byte {
	if p.text != nil {
		return append(dst, p.text...)
	}
	return p.append(dst)
}

func (p *Process) append(dst []byte) []byte {
	dst, cut := appendCut(append(dst, `,"exe":`...), p.Exe, maxPathText)
	var more bool
	if p.ExeSHA256 != "" {
		dst = appendQuoted(append(dst, `,"exe_sha256":`...), p.ExeSHA256)
	}
	if p.Cwd != "" {
		dst, more = appendCut(append(dst, `,"cwd":`...), p.Cwd, maxPathText)
		cut = cut || more
	}
	if p.Args != "" {
		dst, more = appendArgs(append(dst, `,"args":`...), p.Args)
		cut = cut || more
	}
	dst = append(AppendTime(append(dst, `,"start_time":"`...), p.StartTime), '"')
	if len(p.Ancestors) > 0 {
		dst, more = appendAncestors(append(dst, `,"ancestors":`...), p.Ancestors)
		cut = cut || more
	}
	if cut {
		dst = append(dst, `,"truncated":true`...)
	}
	return dst
}

// appendArgs appends arguments, each with a NUL, as a JSON list. It reports
// whether something was left out.
func appendArgs(dst []byte, args string) (_ []byte, cut bool) {
	start := len(dst)
	dst = append(dst, '[')
	for at := 0; at < len(args) && !cut; {
		end := at
		for end < len(args) && args[end] != 0 {
			end++
		}
		room := maxArgsText - (len(dst) - start)
		if room < 0 {
			cut = true
			break
		}
		dst, cut = appendCut(dst, args[at:end], room)
		dst = append(dst, ',')
		at = end + 1
	}
	return closeList(dst), cut
}

func appendAncestors(dst []byte, list []Ancestor) (_ []byte, cut bool) {
	start := len(dst)
	dst = append(dst, '[')
	for i := 0; i < len(list) && !cut; i++ {
		a, before := &list[i], len(dst)
		dst = AppendUint(append(dst, `{"pid":`...), uint64(a.PID))
		dst = appendComm(append(dst, `,"comm":"`...), &a.Comm)
		dst, cut = appendCut(append(dst, `","exe":`...), a.Exe, maxPathText)
		dst = AppendTime(append(dst, `,"start_time":"`...), a.StartTime)
		dst = append(dst, `"},`...)
		if len(dst)-start > maxAncestorsText {
			return closeList(dst[:before]), true
		}
	}
	return closeList(dst), cut
}

func appendComm(dst []byte, comm *[16]byte) []byte {
	at := len(dst)
	return escapeTail(appendSafeComm(dst, comm), at)
}

// appendCut is appendQuoted of as many octets of s as fit limit octets of text.
// It reports whether that is not all of s.
func appendCut(dst []byte, s string, limit int) (_ []byte, cut bool) {
	if len(s)*len(`\\000`) <= limit {
		return appendQuoted(dst, s), false
	}
	dst = append(dst, '"')
	start := len(dst)
	for i := range len(s) {
		at := len(dst)
		dst = escapeTail(appendSafeByte(dst, s[i]), at)
		if len(dst)-start > limit {
			return append(dst[:at], '"'), true
		}
	}
	return append(dst, '"'), false
}
