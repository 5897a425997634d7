package frame

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/grafana/grafana-plugin-sdk-go/data"

	"github.com/weirhq/weir/grafana-plugin/pkg/clickhouse"
	"github.com/weirhq/weir/grafana-plugin/pkg/model"
	"github.com/weirhq/weir/query"
)

// builder makes the frames of one answer.
type builder struct {
	plan    *model.Plan
	rows    *clickhouse.Rows
	limits  model.Limits
	columns []column
	notes   []string // beside those of the plan
}

func (b *builder) build() (data.Frames, error) {
	if b.limits.Rows == 0 {
		b.limits.Rows = model.DefaultLimits.Rows
	}
	if b.limits.Series == 0 {
		b.limits.Series = model.DefaultLimits.Series
	}
	if b.limits.Points == 0 {
		b.limits.Points = model.DefaultLimits.Points
	}
	if err := b.describe(); err != nil {
		return nil, err
	}
	var frames data.Frames
	var err error
	switch b.plan.Shape.Format {
	case model.Timeseries:
		frames, err = b.series()
	case model.Number:
		frames, err = b.numbers()
	case model.Logs:
		frames, err = b.logs()
	case model.Annotations:
		frames = b.annotations()
	case model.Table:
		frames = b.table()
	default:
		panic(fmt.Sprintf("BUG: frames of format %q", b.plan.Shape.Format))
	}
	if err != nil {
		return nil, err
	}
	meta := frames[0].Meta
	meta.ExecutedQueryString = executed(b.plan.Statement)
	for _, text := range b.plan.Notes {
		meta.Notices = append(meta.Notices, data.Notice{Severity: data.NoticeSeverityInfo, Text: text})
	}
	if most := b.plan.Limit; most > 0 && b.rows.Len >= most {
		meta.Notices = append(meta.Notices, data.Notice{Severity: data.NoticeSeverityInfo, Text: fmt.Sprintf("%d are shown, which is the limit: there may be more", b.rows.Len)})
	}
	for _, c := range b.rows.Cut {
		meta.Notices = append(meta.Notices, data.Notice{Severity: data.NoticeSeverityWarning, Text: c.Text})
	}
	for _, text := range b.notes {
		meta.Notices = append(meta.Notices, data.Notice{Severity: data.NoticeSeverityWarning, Text: text})
	}
	return frames, nil
}

// executed returns a statement with its parameters as comments, for the inspector.
func executed(s query.Statement) string {
	var out strings.Builder
	for _, p := range s.Params {
		fmt.Fprintf(&out, "-- %s = %s\n", p.Name, strings.ReplaceAll(fmt.Sprintf("%.500q", fmt.Sprint(p.Value)), "\n", " "))
	}
	out.WriteString(s.SQL)
	return out.String()
}

// newFrame returns a frame of a type.
func newFrame(name string, kind data.FrameType, fields ...*data.Field) *data.Frame {
	version := data.FrameTypeVersion{0, 1}
	if kind == data.FrameTypeLogLines {
		version = data.FrameTypeVersion{0, 0}
	}
	return data.NewFrame(name, fields...).SetMeta(&data.FrameMeta{Type: kind, TypeVersion: version})
}

// describe makes the columns of the answer those of the plan, or finds out what they are.
func (b *builder) describe() error {
	planned := b.plan.Shape.Columns
	if planned == nil {
		b.columns = inferred(b.rows)
		return nil
	}
	if b.rows.Len == 0 && !slices.ContainsFunc(b.rows.Columns, func(c clickhouse.Column) bool { return c.Type != "" }) {
		// An answer without rows does not say what its columns are.
		b.rows = &clickhouse.Rows{Cut: b.rows.Cut}
		for _, c := range planned {
			b.rows.Columns = append(b.rows.Columns, none(c))
		}
	}
	if len(planned) != len(b.rows.Columns) {
		return fmt.Errorf("BUG: the answer has %d columns, the plan %d", len(b.rows.Columns), len(planned))
	}
	b.columns = make([]column, len(planned))
	for i := range planned {
		b.columns[i] = newColumn(planned[i], &b.rows.Columns[i])
	}
	return nil
}

// none returns a column without rows.
func none(c model.Column) clickhouse.Column {
	empty := clickhouse.Column{Name: c.Name, Type: "String", Values: []string{}}
	switch c.Role {
	case model.RoleTime:
		empty.Type, empty.Values = "DateTime64(3, 'UTC')", []time.Time{}
	case model.RoleValue:
		empty.Type, empty.Values = "Float64", []float64{}
	default:
	}
	return empty
}

// nothing reports whether nothing is known of the answer but that it has no rows.
func (b *builder) nothing() bool { return b.rows.Len == 0 && len(b.rows.Columns) == 0 }

// of returns the columns of a role, by their places.
func (b *builder) of(roles ...model.Role) (at []int) {
	for i := range b.columns {
		for _, r := range roles {
			if b.columns[i].Role == r {
				at = append(at, i)
			}
		}
	}
	return at
}

// mistake is a mistake of who wrote the statement.
func mistake(hint, format string, args ...any) error {
	return &query.Error{Part: "sql.text", Msg: fmt.Sprintf(format, args...), Hint: hint}
}
