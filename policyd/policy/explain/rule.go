package explain

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/weirhq/weir/flow"
	"github.com/weirhq/weir/policyd/policy"
)

// work is an explanation that is being made.
type work struct {
	before, after *side
	now           time.Time
	changed       map[string]*policy.RuleDifference // by rule
	budget        int                               // comparisons that are left
	warnings      []string
}

// side is one of the two policies.
type side struct {
	policy *policy.Policy
	lists  []*policy.List // in the order of evaluation; those of one tier in that of the document
	at     map[string]*spot
	named  map[named]bool // what lists are of
}

type named struct {
	kind flow.Kind
	name string
}

// spot is a rule at its place.
type spot struct {
	rule  *policy.Rule
	list  *policy.List
	index int
}

func sideOf(p *policy.Policy) *side {
	s := &side{policy: p, at: map[string]*spot{}, named: map[named]bool{}}
	for l := range p.Lists() {
		s.lists = append(s.lists, &l)
		s.named[named{l.Kind(), l.Of}] = true
		for i := range l.Rules {
			s.at[l.Rules[i].ID] = &spot{&l.Rules[i], &l, i}
		}
	}
	slices.SortStableFunc(s.lists, func(a, b *policy.List) int { return cmp.Compare(a.Tier, b.Tier) })
	return s
}

func (w *work) warn(format string, args ...any) {
	w.warnings = append(w.warnings, fmt.Sprintf(format, args...))
}

func (w *work) inForce(s *spot) bool { return s != nil && s.rule.InForce(w.now) }

func quoted(r *policy.Rule) string { return fmt.Sprintf("%q", r.ID) }

func full(r *policy.Rule) string { return fmt.Sprintf("%q (%s)", r.ID, r) }

func sameList(a, b *policy.List) bool { return a.Tier == b.Tier && a.Of == b.Of }

// meaning are the fields of a rule that say what it does.
var meaning = []string{"action", "direction", "protocol", "remote", "remote_ports", "local_ports"}

func fieldOf(d *policy.RuleDifference, name string) *policy.FieldChange {
	for i := range d.Fields {
		if d.Fields[i].Field == name {
			return &d.Fields[i]
		}
	}
	return nil
}

// meant returns the changes of what a rule does.
func meant(d *policy.RuleDifference) (list []policy.FieldChange) {
	for _, f := range d.Fields {
		if slices.Contains(meaning, f.Field) {
			list = append(list, f)
		}
	}
	return list
}

// fate is what becomes, by another policy, of the packets that a rule decided.
type fate struct {
	by            []*policy.Rule // may decide some of them, in their order, where connections are tracked
	rest          *policy.Rule   // decides all others there; nil: the final default does
	byDefault     policy.Action
	allows, stops bool
	unknown       bool // it takes too long to tell
}

// fate follows the packets that x decides in the policy from through the policy to, in which x is not, or says something else.
func (w *work) fate(x *spot, from, to *side) fate {
	f := fate{byDefault: cmp.Or(to.policy.Default, policy.Allow)}
	does := func(a policy.Action) {
		f.allows = f.allows || a == policy.Allow
		f.stops = f.stops || a == policy.Deny
	}
	for _, l := range to.lists {
		if !share(l, x.list, from, to) {
			continue
		}
		if w.budget -= len(l.Rules); w.budget < 0 {
			return fate{unknown: true, allows: true, stops: true}
		}
		for i := range l.Rules {
			y := &l.Rules[i]
			if y.ID == x.rule.ID || y.Action == policy.Shadow || !y.InForce(w.now) || w.wasAhead(y, l, x, from) || !y.Meets(x.rule, true) {
				continue
			}
			does(y.Action)
			all := l.Of == "" || l.Kind() == x.list.Kind() && l.Of == x.list.Of // VIFs of x have it
			switch {
			case f.rest != nil || !y.Meets(x.rule, false): // replies only, where connections are not tracked
			case all && y.Covers(x.rule, false):
				f.rest = y
			default:
				f.by = append(f.by, y)
			}
			if all && y.Covers(x.rule, true) {
				return f
			}
		}
	}
	does(f.byDefault)
	f.allows = f.allows || x.rule.NamesKept()
	return f
}

// share reports whether there may be VIFs that have rules of l, which is of to, as well as of other, which is of from. Lists of one kind with different names
// are of different things, unless a policy writes the name of one otherwise.
func share(l, other *policy.List, from, to *side) bool {
	kind := l.Kind()
	switch {
	case kind != other.Kind(), l.Of == other.Of:
		return true
	case to.named[named{kind, other.Of}], from.named[named{kind, l.Of}]:
		return false
	}
	return strings.HasSuffix(l.Of, "/"+other.Of) || strings.HasSuffix(other.Of, "/"+l.Of) || isUUID(l.Of) || isUUID(other.Of)
}

func isUUID(s string) bool { return len(s) == 36 && strings.Count(s, "-") == 4 }

// wasAhead reports whether y, which is in the list l of the other policy, was asked before x already, and says what it said: of what x decides, nothing meets it.
func (w *work) wasAhead(y *policy.Rule, l *policy.List, x *spot, from *side) bool {
	o := from.at[y.ID]
	if o == nil || !sameList(o.list, l) || !w.inForce(o) || o.rule.Action == policy.Shadow {
		return false
	}
	if d := w.changed[y.ID]; d != nil && len(meant(d)) > 0 {
		return false
	}
	if !sameList(o.list, x.list) {
		return o.list.Tier < x.list.Tier
	}
	return o.index < x.index
}

// text says by what the packets are decided.
func (f *fate) text() string {
	if f.unknown {
		return "what comes after it (there are too many changes to say by what)"
	}
	rest := "the default, which allows"
	if f.byDefault == policy.Deny {
		rest = "the default, which denies"
	}
	if f.rest != nil {
		rest = full(f.rest)
	}
	if len(f.by) == 0 {
		return rest
	}
	var names []string
	for _, r := range f.by {
		names = append(names, full(r))
	}
	return some(names, 2) + ", else by " + rest
}

// effect is what it means that packets which an action decided have this fate instead.
func (f *fate) effect(was policy.Action) Effect {
	switch {
	case was == policy.Deny && f.allows:
		return Opens
	case was == policy.Allow && f.stops:
		return Closes
	}
	return None
}

// before is the effect of an action in the place of the fate.
func (f *fate) before(is policy.Action) Effect {
	switch {
	case is == policy.Allow && f.stops:
		return Opens
	case is == policy.Deny && f.allows:
		return Closes
	}
	return None
}

// rule says what became of a rule.
func (w *work) rule(d *policy.RuleDifference) Point {
	b, a := w.before.at[d.Rule], w.after.at[d.Rule]
	p := Point{Mark: "~", Effect: None, Rule: d.Rule}
	was, is := w.inForce(b), w.inForce(a)
	switch d.Change {
	case policy.Added:
		p.Mark = "+"
		if !is {
			p.Text, p.idle = fmt.Sprintf("Rule %q is added, %s: %s.", d.Rule, w.why(a), a.rule), idleOff
			return p
		}
		w.begins(&p, a, fmt.Sprintf("Rule %q is added %s: %s", d.Rule, w.where(d), a.rule))
	case policy.Removed:
		p.Mark = "-"
		if !was {
			p.Text, p.idle = fmt.Sprintf("Rule %q, which was %s, is removed.", d.Rule, w.why(b)), idleOff
			return p
		}
		w.ends(&p, b, fmt.Sprintf("Rule %q is removed (was: %s)", d.Rule, b.rule))
	case policy.Moved, policy.Changed:
		switch {
		case is && !was:
			text := fmt.Sprintf("Rule %q is switched on%s: %s", d.Rule, w.moves(d), a.rule)
			if !b.rule.Disabled {
				text = fmt.Sprintf("Rule %q is in force again%s: %s", d.Rule, w.moves(d), a.rule)
			}
			w.begins(&p, a, text)
		case was && !is:
			text := fmt.Sprintf("Rule %q is switched off%s (was: %s)", d.Rule, w.moves(d), b.rule)
			if !a.rule.Disabled {
				text = fmt.Sprintf("Rule %q is expired from now on%s (was: %s)", d.Rule, w.moves(d), b.rule)
			}
			w.ends(&p, b, text)
		case !is:
			p.Text, p.idle = fmt.Sprintf("Rule %q, which is %s, %s.", d.Rule, w.why(a), cmp.Or(w.says(d), w.moving(d))), idleOff
		default:
			w.other(&p, d, b, a)
		}
	}
	if is && (b == nil || !was || d.Moved || len(meant(d)) > 0) {
		w.dangers(a)
	}
	return p
}

// why says why a rule is not in force.
func (w *work) why(s *spot) string {
	if s.rule.Disabled {
		return "switched off"
	}
	return "expired"
}

// begins explains a rule that is in force from now on.
func (w *work) begins(p *Point, a *spot, text string) {
	p.Text = text
	if a.rule.Action == policy.Shadow {
		p.Text, p.idle = p.Text+". It stops nothing: flows tell what it would stop.", idleShadow
		return
	}
	if by := w.coveredBy(a); by != nil {
		p.Text, p.idle = p.Text+fmt.Sprintf(". It never decides: %s comes before it and leaves nothing to it.", full(by)), idleBeside
		return
	}
	f := w.fate(a, w.after, w.before)
	p.Effect = f.before(a.rule.Action)
	p.Text += ". So far that was decided by " + f.text()
	if p.Effect == None {
		p.Text, p.idle = p.Text+": it fares as before", idleBeside
	}
	p.Text += "." + w.hides(a)
}

// ends explains a rule that is in force no more.
func (w *work) ends(p *Point, b *spot, text string) {
	p.Text = text
	if b.rule.Action == policy.Shadow {
		p.Text, p.idle = p.Text+": flows do not tell any more what it would stop.", idleShadow
		return
	}
	f := w.fate(b, w.before, w.after)
	p.Effect = f.effect(b.rule.Action)
	did := map[policy.Action]string{policy.Allow: "let pass", policy.Deny: "stopped"}[b.rule.Action]
	p.Text += fmt.Sprintf(": what it %s is now decided by %s", did, f.text())
	if p.Effect == None {
		p.Text, p.idle = p.Text+": it fares as before", idleBeside
	}
	p.Text += "."
}

// other explains a rule that is in force before and after.
func (w *work) other(p *Point, d *policy.RuleDifference, b, a *spot) {
	fields := meant(d)
	if len(fields) > 0 {
		p.Effect, p.idle = w.altered(b, a)
	} else {
		p.idle = idleComment
		if fieldOf(d, "expires") != nil {
			p.idle = idleExpiry
		}
	}
	var consequence string
	if d.Moved {
		var e Effect
		var idle string
		e, consequence, idle = w.moved(b, a)
		p.Effect = p.Effect.and(e)
		if len(fields) == 0 {
			p.idle = idle
		}
	}
	p.Text = fmt.Sprintf("Rule %q ", d.Rule)
	if len(fields) == 0 {
		p.Text = fmt.Sprintf("Rule %s ", full(a.rule))
	}
	switch says := w.says(d); {
	case d.Moved && says != "":
		p.Text += w.moving(d) + " and " + says
	case d.Moved:
		p.Text += w.moving(d)
	default:
		p.Text += says
	}
	p.Text += consequence + "."
	if d.Moved || len(fields) > 0 {
		if by := w.coveredBy(a); by != nil && a.rule.Action != policy.Shadow {
			p.Text += fmt.Sprintf(" It never decides: %s comes before it and leaves nothing to it.", full(by))
		}
		p.Text += w.hides(a)
	}
}

// altered is the effect of a rule's saying something else at its place.
func (w *work) altered(b, a *spot) (e Effect, idle string) {
	was, is := b.rule.Action, a.rule.Action
	wider, narrower := widens(b.rule, a.rule), widens(a.rule, b.rule)
	switch {
	case was == policy.Shadow && is == policy.Shadow:
		return None, idleShadow
	case was != is && wider && narrower && (was == policy.Deny || is == policy.Allow), // the action alone
		was == is && wider && !narrower && is == policy.Allow, was == is && narrower && !wider && is == policy.Deny:
		return Opens, ""
	case was != is && wider && narrower, was == is && wider && !narrower, was == is && narrower && !wider:
		return Closes, ""
	}
	return Both, ""
}

// widens reports whether b certainly matches all that a does, whatever they do then.
func widens(a, b *policy.Rule) bool {
	x, y := *a, *b
	x.Action, y.Action = policy.Deny, policy.Deny
	return y.Covers(&x, true)
}

// moved says what it means for a rule in force that it stands elsewhere.
func (w *work) moved(b, a *spot) (e Effect, consequence, idle string) {
	switch {
	case a.rule.Action == policy.Shadow && b.rule.Action == policy.Shadow:
		return None, "", idleShadow
	case !sameList(a.list, b.list):
		return Both, "", ""
	}
	if w.budget -= len(a.list.Rules); w.budget < 0 {
		return Both, "", ""
	}
	var over, under []string // rules that x decides before now, and those that do before x
	e = None
	replies := false
	for i := range a.list.Rules {
		y := &a.list.Rules[i]
		o := w.before.at[y.ID]
		if i == a.index || y.Action == policy.Shadow || y.Action == a.rule.Action || !y.InForce(w.now) || !w.inForce(o) || !sameList(o.list, a.list) || (o.index < b.index) == (i < a.index) {
			continue
		}
		switch {
		case !y.Meets(a.rule, true):
			continue
		case !y.Meets(a.rule, false):
			replies = true
			continue
		case i > a.index:
			over = append(over, quoted(y))
			e = e.and(map[policy.Action]Effect{policy.Allow: Opens, policy.Deny: Closes}[a.rule.Action])
		default:
			under = append(under, quoted(y))
			e = e.and(map[policy.Action]Effect{policy.Allow: Opens, policy.Deny: Closes}[y.Action])
		}
	}
	switch {
	case len(over)+len(under) > 0:
		if len(over) > 0 {
			consequence = fmt.Sprintf(", so it decides now where %s did", some(over, 3))
		}
		if len(under) > 0 {
			lead := ", so"
			if consequence != "" {
				lead = ", and"
			}
			consequence += fmt.Sprintf("%s %s now where it did", lead, verb(under, "decides", "decide"))
		}
	case replies:
		return Both, ", which matters only to replies, where connections are not tracked", ""
	default:
		return None, ", and passes none that contradicts it", idleOrder
	}
	return e, consequence, ""
}

// verb says who does something, of whom there may be one.
func verb(names []string, one, several string) string {
	if len(names) == 1 {
		return names[0] + " " + one
	}
	return some(names, 3) + " " + several
}

// where says where a rule stands now.
func (w *work) where(d *policy.RuleDifference) string {
	if d.After.Follows == "" {
		at := w.after.at[d.Rule]
		if len(at.list.Rules) == 1 {
			return "as the only one"
		}
		return fmt.Sprintf("as the first, before %q", at.list.Rules[1].ID)
	}
	return fmt.Sprintf("after %q", d.After.Follows)
}

// moving says where a rule moves.
func (w *work) moving(d *policy.RuleDifference) string {
	a, b := w.after.at[d.Rule], w.before.at[d.Rule]
	if !sameList(a.list, b.list) {
		return fmt.Sprintf("moves here from %s", d.Before.List)
	}
	if a.index < b.index && a.index+1 < len(a.list.Rules) {
		return fmt.Sprintf("moves before %q", a.list.Rules[a.index+1].ID)
	}
	if d.After.Follows == "" {
		return "is now the first"
	}
	return fmt.Sprintf("moves behind %q", d.After.Follows)
}

// moves says so in passing.
func (w *work) moves(d *policy.RuleDifference) string {
	if !d.Moved {
		return ""
	}
	return " and " + w.moving(d)
}

// says lists the fields of a rule that are others.
func (w *work) says(d *policy.RuleDifference) string {
	var list []string
	for _, f := range d.Fields {
		switch f.Field {
		case "disabled": // said otherwise, or not at all
		case "action":
			words := map[string]string{"allow": "allows", "deny": "denies", "shadow": "tells only (shadow)"}
			past := map[string]string{"allow": "allowed", "deny": "denied", "shadow": "told of only (shadow)"}
			list = append(list, fmt.Sprintf("%s now what it %s", words[f.After], past[f.Before]))
		case "comment":
			switch {
			case f.After == "":
				list = append(list, fmt.Sprintf("loses its comment %q", f.Before))
			case f.Before == "":
				list = append(list, fmt.Sprintf("gets the comment %q", f.After))
			default:
				list = append(list, fmt.Sprintf("has the comment %q instead of %q", f.After, f.Before))
			}
		case "expires":
			switch {
			case f.After == "":
				list = append(list, "does not expire any more")
			case f.Before == "":
				list = append(list, "expires at "+f.After)
			default:
				list = append(list, fmt.Sprintf("expires at %s instead of %s", f.After, f.Before))
			}
		default:
			list = append(list, fmt.Sprintf("has %s %s instead of %s", fieldNames[f.Field], cmp.Or(f.After, "any"), cmp.Or(f.Before, "any")))
		}
	}
	text := join(list)
	if len(meant(d)) > 0 {
		text += ": " + w.after.at[d.Rule].rule.String()
	}
	return text
}

var fieldNames = map[string]string{
	"direction": "direction", "protocol": "protocol", "remote": "remote", "remote_ports": "remote ports", "local_ports": "local ports",
}

// coveredBy returns a rule that certainly leaves nothing to a rule in force: one before it in its list, or in one that all VIFs of it have before.
func (w *work) coveredBy(x *spot) *policy.Rule {
	for _, l := range w.after.lists {
		if !ahead(l, x.list) {
			continue
		}
		for i := range l.Rules {
			if &l.Rules[i] == x.rule {
				return nil
			}
			if w.budget--; w.budget < 0 {
				return nil
			}
			if y := &l.Rules[i]; y.InForce(w.now) && y.Covers(x.rule, true) {
				return y
			}
		}
	}
	return nil
}

// ahead reports whether all VIFs that have rules of x ask those of l not after them.
func ahead(l, x *policy.List) bool {
	return l.Tier <= x.Tier && (l.Of == "" || l.Kind() == x.Kind() && l.Of == x.Of)
}

// hides names the rules to which x leaves nothing.
func (w *work) hides(x *spot) string {
	if x.rule.Action == policy.Shadow {
		return ""
	}
	var names []string
	for _, l := range w.after.lists {
		if !ahead(x.list, l) {
			continue
		}
		if w.budget -= len(l.Rules); w.budget < 0 {
			return ""
		}
		begin := 0
		if sameList(l, x.list) {
			begin = x.index + 1
		}
		for i := begin; i < len(l.Rules); i++ {
			if y := &l.Rules[i]; y.InForce(w.now) && y.Action != policy.Shadow && x.rule.Covers(y, true) {
				names = append(names, quoted(y))
			}
		}
	}
	if len(names) == 0 {
		return ""
	}
	return fmt.Sprintf(" It leaves nothing to %s.", some(names, 3))
}

// dangers warns of what a rule in force does, which is new, other or elsewhere.
func (w *work) dangers(a *spot) {
	r := a.rule
	if a.list.Tier == policy.GlobalMandatory && r.Protocol == (policy.Protocol{}) && r.Remote == (policy.Remote{}) && r.Action != policy.Shadow {
		what := cmp.Or(map[policy.Direction]string{policy.To: "whatever VMs send", policy.From: "whatever VMs receive"}[r.Direction], "all traffic")
		does, otherwise := "stops "+what, "allow"
		if r.Action == policy.Allow {
			does, otherwise = "lets "+what+" pass", "deny"
		}
		except := ""
		if a.index > 0 {
			except = fmt.Sprintf(", except what %s before it may %s", counted(a.index, "rule"), otherwise)
		}
		w.warn("Rule %q %s at every VIF%s: no rule of a pool, network, VM or VIF can %s it.", r.ID, does, except, otherwise)
	}
	if by := w.coveredBy(a); by != nil {
		w.warn("Rule %q has no effect: %q comes before it and leaves nothing to it.", r.ID, by.ID)
	}
}
