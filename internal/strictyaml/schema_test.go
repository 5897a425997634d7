package strictyaml_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/weirhq/weir/internal/strictyaml"
)

type colour string

func (colour) Allowed() []string { return []string{"red", "blue"} }
func (c *colour) UnmarshalText(b []byte) error {
	if *c = colour(b); !slices.Contains(c.Allowed(), string(b)) {
		return errors.New("no colour")
	}
	return nil
}

type port uint16

func (port) Form() string                    { return `port, e.g. "443"` }
func (p *port) UnmarshalText(b []byte) error { _, err := fmt.Sscan(string(b), p); return err }

type inner struct {
	Colour colour `yaml:"colour" doc:"Which."`
	Port   port   `yaml:"port,omitempty" doc:"Where."`
}

type outer struct {
	Name  string            `yaml:"name" doc:"What it is called."`
	When  time.Time         `yaml:"when,omitempty" doc:"From when on."`
	On    bool              `yaml:"on,omitempty" doc:"Whether."`
	Count uint32            `yaml:"count,omitempty" doc:"How many."`
	Words map[string]string `yaml:"words,omitempty" doc:"More."`
	Parts []inner           `yaml:"parts,omitempty" doc:"Of what."`
	inner `yaml:",inline"`
}

// What the schema takes is what Decode takes, of documents in which nothing is wrong but types and keys.
func TestSchema(t *testing.T) {
	out, err := strictyaml.Schema(&outer{}, "Title", "About.")
	if err != nil {
		t.Fatal(err)
	}
	var s map[string]any
	if err := json.Unmarshal(out, &s); err != nil {
		t.Fatal(err)
	}
	for doc, want := range map[string]bool{
		"{name: a, colour: red}": true,
		"{name: 12, colour: blue, port: 443, on: true, count: 3, words: {a: b}}": true,
		"{name: a, colour: red, port: '443', parts: [{colour: red, port: 1}]}":   true,
		"{name: a, colour: red, when: '2026-03-01T12:00:00Z'}":                   true,
		"{name: a, colour: green}":                                               false,
		"{colour: red, nam: a}":                                                  false,
		"{name: a, colour: red, parts: {colour: red}}":                           false,
		"{name: a, colour: red, parts: [{colour: red, prt: 1}]}":                 false,
		"{name: a, colour: red, on: 1}":                                          false,
		"{name: a, colour: red, count: -1}":                                      false,
		"{name: a, colour: red, words: [a]}":                                     false,
		"{name: [a], colour: red}":                                               false,
	} {
		var v any
		if err := yaml.Unmarshal([]byte(doc), &v); err != nil {
			t.Fatal(err)
		}
		problem := check(s, v, "")
		if (problem == "") != want {
			t.Errorf("%s: the schema says %q, want it taken: %v", doc, problem, want)
		}
		if missing := strings.Contains(problem, "missing"); !missing { // Decode leaves that to Validate
			if err := strictyaml.Decode(strictyaml.Document{Data: []byte(doc)}, &outer{}); (err == nil) != want {
				t.Errorf("%s: Decode says %v, want it taken: %v", doc, err, want)
			}
		}
	}
	if problem := check(s, map[string]any{"name": "a"}, ""); problem != ": colour is missing" {
		t.Errorf("without colour, the schema says %q", problem)
	}
}

// check says what a schema, of those that Schema makes, finds wrong with v; "" is nothing.
func check(s map[string]any, v any, path string) string {
	types, _ := s["type"].([]any)
	if one, ok := s["type"].(string); ok {
		types = []any{one}
	}
	is := "string"
	switch x := v.(type) {
	case map[string]any:
		is = "object"
	case []any:
		is = "array"
	case bool:
		is = "boolean"
	case int:
		if is = "integer"; slices.Contains(types, any("number")) {
			is = "number"
		}
		if least, ok := s["minimum"].(float64); ok && float64(x) < least {
			return path + ": too small"
		}
	}
	if !slices.Contains(types, any(is)) {
		return fmt.Sprintf("%s: found %s, want %v", path, is, types)
	}
	if enum, ok := s["enum"].([]any); ok && !slices.Contains(enum, v) {
		return fmt.Sprintf("%s: found %v, want %v", path, v, enum)
	}
	if list, ok := v.([]any); ok {
		for i, x := range list {
			if p := check(s["items"].(map[string]any), x, fmt.Sprintf("%s[%d]", path, i)); p != "" {
				return p
			}
		}
	}
	m, ok := v.(map[string]any)
	if !ok {
		return ""
	}
	known, _ := s["properties"].(map[string]any)
	for k, x := range m {
		inner, ok := known[k].(map[string]any)
		if !ok {
			if inner, ok = s["additionalProperties"].(map[string]any); !ok {
				return path + ": " + k + " is unknown"
			}
		}
		if p := check(inner, x, path+"."+k); p != "" {
			return p
		}
	}
	required, _ := s["required"].([]any)
	for _, k := range required {
		if _, ok := m[k.(string)]; !ok {
			return fmt.Sprintf("%s: %s is missing", path, k)
		}
	}
	return ""
}
