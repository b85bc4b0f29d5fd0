package dnswire

import "math/bits"

// Anomaly names something odd or broken in a message. Its text is stable: it is
// a value of events and a label of counters.
type Anomaly uint8

// None is the absence of an anomaly.
const None Anomaly = 0

// Faults of structure. In a name of the question or an owner name, in a count
// or in RDLENGTH they make the message incomplete (Message.Broken); in the name
// of one RDATA they are that record's (Record.Fault).
const (
	ShortHeader Anomaly = iota + 1
	CountRange          // the message ends before the entries that the header claims
	NameRange           // a name without its last octet
	LabelRange          // a label past the end
	LabelType           // 0x40 or 0x80 (RFC 6891 section 5, RFC 2673)
	NameLong            // more than 255 octets, pointers followed
	PtrLoop             // pointers that never come to an end
	PtrForward          // a pointer not to a prior name (RFC 1035 section 4.1.4)
	PtrRange            // a pointer past the end, or cut
	PtrHeader           // a pointer into the header (RFC 9267 section 2)
	PtrLimit            // more than MaxHops pointers in one name
	RDataRange          // RDLENGTH past the message, or a length inside RDATA past RDATA
)

// Oddities of the message as a whole; nothing is lost by them.
const (
	TrailingBytes Anomaly = iota + RDataRange + 1
	RecordsCapped
	QuestionsCapped
	MultiQuestion
	OpcodeUnknown
	RCodeUnknown
	ZBit       // RFC 1035 section 4.1.1
	DupOPT     // RFC 6891 section 6.1.1
	OPTSection // OPT outside the additional section
	OPTOwner   // OPT whose owner is not the root
	OPTVersion // EDNS version that nobody has defined
	TSIGOrder  // TSIG is not the last record (RFC 8945 section 5.1)
	ChainLoop  // CNAME or DNAME records that lead back to themselves
)

// Faults of one record's RDATA, which keep it from being read.
const (
	RDataLen       Anomaly = iota + ChainLoop + 1 // too short, or not the one length it can have
	RDataNameRange                                // a name runs over the end of its RDATA
	RDataTrailing                                 // octets left behind the last field
	RDataValue                                    // a field has a value that its RFC rules out
	TXTRange                                      // a character-string runs over the end
	DNSKEYLen                                     // no key
	CAATag
	LOCVersion
	LOCRange
	APLInvalid
	NSECWindow0 // a window without octets
	NSECLen33   // a window of 33 to 35 octets
	NSECLen36   // a window of 36 octets or more
	NSECOrder
	NSECDup
	NSECRange
	NSEC3Hash0
	SVCBOrder
	SVCBDup
	SVCBRange
	SVCBValue
	SVCBMandatory
	GatewayType // of IPSECKEY or AMTRELAY, unassigned
)

// Faults and oddities of EDNS options.
const (
	EDNSOptRange Anomaly = iota + GatewayType + 1
	EDNSRepeat
	EDNSOptLen // an option whose length is fixed has another one
	EDNSOptName
	ECSInvalid // RFC 7871 section 6
	CookieLen  // RFC 7873 section 4
	EDELen     // RFC 8914 section 2
	KeepaliveLen
	ExpireLen
	KeyTagLen
	PaddingData // padding that is not zero, which can carry something (RFC 7830 section 3)
	OptionsCapped
)

// Oddities of RDATA that can be read all the same.
const (
	TextCapped  Anomaly = iota + OptionsCapped + 1 // presentation text will be cut
	TypesCapped                                    // a list of types will be cut
	NSECZeros                                      // zero octets at the end of a window (RFC 4034 section 4.1.2)
	SVCBAlias                                      // AliasMode with parameters (RFC 9460 section 2.4.2)
	DigestLen                                      // of a known digest type, another length
	DNSKEYProto                                    // DNSKEY protocol other than 3 (RFC 4034 section 2.1.2)

	numAnomalies
)

var anomalyNames = [numAnomalies]string{
	None:            "none",
	ShortHeader:     "short_header",
	CountRange:      "count",
	NameRange:       "name_range",
	LabelRange:      "label_range",
	LabelType:       "label_type",
	NameLong:        "name_long",
	PtrLoop:         "ptr_loop",
	PtrForward:      "ptr_forward",
	PtrRange:        "ptr_range",
	PtrHeader:       "ptr_header",
	PtrLimit:        "ptr_limit",
	RDataRange:      "rdata_range",
	TrailingBytes:   "trailing_bytes",
	RecordsCapped:   "records_capped",
	QuestionsCapped: "questions_capped",
	MultiQuestion:   "multi_question",
	OpcodeUnknown:   "opcode_unknown",
	RCodeUnknown:    "rcode_unknown",
	ZBit:            "z_bit",
	DupOPT:          "dup_opt",
	OPTSection:      "opt_section",
	OPTOwner:        "opt_owner",
	OPTVersion:      "opt_version",
	TSIGOrder:       "tsig_order",
	ChainLoop:       "chain_loop",
	RDataLen:        "rdata_len",
	RDataNameRange:  "rdata_name_range",
	RDataTrailing:   "rdata_trailing",
	RDataValue:      "rdata_value",
	TXTRange:        "txt_range",
	DNSKEYLen:       "dnskey_len",
	CAATag:          "caa_tag",
	LOCVersion:      "loc_version",
	LOCRange:        "loc_range",
	APLInvalid:      "apl_invalid",
	NSECWindow0:     "nsec_window0",
	NSECLen33:       "nsec_len33",
	NSECLen36:       "nsec_len36",
	NSECOrder:       "nsec_order",
	NSECDup:         "nsec_dup",
	NSECRange:       "nsec_range",
	NSEC3Hash0:      "nsec3_hash0",
	SVCBOrder:       "svcb_order",
	SVCBDup:         "svcb_dup",
	SVCBRange:       "svcb_range",
	SVCBValue:       "svcb_value",
	SVCBMandatory:   "svcb_mandatory",
	GatewayType:     "gateway_type",
	EDNSOptRange:    "edns_opt_range",
	EDNSRepeat:      "edns_repeat",
	EDNSOptLen:      "edns_opt_len",
	EDNSOptName:     "edns_opt_name",
	ECSInvalid:      "ecs_invalid",
	CookieLen:       "cookie_len",
	EDELen:          "ede_len",
	KeepaliveLen:    "keepalive_len",
	ExpireLen:       "expire_len",
	KeyTagLen:       "key_tag_len",
	PaddingData:     "padding_data",
	OptionsCapped:   "options_capped",
	TextCapped:      "text_capped",
	TypesCapped:     "types_capped",
	NSECZeros:       "nsec_zeros",
	SVCBAlias:       "svcb_alias",
	DigestLen:       "digest_len",
	DNSKEYProto:     "dnskey_protocol",
}

// String returns the stable name, such as "ptr_loop".
func (a Anomaly) String() string {
	if a < numAnomalies {
		return anomalyNames[a]
	}
	return "unknown"
}

// NumAnomalies is how many anomalies there are; Anomaly values lie below it.
const NumAnomalies = int(numAnomalies)

// Set is a set of anomalies.
type Set [2]uint64

// Add puts a into the set.
func (s *Set) Add(a Anomaly) { s[a/64%2] |= 1 << (a % 64) }

// Has reports whether a is in the set.
func (s *Set) Has(a Anomaly) bool { return s[a/64%2]&(1<<(a%64)) != 0 }

// Len returns how many anomalies are in the set.
func (s *Set) Len() int { return bits.OnesCount64(s[0]) + bits.OnesCount64(s[1]) }

// At returns the i-th anomaly of the set, in the order of their numbers. i must
// be less than Len.
func (s *Set) At(i int) Anomaly {
	base, w := 0, s[0]
	if n := bits.OnesCount64(w); i >= n {
		base, w, i = 64, s[1], i-n
	}
	for ; i > 0; i-- {
		w &= w - 1
	}
	return Anomaly(base + bits.TrailingZeros64(w))
}

// Empty reports whether nothing is in the set.
func (s *Set) Empty() bool { return *s == Set{} }
