package alert

import "time"

// Severity is how soon somebody should look; it is a label of the alert.
type Severity string

// The severities.
const (
	Critical Severity = "critical" // something does not work, or will not soon
	Warning  Severity = "warning"  // somebody should look
	Info     Severity = "info"     // somebody may want to know
)

// State is what a rule becomes of an evaluation without a figure, or of one that failed.
type State string

// The states, by Grafana's names.
const (
	OK       State = "OK"
	Alerting State = "Alerting"
	KeepLast State = "KeepLast" // what it was
)

// Rule is an alert rule.
type Rule struct {
	Name     string // of its uid, which is weir- and the name, of its runbook and its thresholds
	Title    string // unique
	Severity Severity
	For      time.Duration // that it has to hold before the alert fires; whole intervals of the group
	NoData   State
	Error    State

	// Texts of people, templates of Grafana's: $labels are those of the figures, $values.A.Value is the figure A.
	Summary string
	About   string // what it looks at, a sentence
	Jump    string // path of the dashboard that shows more, with its variables

	Labels  []string // that figures have
	Figures []Figure
}

// UID is that of the rule in Grafana, which does not change: silences and links hold it.
func (r *Rule) UID() string { return "weir-" + r.Name }

// Runbook is the page that says what to do, from the root of the repository.
func (r *Rule) Runbook() string { return "docs/runbooks/" + r.Name + ".md" }

// Group is rules that are evaluated together.
type Group struct {
	Name     string
	Interval time.Duration
	Rules    []Rule
}

// Figure is a number for each thing that a rule looks at, and the threshold that it has to be beyond.
type Figure struct {
	Range time.Duration // that is asked, up to now
	Query Query
	Limit Limit
}

// Query is what is asked; one of its parts is set, by the name of which the data source knows it.
type Query struct {
	SQL       string
	Flows     *Flows
	Exporters *Exporters
}

// Flows is a question for sums of flows, in the query model of the data source (package model).
type Flows struct {
	Format       string   `json:"format" yaml:"format"`
	By           []string `json:"by" yaml:"by,flow"`
	Units        []string `json:"units" yaml:"units,flow"`
	Filter       string   `json:"filter,omitempty" yaml:"filter,omitempty"`
	Basis        string   `json:"basis" yaml:"basis"`
	Observations bool     `json:"observations,omitempty" yaml:"observations,omitempty"`
	Limit        int      `json:"limit" yaml:"limit"`
}

// Exporters is a question for the ledger of exporters, likewise.
type Exporters struct {
	Format string   `json:"format" yaml:"format"`
	What   []string `json:"what" yaml:"what,flow"`
	By     []string `json:"by" yaml:"by,flow"`
	Limit  int      `json:"limit" yaml:"limit"`
}

// Limit is a threshold.
type Limit struct {
	Name  string // of its line in the file, after the name of the rule
	Is    Test
	Value float64
	Doc   string // what it is of, with its unit
}

// Test says when a figure is beyond a threshold, by Grafana's names.
type Test string

// The tests.
const (
	Above   Test = "gt"
	Below   Test = "lt"
	Outside Test = "outside_range" // of minus the value to the value
)

// Params are those of the test in Grafana.
func (l *Limit) Params() []float64 {
	if l.Is == Outside {
		return []float64{-l.Value, l.Value}
	}
	return []float64{l.Value}
}

// ByUID returns the rule of a uid; nil if there is none.
func ByUID(uid string) *Rule {
	for i := range Groups {
		for j := range Groups[i].Rules {
			if r := &Groups[i].Rules[j]; r.UID() == uid {
				return r
			}
		}
	}
	return nil
}
