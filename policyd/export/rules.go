package export

import (
	"fmt"
	"slices"
	"strings"

	"github.com/weirhq/weir/estate/hosts"
	"github.com/weirhq/weir/ovs/ovsdb"
	"github.com/weirhq/weir/policyd/compile"
	"github.com/weirhq/weir/policyd/own"
)

// rules has what the flows of the bridge sample be exported, or no more, and says whether something of Weir's is there afterwards.
func (d *deciding) rules() (keep bool) {
	e, enforced := d.enforced[d.b.Name]
	sets, others := own.SampleSets(d.rows)
	elsewhere := func(s *ovsdb.SampleSet) bool { return s.Bridge != d.b.UUID }
	sets, others = slices.DeleteFunc(sets, elsewhere), slices.DeleteFunc(others, elsewhere)
	at, here := what{d.b.UUID, rulesExport}, place{d.b.Name, rulesExport}
	if !enforced && len(sets) == 0 && d.found[at] == "" {
		return false
	}
	out := &Rules{State: StateOff, Domain: ruleDomain(d.number), VirtualObsID: d.host.virtualObsID(d.b.Name), Targets: d.settings.targets()}
	d.out.Rules = out
	want := ""
	defer func() { d.note(rulesExport, out.State, want) }()
	if out.Why = d.unruled(enforced, &e, len(sets) > 0, others); out.Why != "" {
		if slices.ContainsFunc(others, isCollectorSet) {
			out.State = StateForeign
		}
		for _, s := range sets {
			d.tx.RemoveSampleSet(s)
		}
		return false
	}
	out.Totals = e.Sampling == compile.SampleFull
	if out.Totals {
		if why := d.counted(); why != "" {
			out.Totals, out.Why = false, why
		}
	}
	if d.yielded(here) {
		out.State = StateYielded
		out.Totals = out.Totals && len(sets) > 0
		return len(sets) > 0
	}
	row := rulesIPFIX(d.settings, out.VirtualObsID, out.Domain, d.has)
	mark := map[string]string{hosts.TotalsKey: fmt.Sprint(out.Totals)}
	want = own.Describe(row) + " " + mark[hosts.TotalsKey]
	out.State = StateSet
	d.rulesRows(sets, out, row, mark, want)
	return true
}

// unruled says why nothing is set up for what the flows of the bridge sample, "" if there is.
func (d *deciding) unruled(enforced bool, e *Enforced, there bool, others []*ovsdb.SampleSet) string {
	switch {
	case !enforced:
		return "the bridge enforces no policy"
	case e.Sampling == compile.SampleOff:
		return "its flows sample nothing"
	case d.settings.of(d.b.Name) == Off:
		return "switched off in the settings"
	case !d.settings.Collector.IsValid():
		return "at what address this host reaches Weir is not known: set hosts.export.collector"
	case !d.has("Flow_Sample_Collector_Set", "ipfix") || !d.has("IPFIX", "other_config"):
		return "this Open vSwitch is too old for what flows sample"
	case slices.ContainsFunc(others, isCollectorSet):
		return fmt.Sprintf("the bridge has a row of table Flow_Sample_Collector_Set with id %d that is not Weir's: it is left alone", CollectorSet)
	case e.Flows == FlowsLeaving, e.Flows == FlowsUnknown && !there:
		return "its flows are not there yet, or go"
	}
	return ""
}

func isCollectorSet(s *ovsdb.SampleSet) bool { return s.ID == int64(CollectorSet) }

// counted says by what else, that stays, Weir is told of every packet of the bridge, "" if nothing: what its flows sample is not the totals
// then.
func (d *deciding) counted() string {
	const beside = "a row of table %s that is not Weir's sends to Weir, too, and is the source of totals, unless it is taken over (weir hosts export --take-over)"
	if d.samples() {
		return "a row of table Flow_Sample_Collector_Set that is not Weir's sends to Weir, too, and is the source of totals"
	}
	for _, c := range own.Columns {
		if d.doubles(c) && !d.settings.TakeOver {
			return fmt.Sprintf(beside, c.Table)
		}
	}
	return ""
}

// rulesRows brings the rows to what they are to be.
func (d *deciding) rulesRows(sets []*ovsdb.SampleSet, out *Rules, row ovsdb.Values, mark map[string]string, want string) {
	undone := func(how string) {
		out.State = StateSetting
		if d.found[what{d.b.UUID, rulesExport}] == want {
			d.undo(rulesExport, how)
		}
	}
	var kept *ovsdb.SampleSet
	for _, s := range sets {
		if kept == nil && isCollectorSet(s) && d.rows.IPFIXs[s.IPFIX] != nil {
			kept = s
			continue
		}
		out.State = StateSetting
		d.tx.RemoveSampleSet(s)
	}
	if kept == nil {
		undone("others removed it")
		d.tx.AddSampleSet(d.b, CollectorSet, mark, row)
		return
	}
	is := d.rows.IPFIXs[kept.IPFIX]
	if awaited, seen := own.Awaited(d.rows, is.ExternalIDs); awaited {
		out.State = StateSetting
		if seen {
			d.tx.WriteSampleSet(kept, row, false)
		} else {
			out.Why += "; waiting for ovs-vswitchd"
		}
		return
	}
	if ids := kept.ExternalIDs; len(ids) != 2 || !own.Made(ids, d.instance) || ids[hosts.TotalsKey] != mark[hosts.TotalsKey] {
		undone("others changed it")
		d.tx.MarkSampleSet(kept, mark)
	}
	switch {
	case !isIPFIX(is, row, d.instance):
		undone("others changed it")
	case d.renew(out.Domain):
		d.renewed = append(d.renewed, place{d.b.Name, rulesExport})
	default:
		return
	}
	out.State = StateSetting
	d.tx.WriteSampleSet(kept, ovsdb.Values{"targets": []string{}}, true) // see column
}

// orphans removes collector sets of Weir's of bridges that are no more: Open vSwitch's database keeps a bridge that others removed as long as
// one refers to it, and no bridge of its name can be made.
func (a *answer) orphans(r *ovsdb.Rows, bridges []*ovsdb.Bridge) {
	there := map[ovsdb.UUID]bool{}
	for _, b := range bridges {
		there[b.UUID] = true
	}
	sets, _ := own.SampleSets(r)
	for _, s := range sets {
		if !there[s.Bridge] {
			a.tx.RemoveSampleSet(s)
		}
	}
}

// summary says in words what is exported.
func (r *Rules) summary() string {
	kind := "new connections and drops"
	if r.Totals {
		kind = "every packet"
	}
	return fmt.Sprintf("IPFIX of %s, with the rule that decided, to %s", kind, strings.Join(r.Targets, ", "))
}
