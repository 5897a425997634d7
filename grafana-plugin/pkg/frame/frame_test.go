package frame_test

import (
	"encoding/json"
	"errors"
	"math"
	"math/big"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/grafana/grafana-plugin-sdk-go/data"

	"github.com/weirhq/weir/grafana-plugin/pkg/clickhouse"
	"github.com/weirhq/weir/grafana-plugin/pkg/frame"
	"github.com/weirhq/weir/grafana-plugin/pkg/model"
	"github.com/weirhq/weir/query"
)

var begin = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

func field(t *testing.T, name string) *query.Field {
	t.Helper()
	f, ok := query.FieldByName(name)
	if !ok {
		t.Fatalf("no field %s", name)
	}
	return f
}

// rows returns an answer of columns given by name, type and values in turn.
func rows(n int, columns ...any) *clickhouse.Rows {
	r := &clickhouse.Rows{Len: n}
	for i := 0; i < len(columns); i += 3 {
		r.Columns = append(r.Columns, clickhouse.Column{Name: columns[i].(string), Type: columns[i+1].(string), Values: columns[i+2]})
	}
	return r
}

func build(t *testing.T, p *model.Plan, r *clickhouse.Rows, limits model.Limits) data.Frames {
	t.Helper()
	frames, err := frame.Build("A", p, r, limits)
	if err != nil {
		t.Fatal(err)
	}
	if len(frames) == 0 {
		t.Fatal("there is no frame")
	}
	for _, f := range frames {
		if f.RefID != "A" || f.Meta == nil || f.Meta.Type == "" || f.Meta.Type == data.FrameTypeTimeSeriesLong || f.Meta.Type == data.FrameTypeNumericLong {
			t.Errorf("frame %s of %+v", f.RefID, f.Meta)
		}
		if _, err := json.Marshal(f); err != nil {
			t.Errorf("frame is no JSON: %v", err)
		}
	}
	return frames
}

// floats returns the values of a field of numbers; NaN where there is none.
func floats(f *data.Field) []float64 {
	list := make([]float64, f.Len())
	for i := range list {
		if list[i] = math.NaN(); !f.NilAt(i) {
			list[i], _ = f.FloatAt(i)
		}
	}
	return list
}

var same = cmp.Comparer(func(a, b float64) bool { return a == b || math.IsNaN(a) && math.IsNaN(b) })

func planned(t *testing.T, format model.Format) *model.Plan {
	t.Helper()
	return &model.Plan{
		Statement: query.Statement{SQL: "SELECT 1", Params: []query.Param{{Name: "p1", Value: "a\nb"}}}, Notes: []string{"a note"},
		Shape: model.Shape{
			Format: format, From: begin, To: begin.Add(3 * time.Minute), Step: time.Minute,
			Columns: []model.Column{
				{Name: "row", Role: model.RoleRow},
				{Name: "time", Role: model.RoleTime},
				{Name: "vm", Role: model.RoleKey, Field: field(t, "vm")},
				{Name: "vm_name", Role: model.RoleName},
				{Name: "protocol", Role: model.RoleKey, Field: field(t, "protocol")},
				{Name: "bps", Role: model.RoleValue, Unit: "bps", Zero: true, Doc: "how fast"},
			},
		},
	}
}

func answer() *clickhouse.Rows {
	at := func(i int) time.Time { return begin.Add(time.Duration(i) * time.Minute) }
	return rows(5,
		"row", "String", []string{"top", "top", "top", "other", "total"},
		"time", "DateTime", []time.Time{at(2), at(0), at(1), at(1), at(1)},
		"vm", "UInt64", []uint64{7, 7, 9, 0, 0},
		"vm_name", "String", []string{"web-01", "web-01", "", "", ""},
		"protocol", "UInt8", []uint8{6, 6, 17, 0, 0},
		"bps", "Float64", []float64{20, 10, 5, 1, 36},
	)
}

func TestSeries(t *testing.T) {
	frames := build(t, planned(t, model.Timeseries), answer(), model.Limits{})
	type series struct {
		Name   string
		Labels string
		Values []float64
	}
	var got []series
	for _, f := range frames {
		if f.Meta.Type != data.FrameTypeTimeSeriesMulti || f.TimeSeriesSchema().Type != data.TimeSeriesTypeWide || f.Fields[1].Config.Unit != "bps" || f.Fields[0].Len() != 3 ||
			f.Fields[0].At(2) != begin.Add(2*time.Minute) {
			t.Errorf("frame %s", f.Name)
		}
		got = append(got, series{f.Fields[1].Config.DisplayNameFromDS, f.Fields[1].Labels.String(), floats(f.Fields[1])})
	}
	want := []series{
		{"web-01 → tcp", "protocol=tcp, vm=web-01", []float64{10, 0, 20}},
		{"#9 → udp", "protocol=udp, vm=#9", []float64{0, 5, 0}},
		{"other", "protocol=other, vm=other", []float64{0, 1, 0}},
		{"total", "protocol=total, vm=total", []float64{0, 36, 0}},
	}
	if diff := cmp.Diff(want, got, same); diff != "" {
		t.Errorf("series: -want +got\n%s", diff)
	}
	meta := frames[0].Meta
	if len(meta.Notices) != 1 || meta.Notices[0].Text != "a note" || meta.ExecutedQueryString != "-- p1 = \"a\\nb\"\nSELECT 1" {
		t.Errorf("meta %+v", meta)
	}
	frames = build(t, planned(t, model.Timeseries), answer(), model.Limits{Series: 2})
	if len(frames) != 2 || len(frames[0].Meta.Notices) != 2 || frames[0].Meta.Notices[1].Text != "only 2 of 4 series are shown: ask for fewer, or group by less" {
		t.Errorf("%d frames, %+v", len(frames), frames[0].Meta.Notices)
	}
}

// VMs of the same name, and one that has the name of a row that is no VM, are told apart.
func TestSameNames(t *testing.T) {
	r := rows(5,
		"row", "String", []string{"top", "top", "top", "top", "other"}, "time", "DateTime", []time.Time{begin, begin, begin, begin, begin},
		"vm", "UInt64", []uint64{7, 8, 9, 10, 0}, "vm_name", "String", []string{"web", "web", "db", "other", ""},
		"protocol", "UInt8", []uint8{6, 6, 6, 6, 0}, "bps", "Float64", []float64{1, 2, 3, 4, 5},
	)
	p := planned(t, model.Timeseries)
	var got []string
	for _, f := range build(t, p, r, model.Limits{}) {
		got = append(got, f.Name+": "+f.Fields[1].Labels.String())
	}
	want := []string{
		"web → tcp #7: protocol=tcp, vm=web, vm_id=#7", "web → tcp #8: protocol=tcp, vm=web, vm_id=#8", "db → tcp: protocol=tcp, vm=db",
		"other → tcp: protocol=tcp, vm=other", "other: protocol=other, vm=other",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("series: -want +got\n%s", diff)
	}
	p.Shape.Columns = append(p.Shape.Columns[:4:4], p.Shape.Columns[5])
	r.Columns = append(r.Columns[:4:4], r.Columns[5])
	seen := map[string]bool{}
	for _, f := range build(t, p, r, model.Limits{}) {
		if l := f.Fields[1].Labels.String(); seen[l] {
			t.Errorf("there are two series with labels %s", l)
		} else {
			seen[l] = true
		}
	}
}

// No rows are nothing, or of a total a line of zeros.
func TestNoRows(t *testing.T) {
	none := rows(0, "row", "String", []string{}, "time", "DateTime", []time.Time{}, "vm", "UInt64", []uint64{}, "vm_name", "String", []string{}, "protocol", "UInt8", []uint8{}, "bps", "Float64", []float64{})
	for format, want := range map[model.Format]data.FrameType{model.Timeseries: data.FrameTypeTimeSeriesMulti, model.Number: data.FrameTypeNumericMulti} {
		if frames := build(t, planned(t, format), none, model.Limits{}); len(frames) != 1 || frames[0].Meta.Type != want || len(frames[0].Fields) != 0 {
			t.Errorf("%s: %+v", format, frames)
		}
	}
	if frames := build(t, planned(t, model.Table), none, model.Limits{}); len(frames[0].Fields) != 4 || frames[0].Rows() != 0 {
		t.Errorf("table %+v", frames[0])
	}
	whole := planned(t, model.Timeseries)
	whole.Shape.Whole = true
	if frames := build(t, whole, none, model.Limits{}); len(frames) != 1 || cmp.Diff([]float64{0, 0, 0}, floats(frames[0].Fields[1])) != "" {
		t.Errorf("a total without rows: %+v", frames)
	}
}

func TestNumbersAndTable(t *testing.T) {
	frames := build(t, planned(t, model.Number), answer(), model.Limits{})
	if len(frames) != 4 || frames[0].Meta.Type != data.FrameTypeNumericMulti || len(frames[0].Fields) != 1 || floats(frames[0].Fields[0])[0] != 20 || frames[3].Fields[0].Config.DisplayNameFromDS != "total" {
		t.Errorf("%d numbers, the first %+v", len(frames), frames[0])
	}
	if n := frames[0].Meta.Notices; len(n) != 2 || !strings.Contains(n[1].Text, "2 rows of web-01 → tcp") {
		t.Errorf("notices %+v", n)
	}
	r := answer()
	r.Cut = []clickhouse.Cut{{Cap: clickhouse.CapRows, Text: "there is more"}}
	table := build(t, planned(t, model.Table), r, model.Limits{Rows: 4})[0]
	var names []string
	for _, f := range table.Fields {
		names = append(names, f.Name)
	}
	if strings.Join(names, " ") != "time vm protocol bps" || table.Rows() != 4 {
		t.Errorf("table of %v with %d rows", names, table.Rows())
	}
	for row, want := range []string{"web-01", "web-01", "#9", "other"} {
		if got := table.Fields[1].At(row); got != want {
			t.Errorf("row %d is of %v, want %s", row, got, want)
		}
	}
	if n := table.Meta.Notices; len(n) != 3 || n[1].Text != "there is more" || n[2].Text != "only the first 4 rows of 5 are shown" {
		t.Errorf("notices %+v", n)
	}
}

// Of a statement that somebody wrote, types say what columns are.
func TestInferred(t *testing.T) {
	plan := func(f model.Format) *model.Plan { return &model.Plan{Raw: true, Shape: model.Shape{Format: f}} }
	two, none := 2.5, (*float64)(nil)
	r := rows(3,
		"at", "DateTime64(3)", []time.Time{begin.Add(time.Second), begin, begin.Add(time.Second)},
		"who", "LowCardinality(String)", []string{"a", "a", "b"},
		"n", "Nullable(Float64)", []*float64{&two, none, &two},
		"m", "UInt8", []uint8{1, 2, 3},
	)
	frames := build(t, plan(model.Timeseries), r, model.Limits{})
	if len(frames) != 4 || frames[0].Fields[1].Config.DisplayNameFromDS != "a n" || cmp.Diff([]float64{math.NaN(), 2.5}, floats(frames[0].Fields[1]), same) != "" || frames[0].Fields[0].At(0) != begin {
		t.Errorf("%d series, the first %+v", len(frames), frames[0].Fields)
	}
	for format, columns := range map[model.Format]*clickhouse.Rows{
		model.Timeseries: rows(1, "n", "UInt8", []uint8{1}), model.Number: rows(1, "s", "String", []string{"x"}), model.Logs: rows(1, "s", "String", []string{"x"}),
	} {
		_, err := frame.Build("A", plan(format), columns, model.Limits{})
		if _, ok := errors.AsType[*query.Error](err); !ok {
			t.Errorf("%s of %+v: %v", format, columns.Columns, err)
		}
	}
	if _, err := frame.Build("A", plan(model.Timeseries), rows(1, "t", "DateTime", []time.Time{begin}), model.Limits{}); err == nil {
		t.Error("a series without numbers is made")
	}

	all := rows(1,
		"u64", "UInt64", []uint64{1 << 60}, "i64", "Int64", []int64{-5}, "f", "Float64", []float64{math.NaN()}, "b", "Bool", []bool{true}, "v6", "IPv6", []net.IP{net.ParseIP("::ffff:192.0.2.1")},
		"v4", "IPv4", []netip.Addr{netip.MustParseAddr("192.0.2.2")}, "arr", "Array(UInt64)", [][]uint64{{1, 2}}, "map", "Map(String, Float64)", []map[string]float64{{"x": math.Inf(1)}},
		"big", "UInt256", []*big.Int{big.NewInt(77)}, "nul", "Nullable(String)", []*string{nil}, "bytes", "FixedString(2)", []string{"a\xff"}, "when", "Nullable(DateTime)", []*time.Time{nil},
		"tuple", "Tuple(String, UInt8)", [][]any{{"a", uint8(1)}}, "long", "String", []string{strings.Repeat("é", 40_000)},
	)
	table := build(t, plan(model.Table), all, model.Limits{})[0]
	want := map[string]string{
		"u64": "1152921504606846976", "i64": "-5", "f": "null", "b": "true", "v6": "192.0.2.1", "v4": "192.0.2.2", "arr": "[1,2]", "map": `{"x":"+Inf"}`, "big": "77", "nul": "", "bytes": "a\uFFFD",
		"when": "null", "tuple": `["a",1]`,
	}
	for _, f := range table.Fields {
		got := "null"
		if !f.NilAt(0) {
			v, _ := f.ConcreteAt(0)
			b, _ := json.Marshal(v)
			if got = string(b); got[0] == '"' {
				_ = json.Unmarshal(b, &got)
			}
		}
		if f.Name == "long" {
			if len(got) > 33<<10 || !strings.HasSuffix(got, "é…") {
				t.Errorf("a long text has %d bytes", len(got))
			}
			continue
		}
		if got != want[f.Name] {
			t.Errorf("%s is %q, want %q", f.Name, got, want[f.Name])
		}
	}
}

func TestLogsAndAnnotations(t *testing.T) {
	r := rows(2,
		"time", "DateTime64(3)", []time.Time{begin, begin.Add(-time.Second)}, "text", "String", []string{"it rains", "it shone"}, "severity", "String", []string{"error", "info"},
		"id", "UInt64", []uint64{8, 7}, "attributes", "Map(String, String)", []map[string]string{{"a": "b"}, nil}, "kind", "String", []string{"rain", ""}, "tags", "Array(String)", [][]string{{"x", "y"}, {}},
	)
	columns := []model.Column{
		{Name: "time", Role: model.RoleTime},
		{Name: "text", Role: model.RoleBody},
		{Name: "severity", Role: model.RoleLevel},
		{Name: "id", Role: model.RoleID},
		{Name: "attributes", Role: model.RoleLabels},
		{Name: "kind", Role: model.RoleKey},
		{Name: "tags", Role: model.RoleTags},
	}
	columns[5].Role = model.RoleKey
	logs := build(t, &model.Plan{Shape: model.Shape{Format: model.Logs, Columns: columns[:6]}}, rows(2, "time", "", r.Columns[0].Values, "text", "", r.Columns[1].Values, "severity", "", r.Columns[2].Values,
		"id", "", r.Columns[3].Values, "attributes", "", r.Columns[4].Values, "kind", "", r.Columns[5].Values), model.Limits{})[0]
	if logs.Meta.Type != data.FrameTypeLogLines || logs.Rows() != 2 {
		t.Fatalf("logs %+v", logs.Meta)
	}
	for i, want := range []string{"timestamp", "body", "severity", "id", "labels"} {
		if logs.Fields[i].Name != want {
			t.Errorf("field %d is %s, want %s", i, logs.Fields[i].Name, want)
		}
	}
	if got := logs.Fields[4].At(0).(json.RawMessage); string(got) != `{"a":"b","kind":"rain"}` {
		t.Errorf("labels %s", got)
	}
	if got := string(logs.Fields[4].At(1).(json.RawMessage)); got != `{}` || logs.Fields[1].At(0) != "it rains" || logs.Fields[3].At(0) != "8" {
		t.Errorf("labels %s, line %v", got, logs.Fields[1].At(0))
	}
	record := func(vm uint64, name, addr string, port uint16, protocol uint8, rate uint32, verdict string) (string, string) {
		t.Helper()
		key := func(name string) model.Column {
			return model.Column{Name: name, Role: model.RoleKey, Field: field(t, name)}
		}
		f := build(t, &model.Plan{Shape: model.Shape{Format: model.Logs, Columns: []model.Column{
			{Name: "time", Role: model.RoleTime},
			key("src_vm"),
			{Name: "name", Role: model.RoleName},
			key("src_addr"), key("src_port"), key("dst_addr"), key("dst_port"),
			key("protocol"), key("bytes"), key("packets"), key("sampling_rate"), key("verdict"),
		}}}, rows(1, "time", "", []time.Time{begin}, "src_vm", "", []uint64{vm}, "name", "", []string{name}, "src_addr", "", []net.IP{net.ParseIP(addr)}, "src_port", "", []uint16{port},
			"dst_addr", "", []net.IP{net.ParseIP("192.0.2.7")}, "dst_port", "", []uint16{443}, "protocol", "", []uint8{protocol}, "bytes", "", []uint64{12}, "packets", "", []uint64{1},
			"sampling_rate", "", []uint32{rate}, "verdict", "", []string{verdict}), model.Limits{})[0]
		return f.Fields[1].At(0).(string), f.Fields[2].At(0).(string)
	}
	if line, severity := record(7, "my vm", "2001:db8::1", 50000, 6, 100, "denied"); line != "my vm [2001:db8::1]:50000 → 192.0.2.7:443 (https) tcp, 12 bytes in 1 packets of 1 in 100, denied" || severity != "warning" {
		t.Errorf("line of a record: %q, %s", line, severity)
	}
	if line, severity := record(0, "", "10.0.0.1", 0, 47, 1, "unknown"); line != "10.0.0.1 → 192.0.2.7:443 (https) gre, 12 bytes in 1 packets" || severity != "info" {
		t.Errorf("line of a record: %q, %s", line, severity)
	}

	columns[1].Role, columns[5].Role = model.RoleBody, model.RoleTitle
	notes := build(t, &model.Plan{Shape: model.Shape{Format: model.Annotations, Columns: columns}}, r, model.Limits{})[0]
	got := []any{notes.Fields[0].At(0), notes.Fields[1].At(0), notes.Fields[2].At(0), notes.Fields[3].At(0), notes.Fields[4].At(0)}
	if diff := cmp.Diff([]any{begin, "rain", "it rains", "x,y", "8"}, got); diff != "" {
		t.Errorf("annotation %s", diff)
	}
}
