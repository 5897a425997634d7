package flowgen_test

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/weirhq/weir/enricher"
	"github.com/weirhq/weir/estate"
	"github.com/weirhq/weir/flow"
	"github.com/weirhq/weir/lab/flowgen"
)

func newEnricher(t *testing.T, e *flowgen.Estate, at time.Time) *enricher.Enricher {
	t.Helper()
	model := e.Model()
	snapshot, err := estate.Compile(&model)
	if err != nil {
		t.Fatal(err)
	}
	if odd := snapshot.Warnings(); len(odd) > 0 {
		t.Errorf("the estate finds odd: %v", odd)
	}
	holder := estate.NewHolder()
	holder.Store(snapshot)
	live := estate.NewLiveness(time.Hour)
	for _, h := range e.Hosts {
		live.Seen(h.Exporter, at.UnixMilli())
	}
	return enricher.New(enricher.Deps{Estate: holder, Live: live})
}

// The enricher says of rows what the generator, which knows who talked to whom, says itself.
func TestEnricherAgrees(t *testing.T) {
	e := flowgen.Demo()
	batches := map[bool]*flow.Batch{}
	for _, enriched := range []bool{false, true} {
		rows, err := flowgen.NewRows(flowgen.RowsConfig{Estate: e, Start: start, Rate: 1000, Seed: 4, Enriched: enriched})
		if err != nil {
			t.Fatal(err)
		}
		batches[enriched] = flow.NewBatch(20_000)
		rows.Fill(batches[enriched])
	}
	got, want := batches[false], batches[true]
	newEnricher(t, e, start).Enrich(got)
	wrong := map[string]int{}
	for i := range want.Len() {
		for _, f := range flow.Fields {
			if g, w := fmt.Sprint(got.Value(f.Name, i)), fmt.Sprint(want.Value(f.Name, i)); g != w {
				if wrong[f.Name]++; wrong[f.Name] == 1 {
					t.Errorf("row %d: %s is %s, want %s: %v to %v, MACs %012x, %012x, interfaces %d, %d", i, f.Name, g, w,
						netip.AddrFrom16(want.SrcAddr[i]).Unmap(), netip.AddrFrom16(want.DstAddr[i]).Unmap(), want.SrcMAC[i], want.DstMAC[i], want.InIf[i], want.OutIf[i])
				}
			}
		}
	}
	if len(wrong) > 0 {
		t.Errorf("columns and rows that differ: %v", wrong)
	}
}
