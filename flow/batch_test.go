package flow_test

import (
	"bytes"
	"reflect"
	"strings"
	"testing"

	chproto "github.com/ClickHouse/ch-go/proto"
	"github.com/ClickHouse/clickhouse-go/v2/lib/proto"

	"github.com/weirhq/weir/flow"
)

// Every exported column of Batch but VirtualID stands in Fields exactly once, and in the same order of declaration
// groups: a column that Fields forgets would be filled by decoders and never stored.
func TestFieldsCoverBatch(t *testing.T) {
	b := flow.NewBatch(4)
	v := reflect.ValueOf(b).Elem()
	columns := 0
	for i := range v.NumField() {
		if f := v.Type().Field(i); f.IsExported() && f.Type != reflect.TypeFor[[]flow.Share]() {
			columns++
			if v.Field(i).Kind() == reflect.Slice && v.Field(i).Len() != 4 {
				t.Errorf("column %s has length %d after NewBatch(4): no field lists it", v.Type().Field(i).Name, v.Field(i).Len())
			}
		}
	}
	if columns != len(flow.Fields)+1 {
		t.Errorf("Batch has %d columns, Fields lists %d, want one less", columns, len(flow.Fields))
	}
	seen := map[string]bool{}
	for _, f := range flow.Fields {
		if seen[f.Name] || f.Name != strings.ToLower(f.Name) || f.Type == "" || !strings.HasSuffix(f.Doc, ".") {
			t.Errorf("field %+v: want a unique lower-case name, a type and a sentence", f)
		}
		seen[f.Name] = true
	}
}

func TestGrowTruncateReset(t *testing.T) {
	b := flow.NewBatch(2)
	for i := range 5 {
		if got := b.Grow(1); got != i {
			t.Fatalf("Grow(1) = %d, want %d", got, i)
		}
		b.SrcPort[i] = uint16(i + 1)
		b.SrcGroups.Set(i, []uint64{uint64(i), 7})
	}
	b.Truncate(3)
	if b.Len() != 3 || len(b.SrcGroups.IDs) != 6 {
		t.Fatalf("after Truncate(3): %d rows, %d group ids; want 3, 6", b.Len(), len(b.SrcGroups.IDs))
	}
	b.Grow(2)
	if b.SrcPort[2] != 3 || b.SrcPort[3] != 0 || b.SrcPort[4] != 0 {
		t.Errorf("ports after Truncate(3), Grow(2) = %v, want rows 3 and 4 zero", b.SrcPort[:5])
	}
	b.Reset()
	if b.Len() != 0 || b.Cap() < 5 {
		t.Errorf("after Reset: %d rows, capacity %d; want 0 rows and the capacity kept", b.Len(), b.Cap())
	}
}

func TestFillWithinCapacityDoesNotAllocate(t *testing.T) {
	b := flow.NewBatch(64)
	allocs := testing.AllocsPerRun(100, func() {
		b.Reset()
		b.Grow(64)
		b.Truncate(32)
	})
	if allocs != 0 {
		t.Errorf("Reset, Grow, Truncate: %v allocations, want 0", allocs)
	}
}

// The block is read back by ClickHouse's own Go client, which takes its types from the header.
func TestAppendNativeIsReadByClickHouseGo(t *testing.T) {
	b := flow.NewBatch(1)
	for i := range 3 {
		b.Grow(1)
		b.TimeReceived[i] = 1_790_000_000_123 + int64(i)
		b.SrcAddr[i] = flow.Addr{15: byte(i)}
		b.Bytes[i] = 1000 + uint64(i)
		b.Verdict[i] = flow.VerdictSpoofed
		b.Counted[i] = i == 1
		b.DstGroups.Set(i, make([]uint64, i))
	}
	block := proto.NewBlock()
	if err := block.Decode(chproto.NewReader(bytes.NewReader(b.AppendNative(nil))), 0); err != nil {
		t.Fatalf("decode the encoded block: %v", err)
	}
	if block.Rows() != 3 || len(block.Columns) != len(flow.Fields) {
		t.Fatalf("block has %d rows, %d columns; want 3, %d", block.Rows(), len(block.Columns), len(flow.Fields))
	}
	for i, f := range flow.Fields {
		if c := block.Columns[i]; c.Name() != f.Name || string(c.Type()) != f.Type {
			t.Errorf("column %d is %s %s, want %s %s", i, c.Name(), c.Type(), f.Name, f.Type)
		}
	}
	cell := func(name string, row int) any {
		for _, c := range block.Columns {
			if c.Name() == name {
				return c.Row(row, false)
			}
		}
		return nil
	}
	if got := cell("bytes", 2); got != uint64(1002) {
		t.Errorf("bytes of row 2 = %v, want 1002", got)
	}
	if got := cell("verdict", 0); got != "spoofed" {
		t.Errorf("verdict of row 0 = %v, want spoofed", got)
	}
	if got, ok := cell("dst_groups", 2).([]uint64); !ok || len(got) != 2 {
		t.Errorf("dst_groups of row 2 = %v, want two ids", cell("dst_groups", 2))
	}
}

// A block of some rows of a batch is the block of a batch that has just these rows.
func TestAppendNativeRows(t *testing.T) {
	fill := func(rows ...int) *flow.Batch {
		b := flow.NewBatch(1)
		for _, row := range rows {
			i := b.Grow(1)
			b.SrcPort[i] = uint16(row)
			b.SrcGroups.Set(i, []uint64{uint64(row), 7}[:row%3])
			b.DstGroups.Set(i, []uint64{9}[:row%2])
		}
		return b
	}
	b := fill(0, 1, 2, 3, 4, 5)
	for from := range 7 {
		for to := from; to <= 6; to++ {
			var rows []int
			for row := from; row < to; row++ {
				rows = append(rows, row)
			}
			if got, want := b.AppendNativeRows(nil, from, to), fill(rows...).AppendNative(nil); !bytes.Equal(got, want) {
				t.Errorf("AppendNativeRows(nil, %d, %d) = %x, want %x", from, to, got, want)
			}
		}
	}
}

func TestNewIDIsStable(t *testing.T) {
	// First eight bytes of SHA-256("vm\x00a"): stored in every row that was ever written, so it can never change.
	if got, want := flow.NewID(flow.KindVM, "a"), flow.ID(0x043b6217a445ca76); got != want {
		t.Errorf("NewID(vm, a) = %#x, want %#x", got, want)
	}
	if flow.NewID(flow.KindVIF, "a") == flow.NewID(flow.KindVM, "a") {
		t.Error("ids of different kinds with one key are equal")
	}
}
