// Package event is the vocabulary of dnshark: what was observed, in the words
// of the net_packet_dns_response contract and of RFC 9499.
package event

import (
	"net/netip"

	"github.com/dnshark-io/dnshark/dnswire"
)

// Class says what an observation is. Kinds, the events that users can name, are
// made of observations.
type Class uint8

// The classes.
const (
	ClassMessage    Class = iota // a DNS message, in Event.Msg
	ClassPacket                  // an IP packet of any kind, in Event.Packet
	ClassUnanswered              // the query in Event.Msg found no answer in time
	ClassAlert                   // what a detector says, in Event.Alert; the rest is of the message that made it say so, without Msg
	ClassLoss                    // what dnshark lost itself, in Event.Loss
)

// Observer says where the message was seen.
type Observer uint8

// Observers, in the words used in events.
const (
	Passive Observer = iota // on the wire or in a file: neither end
	Client                  // at the socket that asks
	Server                  // at the socket that answers
)

// String returns "passive", "client" or "server".
func (o Observer) String() string {
	return [...]string{"passive", "client", "server"}[o]
}

// Event is one observation. Everything it refers to belongs to its Batch and
// dies when the batch is reset; copy what must outlive it.
type Event struct {
	Observation
	Msg dnswire.Message

	text *text
}

// HasMessage reports whether Msg holds a DNS message.
func (o *Observation) HasMessage() bool { return o.Class == ClassMessage || o.Class == ClassUnanswered }

// Observation is what is known of a message or packet beside the message.
type Observation struct {
	Time     int64  // ns since the Unix epoch, the packet's own time
	Kinds    uint32 // bit i set: emit as kind i of the catalogue
	Class    Class
	Observer Observer
	Host     string // the observing host's name
	Meta     PktMeta
	Flow     Flow
	Txn      Transaction
	Policies []string // names of the policies that want the event; never changed
	Missing  int      // octets of the message that Msg.Raw lacks at its end
	Capped   bool     // an encoder left something out, to stay within bounds
	Packet   Packet
	// Sender is the task that put the packet on the wire, Owner the one that
	// last sent on its socket, Other the one that ran when the packet left, when
	// it is not believed to be the sender; nil when unknown.
	Sender *Identity
	Owner  *Identity
	Other  *Identity
	// Receiver is the task that took the message from the client's socket, nil
	// when that is not known in time.
	Receiver *Identity
	Asker    Party  // who asked
	Server   Party  // who answers, when that is on this host
	Alert    *Alert // of ClassAlert; never changed
	Loss     *Loss  // of ClassLoss; never changed
}

// Party is who stands at an end of a conversation.
type Party struct {
	ID          *Identity // nil when unknown
	Attribution Attribution
	// Doubt is what another method says, when that is evidence against ID.
	Doubt     Candidate
	Process   *Process   // what else is known of it, nil when nothing is
	User      string     // name of ID.UID, any octet, "" when unknown
	Container *Container // nil outside of containers, and when unknown
	Unit      string     // systemd unit, "" in containers and when unknown
}

// AtSocket returns who stands at the socket of a message that came in, as far as
// the socket tells. Where several processes use it, the last one is only a
// candidate.
func (o *Observation) AtSocket() Party {
	method := AttributionSocketSender
	if o.Flow.Held {
		method = AttributionSocketSeed
	}
	switch {
	case o.Owner == nil:
		return Party{}
	case o.Flow.Shared:
		return Party{Doubt: Candidate{ID: o.Owner, Method: method}}
	}
	return Party{ID: o.Owner, Attribution: method}
}

// Candidate is a process that a method found and that is not believed.
type Candidate struct {
	ID     *Identity // nil when there is none
	Method Attribution
}

// PktMeta is the contract's trace.PktMeta.
type PktMeta struct {
	SrcIP     netip.Addr `json:"src_ip"`
	DstIP     netip.Addr `json:"dst_ip"`
	SrcPort   uint16     `json:"src_port"`
	DstPort   uint16     `json:"dst_port"`
	Protocol  uint8      `json:"protocol"`   // IANA protocol number: 17 UDP, 6 TCP
	PacketLen uint32     `json:"packet_len"` // IP total length in octets, header included, for both families
	Iface     string     `json:"iface"`      // interface name, "" when a file does not tell
}

// Flow is what tells one conversation from another beside the addresses.
type Flow struct {
	Cookie   uint64 // socket cookie, 0 when the source sees no sockets
	NetNS    uint32 // inode of the socket's network namespace, 0 when unknown
	Ingress  bool   // the packet came in, seen from the observer's own host
	Egress   bool   // the packet went out
	Shared   bool   // several processes have sent on the socket
	Deferred bool   // packets leave the socket outside of their senders' system calls
	Hops     uint8  // IPv4 TTL or hop limit of the packet, the last one of a reassembled message
	Held     bool   // the owner has the socket open and was not seen to send
	Cgroup   uint64 // cgroup v2 id of the socket, 0 when unknown or an owner is known
}

// State is what became of a transaction.
type State uint8

// States of a transaction.
const (
	StateNone        State = iota // nobody paired this observation
	StatePending                  // a query that waits for its answer
	StateAnswered                 // the first answer in time
	StateDuplicate                // one more answer to the same query
	StateLate                     // an answer after the time limit
	StateMismatched               // the id and the addresses fit a query, the question does not
	StateUnsolicited              // no query was seen
	StateUnanswered               // the time limit passed
)

var stateNames = [...]string{
	StateNone: "", StatePending: "pending", StateAnswered: "answered", StateDuplicate: "duplicate",
	StateLate: "late", StateMismatched: "mismatched_question", StateUnsolicited: "unsolicited",
	StateUnanswered: "unanswered",
}

// String returns the state's name in events, "" for StateNone.
func (s State) String() string { return stateNames[s] }

// Transaction is a query and what answered it.
type Transaction struct {
	State       State
	Retransmits uint32 // how often the query was sent again before this moment
	Latency     int64  // ns from the first query to this answer, -1 when unknown
	Asked       int64  // when the query was seen that found no answer, as Event.Time; 0 in any other state
	Cause       *Cause // why a resolver of this host asks, nil when unknown
}

// Cause is the query for which a resolver of this host asks another server. It
// is a hint: the same question came in at a socket of the process that asks,
// before it asked, and had no answer then.
type Cause struct {
	Time   int64          // when it came in at the resolver's socket, as Event.Time
	Client netip.AddrPort // its sender
	ID     uint16         // of its message
	PID    uint32         // of the process that sent it, 0 when that is unknown
	Comm   [16]byte       // of that process, as in Identity
}

// Packet is what the IP and transport headers say.
type Packet struct {
	Version    uint8 // 4 or 6
	HeaderLen  uint8 // octets of the IPv4 header or of the fixed IPv6 header
	TOS        uint8 // IPv4 TOS or IPv6 traffic class
	TTL        uint8 // or hop limit
	ID         uint16
	FragOffset uint16 // octets
	MoreFrags  bool
	DontFrag   bool
	FlowLabel  uint32
	TCPSeq     uint32
	TCPAck     uint32
	TCPWindow  uint16
	TCPFlags   uint16 // RFC 9293 section 3.1: CWR ECE URG ACK PSH RST SYN FIN; before them AE (RFC 9768), once NS
	TCPOffset  uint8  // length of the TCP header in words of 32 bits
	TCPUrgent  uint16 // urgent pointer
	UDPLen     uint16 // as the UDP header says
	Checksum   uint16 // of TCP or UDP
	IPChecksum uint16 // of the IPv4 header
}

// Attribution names the method that found a process.
type Attribution uint8

// Methods of attribution, the best first.
const (
	AttributionNone         Attribution = iota // unknown, never a guess
	AttributionQueryEgress                     // the task that ran when the query left its socket
	AttributionAnswerEgress                    // the task that ran when the answer left its socket
	AttributionSocketSender                    // the task that last sent on the socket
	AttributionSocketSeed                      // the only process that had the socket open when dnshark started
	AttributionCgroup                          // no process, but the cgroup that made the socket
)

// String returns the method's name in events.
func (a Attribution) String() string {
	return [...]string{"none", "query_egress", "answer_egress", "socket_sender", "socket_seed", "cgroup"}[a]
}

// The contract's response data, for programs that read the JSON.

// DnsQueryData is the contract's trace.DnsQueryData.
type DnsQueryData struct {
	Query      string `json:"query"`
	QueryType  string `json:"query_type"`
	QueryClass string `json:"query_class"`
}

// DnsAnswer is the contract's trace.DnsAnswer.
type DnsAnswer struct {
	Type   string `json:"answer_type"`
	TTL    uint32 `json:"ttl"` // seconds
	Answer string `json:"answer"`
}

// DnsResponseData is the contract's trace.DnsResponseData.
type DnsResponseData struct {
	QueryData DnsQueryData `json:"query_data"`
	DnsAnswer []DnsAnswer  `json:"dns_answer"`
}
