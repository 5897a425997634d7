package strictyaml

import (
	"bytes"
	"encoding"
	"errors"
	"fmt"
	"io"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/weirhq/weir/internal/bytesize"
)

// Document is the text of a file.
type Document struct {
	File    string // name for messages
	Data    []byte
	MaxSize bytesize.Size // longest Data; 0 is DefaultMaxSize
}

// DefaultMaxSize is the longest document that Decode reads unless told otherwise.
const DefaultMaxSize = 4 * bytesize.MiB

const (
	maxDepth    = 64  // nesting of values; no section of ours comes near
	maxProblems = 100 // listed; the rest is counted
	aliasFactor = 4   // keys and values visited, as a multiple of those that the document has room for
)

// Load is Decode of the file named name, of at most DefaultMaxSize.
func Load(name string, into any) error {
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, int64(DefaultMaxSize)+1))
	if err != nil {
		return err
	}
	return Decode(Document{File: name, Data: data}, into)
}

// Decode fills the struct that into points to from the one document in doc, then calls the Validate methods of the
// struct and of everything in it. An empty document leaves the defaults. What is wrong is an *Error; the struct is
// then partly filled.
func Decode(doc Document, into any) error {
	v := pointee(into)
	if doc.MaxSize == 0 {
		doc.MaxSize = DefaultMaxSize
	}
	d := &decoder{file: doc.File, reported: map[string]bool{}}
	if int64(len(doc.Data)) > int64(doc.MaxSize) {
		d.report(0, nil, "longer than %s", doc.MaxSize)
		return d.err()
	}
	root := d.parse(doc.Data)
	if root != nil {
		d.budget = aliasFactor * (1 + len(doc.Data)) // every value and key was written with at least a byte
		d.value(root, v, nil, 0)
	} else if len(d.problems) == 0 {
		d.validateAbsent(&yaml.Node{}, v, nil)
	}
	return d.err()
}

// pointee returns what v points to.
func pointee(v any) reflect.Value {
	p := reflect.ValueOf(v)
	if p.Kind() != reflect.Pointer || p.IsNil() {
		panic(fmt.Sprintf("BUG: strictyaml takes a pointer that is not nil, not a %T", v))
	}
	return p.Elem()
}

type decoder struct {
	file     string
	problems []Problem
	more     int
	reported map[string]bool // paths that have a problem from decoding, and texts of those from validation
	budget   int             // keys and values that may still be visited
}

func (d *decoder) report(line int, p *path, format string, args ...any) {
	if d.full() {
		return
	}
	where := p.String()
	d.reported[where] = true
	d.add(Problem{d.file, line, where, fmt.Sprintf(format, args...)})
}

// full reports whether no more problems are listed, and if so counts one.
func (d *decoder) full() bool {
	if len(d.problems) < maxProblems {
		return false
	}
	d.more++
	return true
}

func (d *decoder) add(p Problem) {
	if !d.full() {
		d.problems = append(d.problems, p)
	}
}

func (d *decoder) err() error {
	if len(d.problems) == 0 {
		return nil
	}
	slices.SortStableFunc(d.problems, func(a, b Problem) int { return a.Line - b.Line })
	return &Error{File: d.file, Problems: d.problems, More: d.more}
}

var lineOfError = regexp.MustCompile(`^(?:yaml: )?line (\d+): `)

// parse returns the root value, or nil if there is none or the text is not YAML.
func (d *decoder) parse(data []byte) *yaml.Node {
	dec := yaml.NewDecoder(bytes.NewReader(data))
	var doc, second yaml.Node
	err := dec.Decode(&doc)
	if errors.Is(err, io.EOF) {
		return nil
	}
	if err != nil {
		text, at := strings.TrimPrefix(err.Error(), "yaml: "), 0
		if m := lineOfError.FindStringSubmatch(err.Error()); m != nil {
			text = strings.TrimPrefix(err.Error(), m[0])
			at, _ = strconv.Atoi(m[1])
		}
		d.report(at, nil, "not YAML: %s", text)
		return nil
	}
	if err := dec.Decode(&second); !errors.Is(err, io.EOF) {
		d.report(second.Line, nil, "a second document; want one")
		return nil
	}
	if len(doc.Content) == 0 {
		return nil
	}
	return doc.Content[0]
}

// value fills v, which is addressable, from n, and validates it.
func (d *decoder) value(n *yaml.Node, v reflect.Value, p *path, depth int) {
	if !d.spend(1, n, p) {
		return
	}
	if depth > maxDepth {
		d.report(n.Line, p, "nested deeper than %d", maxDepth)
		return
	}
	at := n.Line
	n = resolved(n)
	if n.Style&yaml.TaggedStyle != 0 {
		d.report(at, p, "tag %s: tags have no meaning here", n.Tag)
		return
	}
	null := n.Kind == yaml.ScalarNode && n.Tag == "!!null"
	if v.Kind() == reflect.Pointer {
		if null {
			d.validateAbsent(n, v, p)
			return
		}
		if v.IsNil() {
			v.Set(newElement(v.Type().Elem()))
		}
		d.value(n, v.Elem(), p, depth+1)
		return
	}
	if null {
		if isScalar(v.Type()) {
			d.report(at, p, "no value; want %s", expected(v.Type()))
			return
		}
		d.validateAbsent(n, v, p)
		return
	}
	switch {
	case isScalar(v.Type()):
		if text := scalar(n, v); text != "" {
			d.report(at, p, "%s", text)
			return
		}
	case v.Kind() == reflect.Struct:
		if !d.structure(n, v, p, depth, at) {
			return
		}
	case v.Kind() == reflect.Slice:
		if n.Kind != yaml.SequenceNode {
			d.report(at, p, "found %s, want %s", found(n), expected(v.Type()))
			return
		}
		list := reflect.MakeSlice(v.Type(), len(n.Content), len(n.Content))
		for i, c := range n.Content {
			setDefaults(list.Index(i))
			if c.Tag == "!!null" {
				d.report(c.Line, p.item(i), "no value; want %s", expected(v.Type().Elem()))
				continue
			}
			d.value(c, list.Index(i), p.item(i), depth+1)
		}
		v.Set(list)
	case v.Kind() == reflect.Map:
		if !d.mapping(n, v, p, depth, at) {
			return
		}
	default:
		panic(fmt.Sprintf("BUG: strictyaml: %s: type %s has no form in YAML", p, v.Type()))
	}
	d.validate(n, v, p)
}

// spend takes n visits from the budget and reports whether there were as many.
func (d *decoder) spend(visits int, n *yaml.Node, p *path) bool {
	if d.budget < 0 {
		return false
	}
	if d.budget -= visits; d.budget < 0 { // listed even if the list is full: it is the cause of the others
		d.problems = append(d.problems, Problem{d.file, n.Line, p.String(), "aliases repeat too much of the document: write it out"})
		return false
	}
	return true
}

// structure fills the struct v and reports whether n is a mapping.
func (d *decoder) structure(n *yaml.Node, v reflect.Value, p *path, depth, at int) bool {
	if n.Kind != yaml.MappingNode {
		d.report(at, p, "found %s, want %s", found(n), expected(v.Type()))
		return false
	}
	fields := fieldsOf(v.Type())
	seen := d.keys(n, p)
	given := make([]bool, len(fields))
	for i := 0; i+1 < len(n.Content); i += 2 {
		key := resolved(n.Content[i])
		if seen[i/2] {
			continue
		}
		j := slices.IndexFunc(fields, func(f field) bool { return f.name == key.Value })
		if j < 0 && d.full() {
			continue
		}
		if j < 0 {
			d.report(key.Line, p.field(key.Value), "unknown key%s", suggestion(key.Value, names(fields)))
			continue
		}
		given[j] = true
		d.value(n.Content[i+1], v.FieldByIndex(fields[j].index), p.field(key.Value), depth+1)
	}
	for j, f := range fields {
		if !given[j] {
			d.validateAbsent(n, v.FieldByIndex(f.index), p.field(f.name))
		}
	}
	return true
}

// mapping fills the map v and reports whether n is a mapping.
func (d *decoder) mapping(n *yaml.Node, v reflect.Value, p *path, depth, at int) bool {
	if n.Kind != yaml.MappingNode {
		d.report(at, p, "found %s, want %s", found(n), expected(v.Type()))
		return false
	}
	seen := d.keys(n, p)
	m := reflect.MakeMapWithSize(v.Type(), len(n.Content)/2)
	for i := 0; i+1 < len(n.Content); i += 2 {
		if seen[i/2] {
			continue
		}
		name := resolved(n.Content[i])
		key, element := reflect.New(v.Type().Key()).Elem(), newElement(v.Type().Elem()).Elem()
		at := p.field(name.Value)
		if text := scalar(name, key); text != "" {
			d.report(name.Line, at, "key: %s", text)
		}
		d.value(n.Content[i+1], element, at, depth+1)
		m.SetMapIndex(key, element)
	}
	v.Set(m)
	return true
}

// keys reports the keys of a mapping that are no scalars or stand there twice, and says which those are.
func (d *decoder) keys(n *yaml.Node, p *path) (skip []bool) {
	skip = make([]bool, len(n.Content)/2)
	if !d.spend(len(skip), n, p) {
		for i := range skip {
			skip[i] = true
		}
		return skip
	}
	first := make(map[string]int, len(skip))
	for i := range skip {
		key := resolved(n.Content[2*i])
		if key.Kind != yaml.ScalarNode || key.Style&yaml.TaggedStyle != 0 || key.Tag == "!!null" {
			d.report(key.Line, p, "found %s as a key, want a word", found(key))
			skip[i] = true
			continue
		}
		if line, ok := first[key.Value]; ok {
			d.report(key.Line, p.field(key.Value), "duplicate key, first on line %d", line)
			skip[i] = true
			continue
		}
		first[key.Value] = key.Line
	}
	return skip
}

type validator interface{ Validate() error }

// validate calls the Validate method of v, if it has one. Its complaints about values that could not be decoded are
// left out: they are about the default.
func (d *decoder) validate(n *yaml.Node, v reflect.Value, p *path) {
	err := callValidate(v)
	if err == nil {
		return
	}
	flatten(err, "", func(key string, err error) {
		where := join(p.String(), key)
		if d.reported[where] || d.reported[where+"\x00"+err.Error()] {
			return
		}
		d.reported[where+"\x00"+err.Error()] = true
		d.add(Problem{d.file, line(n, key), where, err.Error()})
	})
}

// validateAbsent validates v, which the file does not mention, and everything in it. n is the nearest node.
func (d *decoder) validateAbsent(n *yaml.Node, v reflect.Value, p *path) {
	walkValidate(v, p, func(p *path, err error) {
		flatten(err, "", func(key string, err error) {
			d.add(Problem{d.file, n.Line, join(p.String(), key), err.Error()})
		})
	})
}

// walkValidate calls the Validate methods of v and of everything in it, deepest first.
func walkValidate(v reflect.Value, p *path, f func(*path, error)) {
	switch {
	case isScalar(v.Type()):
	case v.Kind() == reflect.Pointer:
		if !v.IsNil() {
			walkValidate(v.Elem(), p, f)
		}
		return
	case v.Kind() == reflect.Struct:
		for _, fd := range fieldsOf(v.Type()) {
			walkValidate(v.FieldByIndex(fd.index), p.field(fd.name), f)
		}
	case v.Kind() == reflect.Slice:
		for i := range v.Len() {
			walkValidate(v.Index(i), p.item(i), f)
		}
	case v.Kind() == reflect.Map:
		for _, key := range sortedKeys(v) {
			element := reflect.New(v.Type().Elem()).Elem()
			element.Set(v.MapIndex(key.value))
			walkValidate(element, p.field(key.text), f)
		}
	}
	if err := callValidate(v); err != nil {
		f(p, err)
	}
}

func callValidate(v reflect.Value) error {
	if !v.CanAddr() {
		return nil
	}
	if val, ok := reflect.TypeAssert[validator](v.Addr()); ok {
		return val.Validate()
	}
	return nil
}

func join(path, key string) string {
	if path == "" || key == "" || strings.HasPrefix(key, "[") {
		return path + key
	}
	return path + "." + key
}

// newElement returns a pointer to a new value of type t with its defaults.
func newElement(t reflect.Type) reflect.Value {
	p := reflect.New(t)
	setDefaults(p.Elem())
	return p
}

func setDefaults(v reflect.Value) {
	if d, ok := reflect.TypeAssert[interface{ SetDefaults() }](v.Addr()); ok {
		d.SetDefaults()
	}
}

// scalar fills v, of a scalar type, from n. It returns what is wrong, or "".
func scalar(n *yaml.Node, v reflect.Value) string {
	wrong := func() string { return fmt.Sprintf("found %s, want %s", found(n), expected(v.Type())) }
	if n.Kind != yaml.ScalarNode {
		return wrong()
	}
	if v.Type() == durationType {
		dur, err := ParseDuration(n.Value)
		if err != nil {
			return err.Error()
		}
		v.SetInt(int64(dur))
		return ""
	}
	if u, ok := reflect.TypeAssert[encoding.TextUnmarshaler](v.Addr()); ok {
		if err := u.UnmarshalText([]byte(n.Value)); err != nil {
			return refused(n.Value, v.Type(), err)
		}
		return ""
	}
	switch v.Kind() {
	case reflect.String:
		v.SetString(n.Value) // as written: a name like 0012 or true is text where text is wanted
		return ""
	case reflect.Bool:
		if n.Tag != "!!bool" || n.Value != "true" && n.Value != "false" {
			return wrong()
		}
		v.SetBool(n.Value == "true")
		return ""
	case reflect.Float32, reflect.Float64:
		f, err := strconv.ParseFloat(n.Value, v.Type().Bits())
		if err != nil || n.Tag != "!!int" && n.Tag != "!!float" {
			return wrong()
		}
		v.SetFloat(f)
		return ""
	}
	digits := strings.TrimPrefix(n.Value, "-")
	if n.Tag != "!!int" || len(digits) > 1 && digits[0] == '0' && digits[1] >= '0' && digits[1] <= '9' {
		return wrong() // 0644 is octal in YAML 1.1 and decimal in 1.2
	}
	if v.CanInt() {
		i, err := strconv.ParseInt(n.Value, 0, v.Type().Bits())
		if err != nil {
			return wrong()
		}
		v.SetInt(i)
		return ""
	}
	u, err := strconv.ParseUint(n.Value, 0, v.Type().Bits())
	if err != nil {
		return wrong()
	}
	v.SetUint(u)
	return ""
}

// refused says why the text of a type with UnmarshalText is wrong.
func refused(text string, t reflect.Type, err error) string {
	if allowed := allowedOf(t); len(allowed) > 0 {
		return fmt.Sprintf("found %q, want %s%s", text, strings.Join(allowed, " or "), suggestion(text, allowed))
	}
	if known[t] != "" {
		return fmt.Sprintf("found %q, want %s", text, expected(t))
	}
	return err.Error()
}

var (
	durationType    = reflect.TypeFor[time.Duration]()
	unmarshalerType = reflect.TypeFor[encoding.TextUnmarshaler]()
)

// isScalar reports whether a value of type t is written as one word.
func isScalar(t reflect.Type) bool {
	if t.Kind() == reflect.Pointer {
		return false
	}
	if reflect.PointerTo(t).Implements(unmarshalerType) {
		return true
	}
	switch t.Kind() {
	case reflect.Bool, reflect.String, reflect.Float32, reflect.Float64,
		reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64,
		reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return true
	}
	return false
}

// found describes n for a message.
func found(n *yaml.Node) string {
	const longest = 60
	switch n.Kind {
	case yaml.MappingNode:
		return "a section"
	case yaml.SequenceNode:
		return "a list"
	}
	text := n.Value
	if len(text) > longest {
		text = strings.ToValidUTF8(text[:longest], "") + "…"
	}
	if n.Kind == yaml.ScalarNode && n.Tag != "!!str" && n.Tag != "" {
		return map[string]string{
			"!!int": "number ", "!!float": "number ", "!!bool": "boolean ", "!!timestamp": "date ", "!!null": "null ",
		}[n.Tag] + text
	}
	return strconv.Quote(text)
}
