package shape

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/weirhq/weir/ovs/ovsdb"
	"github.com/weirhq/weir/policyd/own"
	"github.com/weirhq/weir/policyd/policy"
)

const (
	ethernet = 18   // header and tag, octets
	usualMTU = 1500 // where an interface does not say

	// maxHTB is the highest rate, in kbit/s, that Open vSwitch hands to linux-htb unchanged: it counts octets a second in 32 bits.
	maxHTB = (1<<32 - 1) * 8 / 1000
)

// Question is all that Decide looks at.
type Question struct {
	Rows      *ovsdb.Rows
	Port      *ovsdb.Port
	Interface *ovsdb.Interface // the only one of Port
	Limits    Limits           // of the zero value none are wanted
	Yielded   bool             // it is left as it is for now
	Shared    bool             // another port refers to the row of table QoS, too
}

// Answer is what Decide says.
type Answer struct {
	Port
	Want    string // what is to be there, comparable; empty: nothing
	Setting bool   // something is being changed
	Undone  string // what others did to what Weir had set; empty: nothing
	Held    bool   // something of Weir's is there afterwards
	Keeps   bool   // the row of table QoS to which the port refers stays
}

// Decide compares a VIF's port with what is asked of it, and has tx change what is not so.
func Decide(tx *own.Transaction, q Question) (Answer, error) {
	a := Answer{Port: Port{Name: q.Interface.Name}}
	a.in(tx, &q)
	err := a.out(tx, &q)
	return a, err
}

func asked(l policy.Limit) bool { return !l.Off && l.Rate != 0 }

// in has what the VM gets shaped.
func (a *Answer) in(tx *own.Transaction, q *Question) {
	state := own.QoSOf(q.Rows, q.Port)
	set, held := own.Shaped(q.Port)
	limit := q.Limits.In
	if !asked(limit) {
		if held || state == own.Ours {
			a.Setting = true
			tx.Unshape(q.Port)
		}
		return
	}
	d := &Direction{Limit: limit, By: HTB, State: StateSet, Warnings: burstWarnings(q.Interface, limit)}
	a.In = d
	switch {
	case state == own.Foreign:
		d.State, d.Why = StateForeign, foreignQoS(q.Rows.QoSs[q.Port.QoS], limit)
	case limit.Rate > maxHTB:
		d.State, d.Why = StateFailed, fmt.Sprintf("Open vSwitch cannot tell linux-htb a rate of more than %d Mbit/s: what the VM gets is not limited", maxHTB/1000)
	}
	if d.State != StateSet {
		if held || state == own.Ours {
			a.Setting = true
			tx.Unshape(q.Port)
		}
		return
	}
	want := htb(limit)
	a.Want, a.Held = "in "+want.String(), true
	is := state == own.Ours && tx.IsQoS(q.Port, want) && !q.Shared
	if q.Yielded {
		d.State = StateYielded
		a.Keeps, a.Held = state == own.Ours, held || state == own.Ours
		return
	}
	if is && set == want.String() {
		a.Keeps = true
		return
	}
	d.State, a.Setting = StateSetting, true
	switch {
	case held && state == own.Empty:
		a.Undone = "others took its QoS off port " + q.Port.Name
	case held && set == want.String():
		a.Undone = "others changed the QoS of port " + q.Port.Name
	}
	a.Keeps = state == own.Ours && !q.Shared
	tx.Shape(q.Port, want, q.Shared)
}

// htb returns the row for a limit. The one queue has the rate guaranteed, so that its own burst counts, and not that of the class above it.
func htb(l policy.Limit) own.QoS {
	rate, burst := strconv.FormatUint(l.Rate*1000, 10), strconv.FormatUint(l.BurstBytes()*8, 10)
	return own.QoS{
		Class: map[string]string{"max-rate": rate},
		Queue: map[string]string{"min-rate": rate, "max-rate": rate, "burst": burst},
	}
}

// out has what the VM sends policed, unless a meter does it.
func (a *Answer) out(tx *own.Transaction, q *Question) error {
	set, held, err := own.Policed(q.Interface)
	limit := q.Limits.Out
	now := own.PolicingOf(q.Interface)
	theirs := now.Rate != 0 && (!held || err == nil && now.Rate != set.Rate)
	var d *Direction
	if asked(limit) {
		d = &Direction{Limit: limit, By: Policing, State: StateSet, Warnings: burstWarnings(q.Interface, limit)}
		if q.Limits.Beside != "" {
			d.Warnings = append(d.Warnings, q.Limits.Beside)
		}
		a.Out = d
	}
	if err != nil { // left as it is until somebody has put it right
		a.Held, a.Out = true, failed(limit, err)
		return nil
	}
	release := func() error {
		if !held {
			return nil
		}
		a.Setting = true
		return tx.Unpolice(q.Interface)
	}
	switch {
	case d == nil:
		return release()
	case q.Limits.Meter:
		d.By = Meter
		if theirs {
			d.Warnings = append(d.Warnings, "its interface is policed to "+rate(now.Rate)+" by others, too: "+smaller(uint64(now.Rate), limit.Rate))
		}
		return release()
	case theirs:
		d.State, d.Why = StateForeign, fmt.Sprintf("its interface is policed to %s by others, which is left alone: %s acts, and not %s", rate(now.Rate), rate(now.Rate), rate(int64(limit.Rate)))
		return release()
	}
	want := own.Policing{Rate: int64(limit.Rate), Burst: int64((limit.BurstBytes()*8 + 999) / 1000)}
	a.Want += " out " + want.String()
	switch {
	case q.Yielded:
		d.State = StateYielded
		a.Held = a.Held || held
		return nil
	case held && set == want && now == want:
		a.Held = true
		return nil
	case held && set == want && a.Undone == "":
		a.Undone = "others changed the policing of interface " + q.Interface.Name
	}
	d.State, a.Setting, a.Held = StateSetting, true, true
	return tx.Police(q.Interface, want)
}

// failed is a limit of what a VM sends where what was there before cannot be read.
func failed(l policy.Limit, why error) *Direction {
	return &Direction{Limit: l, By: Policing, State: StateFailed, Why: why.Error()}
}

// burstWarnings says what of a limit will disappoint at an interface.
func burstWarnings(i *ovsdb.Interface, l policy.Limit) (list []string) {
	mtu := uint64(usualMTU)
	if i.MTU > 0 {
		mtu = uint64(i.MTU)
	}
	if l.BurstBytes() < mtu+ethernet {
		list = append(list, fmt.Sprintf("a burst of %d octets is less than one frame of this interface, whose MTU is %d: such frames may never pass", l.BurstBytes(), mtu))
	}
	return list
}

// foreignQoS says what a row of others does in place of ours.
func foreignQoS(row *ovsdb.QoS, l policy.Limit) string {
	if row == nil {
		return "its port has a QoS of others, which is left alone"
	}
	text := fmt.Sprintf("its port has a QoS of others (%s), which is left alone", row.Type)
	if most, err := strconv.ParseUint(row.OtherConfig["max-rate"], 10, 63); err == nil && most >= 1000 {
		text += fmt.Sprintf(": its %s acts, and not %s", rate(int64(most/1000)), rate(int64(l.Rate)))
	}
	return text
}

func rate(kbit int64) string { return policy.Limit{Rate: uint64(kbit)}.String() }

func smaller(theirs, ours uint64) string {
	if theirs < ours {
		return "that is less, and acts"
	}
	return "this rate is not more, and acts"
}

// String says limits in words, with what has them in force unless others' are in their place.
func (l Limits) String() string {
	p := Port{}
	if asked(l.Out) {
		p.Out = &Direction{Limit: l.Out, By: Policing, State: StateSet}
		if l.Meter {
			p.Out.By = Meter
		}
	}
	if asked(l.In) {
		p.In = &Direction{Limit: l.In, By: HTB, State: StateSet}
	}
	return p.rates()
}

// String says a port's limits in words.
func (p *Port) String() string { return p.Name + ": " + p.rates() }

func (p *Port) rates() string {
	var list []string
	if p.Out != nil {
		list = append(list, "out "+p.Out.String())
	}
	if p.In != nil {
		list = append(list, "in "+p.In.String())
	}
	return strings.Join(list, ", ")
}

// String says a limit in words.
func (d *Direction) String() string {
	text := fmt.Sprintf("%s by %s", d.Limit, words[d.By])
	if d.State != StateSet {
		text += fmt.Sprintf(", %s", d.State)
	}
	if d.Why != "" {
		text += ": " + d.Why
	}
	return text
}

var words = map[Means]string{Meter: "a meter of the bridge's flows", Policing: "policing of its interface", HTB: "a queue (linux-htb) of its port"}
