package strictyaml

import (
	"fmt"
	"reflect"
	"strings"
)

// Key describes one key of a file for its reference page.
type Key struct {
	Path    string // "collector.listeners[].addr"; a key of the operator's own in a map is "<name>"
	Type    string // as in messages: "text", `duration with unit, e.g. "5s" …`, "section", "list of sections"
	Default string // as it is written in the file; empty for sections and empty lists
	Doc     string // the tag doc
}

// Describe lists every key of the struct v, or of the one it points to, which holds the defaults: sections before
// their keys, in the order of the fields. The defaults of list and map elements are those of their SetDefaults
// method.
func Describe(v any) []Key {
	val := reflect.ValueOf(v)
	for val.Kind() == reflect.Pointer {
		val = val.Elem()
	}
	return describe(nil, "", val, 0)
}

func describe(keys []Key, prefix string, v reflect.Value, depth int) []Key {
	if depth > maxDepth {
		panic(fmt.Sprintf("BUG: strictyaml: %s: type %s holds itself", prefix, v.Type()))
	}
	for _, f := range fieldsOf(v.Type()) {
		fv, path := v.FieldByIndex(f.index), f.name
		if prefix != "" {
			path = prefix + "." + f.name
		}
		k := Key{Path: path, Type: typeName(fv.Type()), Doc: f.doc}
		if isLeaf(fv.Type()) && !isEmptyCollection(fv) {
			k.Default = printed(fv)
		}
		keys = append(keys, k)
		if section, suffix, ok := sectionIn(fv); ok {
			keys = describe(keys, path+suffix, section, depth+1)
		}
	}
	return keys
}

// sectionIn returns the struct that v is, points to, or is a list or map of, and how its path goes on.
func sectionIn(v reflect.Value) (section reflect.Value, suffix string, ok bool) {
	t := v.Type()
	switch {
	case isScalar(t):
		return v, "", false
	case t.Kind() == reflect.Struct:
		return v, "", true
	case t.Kind() == reflect.Pointer:
		if v.IsNil() {
			v = newElement(t.Elem())
		}
		return sectionIn(v.Elem())
	case t.Kind() == reflect.Slice:
		section, suffix, ok = sectionIn(newElement(t.Elem()).Elem())
		return section, "[]" + suffix, ok
	case t.Kind() == reflect.Map:
		section, suffix, ok = sectionIn(newElement(t.Elem()).Elem())
		return section, ".<name>" + suffix, ok
	}
	return v, "", false
}

// isLeaf reports whether a value of type t holds no section.
func isLeaf(t reflect.Type) bool {
	switch {
	case isScalar(t):
		return true
	case t.Kind() == reflect.Slice, t.Kind() == reflect.Map, t.Kind() == reflect.Pointer:
		return isLeaf(t.Elem())
	}
	return false
}

func isEmptyCollection(v reflect.Value) bool {
	switch v.Kind() {
	case reflect.Slice, reflect.Map:
		return v.Len() == 0
	case reflect.Pointer:
		return v.IsNil()
	}
	return false
}

func printed(v reflect.Value) string {
	out, err := Encode(v.Interface())
	if err != nil {
		panic(fmt.Sprintf("BUG: strictyaml: encode default: %v", err))
	}
	return strings.TrimSpace(string(out))
}

func typeName(t reflect.Type) string {
	switch {
	case isScalar(t):
		return expected(t)
	case t.Kind() == reflect.Pointer:
		return typeName(t.Elem())
	case t.Kind() == reflect.Slice:
		return "list of " + plural(t.Elem())
	case t.Kind() == reflect.Map:
		return "map of " + plural(t.Elem())
	}
	return "section"
}

func plural(t reflect.Type) string {
	name := typeName(t)
	if name == "section" {
		return "sections"
	}
	return name
}
