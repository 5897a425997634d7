package api_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
)

// schema is what the document says of a value.
type schema struct {
	Ref                  string             `json:"$ref"`
	Type                 any                `json:"type"` // a word, or several
	Format               string             `json:"format"`
	Enum                 []any              `json:"enum"`
	Properties           map[string]*schema `json:"properties"`
	Required             []string           `json:"required"`
	Items                *schema            `json:"items"`
	AdditionalProperties any                `json:"additionalProperties"`
	Minimum, Maximum     *float64
	MinLength, MaxLength *int
	MinItems, MaxItems   *int
	ReadOnly             bool `json:"readOnly"`
}

// is tells whether a value may be of a type.
func (s *schema) is(word string) bool {
	switch t := s.Type.(type) {
	case string:
		return t == word
	case []any:
		return slices.Contains(t, any(word))
	}
	return false
}

// parameter is one of an operation.
type parameter struct {
	Name     string
	In       string
	Required bool
	Schema   *schema
}

// operation is what the document says can be done.
type operation struct {
	method, path string

	ID          string `json:"operationId"`
	Role        string `json:"x-weir-role"`
	Scope       string `json:"x-weir-scope"`
	Change      string `json:"x-weir-change"`
	Parameters  []parameter
	RequestBody *struct {
		Required bool
		Content  map[string]struct{ Schema *schema }
	}
	Responses map[string]json.RawMessage
}

func (op *operation) body(d *document) *schema {
	if op.RequestBody == nil {
		return nil
	}
	return d.resolve(op.RequestBody.Content["application/json"].Schema)
}

// document is the OpenAPI document, as far as the tests use it.
type document struct {
	Paths      map[string]map[string]*operation
	Components struct{ Schemas map[string]*schema }
	operations []*operation // by id
}

// documentOf reads the document of everything that there is to do.
func documentOf(r *rig) *document {
	r.t.Helper()
	var d document
	got := r.ask(asking{method: "GET", path: "/api/v1/openapi.json", socket: true})
	if err := json.Unmarshal([]byte(got.body), &d); err != nil {
		r.t.Fatalf("%v\n%s", err, got.body)
	}
	for path, methods := range d.Paths {
		for method, op := range methods {
			op.method, op.path = strings.ToUpper(method), path
			d.operations = append(d.operations, op)
		}
	}
	slices.SortFunc(d.operations, func(a, b *operation) int { return strings.Compare(a.ID, b.ID) })
	return &d
}

func (d *document) resolve(s *schema) *schema {
	for s != nil && s.Ref != "" {
		s = d.Components.Schemas[strings.TrimPrefix(s.Ref, "#/components/schemas/")]
	}
	return s
}

// maker of values that the document allows.
type generator struct {
	*document
	rnd *rand.Rand
	// known are values that mean something to the rig, by the name of a parameter or property: they are taken half of the time.
	known map[string][]any
	// always are the only ones that are taken, where others would take time, or dial somewhere.
	always map[string][]any
}

const letters = "abcdefghijklmnopqrstuvwxyz0123456789 -./:äß\"'<>\\%"

// value returns one that is as s says.
func (g *generator) value(name string, s *schema, depth int) any {
	s = g.resolve(s)
	if list := g.always[name]; len(list) > 0 {
		v := list[g.rnd.IntN(len(list))]
		if s.is("array") {
			return []any{v}
		}
		return v
	}
	if list := g.known[name]; len(list) > 0 && g.rnd.IntN(2) == 0 && !s.is("array") && !s.is("object") {
		return list[g.rnd.IntN(len(list))]
	}
	if s == nil {
		return nil
	}
	if len(s.Enum) > 0 {
		return s.Enum[g.rnd.IntN(len(s.Enum))]
	}
	switch {
	case s.is("object"):
		o := map[string]any{}
		for _, p := range slices.Sorted(maps.Keys(s.Properties)) {
			inner := s.Properties[p]
			if p == "$schema" || !slices.Contains(s.Required, p) && (depth > 3 || g.rnd.IntN(2) == 0) {
				continue
			}
			o[p] = g.value(p, inner, depth+1)
		}
		return o
	case s.is("array"):
		n := g.rnd.IntN(3)
		if s.MinItems != nil {
			n = max(n, *s.MinItems)
		}
		list := []any{}
		for range n {
			list = append(list, g.value(name, s.Items, depth+1))
		}
		return list
	case s.is("integer"):
		low, high := 0.0, 1e6
		if s.Minimum != nil {
			low = *s.Minimum
		}
		if s.Maximum != nil {
			high = min(high, *s.Maximum)
		}
		return int64(low) + g.rnd.Int64N(int64(high-low)+1)
	case s.is("number"):
		return g.rnd.Float64()
	case s.is("boolean"):
		return g.rnd.IntN(2) == 0
	case s.is("string"):
		if s.Format == "date-time" {
			return []string{"2026-11-24T10:00:00Z", "1970-01-01T00:00:00Z", "9999-12-31T23:59:59.999999999+14:00"}[g.rnd.IntN(3)]
		}
		low, high := 0, 20
		if s.MinLength != nil {
			low = *s.MinLength
		}
		if s.MaxLength != nil {
			high = min(high, *s.MaxLength)
		}
		runes := []rune(letters)
		var b strings.Builder
		for range low + g.rnd.IntN(max(high-low, 0)+1) {
			b.WriteRune(runes[g.rnd.IntN(len(runes))])
		}
		return b.String()
	}
	return nil
}

// request returns one that is as the document says.
func (g *generator) request(op *operation) asking {
	q := asking{method: op.method, path: op.path, header: map[string]string{}}
	v := url.Values{}
	for i := range op.Parameters {
		p := &op.Parameters[i]
		optional := !p.Required && p.In != "path" && len(g.always[p.Name]) == 0
		if optional && g.rnd.IntN(2) == 0 || p.In == "cookie" {
			continue
		}
		g.put(&q, v, p, g.value(p.Name, p.Schema, 0))
	}
	if len(v) > 0 {
		q.path += "?" + v.Encode()
	}
	if s := op.body(g.document); s != nil {
		q.body = g.value("", s, 0)
	}
	return q
}

// put puts the value of a parameter into a request.
func (g *generator) put(q *asking, v url.Values, p *parameter, value any) {
	text := fmt.Sprint(value)
	if list, ok := value.([]any); ok {
		words := make([]string, len(list))
		for i := range list {
			words[i] = fmt.Sprint(list[i])
		}
		text = strings.Join(words, ",")
	}
	switch p.In {
	case "path":
		if text == "" || text == "." || text == ".." || text == "/" { // other paths, even encoded: net/http takes a lone "%2F" for a trailing slash
			text = "x"
		}
		q.path = strings.ReplaceAll(q.path, "{"+p.Name+"}", url.PathEscape(text))
	case "query":
		v.Set(p.Name, text)
	case "header":
		q.header[p.Name] = strings.Map(func(r rune) rune {
			if r < ' ' || r > '~' {
				return '_'
			}
			return r
		}, text)
	}
}

// wrongRequest is one that the document forbids, and where.
type wrongRequest struct {
	asking
	where, why string
}

// wrong returns requests that the document forbids, each for one reason; the rest of each is as it allows.
func (g *generator) wrong(op *operation) []wrongRequest {
	var list []wrongRequest
	base := func(skip string) (asking, url.Values) {
		q := asking{method: op.method, path: op.path, header: map[string]string{}}
		v := url.Values{}
		for i := range op.Parameters {
			p := &op.Parameters[i]
			if p.Name != skip && (p.Required || p.In == "path") {
				g.put(&q, v, p, g.value(p.Name, p.Schema, 0))
			}
		}
		if s := op.body(g.document); s != nil {
			q.body = g.value("", s, 0)
		}
		return q, v
	}
	add := func(q asking, v url.Values, where, why string) {
		if len(v) > 0 {
			q.path += "?" + v.Encode()
		}
		list = append(list, wrongRequest{q, where, why})
	}
	for i := range op.Parameters {
		p := &op.Parameters[i]
		for why, value := range g.forbidden(p.Schema, true) {
			if p.In == "path" && (value == nil || value == "") || p.In == "cookie" {
				continue
			}
			q, v := base(p.Name)
			g.put(&q, v, p, value)
			add(q, v, p.In+"."+p.Name, why)
		}
		if p.Required && p.In == "query" {
			q, v := base(p.Name)
			add(q, v, "query."+p.Name, "missing")
		}
	}
	q, v := base("")
	v.Set("no_such_parameter", "1")
	add(q, v, "query.no_such_parameter", "unknown")
	s := op.body(g.document)
	if s == nil {
		return list
	}
	for why, text := range map[string]string{"no JSON": "{", "another type": "[1]", "a number": "7", "empty": ""} {
		if why == "empty" && !op.RequestBody.Required {
			continue
		}
		q, v := base("")
		q.body = []byte(text)
		add(q, v, "body", why)
	}
	for name, p := range s.Properties {
		if name == "$schema" {
			continue
		}
		for why, value := range g.forbidden(p, false) {
			q, v := base("")
			o := q.body.(map[string]any)
			o[name] = value
			add(q, v, "body."+name, why)
		}
		if slices.Contains(s.Required, name) {
			q, v := base("")
			delete(q.body.(map[string]any), name)
			add(q, v, "body", "without "+name)
		}
	}
	if s.AdditionalProperties == false {
		q, v := base("")
		q.body.(map[string]any)["no_such_property"] = 1
		add(q, v, "body", "an unknown property")
	}
	return list
}

// forbidden returns values that s forbids, by why.
func (g *generator) forbidden(s *schema, parameter bool) map[string]any {
	s = g.resolve(s)
	m := map[string]any{}
	if s == nil {
		return m
	}
	if len(s.Enum) > 0 {
		m["not in the enumeration"] = "no-such-word"
	}
	switch {
	case s.is("integer"), s.is("number"):
		m["no number"] = "seven"
		if s.Minimum != nil && (!parameter || *s.Minimum > 0) {
			m["too small"] = int64(*s.Minimum) - 1
		}
		if s.Maximum != nil && *s.Maximum < 1e15 {
			m["too large"] = int64(*s.Maximum) + 1
		}
	case s.is("boolean"):
		m["no boolean"] = "perhaps"
	case s.is("string"):
		if s.Format == "date-time" {
			m["no time"] = "yesterday"
		}
		if s.MaxLength != nil && *s.MaxLength < 20_000 {
			m["too long"] = strings.Repeat("a", *s.MaxLength+1)
		}
		if s.MinLength != nil && *s.MinLength > 0 {
			m["too short"] = ""
		}
		if !parameter {
			m["a number"] = 7
		}
	case s.is("array"):
		if !parameter {
			m["no array"] = "a"
		}
		if s.MaxItems != nil && *s.MaxItems <= 1000 {
			list := make([]any, *s.MaxItems+1)
			for i := range list {
				list[i] = g.value("", s.Items, 4)
			}
			m["too many"] = list
		}
	case s.is("object"):
		m["no object"] = 7
	}
	return m
}

// checkProblem wants an error to be told as RFC 9457 says, with the field at fault if one is.
func checkProblem(t *testing.T, what string, a answer) problem {
	t.Helper()
	var p problem
	if err := json.Unmarshal([]byte(a.body), &p); err != nil || a.header.Get("Content-Type") != "application/problem+json" || p.Status != a.status || p.Detail == "" {
		t.Errorf("%s: %d %s: want a problem with its status and a detail\n%.300s", what, a.status, a.header.Get("Content-Type"), a.body)
	}
	if a.status != http.StatusUnprocessableEntity && a.header.Get("X-Request-Id") == "" {
		t.Errorf("%s: no id of the request", what)
	}
	return p
}
