package event

import (
	"bytes"
	"slices"
	"strings"
)

// Clone returns a copy of the event that shares no memory with its batch.
func (e *Event) Clone() *Event {
	c := &Event{Observation: e.Observation}
	c.Msg.Limits = e.Msg.Limits
	if e.HasMessage() {
		c.Msg.Unpack(bytes.Clone(e.Msg.Raw))
	}
	c.Host, c.Meta.Iface = strings.Clone(e.Host), strings.Clone(e.Meta.Iface)
	c.Policies = slices.Clone(e.Policies)
	for _, id := range []**Identity{&c.Sender, &c.Owner, &c.Other, &c.Receiver, &c.Asker.ID, &c.Server.ID, &c.Asker.Doubt.ID, &c.Server.Doubt.ID} {
		if *id != nil {
			copied := **id
			*id = &copied
		}
	}
	if c.Txn.Cause != nil {
		cause := *c.Txn.Cause
		c.Txn.Cause = &cause
	}
	return c
}
