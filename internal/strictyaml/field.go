package strictyaml

import (
	"encoding"
	"fmt"
	"net/netip"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/weirhq/weir/internal/bytesize"
	"github.com/weirhq/weir/internal/nearest"
)

// field is a key of a section.
type field struct {
	name      string
	doc       string
	omitEmpty bool
	index     []int // for reflect.Value.FieldByIndex
}

// fieldsOf returns the keys of struct type t in the order of declaration. Embedded structs tagged ",inline" give
// theirs to the section that holds them.
func fieldsOf(t reflect.Type) []field {
	var fields []field
	for f := range t.Fields() {
		name, options, _ := strings.Cut(f.Tag.Get("yaml"), ",")
		switch {
		case options == "inline":
			for _, inner := range fieldsOf(f.Type) {
				inner.index = append(slices.Clone(f.Index), inner.index...)
				fields = append(fields, inner)
			}
		case !f.IsExported() || name == "-":
		case name == "":
			panic(fmt.Sprintf(`BUG: field %s of %s has no tag yaml:"name"`, f.Name, t))
		default:
			fields = append(fields, field{name, f.Tag.Get("doc"), options == "omitempty", f.Index})
		}
	}
	return fields
}

func names(fields []field) []string {
	list := make([]string, len(fields))
	for i, f := range fields {
		list[i] = f.name
	}
	return list
}

type mapKey struct {
	text  string
	value reflect.Value
}

// sortedKeys returns the keys of map v in the order of their text.
func sortedKeys(v reflect.Value) []mapKey {
	keys := make([]mapKey, 0, v.Len())
	for _, k := range v.MapKeys() {
		keys = append(keys, mapKey{textOf(k), k})
	}
	slices.SortFunc(keys, func(a, b mapKey) int { return strings.Compare(a.text, b.text) })
	return keys
}

// textOf returns v, of a type with MarshalText or of a basic kind, as text.
func textOf(v reflect.Value) string {
	if m, ok := reflect.TypeAssert[encoding.TextMarshaler](v); ok {
		text, err := m.MarshalText()
		if err != nil {
			panic(fmt.Sprintf("BUG: marshal %T: %v", v.Interface(), err))
		}
		return string(text)
	}
	return fmt.Sprint(v.Interface())
}

// known describes the types with UnmarshalText that many sections use.
var known = map[reflect.Type]string{
	reflect.TypeFor[time.Time]():      `time, e.g. "2026-03-01T12:00:00Z"`,
	durationType:                      `duration with unit, e.g. "5s", "1h30m", "30d"`,
	reflect.TypeFor[bytesize.Size]():  `size with unit, e.g. "64MiB"`,
	reflect.TypeFor[netip.Addr]():     `IP address, e.g. "192.0.2.1" or "2001:db8::1"`,
	reflect.TypeFor[netip.AddrPort](): `address and port, e.g. "192.0.2.1:2055" or "[2001:db8::1]:2055"`,
	reflect.TypeFor[netip.Prefix]():   `prefix, e.g. "192.0.2.0/24" or "2001:db8::/32"`,
}

// expected describes what a value of type t looks like, for a message.
func expected(t reflect.Type) string {
	if allowed := allowedOf(t); len(allowed) > 0 {
		return strings.Join(allowed, " or ")
	}
	if s := known[t]; s != "" {
		return s
	}
	if s := formOf(t); s != "" {
		return s
	}
	switch {
	case t.Kind() == reflect.Pointer:
		return expected(t.Elem())
	case isScalar(t) && reflect.PointerTo(t).Implements(unmarshalerType), t.Kind() == reflect.String:
		return "text"
	case t.Kind() == reflect.Bool:
		return "true or false"
	case t.Kind() == reflect.Float32, t.Kind() == reflect.Float64:
		return "number"
	case t.Kind() == reflect.Slice:
		return "a list, each " + expected(t.Elem())
	case t.Kind() == reflect.Map:
		return "a section with names of your own"
	case t.Kind() == reflect.Struct:
		return "a section with " + strings.Join(names(fieldsOf(t)), ", ")
	}
	low, high := bounds(t)
	if t.Bits() == 64 {
		return "integer" + map[bool]string{true: ", 0 or more"}[low == "0"]
	}
	return "integer from " + low + " to " + high
}

// bounds returns the least and the greatest value of integer type t.
func bounds(t reflect.Type) (low, high string) {
	bits := t.Bits()
	if t.Kind() >= reflect.Int && t.Kind() <= reflect.Int64 {
		return strconv.FormatInt(-1<<(bits-1), 10), strconv.FormatInt(1<<(bits-1)-1, 10)
	}
	return "0", strconv.FormatUint(1<<bits-1, 10)
}

// allowedOf returns the values of enumeration type t, or nil.
func allowedOf(t reflect.Type) []string {
	if t.Kind() == reflect.Pointer || t.Kind() == reflect.Interface {
		return nil
	}
	if e, ok := reflect.TypeAssert[interface{ Allowed() []string }](reflect.New(t)); ok {
		return e.Allowed()
	}
	return nil
}

// formOf returns what the text of type t looks like, if it has a Form method, or "".
func formOf(t reflect.Type) string {
	if t.Kind() == reflect.Pointer || t.Kind() == reflect.Interface {
		return ""
	}
	if f, ok := reflect.TypeAssert[interface{ Form() string }](reflect.New(t)); ok {
		return f.Form()
	}
	return ""
}

// suggestion returns what to say about word, which is none of options: the nearest one, or all of them.
func suggestion(word string, options []string) string {
	if best := nearest.Word(word, options); best != "" {
		return fmt.Sprintf("; did you mean %q?", best)
	}
	if len(options) == 0 {
		return ""
	}
	return "; known here: " + strings.Join(options, ", ")
}
