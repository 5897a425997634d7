package rollup

import "github.com/weirhq/weir/flow"

// columns are the rows of one table, turned into columns; its memory serves one table after the other.
type columns struct {
	slot, bucket                      flow.Column[uint32] // seconds since epoch
	exporter                          flow.Column[flow.Addr]
	host, network, srcVM, dstVM, rule flow.Column[uint64]
	group                             flow.Column[uint64]
	protocol, end                     flow.Column[uint8]
	service, collector                flow.Column[uint16]
	stage                             flow.Column[flow.Stage]
	verdict                           flow.Column[flow.Verdict]
	counted, folded                   flow.Column[bool]
	batch, bytes, packets, flows      flow.Column[uint64]
	list                              []flow.NativeColumn
}

// fill returns column c with room for rows, each set to of(row).
func fill[T any, C ~[]T](c *C, rows int, of func(i int) T) *C {
	if cap(*c) < rows {
		*c = make(C, rows+rows/4)
	}
	*c = (*c)[:rows]
	for i := range *c {
		(*c)[i] = of(i)
	}
	return c
}

const (
	typeTime = "DateTime('UTC')"
	typeEnd  = "Enum8('in' = 1, 'out' = 2, 'both' = 3)"
)

// The types of columns stage and verdict, as in table flows.
var typeStage, typeVerdict = typeOf("stage"), typeOf("verdict")

func typeOf(column string) string {
	f, ok := flow.FieldByName(column)
	if !ok {
		panic("BUG: flow.Fields has no " + column)
	}
	return f.Type
}

func (c *columns) ofMinute(a *Aggregator) []flow.NativeColumn {
	k, n := a.minute.keys, len(a.minute.keys)
	c.list = append(c.list[:0],
		flow.NativeColumn{Name: "bucket", Type: typeTime, Cells: fill(&c.bucket, n, func(i int) uint32 { return k[i].bucket * 60 })},
		flow.NativeColumn{Name: "exporter", Type: "IPv6", Cells: fill(&c.exporter, n, func(i int) flow.Addr { return a.exporters.keys[k[i].exporter] })},
		flow.NativeColumn{Name: "host", Type: "UInt64", Cells: fill(&c.host, n, func(i int) uint64 { return k[i].host })},
		flow.NativeColumn{Name: "network", Type: "UInt64", Cells: fill(&c.network, n, func(i int) uint64 { return k[i].network })},
		flow.NativeColumn{Name: "src_vm", Type: "UInt64", Cells: fill(&c.srcVM, n, func(i int) uint64 { return k[i].srcVM })},
		flow.NativeColumn{Name: "dst_vm", Type: "UInt64", Cells: fill(&c.dstVM, n, func(i int) uint64 { return k[i].dstVM })},
		flow.NativeColumn{Name: "protocol", Type: "UInt8", Cells: fill(&c.protocol, n, func(i int) uint8 { return k[i].protocol })},
		flow.NativeColumn{Name: "service", Type: "UInt16", Cells: fill(&c.service, n, func(i int) uint16 { return k[i].service })},
		flow.NativeColumn{Name: "rule_id", Type: "UInt64", Cells: fill(&c.rule, n, func(i int) uint64 { return k[i].rule })},
		flow.NativeColumn{Name: "stage", Type: typeStage, Cells: fill(&c.stage, n, func(i int) flow.Stage { return k[i].stage })},
		flow.NativeColumn{Name: "verdict", Type: typeVerdict, Cells: fill(&c.verdict, n, func(i int) flow.Verdict { return k[i].verdict })},
		flow.NativeColumn{Name: "counted", Type: "Bool", Cells: fill(&c.counted, n, func(i int) bool { return k[i].counted })},
	)
	return c.figures(a.minute.sums)
}

func (c *columns) ofReceived(a *Aggregator) []flow.NativeColumn {
	k, n := a.received.keys, len(a.received.keys)
	c.list = append(c.list[:0],
		flow.NativeColumn{Name: "bucket", Type: typeTime, Cells: fill(&c.bucket, n, func(i int) uint32 { return k[i].bucket * 60 })},
		flow.NativeColumn{Name: "exporter", Type: "IPv6", Cells: fill(&c.exporter, n, func(i int) flow.Addr { return a.exporters.keys[k[i].exporter] })},
		flow.NativeColumn{Name: "network", Type: "UInt64", Cells: fill(&c.network, n, func(i int) uint64 { return k[i].network })},
		flow.NativeColumn{Name: "src_vm", Type: "UInt64", Cells: fill(&c.srcVM, n, func(i int) uint64 { return k[i].srcVM })},
		flow.NativeColumn{Name: "dst_vm", Type: "UInt64", Cells: fill(&c.dstVM, n, func(i int) uint64 { return k[i].dstVM })},
		flow.NativeColumn{Name: "rule_id", Type: "UInt64", Cells: fill(&c.rule, n, func(i int) uint64 { return k[i].rule })},
		flow.NativeColumn{Name: "stage", Type: typeStage, Cells: fill(&c.stage, n, func(i int) flow.Stage { return k[i].stage })},
		flow.NativeColumn{Name: "verdict", Type: typeVerdict, Cells: fill(&c.verdict, n, func(i int) flow.Verdict { return k[i].verdict })},
		flow.NativeColumn{Name: "counted", Type: "Bool", Cells: fill(&c.counted, n, func(i int) bool { return k[i].counted })},
	)
	return c.figures(a.received.sums)
}

func (c *columns) ofGroup(a *Aggregator) []flow.NativeColumn {
	k, n := a.group.keys, len(a.group.keys)
	c.list = append(c.list[:0],
		flow.NativeColumn{Name: "bucket", Type: typeTime, Cells: fill(&c.bucket, n, func(i int) uint32 { return k[i].bucket * 60 })},
		flow.NativeColumn{Name: "group", Type: "UInt64", Cells: fill(&c.group, n, func(i int) uint64 { return k[i].group })},
		flow.NativeColumn{Name: "end", Type: typeEnd, Cells: fill(&c.end, n, func(i int) uint8 { return uint8(k[i].end) })},
		flow.NativeColumn{Name: "protocol", Type: "UInt8", Cells: fill(&c.protocol, n, func(i int) uint8 { return k[i].protocol })},
		flow.NativeColumn{Name: "stage", Type: typeStage, Cells: fill(&c.stage, n, func(i int) flow.Stage { return k[i].stage })},
		flow.NativeColumn{Name: "verdict", Type: typeVerdict, Cells: fill(&c.verdict, n, func(i int) flow.Verdict { return k[i].verdict })},
		flow.NativeColumn{Name: "counted", Type: "Bool", Cells: fill(&c.counted, n, func(i int) bool { return k[i].counted })},
	)
	return c.figures(a.group.sums)
}

func (c *columns) figures(s []sums) []flow.NativeColumn {
	c.list = append(c.list,
		flow.NativeColumn{Name: "bytes", Type: "UInt64", Cells: fill(&c.bytes, len(s), func(i int) uint64 { return s[i].bytes })},
		flow.NativeColumn{Name: "packets", Type: "UInt64", Cells: fill(&c.packets, len(s), func(i int) uint64 { return s[i].packets })},
		flow.NativeColumn{Name: "flows", Type: "UInt64", Cells: fill(&c.flows, len(s), func(i int) uint64 { return s[i].flows })},
	)
	return c.list
}

// common adds what every row of a block has in common: who wrote it, its slot (seconds since epoch) and batch.
func (c *columns) common(list []flow.NativeColumn, rows int, collector uint16, slot uint32, batch uint64) []flow.NativeColumn {
	c.list = append(list,
		flow.NativeColumn{Name: "collector", Type: "UInt16", Cells: fill(&c.collector, rows, func(int) uint16 { return collector })},
		flow.NativeColumn{Name: "slot", Type: typeTime, Cells: fill(&c.slot, rows, func(int) uint32 { return slot })},
		flow.NativeColumn{Name: "folded", Type: "Bool", Cells: fill(&c.folded, rows, func(int) bool { return false })},
		flow.NativeColumn{Name: "batch", Type: "UInt64", Cells: fill(&c.batch, rows, func(int) uint64 { return batch })},
	)
	return c.list
}
