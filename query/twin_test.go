package query_test

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/weirhq/weir/flow"
	"github.com/weirhq/weir/internal/chance"
	"github.com/weirhq/weir/query"
	"github.com/weirhq/weir/query/rollup"
)

// The slow twin answers requests in plain Go over the rows of a batch, as the reference of the filter language says.

// entity is what the twin knows by name.
type entity struct {
	kind flow.Kind
	id   uint64
	name string
	key  string
}

type twin struct {
	rows     *flow.Batch
	entities []entity
}

// value is a key or a number as 16 bytes, big endian: comparable, and ordered as ClickHouse orders it.
type value [16]byte

func number(n uint64) (v value) {
	binary.BigEndian.PutUint64(v[8:], n)
	return v
}

func (v value) number() uint64 { return binary.BigEndian.Uint64(v[8:]) }

// column returns the values of a logical column in row i: one, or those of a list.
func (w *twin) column(name string, i int) []value {
	switch name {
	case "service":
		return []value{number(uint64(query.ServicePort(w.rows.SrcPort[i], w.rows.DstPort[i])))}
	case "dscp":
		return []value{number(uint64(w.rows.TOS[i] >> 2))}
	}
	switch x := w.rows.Value(name, i).(type) {
	case flow.Addr:
		return []value{value(x)}
	case bool:
		if x {
			return []value{number(1)}
		}
		return []value{number(0)}
	case []uint64:
		var list []value
		for _, id := range x {
			list = append(list, number(id))
		}
		return list
	default:
		r := reflect.ValueOf(x)
		if r.CanInt() {
			return []value{number(uint64(r.Int()))}
		}
		return []value{number(r.Uint())}
	}
}

// columns returns the logical columns that f means in a request of that direction.
func columns(f *query.Field, d query.Direction) []string {
	c := f.Columns()
	if f.Either() && d == query.Inbound {
		return c[1:]
	}
	if f.Either() && d == query.Outbound {
		return c[:1]
	}
	return c
}

// holds evaluates a filter.
func (w *twin) holds(e query.Expr, i int, d query.Direction) bool {
	switch e := e.(type) {
	case nil:
		return true
	case *query.And:
		return !slices.ContainsFunc(e.Terms, func(t query.Expr) bool { return !w.holds(t, i, d) })
	case *query.Or:
		return slices.ContainsFunc(e.Terms, func(t query.Expr) bool { return w.holds(t, i, d) })
	case *query.Not:
		return !w.holds(e.X, i, d)
	case *query.Compare:
		positive := map[query.Op]query.Op{query.Ne: query.Eq, query.NotIn: query.In, query.NotLike: query.Like, query.NotHas: query.Has}
		if op, ok := positive[e.Op]; ok {
			return !w.holds(&query.Compare{Field: e.Field, Op: op, Values: e.Values}, i, d)
		}
		for _, c := range columns(e.Field, d) {
			for _, v := range e.Values {
				if w.matches(e, v, w.column(c, i)) {
					return true
				}
			}
		}
		return false
	default:
		panic(e)
	}
}

// matches evaluates a comparison of one column with one value.
func (w *twin) matches(e *query.Compare, v query.Value, cell []value) bool {
	if v.Kind == query.Anything {
		return true
	}
	if e.Field.Type == query.Group || e.Field.Type == query.Entity {
		if v.Kind == query.NoEntity {
			return len(cell) == 0 || cell[0].number() == 0
		}
		return slices.ContainsFunc(cell, func(id value) bool { return w.isNamed(e.Field, v, id.number()) })
	}
	if v.Kind == query.Addresses {
		from, to := v.From.As16(), v.To.As16()
		return bytes.Compare(cell[0][:], from[:]) >= 0 && bytes.Compare(cell[0][:], to[:]) <= 0
	}
	n := cell[0].number()
	switch e.Op {
	case query.Lt:
		return n < v.Low
	case query.Le:
		return n <= v.Low
	case query.Gt:
		return n > v.Low
	case query.Ge:
		return n >= v.Low
	case query.Has:
		return n&v.Low == v.Low
	default:
		return v.Low <= n && n <= v.High
	}
}

// isNamed reports whether the value of a filter names the id.
func (w *twin) isNamed(f *query.Field, v query.Value, id uint64) bool {
	if v.Kind == query.ByID {
		return id == v.Low
	}
	for _, e := range w.entities {
		if e.id != id || !slices.Contains(f.Kinds, e.kind) {
			continue
		}
		if v.Kind == query.ByPattern {
			return glob(strings.ToLower(v.Text), strings.ToLower(e.name))
		}
		return e.name == v.Text || e.key == v.Text || e.key == strings.ToLower(v.Text)
	}
	return false
}

func glob(pattern, s string) bool {
	switch {
	case pattern == "":
		return s == ""
	case pattern[0] == '*':
		return glob(pattern[1:], s) || s != "" && glob(pattern, s[1:])
	case s == "":
		return false
	default:
		return (pattern[0] == '?' || pattern[0] == s[0]) && glob(pattern[1:], s[1:])
	}
}

// counts returns by how much sums take row i: 0, once, or, of packets that were not delivered after all, once less.
func (w *twin) counts(r query.Request, by []*query.Field, filter query.Expr, i int) int64 {
	dropped := slices.Contains([]flow.Verdict{flow.VerdictDenied, flow.VerdictSpoofed, flow.VerdictInvalid, flow.VerdictUnknownPort}, w.rows.Verdict[i])
	passed := w.rows.Verdict[i] == flow.VerdictAllowed || w.rows.Verdict[i] == flow.VerdictUnknown
	copied := w.rows.Stage[i] == flow.StageIngress && w.rows.DstVM[i] == 0 // perhaps of a packet to many
	switch {
	case r.Traffic == query.Denied && dropped:
		return 1
	case r.Traffic == query.Denied:
		return 0
	case r.Traffic == query.Delivered && w.rows.Counted[i] && passed:
		return 1
	case r.Traffic == query.Delivered && !w.rows.Counted[i] && dropped && !copied:
		return -1
	case r.Traffic == query.Delivered:
		return 0
	case w.seen(r, by, filter, i):
		return 1
	}
	return 0
}

// seen reports whether sums of all traffic take row i.
func (w *twin) seen(r query.Request, by []*query.Field, filter query.Expr, i int) bool {
	mentions := map[string]bool{}
	for _, f := range by {
		mentions[f.Name] = true
	}
	if filter != nil {
		for _, f := range speaksOf(filter) {
			mentions[f] = true
		}
	}
	switch {
	case r.Observations || mentions["counted"] || mentions["stage"]:
		return true
	case mentions["verdict"] || mentions["rule"] || mentions["rule_instance"]:
		return w.rows.Counted[i] || w.rows.Verdict[i] > flow.VerdictAllowed
	default:
		return w.rows.Counted[i]
	}
}

// speaksOf returns the fields that the filter compares with something; to compare with any says nothing.
func speaksOf(e query.Expr) (fields []string) {
	switch e := e.(type) {
	case *query.And:
		for _, t := range e.Terms {
			fields = append(fields, speaksOf(t)...)
		}
	case *query.Or:
		for _, t := range e.Terms {
			fields = append(fields, speaksOf(t)...)
		}
	case *query.Not:
		return speaksOf(e.X)
	case *query.Compare:
		if !slices.ContainsFunc(e.Values, func(v query.Value) bool { return v.Kind == query.Anything }) {
			fields = []string{e.Field.Name}
		}
	}
	return fields
}

// sums are the figures of a group: bytes, packets, flows; each in all, in, and out.
type sums [3][3]int64

func (s *sums) add(o sums) {
	for i := range s {
		for j := range s[i] {
			s[i][j] += o[i][j]
		}
	}
}

func (s *sums) less(o sums) {
	for i := range s {
		for j := range s[i] {
			s[i][j] -= o[i][j]
		}
	}
}

// group is one row of an answer.
type group struct {
	step int64 // of a series, s
	row  string
	keys []value
	sums sums

	first, last int64 // time of the first and the last row, s
}

// saw takes the time of a row.
func (g *group) saw(s int64) {
	if g.first == 0 {
		g.first = s
	}
	g.first, g.last = min(g.first, s), max(g.last, s)
}

// answer returns the rows of the answer to a top or a series.
func (w *twin) answer(r query.Request, p *query.Plan) []group {
	filter, err := query.Parse(r.Filter)
	if err != nil {
		panic(err)
	}
	var by []*query.Field
	for _, name := range r.By {
		f, _ := query.FieldByName(name)
		by = append(by, f)
	}
	type slot struct {
		step int64
		keys string
	}
	groups := map[slot]*group{}
	total, joined := map[int64]*group{}, map[int64]*group{}
	at := func(m map[int64]*group, step int64, row string) *group {
		if m[step] == nil {
			m[step] = &group{step: step, row: row, keys: make([]value, len(by))}
		}
		return m[step]
	}
	all := map[string]*group{}
	for i := range w.rows.Len() {
		ms := w.rows.TimeReceived[i]
		times := w.counts(r, by, filter, i)
		if ms < p.From.UnixMilli() || ms >= p.To.UnixMilli() || times == 0 || !w.holds(filter, i, r.Direction) {
			continue
		}
		step := int64(0)
		if r.Kind == query.Series {
			seconds := int64(time.Duration(p.Step) / time.Second)
			step = ms / 1000 / seconds * seconds
		}
		rate := times * int64(w.rows.SamplingRate[i])
		figures := [3]int64{int64(w.rows.Bytes[i]) * rate, int64(w.rows.Packets[i]) * rate, times}
		combos := w.combinations(by, i, r.Direction)
		for n, keys := range combos {
			in, out := w.sides(r, by, filter, keys, i)
			var s sums
			for m, x := range figures {
				s[m] = [3]int64{x, 0, 0}
				if in {
					s[m][1] = x
				}
				if out {
					s[m][2] = x
				}
			}
			id := fmt.Sprint(keys)
			if groups[slot{step, id}] == nil {
				groups[slot{step, id}] = &group{step: step, row: query.RowTop, keys: keys}
			}
			groups[slot{step, id}].sums.add(s)
			groups[slot{step, id}].saw(ms / 1000)
			if all[id] == nil {
				all[id] = &group{keys: keys}
			}
			all[id].sums.add(s)
			at(joined, step, query.RowOther).sums.add(s)
			t := at(total, step, query.RowTotal)
			t.saw(ms / 1000)
			if n > 0 { // of the total each flow is once, of its in and out as often as it has values
				for m := range s {
					s[m][0] = 0
				}
			}
			t.sums.add(s)
		}
	}
	limit := r.Limit
	if limit == 0 {
		limit = 10
	}
	measure := measureOf(r)
	rank := func(a, b *group) int {
		if c := cmp.Compare(b.sums[measure][0], a.sums[measure][0]); c != 0 {
			if r.Bottom {
				return -c
			}
			return c
		}
		return slices.CompareFunc(a.keys, b.keys, func(x, y value) int { return bytes.Compare(x[:], y[:]) })
	}
	var ranked []*group
	for _, g := range all {
		ranked = append(ranked, g)
	}
	slices.SortFunc(ranked, rank)
	best := map[string]bool{}
	for _, g := range ranked[:min(limit, len(ranked))] {
		best[fmt.Sprint(g.keys)] = true
	}
	var answer []group
	var steps []int64
	for step := range total {
		steps = append(steps, step)
	}
	slices.Sort(steps)
	for _, step := range steps {
		var list []*group
		others := 0
		for s, g := range groups {
			switch {
			case s.step != step:
			case best[s.keys] && len(by) > 0:
				list = append(list, g)
				joined[step].sums.less(g.sums)
			default:
				others++
			}
		}
		slices.SortFunc(list, rank)
		for _, g := range list {
			answer = append(answer, *g)
		}
		if r.Other && len(by) > 0 && (r.Kind == query.Series && others > 0 || r.Kind == query.Top && joined[step].sums[measure][0] > 0) {
			answer = append(answer, *joined[step])
		}
		if r.Total || len(by) == 0 {
			answer = append(answer, *total[step])
		}
	}
	return answer
}

// combinations returns the groups of row i: every combination of the values of the fields.
func (w *twin) combinations(by []*query.Field, i int, d query.Direction) [][]value {
	combos := [][]value{{}}
	for _, f := range by {
		var values []value
		for _, c := range columns(f, d) {
			for _, v := range w.column(c, i) {
				if !slices.Contains(values, v) {
					values = append(values, v)
				}
			}
		}
		if len(values) > 1 {
			values = slices.DeleteFunc(values, func(v value) bool { return v == value{} })
		}
		if len(values) == 0 {
			values = []value{{}}
		}
		var next [][]value
		for _, combo := range combos {
			for _, v := range values {
				next = append(next, append(slices.Clone(combo), v))
			}
		}
		combos = next
	}
	return combos
}

// sides reports whether a row is in and whether it is out, of the group that has those keys.
func (w *twin) sides(r query.Request, by []*query.Field, filter query.Expr, keys []value, i int) (in, out bool) {
	if !r.Split {
		return false, false
	}
	for k, f := range by {
		if !f.Either() {
			continue
		}
		has := func(c string) bool {
			v := w.column(c, i)
			return slices.Contains(v, keys[k])
		}
		return has(f.Columns()[1]), has(f.Columns()[0])
	}
	return w.holds(filter, i, query.Inbound), w.holds(filter, i, query.Outbound)
}

func measureOf(r query.Request) int {
	if len(r.Units) == 0 {
		return 0
	}
	return measureOfUnit(r.Units[0])
}

func measureOfUnit(u query.Unit) int {
	switch u {
	case query.Packets, query.PPS:
		return 1
	case query.Flows, query.FPS:
		return 2
	default:
		return 0
	}
}

// text renders a group as the plan's columns do, names apart.
func (g group) text(r query.Request, p *query.Plan, totals map[int64]sums) string {
	var s strings.Builder
	seconds := p.To.Sub(p.From).Seconds()
	if r.Kind == query.Series {
		seconds = time.Duration(p.Step).Seconds()
	}
	key, figure := 0, 0
	for _, c := range p.Columns {
		switch c.Role {
		case query.RoleTime:
			fmt.Fprintf(&s, "%s=%d ", c.Name, map[string]int64{"first_seen": g.first, "last_seen": g.last}[c.Name]+g.step)
		case query.RoleRow:
			fmt.Fprintf(&s, "%s ", g.row)
		case query.RoleKey:
			f, _ := query.FieldByName(c.Field)
			fmt.Fprintf(&s, "%s=%s ", c.Name, keyText(f, g.keys[key]))
			key++
		case query.RoleValue:
			side := 0
			if r.Split {
				side = figure % 3
			}
			figure++
			n := float64(max(0, g.sums[measureOfUnit(c.Unit)][side]))
			switch c.Unit {
			case query.Bits:
				n *= 8
			case query.BPS:
				n = n * 8 / seconds
			case query.PPS, query.FPS:
				n /= seconds
			default:
			}
			fmt.Fprintf(&s, "%s=%s ", c.Name, figureText(n))
		case query.RoleShare:
			whole := totals[g.step]
			share := 0.0
			if whole[measureOf(r)][0] > 0 {
				share = float64(max(0, g.sums[measureOf(r)][0])) / float64(whole[measureOf(r)][0])
			}
			fmt.Fprintf(&s, "%s=%s ", c.Name, figureText(share))
		default: // names are not the twin's business
		}
	}
	return s.String()
}

func figureText(x float64) string { return strconv.FormatFloat(x, 'g', 12, 64) }

func keyText(f *query.Field, v value) string {
	switch f.Type {
	case query.Address:
		return netip.AddrFrom16(v).Unmap().String()
	case query.Enum, query.Bool:
		return f.Format(v.number())
	default:
		return strconv.FormatUint(v.number(), 10)
	}
}

// cellText renders a cell of an answer of ClickHouse as text does.
func cellText(c query.Column, cell any) string {
	switch x := cell.(type) {
	case net.IP:
		a, _ := netip.AddrFromSlice(x)
		return a.Unmap().String()
	case time.Time:
		return strconv.FormatInt(x.Unix(), 10)
	}
	if c.Role == query.RoleValue || c.Role == query.RoleShare {
		v := reflect.ValueOf(cell)
		if v.CanFloat() {
			return figureText(v.Float())
		}
		return figureText(float64(v.Uint()))
	}
	return fmt.Sprint(cell)
}

func randomBatch(r *rand.Rand, n int, from time.Time, span time.Duration, entities []entity) *flow.Batch {
	b := flow.NewBatch(n)
	b.Grow(n)
	id := func(kind flow.Kind) uint64 {
		var ids []uint64
		for _, e := range entities {
			if e.kind == kind {
				ids = append(ids, e.id)
			}
		}
		if r.IntN(4) == 0 {
			return 0
		}
		return ids[r.IntN(len(ids))]
	}
	addr := func() flow.Addr {
		pool := []string{"10.0.0.1", "10.0.0.7", "10.200.0.1", "1.2.3.4", "192.0.2.9", "2001:db8::1", "2001:db8:8000::2", "::", "fe80::1"}
		return netip.MustParseAddr(pool[r.IntN(len(pool))]).As16()
	}
	groups := func() []uint64 {
		var list []uint64
		for _, e := range entities {
			if (e.kind == flow.KindAddressGroup || e.kind == flow.KindVMGroup) && r.IntN(3) == 0 {
				list = append(list, e.id)
			}
		}
		slices.Sort(list)
		return list
	}
	port := func() uint16 {
		return []uint16{0, 7, 22, 53, 443, 8080, 33000, 51820, 60000, 65535}[r.IntN(10)]
	}
	mac := func() uint64 { return []uint64{0, 0x525400000001, 0x525400abcdef}[r.IntN(3)] }
	for i := range n {
		b.TimeReceived[i] = from.UnixMilli() + int64(i)*span.Milliseconds()/int64(n)
		b.Duration[i] = []uint32{0, 500, 10_000, 3_600_000}[r.IntN(4)]
		b.StartAge[i] = int64(b.Duration[i])
		b.Exporter[i], b.SrcAddr[i], b.DstAddr[i] = addr(), addr(), addr()
		b.ObservationDomain[i], b.Version[i] = r.Uint32N(3), []uint8{5, 9, 10}[r.IntN(3)]
		b.SamplingRate[i], b.SamplingAssumed[i] = []uint32{1, 1, 7, 100}[r.IntN(4)], r.IntN(2) == 0
		b.SrcPort[i], b.DstPort[i] = port(), port()
		b.Protocol[i], b.Ethertype[i] = []uint8{1, 6, 17, 47, 254}[r.IntN(5)], []uint16{0, 77, 0x0800, 0x86dd, 0x88a8}[r.IntN(5)]
		b.Bytes[i], b.Packets[i] = uint64(r.IntN(3_000_000)), uint64(r.IntN(12_000))
		b.BytesLayer[i] = []flow.BytesLayer{0, 2, 3}[r.IntN(3)]
		b.TCPFlags[i], b.TOS[i] = []uint16{0, 2, 18, 0x200, 0x10c}[r.IntN(5)], []uint8{0, 184, 136, 255}[r.IntN(4)]
		b.ICMPType[i], b.ICMPCode[i] = uint8(r.IntN(20)), uint8(r.IntN(3))
		b.InIf[i], b.OutIf[i] = r.Uint32N(9), r.Uint32N(9)
		b.SrcMAC[i], b.DstMAC[i] = mac(), mac()
		b.VLANIn[i], b.VLANOut[i], b.VRFIn[i], b.VRFOut[i] = uint16(r.IntN(9)), uint16(r.IntN(9)), r.Uint32N(9), r.Uint32N(9)
		b.Application[i], b.Observed[i] = uint64(r.IntN(9)), flow.Observed(r.IntN(3))
		b.ForwardingStatus[i], b.EndReason[i], b.ObservationPoint[i] = uint8(r.IntN(9)), uint8(r.IntN(6)), r.Uint32N(9)
		b.Direction[i] = flow.Direction(r.IntN(4))
		b.Pool[i], b.Host[i], b.Bridge[i] = id(flow.KindPool), id(flow.KindHost), id(flow.KindBridge)
		b.Network[i], b.SrcVM[i], b.DstVM[i] = id(flow.KindNetwork), id(flow.KindVM), id(flow.KindVM)
		b.SrcVIF[i], b.DstVIF[i], b.RuleID[i] = id(flow.KindVIF), id(flow.KindVIF), id(flow.KindRule)
		b.RuleInstance[i], b.Stage[i], b.Verdict[i] = r.Uint32N(9), flow.Stage(r.IntN(5)), flow.Verdict(r.IntN(7))
		b.Counted[i], b.ID[i] = r.IntN(3) > 0, uint64(r.IntN(9))
		b.SrcGroups.Set(i, groups())
	}
	for i := range n {
		b.DstGroups.Set(i, groups())
	}
	return b
}

// estateOf has entities of every kind under the names that randomExpr uses; some names are of several.
func estateOf() []entity {
	var all []entity
	for _, kind := range flow.Kinds {
		for i, name := range []string{"web-01", "web-02", "db", "a b", "50%_x", "web-01"} {
			key := fmt.Sprintf("%s/%d", kind, i)
			if i == 2 {
				key = "0f3c7e7e-0000-4000-8000-00000000000a"
			}
			all = append(all, entity{kind, uint64(flow.NewID(kind, key)), name, key})
		}
	}
	all[0].id = 12345 // "#12345" of randomExpr
	return all
}

func (e *engine) insert(t *testing.T, w *twin) {
	t.Helper()
	batch, err := e.writer.Conn().PrepareBatch(t.Context(), "INSERT INTO entities (id, valid_from, kind, key, name)")
	if err != nil {
		t.Fatal(err)
	}
	for _, x := range w.entities {
		if err := batch.Append(x.id, now, string(x.kind), x.key, x.name); err != nil {
			t.Fatal(err)
		}
	}
	if err := batch.Send(); err != nil {
		t.Fatal(err)
	}
	if err := e.writer.Exec(t.Context(), "SYSTEM RELOAD DICTIONARY entity_now"); err != nil {
		t.Fatal(err)
	}
	if _, err := e.writer.InsertNative(t.Context(), "flows", w.rows.AppendNative(nil), ""); err != nil {
		t.Fatal(err)
	}
}

func randomRequest(r *rand.Rand, from, to time.Time) query.Request {
	q := query.Request{
		Kind: query.Top, From: from.Add(time.Duration(r.IntN(600)) * time.Second), To: to.Add(-time.Duration(r.IntN(600)) * time.Second),
		Limit: 1 + r.IntN(12), Bottom: r.IntN(5) == 0, Other: r.IntN(2) == 0, Total: r.IntN(2) == 0, Observations: r.IntN(6) == 0,
		Direction: []query.Direction{query.Both, query.Both, query.Inbound, query.Outbound}[r.IntN(4)],
	}
	if r.IntN(3) == 0 {
		q.Kind, q.Step = query.Series, query.Duration([]time.Duration{time.Minute, 7 * time.Minute, time.Hour}[r.IntN(3)])
	}
	for range r.IntN(4) {
		if f := query.Fields[r.IntN(len(query.Fields))]; f.Groupable() && !slices.Contains(q.By, f.Name) {
			q.By = append(q.By, f.Name)
		}
	}
	if r.IntN(6) == 0 { // one way, these are the same column
		q.By = slices.Clone([][]string{{"group", "src_group"}, {"dst_group", "group"}, {"src_group", "group", "dst_group"}, {"vm", "src_vm"}}[r.IntN(4)])
	}
	for range r.IntN(3) {
		if u := query.Units[r.IntN(len(query.Units))]; !slices.Contains(q.Units, u) {
			q.Units = append(q.Units, u)
		}
	}
	if r.IntN(3) > 0 {
		q.Filter = randomExpr(r, r.IntN(3))
	}
	q.Split = q.Direction == query.Both && r.IntN(2) == 0
	q.Seen = q.Kind == query.Top && !q.Other && !q.Total && r.IntN(2) == 0
	if q.Seen {
		q.Traffic = []query.Traffic{"", query.Denied}[r.IntN(2)]
		q.Observations = q.Observations && q.Traffic == ""
	} else if !q.Observations {
		q.Traffic = []query.Traffic{"", query.Seen, query.Denied, query.Delivered}[r.IntN(4)]
	}
	return q
}

// Random requests over random rows: ClickHouse answers the planner's SQL as the twin answers the request.
func TestTwin(t *testing.T) {
	r := rand.New(rand.NewPCG(chance.Seed(t), 2))
	e := newEngine(t)
	// The store lets rows expire, so the hour lies an hour back.
	from := time.Now().Add(-2 * time.Hour).Truncate(time.Hour).UTC()
	to := from.Add(time.Hour)
	w := &twin{entities: estateOf()}
	w.rows = randomBatch(r, 1500, from, time.Hour, w.entities)
	e.insert(t, w)
	asked, rows, delivered := 0, 0, 0
	for enough := time.Now().Add(10 * time.Second); asked < 300 && (asked < 10 || delivered == 0 || time.Now().Before(enough)); {
		q := randomRequest(r, from, to)
		p, err := query.Build(q, query.Tables[:1], time.Now()) // the table of single records: what the twin has
		if err != nil {
			if q.Split || q.Traffic == query.Delivered { // of nothing, or of several fields; of what is of observations
				continue
			}
			t.Fatalf("Build(%+v): %v", q, err)
		}
		asked++
		got := e.answer(t, q, p)
		answer := w.answer(q, p)
		totals := map[int64]sums{}
		for _, g := range answer {
			if g.row == query.RowTotal {
				totals[g.step] = g.sums
			}
		}
		var want []string
		for _, g := range answer {
			want = append(want, g.text(q, p, totals))
		}
		rows += len(want)
		if q.Traffic == query.Delivered {
			delivered += len(want)
		}
		if len(want) == 0 && len(got) <= 1 {
			continue // no row, or one with a total of 0
		}
		if !slices.Equal(got, want) {
			t.Fatalf("request %+v\nClickHouse:\n  %s\ntwin:\n  %s\n%s", q, strings.Join(got, "\n  "), strings.Join(want, "\n  "), golden(p))
		}
	}
	t.Logf("%d requests with %d rows of answers, %d of what was delivered", asked, rows, delivered)
	if delivered == 0 {
		t.Error("nothing was asked of what was delivered")
	}
}

// What a rollup answers is what the single records answer, where both know the times: every flow here lived in the
// instant in which it was received, and ranges are of whole buckets.
func TestRollupsAnswerAsSingleRecords(t *testing.T) {
	seed := chance.Seed(t)
	r := rand.New(rand.NewPCG(seed, 4))
	e := newEngine(t)
	to := time.Now().Add(-time.Hour).Truncate(time.Hour).UTC()
	from := to.Add(-12 * time.Hour)
	w := &twin{entities: estateOf()}
	w.rows = randomBatch(r, 1500, from, to.Sub(from), w.entities)
	for i := range w.rows.Len() {
		w.rows.StartAge[i], w.rows.Duration[i] = 0, 0
		w.rows.Host[i], w.rows.Pool[i] = w.entities[0].id, 0 // rollups know the pool by its host, and here it has none
	}
	e.insert(t, w)
	rollup.New(seed).Derive([]*flow.Batch{w.rows}, 1, from, func(table, partition string, rows int, encode func([]byte) []byte) {
		if _, err := e.writer.InsertNative(t.Context(), table, encode(nil), ""); err != nil {
			t.Fatal(err)
		}
	})
	var known []query.KnownEntity
	for _, x := range w.entities {
		known = append(known, query.KnownEntity{Kind: string(x.kind), Name: x.name, Key: x.key})
	}
	asked, parts := map[string]int{}, map[int]int{}
	enough := time.Now().Add(5 * time.Second)
	for n := 0; n < 10_000 && (len(asked) < len(query.Tables)-1 || parts[3] == 0 || time.Now().Before(enough)); n++ {
		q := randomRequest(r, from, to)
		q.Seen = false // buckets are coarser
		q.From, q.To = from, to
		if r.IntN(2) == 0 {
			q.From, q.To = from.Add(time.Duration(r.IntN(100))*time.Minute), to.Add(-time.Duration(r.IntN(100))*time.Minute)
		}
		switch r.IntN(5) {
		case 0:
			q.Basis = query.Received
		case 1:
			q.By, q.Filter, q.Total = []string{"group"}, []string{"", "protocol = udp"}[r.IntN(2)], false
		}
		coarse, err := query.Build(q, query.Tables, time.Now())
		if err != nil || coarse.Table == query.Tables[0].Name {
			continue
		}
		if query.Several(coarse.Names, known) { // as callers do
			if coarse, err = query.Build(q, query.Single(query.Tables), time.Now()); err != nil || coarse.Table == query.Tables[0].Name {
				continue
			}
		}
		q.From, q.To = coarse.From, coarse.To // widened to whole buckets
		fine, err := query.Build(q, query.Tables[:1], time.Now())
		if err != nil {
			t.Fatalf("Build(%+v): %v", q, err)
		}
		got, want := e.answer(t, q, coarse), e.answer(t, q, fine)
		if !slices.Equal(got, want) {
			t.Fatalf("request %+v\n%s:\n  %s\nflows:\n  %s\n%s", q, coarse.Table, strings.Join(got, "\n  "), strings.Join(want, "\n  "), golden(coarse))
		}
		asked[coarse.Table]++
		parts[len(coarse.Parts)]++
	}
	t.Logf("asked: %v, by number of parts: %v", asked, parts)
	if parts[3] == 0 {
		t.Error("no request was answered by hours with minutes at both edges")
	}
	for _, table := range query.Tables[1:] {
		if asked[table.Name] == 0 {
			t.Errorf("no request was answered by %s", table.Name)
		}
	}
}

// answer returns ClickHouse's answer as text.
func (e *engine) answer(t *testing.T, q query.Request, p *query.Plan) []string {
	t.Helper()
	var lines []string
	for _, row := range e.query(t, p.Statement) {
		var s strings.Builder
		for i, c := range p.Columns {
			switch c.Role {
			case query.RoleName:
			case query.RoleRow:
				fmt.Fprintf(&s, "%v ", row[i])
			default:
				fmt.Fprintf(&s, "%s=%s ", c.Name, cellText(c, row[i]))
			}
		}
		lines = append(lines, s.String())
	}
	return lines
}

// A list gives the newest records that the filter takes, of every observation.
func TestTwinList(t *testing.T) {
	r := rand.New(rand.NewPCG(chance.Seed(t), 3))
	e := newEngine(t)
	from := time.Now().Add(-2 * time.Hour).Truncate(time.Hour).UTC()
	w := &twin{entities: estateOf()}
	w.rows = randomBatch(r, 1500, from, time.Hour, w.entities)
	e.insert(t, w)
	for range 40 {
		q := query.Request{Kind: query.List, From: from, To: from.Add(time.Hour), Limit: 1 + r.IntN(50), Filter: randomExpr(r, r.IntN(2))}
		p, err := query.Build(q, query.Tables, time.Now())
		if err != nil {
			t.Fatalf("Build(%+v): %v", q, err)
		}
		filter, err := query.Parse(q.Filter)
		if err != nil {
			t.Fatal(err)
		}
		var want, got []int64
		for i := w.rows.Len() - 1; i >= 0 && len(want) < q.Limit; i-- {
			if w.holds(filter, i, query.Both) {
				want = append(want, w.rows.TimeReceived[i])
			}
		}
		for _, row := range e.query(t, p.Statement) {
			got = append(got, row[0].(time.Time).UnixMilli())
		}
		if !slices.Equal(got, want) {
			t.Fatalf("filter %s: times %v, want %v", q.Filter, got, want)
		}
	}
}
