package kind

import "github.com/dnshark-io/dnshark/event"

// What dnshark says of itself when it cannot follow, one event as it begins and one as it ends.
var (
	lossStart = loss("loss_start", false, "dnshark began to lose something",
		"A step of dnshark began to lose what it was to carry: its buffer, queue or budget is full, or its receiver refuses. Not one event per loss: "+
			"the next about this step is its loss_end.")
	lossEnd = loss("loss_end", true, "dnshark loses nothing more there",
		"A step that lost something has lost nothing for a second, or dnshark ends. Tells how much was lost in all, for which reasons and for how long.")
)

func loss(name string, ends bool, summary, description string) Kind {
	related := "loss_end"
	if ends {
		related = "loss_start"
	}
	return Kind{
		Name: name, Summary: summary,
		Description: description + " Only where packets are captured: what reads files waits instead. An output that is full may lack these events too; " +
			"others have them, and the counters at the end.",
		Sets:   []string{SetDefault, SetLoss},
		Fields: []*event.Field{&event.FieldTime, &event.FieldHost, &event.FieldLoss, &event.FieldPolicies},
		UseCases: []Item{
			{"Monitoring", "alarm when observations are incomplete, and know for which time they are"},
			{"Security analysis", "tell that nothing happened from that nothing was seen"},
		},
		Related: []string{related},
		Match:   func(e *event.Event) bool { return e.Class == event.ClassLoss && e.Loss.Ends == ends },
	}
}
