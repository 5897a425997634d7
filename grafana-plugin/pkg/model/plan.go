package model

import (
	"time"

	"github.com/weirhq/weir/query"
)

// Env is what an answer depends on beside the target.
type Env struct {
	From, To  time.Time     // range of the dashboard or of the alert rule, in [From, To)
	Now       time.Time     // the time
	Interval  time.Duration // step that fits the panel; 0 is not known
	MaxPoints int           // points that the panel can show; 0 is not known
	Alert     bool          // an alert rule asks, or a recording rule: nobody looks, and nobody knows that newest minutes read low

	Tables      []query.Table // nil is [query.Tables]
	AdminEvents bool          // the store has the table admin_events
	Limits      Limits        // zero ones have the values of DefaultLimits
}

// Limits bound every answer.
type Limits struct {
	Rows   int // of tables, logs and annotations
	Series int // of time series and numbers
	Points int // of one series
}

// DefaultLimits are the bounds where the data source has no others.
var DefaultLimits = Limits{Rows: 10_000, Series: 100, Points: 2000}

// Plan is how a query is answered.
type Plan struct {
	query.Statement              // to run
	Names           []query.Name // that have to be known for the answer to mean anything: see [query.KnownNames]
	Notes           []string     // what a reader of the answer should know
	MaxRows         int          // of the answer that are read; what is more is cut, and said to be
	Limit           int          // if there are so many rows, there may be more; 0 where that says nothing
	Raw             bool         // the statement is the user's own: the caller decides whether they may
	Shape           Shape        // how the answer becomes frames
}

// Shape describes an answer.
type Shape struct {
	Format  Format
	Columns []Column // of the answer, in order; nil is not known before: of raw SQL

	// Of series the steps, which are From, From+Step, … before To; else Step is 0.
	From, To time.Time
	Step     time.Duration

	// Whole says that there is a series or a number even if there are no rows: a total of nothing is 0.
	Whole bool

	Unit string // Grafana's, of values of which nothing else is known
}

// Column describes a column of an answer.
type Column struct {
	Name  string
	Role  Role
	Unit  string       // of a value: Grafana's id, as "bps"
	Zero  bool         // of a value: in a step without a row it is 0
	Field *query.Field // of a key: knows its words; nil if it is no field of flows
	Doc   string       // what it means, if its name does not say it
}

// Role is what a column is for.
type Role string

// The roles.
const (
	RoleTime   Role = "time"   // start of a step, or when something was
	RoleKey    Role = "key"    // what a series or a row is of: a label
	RoleName   Role = "name"   // name of what is in the key before it, empty if none is known
	RoleRow    Role = "row"    // which row it is: query.RowTop, …
	RoleValue  Role = "value"  // a figure
	RoleText   Role = "text"   // text, or anything else that is shown as it is
	RoleBody   Role = "body"   // line of a log; text of an annotation
	RoleTitle  Role = "title"  // of an annotation
	RoleTags   Role = "tags"   // of an annotation: an array
	RoleLevel  Role = "level"  // severity of a line
	RoleID     Role = "id"     // of a line
	RoleLabels Role = "labels" // of a line: a map
)

// Plan plans the answer. The error is a [*query.Error].
func (q *Query) Plan(env Env) (*Plan, error) {
	if env.Tables == nil {
		env.Tables = query.Tables
	}
	if env.Limits.Rows == 0 {
		env.Limits.Rows = DefaultLimits.Rows
	}
	if env.Limits.Series == 0 {
		env.Limits.Series = DefaultLimits.Series
	}
	if env.Limits.Points == 0 {
		env.Limits.Points = DefaultLimits.Points
	}
	switch {
	case env.From.IsZero() || env.To.IsZero():
		return nil, reject("range", "expected both ends of the range", "found no time")
	case !env.From.Before(env.To):
		return nil, reject("range", "", "%s is not before %s", env.From.UTC().Format(time.RFC3339), env.To.UTC().Format(time.RFC3339))
	case env.From.Year() < 1970 || env.To.Year() > 2200:
		return nil, reject("range", "expected years from 1970 to 2200", "%s to %s", env.From.UTC().Format(time.RFC3339), env.To.UTC().Format(time.RFC3339))
	}
	switch q.Type {
	case TypeRecords:
		return q.Records.plan(&env)
	case TypeEvents:
		return q.Events.plan(&env)
	case TypeExporters:
		return q.Exporters.plan(&env)
	case TypeHits:
		return q.Hits.plan(&env)
	case TypeInventory:
		return q.Inventory.plan(&env)
	case TypeStatistics:
		return q.Statistics.plan(&env)
	case TypeSQL:
		return q.SQL.plan(&env)
	default:
		return q.Flows.plan(&env)
	}
}
