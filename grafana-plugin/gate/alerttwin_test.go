package gate_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"text/template"
	"time"

	"github.com/grafana/grafana-plugin-sdk-go/data"

	"github.com/weirhq/weir/grafana-plugin/pkg/alert"
)

// A twin of what Grafana does with the answers to an alert rule's questions: the expressions threshold and math, as far as the rules use
// them, and the states. It says what Grafana's documentation says, not what Grafana was seen to do.

// number is a figure with labels, one dimension of an answer.
type number struct {
	labels data.Labels
	value  float64
}

// numbers reads an answer in the only form that the rules take: numbers, each with labels of its own, none null. None is no data.
func numbers(frames data.Frames) ([]number, error) {
	var list []number
	seen := map[data.Fingerprint]bool{}
	for _, f := range frames {
		if f.Meta == nil || f.Meta.Type != data.FrameTypeNumericMulti {
			return nil, fmt.Errorf("frame %q is of no type, or of another one than %s", f.Name, data.FrameTypeNumericMulti)
		}
		if len(f.Fields) == 0 && len(frames) == 1 {
			return nil, nil
		}
		if len(f.Fields) != 1 || f.Fields[0].Len() != 1 {
			return nil, fmt.Errorf("frame %q has %d fields, want one with one value", f.Name, len(f.Fields))
		}
		value, err := f.Fields[0].NullableFloatAt(0)
		if err != nil || value == nil {
			return nil, fmt.Errorf("frame %q has no value: %w", f.Name, err)
		}
		labels := f.Fields[0].Labels
		if print := labels.Fingerprint(); seen[print] {
			return nil, fmt.Errorf("labels %s are there twice", labels)
		} else {
			seen[print] = true
		}
		list = append(list, number{labels, *value})
	}
	return list, nil
}

// condition computes the expressions of a rule from the answers to its questions, by refId. It returns the condition's dimensions, not 0 where
// it holds, and all figures.
func condition(r *alert.FileRule, answers map[string][]number) (of []number, all map[string][]number, err error) {
	all = maps.Clone(answers)
	for _, q := range r.Data {
		switch q.Model.Type {
		case "":
		case "threshold":
			e := q.Model.Conditions[0].Evaluator
			var out []number
			for _, n := range all[q.Model.Expression] {
				holds := false
				switch p := e.Params.Values; e.Type {
				case "gt":
					holds = n.value > p[0]
				case "lt":
					holds = n.value < p[0]
				case "outside_range":
					holds = n.value < p[0] || n.value > p[1]
				default:
					return nil, nil, fmt.Errorf("evaluator %q is none of the twin's", e.Type)
				}
				out = append(out, number{n.labels, truth(holds)})
			}
			all[q.RefID] = out
		case "math":
			// Dimensions with the same labels are joined; those that the other side has not are left out.
			var out []number
			for i, term := range strings.Split(q.Model.Expression, " && ") {
				ref, ok := strings.CutPrefix(term, "$")
				list, known := all[ref]
				if !ok || !known {
					return nil, nil, fmt.Errorf("math %q is none of the twin's", q.Model.Expression)
				}
				if i == 0 {
					out = list
					continue
				}
				var joined []number
				for _, a := range out {
					for _, b := range list {
						if a.labels.Equals(b.labels) {
							joined = append(joined, number{a.labels, truth(a.value != 0 && b.value != 0)})
						}
					}
				}
				out = joined
			}
			all[q.RefID] = out
		default:
			return nil, nil, fmt.Errorf("expression of type %q is none of the twin's", q.Model.Type)
		}
	}
	return all[r.Condition], all, nil
}

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

// missingEvaluations is after how many evaluations in which it is not there a dimension is resolved.
const missingEvaluations = 2

// watch is a rule that is evaluated again and again, and the states of its dimensions.
type watch struct {
	hold          time.Duration
	noData, error string
	states        map[string]*state // by labels
}

type state struct {
	labels  data.Labels
	bad     time.Time // since when the condition holds; zero: it does not
	missing int
	firing  bool
}

func newWatch(r *alert.FileRule) (*watch, error) {
	hold, err := time.ParseDuration(r.For)
	return &watch{hold: hold, noData: r.NoDataState, error: r.ExecErrState, states: map[string]*state{}}, err
}

// evaluate takes the condition of one evaluation; failed is one that the data source or an expression refused.
func (w *watch) evaluate(at time.Time, condition []number, failed bool) {
	whole := ""
	switch {
	case failed:
		whole = w.error
	case len(condition) == 0:
		whole = w.noData
	}
	switch whole {
	case "":
	case "OK":
		clear(w.states)
		return
	case "KeepLast":
		return
	case "Alerting":
		if len(w.states) == 0 {
			w.states[""] = &state{}
		}
		for _, s := range w.states {
			s.set(at, true, w.hold)
		}
		return
	default:
		panic("BUG: the twin does not know the state " + whole)
	}
	there := map[string]bool{}
	for _, n := range condition {
		key := n.labels.String()
		there[key] = true
		if w.states[key] == nil {
			w.states[key] = &state{labels: n.labels}
		}
		w.states[key].set(at, n.value != 0, w.hold)
		w.states[key].missing = 0
	}
	for key, s := range w.states {
		if !there[key] {
			if s.missing++; s.missing >= missingEvaluations {
				delete(w.states, key)
			}
		}
	}
}

func (s *state) set(at time.Time, bad bool, hold time.Duration) {
	if !bad {
		s.bad, s.firing = time.Time{}, false
		return
	}
	if s.bad.IsZero() {
		s.bad = at
	}
	s.firing = at.Sub(s.bad) >= hold
}

// firing returns the labels of what fires, and of what would if it lasted.
func (w *watch) firing() (now, soon []data.Labels) {
	for _, key := range slices.Sorted(maps.Keys(w.states)) {
		switch s := w.states[key]; {
		case s.firing:
			now = append(now, s.labels)
		case !s.bad.IsZero():
			soon = append(soon, s.labels)
		}
	}
	return now, soon
}

// render writes a template of a rule as Grafana does, for one alert.
func render(text string, labels data.Labels, all map[string][]number) (string, error) {
	type value struct {
		Labels data.Labels
		Value  float64
	}
	values := map[string]value{}
	for ref, list := range all {
		for _, n := range list {
			if n.labels.Equals(labels) {
				values[ref] = value{n.labels, n.value}
			}
		}
	}
	plain := func(v float64) string { return fmt.Sprint(v) }
	t, err := template.New("").Funcs(template.FuncMap{
		"humanize": plain, "humanize1024": plain, "humanizeDuration": plain, "humanizePercentage": plain,
	}).Parse("{{- $labels := .Labels -}}{{- $values := .Values -}}" + text)
	if err != nil {
		return "", err
	}
	var b strings.Builder
	err = t.Execute(&b, map[string]any{"Labels": labels, "Values": values})
	return b.String(), err
}

// The twin does what the documentation of Grafana says of pending alerts, dimensions that are gone, and evaluations without an answer.
func TestAlertTwin(t *testing.T) {
	start := time.Date(2026, 11, 26, 12, 0, 0, 0, time.UTC)
	one, other := data.Labels{"vm": "a"}, data.Labels{"vm": "b"}
	type step struct {
		minute int
		is     []number
		failed bool
		firing int
	}
	f := func(noData, failed string, steps ...step) {
		t.Helper()
		w := &watch{hold: 2 * time.Minute, noData: noData, error: failed, states: map[string]*state{}}
		for i, s := range steps {
			w.evaluate(start.Add(time.Duration(s.minute)*time.Minute), s.is, s.failed)
			if now, _ := w.firing(); len(now) != s.firing {
				t.Errorf("%s, %s: step %d: %d fire, want %d", noData, failed, i, len(now), s.firing)
			}
		}
	}
	bad, good, gone := []number{{one, 1}, {other, 0}}, []number{{one, 0}, {other, 0}}, []number{{other, 0}}
	f("OK", "KeepLast", step{0, bad, false, 0}, step{1, bad, false, 0}, step{2, bad, false, 1}, step{3, nil, true, 1}, step{4, good, false, 0}, step{5, bad, false, 0})
	f("OK", "KeepLast", step{0, bad, false, 0}, step{2, bad, false, 1}, step{3, gone, false, 1}, step{4, gone, false, 0})
	f("OK", "KeepLast", step{0, bad, false, 0}, step{2, bad, false, 1}, step{3, nil, false, 0})
	f("KeepLast", "OK", step{0, bad, false, 0}, step{2, bad, false, 1}, step{3, nil, false, 1}, step{4, nil, true, 0})
	f("Alerting", "Alerting", step{0, nil, false, 0}, step{2, nil, true, 1}, step{3, nil, false, 1})
}
