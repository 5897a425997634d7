package model_test

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/weirhq/weir/grafana-plugin/pkg/model"
	"github.com/weirhq/weir/internal/chance"
)

// Whatever the range, the panel and the time: steps are whole, cover the range up to what is complete, and are not too many.
func TestSteps(t *testing.T) {
	r := rand.New(rand.NewPCG(chance.Seed(t), 1))
	targets := []string{
		`{}`, `{"flows": {"step": "1s"}}`, `{"flows": {"step": "7m"}}`, `{"flows": {"by": ["protocol"], "basis": "received"}}`, `{"queryType": "exporters"}`,
		`{"queryType": "exporters", "exporters": {"rate": true, "step": "5m"}}`, `{"queryType": "hits", "hits": {"format": "timeseries"}}`,
		`{"queryType": "events", "events": {"format": "timeseries"}}`,
	}
	for range 20_000 {
		now := time.Date(2026, 11, 26, 0, 0, 0, 0, time.UTC).Add(time.Duration(r.Int64N(int64(30 * 24 * time.Hour))))
		e := model.Env{Now: now, To: now, MaxPoints: r.IntN(3000), Interval: time.Duration(r.IntN(120)) * time.Second}
		if r.IntN(3) == 0 {
			e.To = now.Add(-time.Duration(r.Int64N(int64(100 * 24 * time.Hour))))
		}
		e.From = e.To.Add(-time.Second - time.Duration(r.Int64N(int64(time.Minute)<<r.IntN(18))))
		target := targets[r.IntN(len(targets))]
		p, err := plan(t, target, e)
		if err != nil {
			t.Fatalf("%s %+v: %v", target, e, err)
		}
		s := p.Shape
		about := fmt.Sprintf("%s of %s to %s at %s: %s to %s by %s", target, e.From, e.To, now, s.From, s.To, s.Step)
		whole := func(at time.Time) bool { return at.UnixMilli()%s.Step.Milliseconds() == 0 }
		switch n := s.To.Sub(s.From) / s.Step; {
		case s.Step < time.Second || !whole(s.From) || !whole(s.To) || n < 1:
			t.Fatalf("%s: not of whole steps", about)
		case n > 2000:
			t.Fatalf("%s: %d steps", about, n)
		case e.MaxPoints > 10 && !strings.Contains(target, `"step"`) && n > time.Duration(e.MaxPoints)+2:
			t.Fatalf("%s: %d steps of a panel of %d", about, n, e.MaxPoints)
		case s.To.After(now):
			t.Fatalf("%s: ends in the future", about)
		case s.From.After(e.From):
			t.Fatalf("%s: begins after the range", about)
		case s.To.Before(e.To) && now.Sub(s.To) > s.Step+time.Minute && s.To.Before(e.To.Add(-s.Step)):
			t.Fatalf("%s: ends before the range", about)
		}
	}
}

func TestStepTexts(t *testing.T) {
	f := func(step string, want time.Duration, notes string) {
		t.Helper()
		p, err := plan(t, `{"flows": {"step": "`+step+`"}}`, env())
		if err != nil {
			t.Errorf("step %s: %v", step, err)
			return
		}
		if got := strings.Join(p.Notes, "; "); p.Shape.Step != want || !strings.HasPrefix(got, notes) {
			t.Errorf("step %s is %s with notes %q, want %s and %q", step, p.Shape.Step, got, want, notes)
		}
	}
	f("", time.Minute, "the newest")
	f("30s", 30*time.Second, "")
	f("90s", 90*time.Second, "")
	f("1h30m", 90*time.Minute, "")
	f("1d", 24*time.Hour, "")
	f("1w", 7*24*time.Hour, "")
	f("5s", 30*time.Second, "steps are 30s instead of 5s: at most 2000 are given")
	bad := func(step string) {
		t.Helper()
		if p, err := plan(t, `{"flows": {"step": "`+step+`"}}`, env()); err == nil {
			t.Errorf("step %q was taken as %s", step, p.Shape.Step)
		}
	}
	bad("0s")
	bad("-5m")
	bad("5")
	bad("m")
	bad("1.5m")
	bad("1500ms1")
	bad("99999999999999999999s")
	bad("9999y")
	bad("4000000000s4000000000s")
}

// An alert rule is answered by the time of receipt unless it says otherwise, and its rates are of a range that is complete.
func TestAlerts(t *testing.T) {
	e := env()
	e.From, e.Alert = e.To.Add(-10*time.Minute), true
	f := func(target, table string, from, to time.Duration) {
		t.Helper()
		p, err := plan(t, target, e)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(p.SQL, "FROM "+table+"\n") {
			t.Errorf("%s is not asked of %s:\n%s", target, table, p.SQL)
		}
		value := func(name string) (at time.Time) {
			for _, x := range p.Params {
				var n int64
				if _, err := fmt.Sscan(x.Value, &n); err == nil && x.Name == name {
					if at = time.UnixMilli(n); table != "flows" {
						at = time.Unix(n, 0)
					}
				}
			}
			return at
		}
		if got := [2]time.Duration{e.Now.Sub(value("from")), e.Now.Sub(value("to"))}; got != [2]time.Duration{from, to} {
			t.Errorf("%s is of %v before now, want %v to %v", target, got, from, to)
		}
	}
	const past = 7 * time.Second // it is 10:00:07
	f(`{"flows": {"format": "number"}}`, "flows_rx_1m", 11*time.Minute+past, time.Minute+past)
	f(`{"flows": {"format": "number", "by": ["protocol"]}}`, "flows", 11*time.Minute+past, time.Minute+past)
	f(`{"flows": {"format": "number", "units": ["bytes"]}}`, "flows_rx_1m", 10*time.Minute+past, past-time.Minute)
	f(`{"flows": {"step": "1m"}}`, "flows_rx_1m", 10*time.Minute+past, time.Minute+past)
	f(`{"flows": {"step": "1m", "basis": "lived"}}`, "flows_1m", 10*time.Minute+past, time.Minute+past)
	e.From = e.To.Add(-24 * time.Hour)
	f(`{"flows": {"format": "number", "by": ["protocol"], "units": ["bytes"]}}`, "flows_1h", 24*time.Hour+past, past-time.Minute)
}

// Whatever a target says, it is planned or is a mistake of the user, and nothing of it is in the text but raw SQL.
func FuzzPlan(f *testing.F) {
	for _, b := range fixtures(f) {
		f.Add(b, int64(6*time.Hour), false)
	}
	f.Fuzz(func(t *testing.T, b []byte, span int64, alert bool) {
		q, err := model.Parse(b)
		if err != nil {
			return
		}
		e := env()
		e.From, e.Alert = e.To.Add(-time.Duration(span)), alert
		p, err := q.Plan(e)
		if err != nil {
			mistake(t, err)
			return
		}
		if p.MaxRows < 1 || p.MaxRows > 500_000 || p.Shape.Format != q.Format() || p.Raw != (q.Type == model.TypeSQL) {
			t.Errorf("%s: %d rows of format %s, raw %v", b, p.MaxRows, p.Shape.Format, p.Raw)
		}
		if !p.Raw && strings.ContainsAny(p.SQL, ";\x00\"") {
			t.Errorf("%s: the text is\n%s", b, p.SQL)
		}
	})
}
