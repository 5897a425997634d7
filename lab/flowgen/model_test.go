package flowgen_test

import (
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/weirhq/weir/estate"
	"github.com/weirhq/weir/flow"
	"github.com/weirhq/weir/internal/strictyaml"
	"github.com/weirhq/weir/lab/flowgen"
)

func TestEstateFileIsReadAsTheModel(t *testing.T) {
	e := flowgen.Demo()
	text, err := e.YAML()
	if err != nil {
		t.Fatal(err)
	}
	var got estate.Model
	if err := strictyaml.Decode(strictyaml.Document{File: "estate.yaml", Data: text}, &got); err != nil {
		t.Fatal(err)
	}
	comparers := []cmp.Option{cmpopts.EquateEmpty(), cmp.Comparer(func(a, b netip.Addr) bool { return a == b }), cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })}
	if diff := cmp.Diff(e.Model(), got, comparers...); diff != "" {
		t.Errorf("the model changed on its way through the file (-model +file):\n%s", diff)
	}
}

// Rows that are said to be enriched name entities that the estate knows by the same ids.
func TestRowsNameEntitiesOfTheEstate(t *testing.T) {
	e := flowgen.Demo()
	model := e.Model()
	snapshot, err := estate.Compile(&model)
	if err != nil {
		t.Fatal(err)
	}
	rows, err := flowgen.NewRows(flowgen.RowsConfig{Estate: e, Start: start, Rate: 1000, Enriched: true})
	if err != nil {
		t.Fatal(err)
	}
	b := flow.NewBatch(5000)
	rows.Fill(b)
	seen := map[flow.Kind]map[flow.ID]bool{}
	check := func(kind flow.Kind, ids ...uint64) {
		t.Helper()
		for _, id := range ids {
			if id == 0 {
				continue
			}
			if entity, ok := snapshot.Entity(flow.ID(id)); !ok || entity.Kind != kind {
				t.Fatalf("%s %d: the estate has %+v by that id", kind, id, entity)
			}
			if seen[kind] == nil {
				seen[kind] = map[flow.ID]bool{}
			}
			seen[kind][flow.ID(id)] = true
		}
	}
	for i := range b.Len() {
		check(flow.KindPool, b.Pool[i])
		check(flow.KindHost, b.Host[i])
		check(flow.KindBridge, b.Bridge[i])
		check(flow.KindNetwork, b.Network[i])
		check(flow.KindVM, b.SrcVM[i], b.DstVM[i])
		check(flow.KindVIF, b.SrcVIF[i], b.DstVIF[i])
		for _, id := range append(b.SrcGroups.Row(i), b.DstGroups.Row(i)...) {
			if entity, ok := snapshot.Entity(flow.ID(id)); !ok || entity.Kind != flow.KindAddressGroup && entity.Kind != flow.KindVMGroup {
				t.Fatalf("group %d: the estate has %+v by that id", id, entity)
			}
		}
	}
	for kind, want := range map[flow.Kind]int{flow.KindPool: 1, flow.KindHost: 3, flow.KindBridge: 3, flow.KindNetwork: 2, flow.KindVM: 24} {
		if got := len(seen[kind]); got != want {
			t.Errorf("%d entities of kind %s in the rows, want %d", got, kind, want)
		}
	}
}
