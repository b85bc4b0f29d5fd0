package dnswire

// Anomaly names something odd or broken in a message. Its text is stable: it is
// a value of events and a label of counters.
type Anomaly uint8

// Structural faults: reading stops and the message is incomplete.
const (
	None Anomaly = iota
	ShortHeader
	CountRange
	NameRange
	LabelRange
	LabelType
	NameLong
	PtrLoop
	PtrForward
	PtrRange
	PtrHeader
	PtrLimit
	RDataRange

	// Faults and oddities that reading survives.
	TrailingBytes
	RecordsCapped
	RDataNameRange
	RDataLen

	numAnomalies
)

var anomalyNames = [numAnomalies]string{
	None:           "none",
	ShortHeader:    "short_header",
	CountRange:     "count",
	NameRange:      "name_range",
	LabelRange:     "label_range",
	LabelType:      "label_type",
	NameLong:       "name_long",
	PtrLoop:        "ptr_loop",
	PtrForward:     "ptr_forward",
	PtrRange:       "ptr_range",
	PtrHeader:      "ptr_header",
	PtrLimit:       "ptr_limit",
	RDataRange:     "rdata_range",
	TrailingBytes:  "trailing_bytes",
	RecordsCapped:  "records_capped",
	RDataNameRange: "rdata_name_range",
	RDataLen:       "rdata_len",
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
func (s *Set) Add(a Anomaly) { s[a/64] |= 1 << (a % 64) }

// Has reports whether a is in the set.
func (s *Set) Has(a Anomaly) bool { return s[a/64]&(1<<(a%64)) != 0 }

// Empty reports whether nothing is in the set.
func (s *Set) Empty() bool { return *s == Set{} }
