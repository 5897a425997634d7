package ovsdb

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Values are the columns of a row, or some of them, by name. What a column may be given:
//
//	string, bool, int, int64, UUID, Named      one atom
//	nil, or a nil *int64 or *string            nothing: the empty set
//	*int64, *string                            an optional atom
//	[]string, []int64, []UUID, []Named, []any  a set of atoms
//	map[string]string                          a map
//	map[int64]UUID, map[int64]Named            a map of numbers to rows
//
// Anything else is an error of Transact. A UUID that is empty is nothing, too. In rows that came from a host, values are
// string, bool, int64, float64, UUID, []any (a set that has not exactly one element) and map[string]string; a map with other
// types is map[any]any.
type Values map[string]any

// Named refers to the row that an Insert of the same transaction makes, by the name that it gave.
type Named string

// Condition compares a column with a value (RFC 7047 §5.1). Function is "==", "!=", "includes", "excludes", "<", "<=", ">" or ">=".
type Condition struct {
	Column   string
	Function string
	Value    any // as in Values
}

// Is is the condition that selects the row with that identity.
func Is(id UUID) []Condition { return []Condition{{"_uuid", "==", id}} }

// Mutation changes a column in place (RFC 7047 §5.1). Mutator is "+=", "-=" of numbers, "insert" or "delete" of sets and maps; a
// set of strings as Value of "delete" removes those keys of a map.
type Mutation struct {
	Column  string
	Mutator string
	Value   any // as in Values
}

// Operation is one step of a transaction (RFC 7047 §5.2), made by the functions below.
type Operation struct {
	op        string
	table     string
	name      string
	where     []Condition
	row       Values
	mutations []Mutation
	columns   []string
	text      string
}

// Insert makes a row. name, if not empty, is what Named of the same transaction refers to.
func Insert(table, name string, row Values) Operation {
	return Operation{op: "insert", table: table, name: name, row: row}
}

// Update sets columns of the rows that where selects. No condition selects all rows.
func Update(table string, where []Condition, row Values) Operation {
	return Operation{op: "update", table: table, where: where, row: row}
}

// Mutate changes columns of the rows that where selects in place: what others do to other elements at the same time stays.
func Mutate(table string, where []Condition, mutations ...Mutation) Operation {
	return Operation{op: "mutate", table: table, where: where, mutations: mutations}
}

// Delete removes the rows that where selects.
func Delete(table string, where []Condition) Operation {
	return Operation{op: "delete", table: table, where: where}
}

// Select reads the given columns of the rows that where selects; no columns are all.
func Select(table string, where []Condition, columns ...string) Operation {
	return Operation{op: "select", table: table, where: where, columns: columns}
}

// Verify makes the transaction end with an error for which errors.Is(err, ErrChanged) if the row is not there or one of the given
// columns has another value: what was decided by looking at them does not happen when they have changed since.
func Verify(table string, id UUID, was Values) Operation {
	return Operation{op: "wait", table: table, where: Is(id), row: was}
}

// Comment is written to the host's log of transactions (ovsdb-tool show-log).
func Comment(text string) Operation { return Operation{op: "comment", text: text} }

// Result is what an operation did.
type Result struct {
	Count int      // rows that Update, Mutate and Delete selected
	UUID  UUID     // of the row that Insert made
	Rows  []Values // that Select read
}

// Errors of Transact, besides *OperationError.
var (
	// ErrUnknown: the transaction was sent, and whether it happened is not known. Observe again.
	ErrUnknown = errors.New("not known whether it happened")
	// ErrNotConnected: there is no session with the host now; nothing was sent.
	ErrNotConnected = errors.New("not connected")
	// ErrChanged: a Verify found something else; nothing happened.
	ErrChanged = errors.New("it was changed by another in the meantime")
)

// OperationError is the host's refusal of a transaction. Nothing of it happened.
type OperationError struct {
	Index   int    // of the operation; that of the last one plus 1 if committing failed
	Op      string // "insert Bridge"
	Reason  string // RFC 7047 §5.2: "constraint violation", "referential integrity violation", …
	Details string
}

// Error says which operation was refused and why.
func (e *OperationError) Error() string {
	s := fmt.Sprintf("operation %d (%s): %s", e.Index, e.Op, e.Reason)
	if e.Details != "" {
		s += ": " + e.Details
	}
	return s
}

// Is says that a Verify that did not hold is ErrChanged.
func (e *OperationError) Is(target error) bool {
	return target == ErrChanged && e.Reason == "timed out" && strings.HasPrefix(e.Op, "wait")
}

func (o Operation) String() string {
	if o.table == "" {
		return o.op
	}
	return o.op + " " + o.table
}

// encode returns the operation as RFC 7047 §5.2 has it.
func (o Operation) encode() (map[string]any, error) {
	m := map[string]any{"op": o.op}
	if o.table != "" {
		m["table"] = o.table
	}
	if o.name != "" {
		m["uuid-name"] = o.name
	}
	if o.op == "comment" {
		m["comment"] = o.text
		return m, nil
	}
	if o.op != "insert" {
		where := make([]any, 0, len(o.where))
		for _, c := range o.where {
			v, err := encode(c.Value)
			if err != nil {
				return nil, fmt.Errorf("%s: condition on %q: %w", o, c.Column, err)
			}
			where = append(where, []any{c.Column, c.Function, v})
		}
		m["where"] = where
	}
	row := make(map[string]any, len(o.row))
	for _, column := range slices.Sorted(maps.Keys(o.row)) {
		v, err := encode(o.row[column])
		if err != nil {
			return nil, fmt.Errorf("%s: column %q: %w", o, column, err)
		}
		row[column] = v
	}
	switch o.op {
	case "insert", "update":
		m["row"] = row
	case "wait":
		m["timeout"], m["until"], m["columns"], m["rows"] = 0, "==", slices.Sorted(maps.Keys(o.row)), []any{row}
	case "select":
		if len(o.columns) > 0 {
			m["columns"] = o.columns
		}
	case "mutate":
		list := make([]any, 0, len(o.mutations))
		for _, u := range o.mutations {
			v, err := encode(u.Value)
			if err != nil {
				return nil, fmt.Errorf("%s: mutation of %q: %w", o, u.Column, err)
			}
			list = append(list, []any{u.Column, u.Mutator, v})
		}
		m["mutations"] = list
	}
	return m, nil
}

// encode returns a value of Values as RFC 7047 §5.1 has it.
func encode(v any) (any, error) {
	switch v := v.(type) {
	case nil:
		return set[string](nil), nil
	case string, bool, int, int64:
		return v, nil
	case UUID:
		if v == "" {
			return set[string](nil), nil
		}
		return []any{"uuid", string(v)}, nil
	case Named:
		return []any{"named-uuid", string(v)}, nil
	case *int64:
		if v == nil {
			return set[string](nil), nil
		}
		return *v, nil
	case *string:
		if v == nil {
			return set[string](nil), nil
		}
		return *v, nil
	case []string:
		return set(v), nil
	case []int64:
		return set(v), nil
	case []UUID:
		return encodeSet(v)
	case []Named:
		return encodeSet(v)
	case []any:
		return encodeSet(v)
	case map[string]string:
		pairs := make([]any, 0, len(v))
		for _, k := range slices.Sorted(maps.Keys(v)) {
			pairs = append(pairs, []any{k, v[k]})
		}
		return []any{"map", pairs}, nil
	case map[int64]UUID:
		return encodeNumbered(v)
	case map[int64]Named:
		return encodeNumbered(v)
	default:
		return nil, fmt.Errorf("found a value of type %T, expected one that Values lists", v)
	}
}

func encodeNumbered[T UUID | Named](v map[int64]T) (any, error) {
	pairs := make([]any, 0, len(v))
	for _, k := range slices.Sorted(maps.Keys(v)) {
		if v[k] == "" {
			return nil, fmt.Errorf("found an empty UUID at %d", k)
		}
		row, err := encode(v[k])
		if err != nil {
			return nil, err
		}
		pairs = append(pairs, []any{k, row})
	}
	return []any{"map", pairs}, nil
}

func set[T any](list []T) any {
	if list == nil {
		list = []T{}
	}
	return []any{"set", list}
}

func encodeSet[T any](list []T) (any, error) {
	out := make([]any, len(list))
	for i, v := range list {
		switch any(v).(type) {
		case string, bool, int, int64, UUID, Named:
		default:
			return nil, fmt.Errorf("found an element of type %T, expected an atom", v)
		}
		if any(v) == any(UUID("")) {
			return nil, errors.New("found an empty UUID in a set")
		}
		var err error
		if out[i], err = encode(v); err != nil {
			return nil, err
		}
	}
	return set(out), nil
}
