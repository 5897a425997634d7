package attach

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/weirhq/weir/ovs/ovsdb"
	"github.com/weirhq/weir/policyd/own"
	"github.com/weirhq/weir/policyd/policy"
)

// Values of column fail_mode. Empty is standalone.
const (
	secureMode     = "secure"
	standaloneMode = "standalone"
)

// Away is what a bridge does while Weir is away, as it is there now, and what it is to do.
type Away struct {
	Is               policy.FailMode `json:"is,omitempty" doc:"open, safe or static; absent: none of them."`
	Wanted           policy.FailMode `json:"wanted,omitempty" doc:"As policy says; absent: it says nothing, and the bridge stays as it is."`
	IfWeirDies       string          `json:"if_weir_dies" doc:"What happens then, a sentence."`
	IfSwitchRestarts string          `json:"if_switch_restarts" doc:"What happens if Open vSwitch is started anew while Weir is away, a sentence."`
	Why              string          `json:"why,omitempty" doc:"Why it is not as wanted."`
	Loses            string          `json:"loses,omitempty" doc:"What the bridge forgets when it becomes as wanted; absent: nothing."`
	After            time.Duration   `json:"-"` // without Weir, from when on the bridge does that; 0: at once
}

// switchover is the way of a bridge from what it does while Weir is away to what it is to do. The switch forgets all flows of a bridge when the
// first primary controller comes, when the last one goes, and when fail_mode changes while there is none. So the bridge is secure by then, or
// becomes it: without flows it passes nothing. Two rows with the same target count as one, whose type does not change: one goes before the other
// comes, and ovs-vswitchd has to have seen it.
type switchover struct {
	q            *Question
	row          *ovsdb.Controller // of Weir's; nil: none
	is, kind     string            // types of row, as it is and as it is to be
	secure       bool              // the bridge is
	goal         string            // of fail_mode; "": as it is
	knowsService bool              // this Open vSwitch does
	others       bool              // others are primary: then nothing is ever forgotten
	held, kept   bool              // Weir has set fail_mode, and it still is so
	later        bool              // the bridge is attached without losing anything, and loses all when it becomes as wanted
	due          bool              // there is a step to be taken
	waits        string            // why it is not taken yet, and the row stays of the type that it is; "": it is taken
	forgets      bool              // the switch forgets the bridge's flows by it
	undone       bool              // others undid it, with Weir's flows there: it does not wait
}

// loses is what a bridge that forgets all loses.
const loses = "all flows, groups and meters of the bridge: Weir writes its own again at once, and until then nothing passes"

func newSwitchover(q *Question, ours []*ovsdb.Controller, others []Controller, held, kept bool) *switchover {
	s := &switchover{
		q: q, secure: q.Bridge.FailMode == secureMode, knowsService: q.Has("Controller", "type"), others: slices.ContainsFunc(others, Controller.decides),
		held: held, kept: kept,
	}
	if len(ours) > 0 {
		s.row, s.is = ours[0], kind(ours[0])
	}
	wanted := q.FailMode.Wanted
	if q.FailMode.Leaving || wanted == policy.FailStatic && !s.knowsService {
		wanted = ""
	}
	switch wanted {
	case policy.FailOpen:
		s.kind, s.goal = primary, standaloneMode
	case policy.FailSafe:
		s.kind, s.goal = primary, secureMode
	case policy.FailStatic:
		s.kind, s.goal = service, secureMode
	default:
		s.kind = service
		if s.is != "" && held && (!q.FailMode.Leaving || s.others) {
			s.kind = s.is
		}
	}
	switch {
	case !s.knowsService:
		s.kind = primary
	case s.row == nil && !held && s.goal != "": // at first without losing anything; once flows are there, otherwise
		s.later = !s.others && (s.kind == primary || !s.secure)
		s.kind, s.goal = service, ""
	}
	s.wait()
	return s
}

// differs says in what the bridge is not as wanted: in fail_mode, or in the type of its controller.
func (s *switchover) differs() (mode, kind bool) {
	return s.goal != "" && s.secure != (s.goal == secureMode), s.row != nil && s.is != s.kind
}

// wait finds out whether there is a step to be taken, and whether it has to wait.
func (s *switchover) wait() {
	q := s.q
	mode, kind := s.differs()
	s.due = s.goal != "" && (s.row == nil || mode || kind || !s.held && s.goal != standaloneMode)
	s.undone = mode && s.held && !s.kept
	s.forgets = !s.others && (kind || mode && s.is == service)
	switch {
	case !s.due || s.row == nil || s.undone || q.FailMode.Leaving:
	case q.FailMode.Unready != "":
		s.waits = q.FailMode.Unready
	case s.forgets && q.FailMode.Others > 0 && !q.Settings.Wipe:
		s.waits = fmt.Sprintf("the bridge would forget %d flows of others, which is confirmed by weir hosts mode HOST enforce", q.FailMode.Others)
	}
	if s.waits != "" {
		s.kind = s.is
	}
}

// step takes the next step of the way, if there is one to take before anything else is done with the bridge.
func (s *switchover) step(tx *own.Transaction, a *Answer) (taken bool, err error) {
	q := s.q
	if q.FailMode.Leaving {
		return s.leave(tx, a)
	}
	if q.FailMode.Wanted == policy.FailStatic && !s.knowsService {
		a.Away.Why = "this Open vSwitch (before 2.12) knows no service controllers: fail mode safe is what it can do"
	}
	if s.row == nil && !s.held {
		if q.FailMode.Wanted != "" && a.Away.Why == "" {
			a.Away.Why = "Weir's flows come first"
		}
		if s.later {
			a.Away.Loses = loses
		}
		return false, nil
	}
	if !s.due {
		return false, nil
	}
	if !own.Applied(q.Rows) {
		a.State, a.Away.Why = StateSetting, "ovs-vswitchd has not done yet what it was told"
		return true, nil
	}
	if s.forgets {
		a.Away.Loses = loses
	}
	if s.waits != "" {
		a.Away.Why = s.waits
		return false, nil
	}
	_, type_ := s.differs()
	set := func(mode string) error {
		a.State = StateSetting
		tx.Await()
		return tx.Set(own.FailMode, q.Bridge, mode)
	}
	now := standaloneMode
	if s.secure {
		now = secureMode
	}
	switch {
	case s.row == nil: // on the way, or others took it: it comes as it is to be
		if s.goal == secureMode {
			now = secureMode
		}
		a.State = StateSetting
		if value, _ := own.FailMode.Value(q.Bridge); value == now && s.kept {
			return false, nil
		}
		return false, set(now)
	case type_ && s.is == primary && !s.secure && !s.others: // else it would be open for a moment
		return true, set(secureMode)
	case type_:
		tx.RemoveController(q.Bridge, s.row)
		a.Forget = true
		return true, set(now)
	case s.undone:
		if q.Found == a.Want {
			a.Undone = "others changed its fail mode"
		}
		fallthrough
	default:
		a.Wiped = s.forgets
		return true, set(s.goal)
	}
}

// leave gives back what was before Weir, while its flows are still there: without them, a bridge that is secure passes nothing.
func (s *switchover) leave(tx *own.Transaction, a *Answer) (taken bool, err error) {
	q := s.q
	goes := s.row != nil && s.is != s.kind // with it go the flows
	if !s.held && !goes {
		if s.row == nil && !own.Applied(q.Rows) { // a row with this target went
			a.State = StateSetting
			return true, nil
		}
		return false, nil
	}
	a.State, a.Forget = StateSetting, true
	if goes {
		tx.RemoveController(q.Bridge, s.row)
	}
	a.Wiped = !s.others
	tx.Await()
	return true, tx.Unset(own.FailMode, q.Bridge)
}

// Differs says in what the bridge is not as wanted; "": it is.
func (w *Away) Differs() string {
	if w.Wanted == "" || w.Wanted == w.Is {
		return ""
	}
	is := "it has no fail mode of Weir's"
	if w.Is != "" {
		is = fmt.Sprintf("its fail mode is %s", w.Is)
	}
	text := fmt.Sprintf("%s, and is to be %s", is, w.Wanted)
	if w.Why != "" {
		text += ": " + w.Why
	}
	return text
}

// Becomes says what policy that asks for a fail mode changes at the bridge; "": nothing.
func (w *Away) Becomes(to policy.FailMode) string {
	if to == "" || to == w.Is {
		return ""
	}
	text := fmt.Sprintf("its fail mode becomes %s", to)
	if w.Is == "" || w.Is == policy.FailStatic || to == policy.FailStatic { // the first primary controller comes, or the last one goes, or fail_mode changes without one
		text += ", once all of Weir's flows are there; by that the bridge forgets " + loses
	}
	return text
}

// Without says what holds at the bridge once it has been without Weir for longer than it waits.
func (w *Away) Without() string {
	if w.Is == policy.FailOpen {
		return "policy is gone there, and everything passes, unless another controller is connected"
	}
	return "policy is in force there as it was, unless Open vSwitch was started anew; a VIF that is plugged meanwhile has no network"
}

// tell says what the bridge does, as it is.
func (w *Away) tell(q *Question, others []Controller) {
	b := q.Bridge
	ours, _ := own.Controllers(q.Rows, b)
	secure := b.FailMode == secureMode
	others = slices.DeleteFunc(slices.Clone(others), func(c Controller) bool { return !c.decides() })
	var names []string
	for _, c := range others {
		names = append(names, c.Target)
	}
	beside := strings.Join(names, ", ")
	w.After = 0
	probe := DefaultProbe
	switch {
	case len(ours) == 0:
		w.Is, w.IfWeirDies = "", "nothing changes: Weir decides nothing there"
	case kind(ours[0]) == service:
		w.Is = ""
		if secure {
			w.Is = policy.FailStatic
		}
		w.IfWeirDies = "policy stays in force as it is; a VIF that is plugged meanwhile has no network"
	case secure:
		w.Is, w.IfWeirDies = policy.FailSafe, "policy stays in force as it is; a VIF that is plugged meanwhile has no network"
	default:
		w.Is = policy.FailOpen
		if p := ours[0].InactivityProbe; p != nil && *p > 0 {
			probe = time.Duration(*p) * time.Millisecond
		}
		w.After = 3 * probe
		w.IfWeirDies = fmt.Sprintf("after %s without Weir policy is gone and everything passes", w.After)
		if beside != "" {
			w.IfWeirDies = fmt.Sprintf("policy stays in force as long as the other controller is connected (%s), and %s after that everything passes", beside, w.After)
		}
	}
	switch {
	case len(others) > 0:
		w.IfSwitchRestarts = fmt.Sprintf("nothing passes but what the other controller has flows for (%s)", beside)
		if !secure {
			w.IfSwitchRestarts += "; without it, too, everything passes after a while"
		}
	case secure:
		w.IfSwitchRestarts = "nothing passes until Weir is back"
		if up, _ := hostIsUp(q.Rows, b); up && q.Settings.Dialled {
			w.IfSwitchRestarts += "; if this bridge is the way by which Weir dials the host's database, a Weir that was started anew, too, does not come back: have the host dial Weir"
		}
		if len(ours) == 0 {
			w.IfSwitchRestarts = "nothing passes until somebody writes flows: the bridge is secure"
		}
	case w.Is == policy.FailOpen:
		w.IfSwitchRestarts = fmt.Sprintf("nothing passes for %s, then everything does", w.After)
	default:
		w.IfSwitchRestarts = "everything passes at once, without policy"
		if len(ours) == 0 {
			w.IfSwitchRestarts = "everything passes, as without Weir"
		}
	}
	if w.Wanted == "" || w.Wanted == w.Is {
		w.Why, w.Loses = "", ""
	}
}
