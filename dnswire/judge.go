package dnswire

// noteOPT judges the place of an OPT record (RFC 6891 section 6.1.1), which is
// kept at an index, or is not.
func (m *Message) noteOPT(r *Record, at int) {
	if m.opts++; m.opts > 1 {
		m.Anomalies.Add(DupOPT)
	}
	if r.Section != SectionAdditional {
		m.Anomalies.Add(OPTSection)
	}
	if r.Name.Len != 1 {
		m.Anomalies.Add(OPTOwner)
	}
	if r.TTL>>16&0xff != 0 {
		m.Anomalies.Add(OPTVersion)
	}
	if m.opts == 1 {
		// Copied only when it must be: see record.
		if m.opt = at; at < 0 {
			m.optCopy = *r
		}
	}
}

// judge notes what is odd about the message as a whole.
func (m *Message) judge() {
	if m.Count[SectionQuestion] > 1 {
		m.Anomalies.Add(MultiQuestion)
	}
	if m.Flags&FlagZ != 0 {
		m.Anomalies.Add(ZBit)
	}
	if o := m.Flags.Opcode(); o != OpcodeQuery && (int(o) >= len(opcodeNames) || opcodeNames[o] == "") {
		m.Anomalies.Add(OpcodeUnknown)
	}
	if rc := m.RCode(); rc > RCodeDSOTypeNI && (int(rc) >= len(rcodeNames) || rcodeNames[rc] == "") {
		m.Anomalies.Add(RCodeUnknown)
	}
	if m.chain > 0 && m.chainLoops() {
		m.Anomalies.Add(ChainLoop)
	}
}

// chainLoops reports whether the CNAME and DNAME records of the answer lead back
// to one of themselves (CVE-2026-11331: a CNAME to itself).
func (m *Message) chainLoops() bool {
	if m.chain > 1 {
		return m.chainRing()
	}
	for i := range m.Answer() {
		if target, ok := m.chainTarget(&m.Records[i]); ok {
			return EqualNames(m, m.Records[i].Name, m, target)
		}
	}
	return false
}

// chainTarget returns the name that a CNAME or DNAME record leads to.
func (m *Message) chainTarget(r *Record) (target Name, ok bool) {
	if r.Type != TypeCNAME && r.Type != TypeDNAME || r.Fault != None || r.Len == 0 {
		return Name{}, false
	}
	target, _, fault := m.walk(int(r.Off), int(r.Off)+int(r.Len))
	return target, fault == None
}

// maxChain is how many CNAME and DNAME records of one answer are followed.
const maxChain = 16

// chainRing is chainLoops for several records.
func (m *Message) chainRing() bool {
	var owner, target [maxChain]Name
	n := 0
	for i := range m.Answer() {
		if name, ok := m.chainTarget(&m.Records[i]); ok {
			owner[n], target[n] = m.Records[i].Name, name
			if n++; n == maxChain {
				break
			}
		}
	}
	// Each record leads to the first one whose owner is its target. Following
	// n of them ends, unless there is a ring.
	var next [maxChain]int
	for i := range n {
		next[i] = -1
		for j := range n {
			if EqualNames(m, target[i], m, owner[j]) {
				next[i] = j
				break
			}
		}
	}
	for i := range n {
		at := i
		for range n {
			if at = next[at]; at < 0 {
				break
			}
		}
		if at >= 0 {
			return true
		}
	}
	return false
}
