package strictyaml

import (
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// path is the way from the root of a document to a value, innermost step first. nil is the root.
type path struct {
	up    *path
	key   string // of a mapping, or empty
	index int    // of a sequence, if key is empty
}

func (p *path) field(key string) *path { return &path{up: p, key: key} }
func (p *path) item(i int) *path       { return &path{up: p, index: i} }

// String returns the path as "listeners[0].addr". A key that is not a plain word is quoted in brackets.
func (p *path) String() string {
	var steps []*path
	for ; p != nil; p = p.up {
		steps = append(steps, p)
	}
	slices.Reverse(steps)
	var s strings.Builder
	for _, step := range steps {
		switch {
		case step.key == "":
			s.WriteString("[" + strconv.Itoa(step.index) + "]")
		case !isWord(step.key):
			s.WriteString("[" + strconv.Quote(step.key) + "]")
		default:
			if s.Len() > 0 {
				s.WriteByte('.')
			}
			s.WriteString(step.key)
		}
	}
	return s.String()
}

func isWord(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool {
		return r != '_' && r != '-' && (r < '0' || r > '9') && (r < 'a' || r > 'z') && (r < 'A' || r > 'Z')
	})
}

// line returns the line of the value at key, as far as n holds it: that of the deepest step that is there. key is in
// the form that At takes.
func line(n *yaml.Node, key string) int { return deepest(n, key).Line }

// deepest returns the value at key, as far as n holds it.
func deepest(n *yaml.Node, key string) *yaml.Node {
	for key != "" {
		var step string
		var next *yaml.Node
		target := resolved(n)
		if strings.HasPrefix(key, "[") {
			step, key, _ = strings.Cut(key[1:], "]")
			if i, err := strconv.Atoi(step); err == nil && target.Kind == yaml.SequenceNode && i >= 0 && i < len(target.Content) {
				next = target.Content[i]
			}
		} else {
			end := strings.IndexAny(key, ".[")
			if end < 0 {
				end = len(key)
			}
			step, key = key[:end], key[end:]
			if target.Kind == yaml.MappingNode {
				for i := 0; i+1 < len(target.Content); i += 2 {
					if target.Content[i].Value == step {
						next = target.Content[i+1]
					}
				}
			}
		}
		if next == nil {
			break
		}
		n, key = next, strings.TrimPrefix(key, ".")
	}
	return n
}

// Places tells where in a document values stand.
type Places struct{ root *yaml.Node } // nil: it is not YAML

// PlacesOf reads a document that Decode has read, or found something wrong with.
func PlacesOf(doc Document) *Places {
	if doc.MaxSize == 0 {
		doc.MaxSize = DefaultMaxSize
	}
	if int64(len(doc.Data)) > int64(doc.MaxSize) {
		return &Places{}
	}
	d := &decoder{file: doc.File, reported: map[string]bool{}}
	return &Places{d.parse(doc.Data)}
}

// At returns line and column, both from 1, of the value at a path as problems have it, or of what there is of the way to it; 0, 0: the document is no YAML.
func (p *Places) At(path string) (line, column int) {
	if p.root == nil {
		return 0, 0
	}
	n := deepest(p.root, path)
	return n.Line, n.Column
}

// resolved returns the node that n is an alias of, or n.
func resolved(n *yaml.Node) *yaml.Node {
	if n.Kind == yaml.AliasNode {
		return n.Alias
	}
	return n
}
