package compile_test

import (
	"fmt"
	"maps"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/weirhq/weir/flow"
	"github.com/weirhq/weir/ovs/openflow"
	"github.com/weirhq/weir/policyd/compile"
	"github.com/weirhq/weir/policyd/policy"
)

// limited has VIFs of the levels that are named send at those rates.
func limited(in *compile.Input, rates map[flow.ID]string) *compile.Input {
	next := *in
	set := *in.Policy
	set.Settings = map[policy.LevelID]*policy.Said{}
	for id, text := range rates {
		l, err := policy.ParseLimit(text)
		if err != nil {
			panic(err)
		}
		set.Settings[policy.LevelID{Kind: flow.KindVIF, Of: id}] = &policy.Said{Settings: policy.Settings{RateOut: l}}
	}
	next.Policy = &set
	next.Capabilities.Meters = true
	return &next
}

// A change of a rate is a change of the VIF's meter, and of nothing else.
func TestMeters(t *testing.T) {
	in := large(4, 3)
	c := compile.New()
	mustCompile(t, c, in)
	ids := in.VIFs
	one := mustCompile(t, c, limited(in, map[flow.ID]string{ids[0]: "20Mbit/s burst 100kB", ids[1]: "1Gbit/s"}))
	other := mustCompile(t, c, limited(in, map[flow.ID]string{ids[0]: "30Mbit/s burst 100kB", ids[1]: "1Gbit/s"}))
	meter := func(i int, rate, burst uint32) openflow.MeterSpec {
		return openflow.MeterSpec{ID: compile.MeterFirst + in.Inventory.Ports[in.Inventory.VIFs[i].Ports[0]].OFPort, Rate: rate, Burst: burst}
	}
	want := compile.Change{SetMeters: []openflow.MeterSpec{meter(0, 30_000, 800)}}
	if diff := cmp.Diff(&want, compile.Diff(one, other)); diff != "" {
		t.Errorf("a change of a rate (-want +got):\n%s", diff)
	}
	if got, want := slices.Sorted(maps.Keys(one.Meters)), slices.Sorted(slices.Values([]uint32{meter(0, 0, 0).ID, meter(1, 0, 0).ID})); !slices.Equal(got, want) || one.Meters[meter(1, 0, 0).ID] != meter(1, 1_000_000, 800_000) {
		t.Errorf("meters %v, want %v", one.Meters, want)
	}
	metered := 0
	for f := range one.Each() {
		for _, a := range f.Actions.List() {
			if m, is := a.(openflow.Meter); is && one.Meters[m.ID].ID != 0 && f.Table == compile.TableClassify {
				metered++
			}
		}
	}
	if metered != 4 { // with a tag of priority, and without
		t.Errorf("%d flows are metered, want two of each VIF", metered)
	}
	without := limited(in, map[flow.ID]string{ids[0]: "20Mbit/s"})
	without.Capabilities.Meters = false
	for name, r := range without.Rates() {
		if r.Metered || r.Out.Rate != 20_000 {
			t.Errorf("without meters, %s has %+v, want its rate by something else", name, r)
		}
	}
	if d := mustCompile(t, c, without); len(d.Meters) != 0 || len(without.Rates()) != 1 {
		t.Errorf("meters %v and rates %v where the switch has no meters", d.Meters, without.Rates())
	}
	bypassed := limited(in, map[flow.ID]string{ids[0]: "20Mbit/s", ids[1]: "1Gbit/s"})
	bypassed.BypassVIFs = map[flow.ID]bool{ids[0]: true}
	if d := mustCompile(t, c, bypassed); len(d.Meters) != 1 || len(bypassed.Rates()) != 1 {
		t.Errorf("meters %v and rates %v of two VIFs, one of which is bypassed", d.Meters, bypassed.Rates())
	}
	bypassed.Bypass = true
	if d := mustCompile(t, c, bypassed); len(d.Meters) != 0 || len(bypassed.Rates()) != 0 {
		t.Errorf("meters %v and rates %v of a bridge that is bypassed", d.Meters, bypassed.Rates())
	}
}

// Ports that would have one meter have two, whose ids are in the range of those of Weir's.
func TestMetersOfHighPorts(t *testing.T) {
	in := large(3, 1)
	const count = compile.MeterLast - compile.MeterFirst + 1
	rates := map[flow.ID]string{}
	for i, port := range []uint32{5, 5 + count, 0xfefe} {
		in.Inventory.Ports[in.Inventory.VIFs[i].Ports[0]].OFPort = port
		rates[in.VIFs[i]] = fmt.Sprintf("%dMbit/s", i+1)
	}
	d := mustCompile(t, compile.New(), limited(in, rates))
	for id := range d.Meters {
		if id < compile.MeterFirst || id > compile.MeterLast {
			t.Errorf("meter %d, want %d to %d", id, compile.MeterFirst, compile.MeterLast)
		}
	}
	if len(d.Meters) != 3 {
		t.Errorf("meters %v, want three", d.Meters)
	}
}
