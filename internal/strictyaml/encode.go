package strictyaml

import (
	"bytes"
	"encoding"
	"fmt"
	"reflect"
	"strconv"
	"time"

	"go.yaml.in/yaml/v3"
)

// Encode returns the struct v, or the one it points to, as YAML that Decode reads back: keys in the order of the
// fields, durations and sizes with units, fields tagged omitempty left out where they are zero.
func Encode(v any) ([]byte, error) {
	n, err := encode(reflect.ValueOf(v))
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	e := yaml.NewEncoder(&out)
	e.SetIndent(2)
	if err := e.Encode(n); err != nil {
		return nil, err
	}
	if err := e.Close(); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

func encode(v reflect.Value) (*yaml.Node, error) {
	if v.Kind() == reflect.Pointer {
		if v.IsNil() {
			return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!null", Value: "null"}, nil
		}
		return encode(v.Elem())
	}
	if isScalar(v.Type()) {
		return encodeScalar(v)
	}
	switch v.Kind() {
	case reflect.Struct:
		n := &yaml.Node{Kind: yaml.MappingNode, Tag: "!!map"}
		for _, f := range fieldsOf(v.Type()) {
			fv := v.FieldByIndex(f.index)
			if f.omitEmpty && (fv.IsZero() || fv.Kind() == reflect.Slice && fv.Len() == 0) {
				continue
			}
			value, err := encode(fv)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", f.name, err)
			}
			n.Content = append(n.Content, text(f.name), value)
		}
		return n, nil
	case reflect.Slice:
		n := &yaml.Node{Kind: yaml.SequenceNode, Tag: "!!seq"}
		if isScalar(v.Type().Elem()) {
			n.Style = yaml.FlowStyle
		}
		for i := range v.Len() {
			value, err := encode(v.Index(i))
			if err != nil {
				return nil, fmt.Errorf("[%d]: %w", i, err)
			}
			n.Content = append(n.Content, value)
		}
		return n, nil
	case reflect.Map:
		n := &yaml.Node{Kind: yaml.MappingNode, Tag: "!!map"}
		for _, key := range sortedKeys(v) {
			value, err := encode(v.MapIndex(key.value))
			if err != nil {
				return nil, fmt.Errorf("%s: %w", key.text, err)
			}
			n.Content = append(n.Content, text(key.text), value)
		}
		return n, nil
	}
	panic(fmt.Sprintf("BUG: strictyaml: type %s has no form in YAML", v.Type()))
}

func encodeScalar(v reflect.Value) (*yaml.Node, error) {
	if v.Type() == durationType {
		return text(FormatDuration(time.Duration(v.Int()))), nil
	}
	if m, ok := reflect.TypeAssert[encoding.TextMarshaler](v); ok {
		s, err := m.MarshalText()
		if err != nil {
			return nil, err
		}
		return text(string(s)), nil
	}
	plain := func(tag, value string) (*yaml.Node, error) {
		return &yaml.Node{Kind: yaml.ScalarNode, Tag: tag, Value: value}, nil
	}
	switch {
	case v.Kind() == reflect.String:
		return text(v.String()), nil
	case v.Kind() == reflect.Bool:
		return plain("!!bool", strconv.FormatBool(v.Bool()))
	case v.CanInt():
		return plain("!!int", strconv.FormatInt(v.Int(), 10))
	case v.CanUint():
		return plain("!!int", strconv.FormatUint(v.Uint(), 10))
	}
	return plain("!!float", strconv.FormatFloat(v.Float(), 'g', -1, v.Type().Bits()))
}

// text returns s as a scalar that reads back as the same text.
func text(s string) *yaml.Node {
	n := &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: s}
	for _, r := range s {
		if r < ' ' || r > '~' {
			n.Style = yaml.DoubleQuotedStyle // block styles do not keep every white space
			break
		}
	}
	return n
}
