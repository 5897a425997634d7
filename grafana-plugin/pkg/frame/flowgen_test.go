package frame_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/grafana/grafana-plugin-sdk-go/data"

	"github.com/weirhq/weir/flow"
	"github.com/weirhq/weir/grafana-plugin/pkg/model"
	"github.com/weirhq/weir/internal/chance"
	"github.com/weirhq/weir/lab/flowgen"
)

// sum adds up the values of all frames.
func sum(frames data.Frames) (total float64) {
	for _, f := range frames {
		for _, x := range f.Fields {
			if !x.Type().Numeric() {
				continue
			}
			for i := range x.Len() {
				if v, err := x.NullableFloatAt(i); err == nil && v != nil {
					total += *v
				}
			}
		}
	}
	return total
}

// Realistic flows: what a series, its figure, a table and raw SQL say of the same is the same, for random groupings and filters.
func TestAnswersAgree(t *testing.T) {
	seed := chance.Seed(t)
	r := rand.New(rand.NewPCG(seed, 1))
	e := newEngine(t)
	base := time.Now().UTC().Add(-4 * time.Hour).Truncate(2 * time.Hour)
	g, err := flowgen.NewRows(flowgen.RowsConfig{Seed: seed, Start: base, Rate: 30_000.0 / 7200, Enriched: true})
	if err != nil {
		t.Fatal(err)
	}
	b := flow.NewBatch(30_000)
	g.Fill(b) // to its capacity
	e.insertFlows(t, b, base)
	now := base.Add(2*time.Hour + time.Minute)
	env := model.Env{From: base, To: base.Add(2 * time.Hour), Now: now, MaxPoints: 100, Limits: model.Limits{Series: 10_000}}

	keys := []string{"src_vm", "dst_vm", "network", "protocol", "service", "exporter", "verdict", "src_addr", "tcp_flags", "dst_port"}
	filters := []string{"", "protocol = tcp", "src_vm not in (any) or bytes > 0", "service in (https, dns)", "counted = true", "src_vm = none", "verdict = any"}
	asked := 0
	for range 24 {
		by, filter := []string{keys[r.IntN(len(keys))]}, filters[r.IntN(len(filters))]
		if second := keys[r.IntN(len(keys))]; r.IntN(2) == 0 && second != by[0] {
			by = append(by, second)
		}
		unit := []string{"bytes", "packets", "flows"}[r.IntN(3)]
		target := func(format, more string) string {
			return fmt.Sprintf(`{"refId": "A", "flows": {"format": %q, "by": ["%s"], "filter": %q, "units": [%q], "basis": "received"%s}}`,
				format, strings.Join(by, `", "`), filter, unit, more)
		}
		total := func(text string) float64 {
			frames, p := e.frames(t, text, env)
			for _, n := range frames[0].Meta.Notices {
				if strings.Contains(n.Text, "only") {
					t.Fatalf("%s: %s\n%s", text, n.Text, p.SQL)
				}
			}
			return sum(frames)
		}
		series := total(target("timeseries", `, "limit": 100, "other": true`))
		number := total(target("number", `, "limit": 9000, "other": true`))
		frames, _ := e.frames(t, target("table", `, "limit": 9000, "other": true`), env)
		table := 0.0
		for _, x := range frames[0].Fields {
			if x.Name == unit {
				table = sum(data.Frames{data.NewFrame("", x)})
			}
		}
		if series != number || number != table {
			t.Fatalf("%s: the series add up to %v, the numbers to %v, the table to %v", target("…", ""), series, number, table)
		}
		if number > 0 {
			asked++
		}
	}
	if asked < 8 {
		t.Errorf("only %d of the questions had an answer", asked)
	}

	all, _ := e.frames(t, `{"refId": "A", "flows": {"format": "number", "units": ["bytes"], "basis": "received"}}`, env)
	own, _ := e.frames(t, `{"refId": "A", "queryType": "sql", "sql": {"format": "timeseries", "text": "SELECT $__timeInterval(time_received) AS t, toString(protocol) AS protocol, sum($__bytes) AS b FROM flows WHERE time_received >= $__fromTime_ms AND time_received < $__toTime_ms AND $__counted GROUP BY ALL"}}`, env)
	if a, b := sum(all), sum(own); a == 0 || math.Abs(a-b) > 0 {
		t.Errorf("the figure is %v, one's own SQL says %v", a, b)
	}
}
