package strictyaml

import (
	"encoding/json"
	"reflect"
	"time"
)

// Schema returns a JSON schema (draft 2020-12) of the documents that Decode fills the struct v, or the one it points to, from:
// for editors. It says of each value its type, its allowed ones or its form, and its doc; what Validate methods check besides is
// not in it. Fields that are not tagged omitempty are required.
func Schema(v any, title, description string) ([]byte, error) {
	t := reflect.TypeOf(v)
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	s := schemaOf(t)
	s.Schema, s.Title, s.Description = "https://json-schema.org/draft/2020-12/schema", title, description
	out, err := json.MarshalIndent(s, "", "  ")
	return append(out, '\n'), err
}

// schema is a JSON schema, as far as it is used here.
type schema struct {
	Schema      string      `json:"$schema,omitempty"`
	Title       string      `json:"title,omitempty"`
	Description string      `json:"description,omitempty"`
	Type        any         `json:"type,omitempty"`
	Enum        []string    `json:"enum,omitempty"`
	Format      string      `json:"format,omitempty"`
	Minimum     *int        `json:"minimum,omitempty"`
	Properties  *properties `json:"properties,omitempty"`
	Required    []string    `json:"required,omitempty"`
	Items       *schema     `json:"items,omitempty"`
	Additional  any         `json:"additionalProperties,omitempty"` // of maps a schema, of sections notAny
}

var notAny = false

// properties are in the order of the fields.
type properties []property

type property struct {
	name string
	s    *schema
}

// MarshalJSON implements json.Marshaler.
func (p *properties) MarshalJSON() ([]byte, error) {
	out := []byte{'{'}
	for i, q := range *p {
		if i > 0 {
			out = append(out, ',')
		}
		name, err := json.Marshal(q.name)
		if err != nil {
			return nil, err
		}
		value, err := json.Marshal(q.s)
		if err != nil {
			return nil, err
		}
		out = append(append(append(out, name...), ':'), value...)
	}
	return append(out, '}'), nil
}

func schemaOf(t reflect.Type) *schema {
	switch {
	case t.Kind() == reflect.Pointer:
		return schemaOf(t.Elem())
	case isScalar(t):
		return scalarSchema(t)
	case t.Kind() == reflect.Slice:
		return &schema{Type: "array", Items: schemaOf(t.Elem())}
	case t.Kind() == reflect.Map:
		return &schema{Type: "object", Additional: schemaOf(t.Elem())}
	}
	s := &schema{Type: "object", Properties: &properties{}, Additional: &notAny}
	for _, f := range fieldsOf(t) {
		inner := schemaOf(t.FieldByIndex(f.index).Type)
		if inner.Description != "" {
			inner.Description = f.doc + " Form: " + inner.Description + "."
		} else {
			inner.Description = f.doc
		}
		*s.Properties = append(*s.Properties, property{f.name, inner})
		if !f.omitEmpty {
			s.Required = append(s.Required, f.name)
		}
	}
	return s
}

// scalarSchema returns the schema of a value that is one word; its description is the form.
func scalarSchema(t reflect.Type) *schema {
	zero := 0
	switch {
	case t == reflect.TypeFor[time.Time]():
		return &schema{Type: "string", Format: "date-time"}
	case len(allowedOf(t)) > 0:
		return &schema{Type: "string", Enum: allowedOf(t)}
	case known[t] != "":
		return &schema{Type: "string", Description: known[t]}
	case formOf(t) != "":
		return &schema{Type: []string{"string", "integer"}, Description: formOf(t)} // 443 is text, too
	case reflect.PointerTo(t).Implements(unmarshalerType):
		return &schema{Type: "string"}
	}
	switch t.Kind() {
	case reflect.Bool:
		return &schema{Type: "boolean"}
	case reflect.String:
		return &schema{Type: []string{"string", "number", "boolean"}} // as written: a name like 0012 or true is text
	case reflect.Float32, reflect.Float64:
		return &schema{Type: "number"}
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return &schema{Type: "integer", Minimum: &zero}
	}
	return &schema{Type: "integer"}
}
