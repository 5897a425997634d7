package query

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/weirhq/weir/internal/nearest"
)

// Kind is the shape of the answer to a request.
type Kind string

// The kinds of requests.
const (
	Top    Kind = "top"    // one row for each of the largest groups
	Series Kind = "series" // the same over time
	List   Kind = "list"   // single records, newest first
)

// Unit is what is summed and in which unit it is given. Rates are over the whole range, or over the step of a series.
type Unit string

// The units.
const (
	Bytes   Unit = "bytes"
	Bits    Unit = "bits"
	Packets Unit = "packets"
	Flows   Unit = "flows" // records
	BPS     Unit = "bps"   // bits per second
	PPS     Unit = "pps"   // packets per second
	FPS     Unit = "fps"   // records per second
)

// Units lists all units.
var Units = []Unit{Bytes, Bits, Packets, Flows, BPS, PPS, FPS}

// Direction narrows the fields that mean either end: see [Field.Either].
type Direction string

// The directions.
const (
	Both     Direction = "both" // either end
	Inbound  Direction = "in"   // the destination
	Outbound Direction = "out"  // the source
)

// Traffic is which packets are summed.
type Traffic string

// The kinds of traffic.
const (
	Seen      Traffic = "seen"      // what was sent, as far as anybody saw it
	Delivered Traffic = "delivered" // of that, what no rule stopped on its way
	Denied    Traffic = "denied"    // what was stopped, wherever that was
)

// Basis is what the time of a row is.
type Basis string

// The bases.
const (
	AnyBasis Basis = ""
	Received Basis = "received" // when the collector received the record
	Lived    Basis = "lived"    // when the packets passed, as far as the record tells
)

// Request is a question about flows. Its zero values are: everything, both directions, bytes.
type Request struct {
	Kind   Kind      `json:"kind"`
	By     []string  `json:"by,omitempty"`     // fields to group by; for a list, the columns
	Filter string    `json:"filter,omitempty"` // see docs/reference/filter.md
	From   time.Time `json:"from"`             // inclusive
	To     time.Time `json:"to"`               // exclusive

	Units     []Unit    `json:"units,omitempty"`     // the first is the one that ranks; default bytes
	Direction Direction `json:"direction,omitempty"` // default both
	Split     bool      `json:"split,omitempty"`     // also give what is in and what is out, of By or else of the filter
	Limit     int       `json:"limit,omitempty"`     // groups or rows; default 10, lists 100
	Bottom    bool      `json:"bottom,omitempty"`    // the smallest groups instead of the largest
	Other     bool      `json:"other,omitempty"`     // a row for all other groups together
	Total     bool      `json:"total,omitempty"`     // a row for the total, and each row's share of it
	Step      Duration  `json:"step,omitempty"`      // of a series, whole seconds; default about 300 steps

	Traffic      Traffic `json:"traffic,omitempty"`      // for series and tops; default seen
	Seen         bool    `json:"seen,omitempty"`         // of a top, when each group was seen first and last in the range
	Observations bool    `json:"observations,omitempty"` // sum every observation, also those that are not counted
	Basis        Basis   `json:"basis,omitempty"`        // for series and tops; default any
}

// Duration is a length of time that is text in JSON, as "1m30s".
type Duration time.Duration

// MarshalText implements encoding.TextMarshaler.
func (d Duration) MarshalText() ([]byte, error) { return []byte(time.Duration(d).String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (d *Duration) UnmarshalText(b []byte) error {
	v, err := time.ParseDuration(string(b))
	*d = Duration(v)
	return err
}

// Bounds of a request.
const (
	maxBy         = 8
	maxUnits      = 4
	maxTop        = 10_000
	maxSeries     = 100 // groups of a series
	maxSteps      = 2000
	maxList       = 100_000
	defaultTop    = 10
	defaultList   = 100
	defaultPoints = 300
)

// question is a request that was checked, with its defaults filled in.
type question struct {
	Request
	by     []*Field
	filter Expr
}

// check returns the request as a question; the error is an [*Error].
func (r Request) check() (*question, error) {
	q := &question{Request: r}
	if q.Direction == "" {
		q.Direction = Both
	}
	if len(q.Units) == 0 {
		q.Units = []Unit{Bytes}
	}
	for _, check := range []func(*question) error{checkKind, checkRange, checkUnits, checkBy, checkLimit, checkSplit, checkSeen} {
		if err := check(q); err != nil {
			return nil, err
		}
	}
	var err error
	if q.filter, err = Parse(r.Filter); err != nil {
		return nil, err
	}
	if err := checkTraffic(q); err != nil {
		return nil, err
	}
	return q, checkSubject(q)
}

// reject is a mistake in a part of a request other than the filter.
func reject(part, hint, format string, args ...any) error {
	return &Error{Part: part, Msg: fmt.Sprintf(format, args...), Hint: hint}
}

func checkKind(q *question) error {
	if !slices.Contains([]Kind{Top, Series, List}, q.Kind) {
		return reject("kind", "expected top, series or list", "found %q", q.Kind)
	}
	if !slices.Contains([]Direction{Both, Inbound, Outbound}, q.Direction) {
		return reject("direction", "expected in, out or both", "found %q", q.Direction)
	}
	if !slices.Contains([]Basis{AnyBasis, Received, Lived}, q.Basis) {
		return reject("basis", "expected received or lived", "found %q", q.Basis)
	}
	return nil
}

func checkRange(q *question) error {
	switch {
	case q.From.IsZero() || q.To.IsZero():
		return reject("from", "expected both ends of the range", "found no time")
	case !q.From.Before(q.To):
		return reject("from", "expected a time before to", "%s is not before %s", stamp(q.From), stamp(q.To))
	case q.From.Year() < 1970 || q.To.Year() > 2200:
		return reject("from", "expected years from 1970 to 2200", "%s to %s", stamp(q.From), stamp(q.To))
	}
	if q.Kind != Series {
		if q.Step != 0 {
			return reject("step", "only a series has steps", "found %s", time.Duration(q.Step))
		}
		return nil
	}
	step, span := time.Duration(q.Step), q.To.Sub(q.From)
	if step == 0 {
		step = niceStep(span)
	}
	if step < time.Second || step%time.Second != 0 {
		return reject("step", "expected whole seconds", "found %s", step)
	}
	if span/step >= maxSteps {
		return reject("step", fmt.Sprintf("at most %d steps are given", maxSteps), "%s has %d steps of %s", span, span/step, step)
	}
	q.Step = Duration(step)
	return nil
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// niceStep returns a round step that divides the range into at most about 300.
func niceStep(span time.Duration) time.Duration {
	const day = 24 * time.Hour
	for _, s := range []time.Duration{
		1 * time.Second, 5 * time.Second, 10 * time.Second, 30 * time.Second, time.Minute, 2 * time.Minute, 5 * time.Minute,
		10 * time.Minute, 15 * time.Minute, 30 * time.Minute, time.Hour, 2 * time.Hour, 3 * time.Hour, 6 * time.Hour, 12 * time.Hour,
		day, 7 * day, 30 * day,
	} {
		if span/s <= defaultPoints {
			return s
		}
	}
	return 365 * day
}

func checkUnits(q *question) error {
	if len(q.Units) > maxUnits {
		return reject("units", fmt.Sprintf("at most %d are given", maxUnits), "found %d", len(q.Units))
	}
	for i, u := range q.Units {
		if !slices.Contains(Units, u) {
			var names []string
			for _, u := range Units {
				names = append(names, string(u))
			}
			return reject("units", "expected one of "+strings.Join(names, ", "), "found %q", u)
		}
		if slices.Contains(q.Units[:i], u) {
			return reject("units", "", "found %q twice", u)
		}
	}
	return nil
}

func checkBy(q *question) error {
	if q.Kind == List && len(q.By) == 0 {
		q.By = []string{
			"network", "src_vm", "src_addr", "src_port", "dst_vm", "dst_addr", "dst_port", "protocol", "bytes", "packets",
			"sampling_rate", "duration", "verdict", "counted", "exporter",
		}
	}
	if limit := maxBy; q.Kind != List && len(q.By) > limit {
		return reject("by", fmt.Sprintf("at most %d are taken", limit), "found %d fields", len(q.By))
	}
	for _, name := range q.By {
		f, ok := FieldByName(name)
		if !ok {
			hint := "see the list of fields"
			if n := nearest.Word(name, fieldNames()); n != "" {
				hint = "did you mean " + n + "?"
			}
			return reject("by", hint, "unknown field %q", name)
		}
		if slices.Contains(q.by, f) {
			return reject("by", "", "found %q twice", f.Name)
		}
		if q.Kind != List && !f.Groupable() {
			return reject("by", f.noGroup, "cannot group by %q", f.Name)
		}
		q.by = append(q.by, f)
	}
	return nil
}

func checkLimit(q *question) error {
	limit, normal := maxTop, defaultTop
	switch q.Kind {
	case Series:
		limit = maxSeries
	case List:
		limit, normal = maxList, defaultList
	default:
	}
	if q.Limit == 0 {
		q.Limit = normal
	}
	if q.Limit < 0 || q.Limit > limit {
		return reject("limit", fmt.Sprintf("expected 1 to %d", limit), "found %d", q.Limit)
	}
	if q.Kind == List && (q.Bottom || q.Other || q.Total || q.Split) {
		return reject("kind", "use top or series", "a list has no bottom, other, total or split")
	}
	return nil
}

func checkSplit(q *question) error {
	if q.Split && q.Direction != Both {
		return reject("split", "use direction both", "direction %s leaves nothing to split", q.Direction)
	}
	return nil
}

// checkSeen refuses what has no one time: a step, a row of groups, and what was delivered, which several rows tell.
func checkSeen(q *question) error {
	switch {
	case !q.Seen:
		return nil
	case q.Kind != Top:
		return reject("seen", "use top", "only a top tells when groups were seen")
	case q.Other || q.Total:
		return reject("seen", "leave other and total out", "only groups tell when they were seen")
	case q.Traffic == Delivered:
		return reject("seen", "use traffic seen or denied", "what was delivered is known from several rows")
	default:
		return nil
	}
}

// checkTraffic refuses what cannot be said of delivered packets: that they were is known from several rows, those that saw them first
// less those that stopped them, which differ in all that is of the observation and not of the packet.
func checkTraffic(q *question) error {
	switch {
	case q.Traffic == "" || q.Traffic == Seen:
		return nil
	case q.Traffic != Delivered && q.Traffic != Denied:
		return reject("traffic", "expected seen, delivered or denied", "found %q", q.Traffic)
	case q.Kind == List:
		return reject("traffic", "filter by verdict, or use top or series", "a list shows records, not traffic")
	case q.Observations:
		return reject("traffic", "leave observations out", "traffic %s chooses the observations itself", q.Traffic)
	case q.Traffic == Denied:
		return nil
	}
	wrong := ""
	look := func(f *Field) {
		if f.observed && wrong == "" {
			wrong = f.Name
		}
	}
	for _, f := range q.by {
		look(f)
	}
	compares(q.filter, func(c *Compare) { look(c.Field) })
	if wrong != "" {
		return reject("traffic", "use traffic denied, or seen", "%q is of each observation, not of packets that were delivered", wrong)
	}
	return nil
}

// checkSubject says of what a split gives in and out: of one field of By, else of those in the filter.
func checkSubject(q *question) error {
	if !q.Split {
		return nil
	}
	subjects := 0
	for _, f := range q.by {
		if f.ends {
			subjects++
		}
	}
	switch {
	case subjects == 1:
		return nil
	case subjects > 1:
		return reject("split", "group by one such field", "by has several fields that mean either end")
	}
	walk(q.filter, func(c *Compare) { // of any, all is in and all is out
		if c.Field.ends {
			subjects++
		}
	})
	if subjects == 0 {
		return reject("split", "group or filter by vm, vif, group, addr or mac", "in and out of what?")
	}
	return nil
}

// mentions reports whether the filter or By speaks of one of the fields.
func (q *question) mentions(names ...string) bool {
	found := false
	compares(q.filter, func(c *Compare) { found = found || slices.Contains(names, c.Field.Name) })
	if q.Kind != List {
		for _, f := range q.by {
			found = found || slices.Contains(names, f.Name)
		}
	}
	return found
}
