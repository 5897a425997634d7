package corpus_test

import (
	"bytes"
	"net/netip"
	"testing"
	"time"

	"github.com/weirhq/weir/bench/corpus"
	"github.com/weirhq/weir/collector/netflow"
	"github.com/weirhq/weir/collector/template"
	"github.com/weirhq/weir/flow"
	"github.com/weirhq/weir/lab/flowgen"
)

// decode returns the rows of all datagrams of c.
func decode(t *testing.T, c corpus.Corpus, received int64) *flow.Batch {
	t.Helper()
	d, out := netflow.New(netflow.Config{}, template.New(template.DefaultConfig())), flow.NewBatch(1)
	for _, b := range append(c.Templates, c.Data...) {
		if err := d.Decode(b, c.Exporter, received, out); err != nil {
			t.Fatalf("%s: %v", c.Name, err)
		}
	}
	if want := len(c.Data) * c.Records; out.Len() != want {
		t.Fatalf("%s: %d rows, want %d datagrams of %d", c.Name, out.Len(), len(c.Data), c.Records)
	}
	return out
}

func TestRandomIsWhatItSays(t *testing.T) {
	corpora := corpus.Random(8)
	for i, c := range corpora {
		rows := decode(t, c, corpus.Exported)
		ends := map[[2]flow.Addr]bool{}
		for row := range rows.Len() {
			ends[[2]flow.Addr{rows.SrcAddr[row], rows.DstAddr[row]}] = true
			if age := rows.StartAge[row]; age < 0 || age > 65_000 {
				t.Fatalf("%s: row %d began %d ms before it came, want 0 to 65000", c.Name, row, age)
			}
		}
		if len(ends) != rows.Len() {
			t.Errorf("%s: %d rows have %d pairs of addresses, want a pair each", c.Name, rows.Len(), len(ends))
		}
		if again := corpus.Random(8)[i]; !bytes.Equal(again.Data[7], c.Data[7]) {
			t.Errorf("%s: a second call makes other datagrams", c.Name)
		}
	}
}

func TestEstateIsOfItsHosts(t *testing.T) {
	now := time.Date(2026, 5, 6, 12, 0, 0, 0, time.UTC)
	estate := flowgen.Demo()
	corpora, err := corpus.Estate(estate, now, 8)
	if err != nil {
		t.Fatal(err)
	}
	if len(corpora) != len(estate.Hosts) {
		t.Fatalf("%d corpora, want one for each of %d hosts", len(corpora), len(estate.Hosts))
	}
	ours := map[netip.Addr]bool{}
	for _, vm := range estate.VMs {
		for _, v := range vm.VIFs {
			ours[v.IPv4] = true
		}
	}
	for _, c := range corpora {
		rows := decode(t, c, now.UnixMilli())
		known := 0
		for row := range rows.Len() {
			if ours[netip.AddrFrom16(rows.SrcAddr[row]).Unmap()] || ours[netip.AddrFrom16(rows.DstAddr[row]).Unmap()] {
				known++
			}
		}
		if known < rows.Len()*9/10 {
			t.Errorf("%s: an end of %d of %d flows is a VM, want nine of ten", c.Name, known, rows.Len())
		}
	}
}

// Datagrams that are sent again and again must not look like loss.
func TestSetSequence(t *testing.T) {
	for _, c := range corpus.Random(3) {
		for i, b := range c.Data {
			other := bytes.Clone(b)
			c.SetSequence(other, 7)
			if bytes.Equal(other, b) {
				t.Errorf("%s: SetSequence(datagram %d, 7) changes nothing", c.Name, i)
			}
			if c.SetSequence(other, i); !bytes.Equal(other, b) {
				t.Errorf("%s: SetSequence(datagram %d, %[2]d) is not what the exporter wrote", c.Name, i)
			}
		}
	}
}
