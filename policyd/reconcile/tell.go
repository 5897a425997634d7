package reconcile

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/weirhq/weir/event"
	"github.com/weirhq/weir/ovs/openflow"
	"github.com/weirhq/weir/policyd/compile"
)

// Everything that is told is told once, before the status says it: who has seen it there finds what was told.

// words says what a change is about, as people call it.
func (k *keeper) words(m openflow.Mod) string {
	switch m := m.(type) {
	case openflow.AddFlow:
		return k.name(m.Flow)
	case openflow.DeleteFlow:
		return fmt.Sprintf("a flow of table %d", m.Key.Table)
	case openflow.AddGroup:
		return fmt.Sprintf("group %d", m.Group.ID)
	case openflow.ModifyGroup:
		return fmt.Sprintf("group %d", m.Group.ID)
	case openflow.DeleteGroup:
		return fmt.Sprintf("group %d", m.ID)
	}
	return "flows"
}

// name says whose a flow is, as people call it.
func (k *keeper) name(f openflow.Flow) string {
	what := compile.Describe(f.Table, f.Cookie)
	_, _, instance, ours := compile.SplitCookie(f.Cookie)
	k.mu.Lock()
	rule := k.want.Rule
	k.mu.Unlock()
	if ours && instance != 0 && rule != nil {
		if name := rule(instance); name != "" {
			return fmt.Sprintf("%s %q", what, name)
		}
	}
	return what
}

// tellInstalled tells that the bridge holds what is wanted, after it did not.
func (k *keeper) tellInstalled(want *Bridge) {
	why := k.why
	k.why, k.said = "", ""
	if why == "" {
		return
	}
	k.emit(want, event.PolicyInstalled, fmt.Sprintf("bridge %q holds the policy: %s", want.Name, why), map[string]string{
		"flows": strconv.Itoa(want.Desired.Len()), "revision": strconv.FormatUint(want.Revision, 10),
	})
}

// tellDrift tells what others did, which p undoes after a pause.
func (k *keeper) tellDrift(want *Bridge, p *plan, wait time.Duration) {
	said := p.drift(k.name)
	text := fmt.Sprintf("bridge %q: %s; it is set right", want.Name, said)
	if wait > 0 {
		text = fmt.Sprintf("bridge %q, for the %d. time in a row: %s; it is set right in %s", want.Name, k.undone.recent, said, wait)
	}
	k.log.Warn("flows changed by others", "what", said)
	k.emit(want, event.PolicyDrift, text, map[string]string{
		"missing": strconv.Itoa(len(p.add)), "changed": strconv.Itoa(len(p.replace)), "added": strconv.Itoa(len(p.remove)),
		"groups": strconv.Itoa(len(p.groups) + len(p.unused)), "meters": strconv.Itoa(p.meters()), "times": strconv.Itoa(k.undone.recent), "again_in_seconds": strconv.Itoa(int(wait.Seconds())),
	})
}

// strangers tells of flows and groups of others that bypass policy, when there are some that were not told; of many, when they are twice
// as many as were told.
func (k *keeper) strangers(o *observation) {
	fresh := false
	switch {
	case o.bypasses == 0:
		k.strange, k.strangerCount = nil, 0
	case o.bypasses > foreignNamed:
		fresh = o.bypasses >= 2*k.strangerCount
	default:
		fresh = slices.ContainsFunc(o.foreign, func(s string) bool { return !slices.Contains(k.strange, s) })
	}
	if !fresh {
		return
	}
	k.strange, k.strangerCount = o.foreign, o.bypasses
	k.mu.Lock()
	want := k.want
	k.mu.Unlock()
	k.emit(&want, event.PolicyForeign, fmt.Sprintf("bridge %q: %d of others bypass policy or stand in its way, and are left alone: %s", want.Name, o.bypasses, strings.Join(o.foreign, "; ")), map[string]string{
		"count": strconv.Itoa(o.bypasses), "first": o.foreign[0],
	})
}

// tellDisplaced tells of flows of others that gave way to ours, at the first installation; later that is drift.
func (k *keeper) tellDisplaced(want *Bridge, o *observation) {
	if o.displaced == 0 {
		return
	}
	k.emit(want, event.PolicyForeign, fmt.Sprintf("bridge %q: %d flows of others have table, priority and match of flows of Weir's, and are replaced: %s", want.Name, o.displaced, strings.Join(o.inPlace, "; ")), map[string]string{
		"count": strconv.Itoa(o.displaced), "first": o.inPlace[0],
	})
}

// tellFailed tells that the switch did not take what is wanted.
func (k *keeper) tellFailed(want *Bridge, err error) {
	rest := "what was there before is still in force"
	switch {
	case k.steps:
		rest = "other changes may have been made"
	case k.held == nil:
		rest = "nothing was changed"
	}
	k.emit(want, event.PolicyFailed, fmt.Sprintf("bridge %q: %s; %s", want.Name, short(err.Error()), rest), map[string]string{
		"err": short(err.Error()), "revision": strconv.FormatUint(want.Revision, 10),
	})
}

// detached notes that nothing of ours is on the bridge.
func (k *keeper) detached(want *Bridge) {
	k.rounds, k.failures, k.stuck, k.unsure = 0, 0, nil, false
	k.held, k.based = nil, false
	k.hand(k.tally.take())
	why := k.why
	k.why, k.said = "", ""
	if why != "" {
		k.emit(want, event.PolicyRemoved, fmt.Sprintf("bridge %q holds nothing of Weir's any more: %s", want.Name, why), map[string]string{})
	}
	k.note(func(s *BridgeStatus) {
		*s = BridgeStatus{State: StateDetached, Drift: s.Drift, Repaired: s.Repaired, MaxMeter: s.MaxMeter, Stepwise: s.Stepwise}
		if !k.want.Detach {
			s.State = StatePending
		}
	})
	k.answer(nil)
}

func (k *keeper) emit(b *Bridge, kind event.Kind, text string, facts map[string]string) {
	facts["bridge"] = b.Name
	k.r.deps.Events.Emit(event.Event{
		Time: k.r.deps.Now(), Kind: kind, Pool: b.Host.Pool, Host: b.Host.id(), Bridge: b.id(), Subject: b.Host.Name + "/" + b.Name,
		Text: text, Attributes: facts,
	})
}
