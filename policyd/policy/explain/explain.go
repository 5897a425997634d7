package explain

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/weirhq/weir/policyd/policy"
)

// Effect is what a change does with packets, as far as is certain.
type Effect string

// The values of Effect, the weightiest first.
const (
	Opens  Effect = "opens"  // more may pass
	Closes Effect = "closes" // more may be stopped
	Both   Effect = "both"   // one or the other, or both
	None   Effect = "none"   // whatever it is, packets fare as before
)

var weights = map[Effect]int{Opens: 0, Closes: 1, Both: 2, None: 3}

// and returns the effect of two changes together.
func (e Effect) and(o Effect) Effect {
	switch {
	case e == None, e == o:
		return o
	case o == None:
		return e
	}
	return Both
}

// Explanation is how a policy differs from another one.
type Explanation struct {
	Summary  string    `json:"summary" doc:"In a sentence."`
	Effect   Effect    `json:"effect" enum:"opens,closes,both,none" doc:"Of all changes together."`
	Warnings []string  `json:"warnings" doc:"What to think about before it is applied."`
	Sections []Section `json:"sections" doc:"By level, what opens or closes first."`
}

// Section is what differs at a level.
type Section struct {
	Title  string  `json:"title"`
	Points []Point `json:"points"`
}

// Point is one difference.
type Point struct {
	Mark   string `json:"mark" enum:"+,-,~" doc:"Added, removed, or other than before."`
	Effect Effect `json:"effect" enum:"opens,closes,both,none"`
	Rule   string `json:"rule,omitempty" doc:"Id of the rule that it is about."`
	Kind   string `json:"kind,omitempty" doc:"Of the group that it is about: address-group or vm-group."`
	Group  string `json:"group,omitempty" doc:"Name of the group that it is about."`
	Text   string `json:"text" doc:"A sentence."`

	idle string // of None: what changes all the same
}

// Same reports whether the policies say the same.
func (e *Explanation) Same() bool { return len(e.Sections) == 0 }

// What changes where nothing is enforced otherwise.
const (
	idleComment = "comments"
	idleOff     = "rules that are not in force"
	idleShadow  = "shadow rules"
	idleExpiry  = "times at which rules expire"
	idleOrder   = "the order of rules that do not contradict each other"
	idleBeside  = "rules of which others do the same"
	idleGroup   = "groups that no rule in force uses"
	idleWritten = "how groups are written"
)

// budget is how many pairs of rules are compared at most, so that an explanation takes a second or two at most; what is not looked at then is said to do both.
const budget = 20_000_000

// Of explains how after differs from before at a time, which says what is expired. All rules of both have ids: see [policy.Policy.Identify].
func Of(before, after *policy.Policy, now time.Time) *Explanation {
	d := policy.Compare(before, after)
	w := &work{before: sideOf(before), after: sideOf(after), now: now, changed: map[string]*policy.RuleDifference{}, budget: budget}
	for i := range d.Rules {
		w.changed[d.Rules[i].Rule] = &d.Rules[i]
	}
	sections := map[string]*Section{}
	order := map[string]int{}
	add := func(title string, rank int, p Point) {
		if sections[title] == nil {
			sections[title], order[title] = &Section{Title: title}, rank
		}
		sections[title].Points = append(sections[title].Points, p)
	}
	if d.Default != nil {
		add("What no rule matches", 0, w.byDefault(d.Default))
	}
	for i := range d.Rules {
		r := &d.Rules[i]
		at := w.after.at[r.Rule]
		if r.Change == policy.Removed {
			at = w.before.at[r.Rule]
		}
		add(sentence(cmp.Or(r.After, r.Before).List), int(at.list.Tier), w.rule(r))
	}
	for i := range d.Groups {
		title := map[string]string{kindAddress: "Address groups", kindVM: "VM groups"}[d.Groups[i].Kind]
		add(title, policy.Tiers+1, w.group(&d.Groups[i]))
	}
	for i := range d.Settings {
		add("Settings", policy.Tiers+2, settingPoint(&d.Settings[i]))
	}
	e := &Explanation{Effect: None, Warnings: w.warnings, Sections: []Section{}}
	if e.Warnings == nil {
		e.Warnings = []string{}
	}
	for _, s := range sections {
		slices.SortStableFunc(s.Points, func(a, b Point) int { return cmp.Compare(weights[a.Effect], weights[b.Effect]) })
		e.Sections = append(e.Sections, *s)
	}
	slices.SortFunc(e.Sections, func(a, b Section) int {
		return cmp.Or(cmp.Compare(weights[a.Points[0].Effect], weights[b.Points[0].Effect]), cmp.Compare(order[a.Title], order[b.Title]), cmp.Compare(a.Title, b.Title))
	})
	e.summarize(d)
	return e
}

// settingPoint says what became of a setting. What that does to packets depends on the levels around it: it may do either.
func settingPoint(d *policy.SettingDifference) Point {
	p := Point{Mark: map[policy.Change]string{policy.Added: "+", policy.Removed: "-", policy.Changed: "~"}[d.Change], Effect: Both}
	what := sentence(d.Level) + ": " + d.Key
	switch d.Change {
	case policy.Added:
		p.Text = fmt.Sprintf("%s is %s; nothing was said before", what, d.After)
	case policy.Removed:
		p.Text = fmt.Sprintf("%s was %s; nothing is said any more", what, d.Before)
	default:
		p.Text = fmt.Sprintf("%s is %s; it was %s", what, d.After, d.Before)
	}
	return p
}

// summarize says it all in a sentence.
func (e *Explanation) summarize(d *policy.Difference) {
	if e.Same() {
		e.Summary = "No difference."
		return
	}
	n := map[Effect]int{}
	var idle []string
	for _, s := range e.Sections {
		for _, p := range s.Points {
			n[p.Effect]++
			e.Effect = e.Effect.and(p.Effect)
			if p.Effect == None && !slices.Contains(idle, p.idle) {
				idle = append(idle, p.idle)
			}
		}
	}
	if e.Effect == None {
		slices.Sort(idle)
		e.Summary = "Nothing is enforced differently: only " + join(idle) + " change."
		return
	}
	var what []string
	if d.Default != nil {
		what = append(what, "the default")
	}
	if len(d.Rules) > 0 {
		what = append(what, counted(len(d.Rules), "rule"))
	}
	if len(d.Groups) > 0 {
		what = append(what, counted(len(d.Groups), "group"))
	}
	if len(d.Settings) > 0 {
		what = append(what, counted(len(d.Settings), "setting"))
	}
	verb := " differ"
	if len(what) == 1 && (d.Default != nil || len(d.Rules)+len(d.Groups)+len(d.Settings) == 1) {
		verb = " differs"
	}
	e.Summary = sentence(join(what)) + verb + ": " + effects(n) + "."
}

// effects says how many differences have which effect.
func effects(n map[Effect]int) string {
	one := n[Opens]+n[Closes]+n[Both]+n[None] == 1
	var list []string
	for _, x := range []struct {
		effect       Effect
		one, several string
	}{
		{Opens, "may let more pass", "may let more pass"},
		{Closes, "may stop more", "may stop more"},
		{Both, "may do either", "may do either"},
		{None, "changes nothing for packets", "change nothing for packets"},
	} {
		switch k := n[x.effect]; {
		case k == 0:
		case one && x.effect == Both:
			return "it may let more pass and stop more"
		case one:
			return "it " + x.one
		case k == 1:
			list = append(list, "1 "+x.one)
		default:
			list = append(list, fmt.Sprintf("%d %s", k, x.several))
		}
	}
	return join(list)
}

func (w *work) byDefault(f *policy.FieldChange) Point {
	if f.After == string(policy.Deny) {
		w.warn("The default becomes deny: whatever no rule allows stops at all VIFs, also what runs now.")
		return Point{Mark: "~", Effect: Closes, Text: "What no rule matches is stopped: the default is now deny, and was allow."}
	}
	w.warn("The default becomes allow: whatever no rule denies passes at all VIFs.")
	return Point{Mark: "~", Effect: Opens, Text: "What no rule matches passes: the default is now allow, and was deny."}
}

// sentence begins with a capital letter.
func sentence(s string) string {
	if s != "" && s[0] >= 'a' && s[0] <= 'z' {
		return string(s[0]-'a'+'A') + s[1:]
	}
	return s
}

func counted(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

// join lists words: "a, b and c".
func join(list []string) string {
	if len(list) < 2 {
		return strings.Join(list, "")
	}
	return strings.Join(list[:len(list)-1], ", ") + " and " + list[len(list)-1]
}

// some lists the first of words, and how many more there are.
func some(list []string, most int) string {
	if len(list) <= most {
		return join(list)
	}
	return join(append(slices.Clone(list[:most]), fmt.Sprintf("%d more", len(list)-most)))
}
