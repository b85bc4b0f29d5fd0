package source

// Rule says why a packet or a message is not wanted. Its values up to
// RuleCgroup are those of enum rule in internal/bpf.
type Rule uint8

// The rules, in the order in which the kernel applies them.
const (
	RuleNone Rule = iota // wanted
	RuleResponses
	RuleServer
	RuleNetNS
	RulePID
	RuleUID
	RuleComm
	RuleCgroup
	NumRules = iota
)

// String returns the rule's name in reports.
func (r Rule) String() string {
	return [NumRules]string{"none", "responses", "server", "netns", "pid", "uid", "comm", "cgroup"}[r]
}
