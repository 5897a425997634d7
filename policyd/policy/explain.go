package policy

import (
	"fmt"

	"github.com/weirhq/weir/flow"
)

// String says for people what became of a packet, and why: "denied by rule no-db (global mandatory)".
func (d Decision) String() string {
	text := d.Verdict.String()
	switch {
	case d.Entry != nil && d.Entry.Rule.ID == DefaultRule:
		text += " by the final default"
	case d.Entry != nil:
		text += fmt.Sprintf(" by rule %s (%s)", d.Entry.Rule.ID, d.Entry.Scope.Tier)
		if d.Stage == flow.StageReply {
			text += ", as a reply to what it matches"
		}
	case d.Instance == flow.SystemBlocked:
		text += ", since a rule ended the connection"
	case d.Stage == flow.StageReply && d.Instance == 0:
		text += " as a reply"
	case d.Stage == flow.StageReply:
		text += fmt.Sprintf(" as a reply, by rule instance %d", d.Instance)
	case d.Instance == flow.SystemKept:
		text += ", since no rule names it"
	}
	if d.Shadow != nil {
		text += fmt.Sprintf("; shadow rule %s would deny it (%s)", d.Shadow.Rule.ID, d.Shadow.Scope.Tier)
	}
	if d.Blocks {
		text += "; the connection ends"
	}
	return text
}
