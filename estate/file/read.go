package file

import (
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/weirhq/weir/estate"
	"github.com/weirhq/weir/internal/bytesize"
	"github.com/weirhq/weir/internal/strictyaml"
)

// maxSize bounds the file: some 300 000 VIFs.
const maxSize = 64 * bytesize.MiB

// Read reads and compiles the file named name. Its error lists everything that is wrong, each with its line.
func Read(name string) (*estate.Snapshot, error) {
	data, err := load(name)
	if err != nil {
		return nil, err
	}
	_, s, err := Parse(name, data)
	return s, err
}

func load(name string) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, fmt.Errorf("read estate: %w", err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, int64(maxSize)+1))
	if err != nil {
		return nil, fmt.Errorf("read estate: %w", err)
	}
	return data, nil
}

// Parse returns the model in data, the content of the file named name, and compiles it. Its error lists everything
// that is wrong with the form or, once the form is right, with the meaning.
func Parse(name string, data []byte) (*estate.Model, *estate.Snapshot, error) {
	doc := strictyaml.Document{File: name, Data: data, MaxSize: maxSize}
	m := &estate.Model{}
	if err := strictyaml.Decode(doc, m); err != nil {
		return nil, nil, fmt.Errorf("read estate: %w", err)
	}
	s, err := estate.Compile(m)
	if problems, ok := errors.AsType[*estate.Problems](err); ok { // once more, so that they get their lines
		err = strictyaml.Decode(doc, &refused{problems: problems})
		if all, ok := errors.AsType[*strictyaml.Error](err); ok {
			all.More += problems.More
		}
	}
	if err != nil {
		return nil, nil, fmt.Errorf("read estate: %w", err)
	}
	return m, s, nil
}

// refused is a model of which it is known what is wrong.
type refused struct {
	estate.Model `yaml:",inline"`

	problems *estate.Problems
}

// Validate returns what is wrong.
func (r *refused) Validate() error {
	var errs []error
	for _, p := range r.problems.List {
		errs = append(errs, strictyaml.At(p.Path, errors.New(p.Text)))
	}
	return errors.Join(errs...)
}
