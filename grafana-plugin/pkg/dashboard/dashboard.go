// Package dashboard reads dashboards as Grafana loads them from files, says what is wrong with them, and lists what they ask
// the data source. It is for tests: that every dashboard is sound, and that every query of every one of them is answered.
//
//	*.json ──► Read ──► []*Dashboard ──► Check     rules that Grafana does not enforce
//	                          └────────► Targets   queries, with variables put in as the frontend would
package dashboard

//go:generate ../../dashboards/generate.sh

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// Dashboard is what this package looks at of a dashboard in the classic form.
type Dashboard struct {
	UID           string   `json:"uid"`
	Title         string   `json:"title"`
	Description   string   `json:"description"`
	Tags          []string `json:"tags"`
	Refresh       string   `json:"refresh"`
	SchemaVersion int      `json:"schemaVersion"`
	Time          struct {
		From string `json:"from"`
		To   string `json:"to"`
	} `json:"time"`
	Panels     []Panel `json:"panels"`
	Templating struct {
		List []Variable `json:"list"`
	} `json:"templating"`
	Annotations struct {
		List []Annotation `json:"list"`
	} `json:"annotations"`

	file string
	text any // all of it
}

// Panel is a panel, or a row with the panels that it hides while it is closed.
type Panel struct {
	ID          int               `json:"id"`
	Type        string            `json:"type"`
	Title       string            `json:"title"`
	Description string            `json:"description"`
	GridPos     Position          `json:"gridPos"`
	Datasource  *Reference        `json:"datasource"`
	Targets     []json.RawMessage `json:"targets"`
	Panels      []Panel           `json:"panels"`
	FieldConfig struct {
		Defaults struct {
			Unit string `json:"unit"`
		} `json:"defaults"`
	} `json:"fieldConfig"`
}

// Position is a rectangle of Grafana's grid of 24 columns.
type Position struct {
	X int `json:"x"`
	Y int `json:"y"`
	W int `json:"w"`
	H int `json:"h"`
}

func (p Position) overlaps(q Position) bool {
	return p.X < q.X+q.W && q.X < p.X+p.W && p.Y < q.Y+q.H && q.Y < p.Y+p.H
}

// Reference names a data source.
type Reference struct {
	Type string `json:"type"`
	UID  string `json:"uid"`
}

// Variable is a variable of a dashboard.
type Variable struct {
	Name       string          `json:"name"`
	Type       string          `json:"type"`
	Label      string          `json:"label"`
	Query      json.RawMessage `json:"query"` // text, or of type query an object for the data source
	Datasource *Reference      `json:"datasource"`
	AllValue   string          `json:"allValue"`
	IncludeAll bool            `json:"includeAll"`
	Current    Option          `json:"current"`
	Options    []Option        `json:"options"`
}

// Option is a value of a variable, and what people read; each a text, or a list of them.
type Option struct {
	Text  any `json:"text"`
	Value any `json:"value"`
}

// Annotation is what is marked on every graph.
type Annotation struct {
	Name       string          `json:"name"`
	BuiltIn    int             `json:"builtIn"`
	Datasource *Reference      `json:"datasource"`
	Target     json.RawMessage `json:"target"`
}

// Read reads the dashboards in the files *.json of a directory, in the order of their names.
func Read(dir string) ([]*Dashboard, error) {
	files, err := filepath.Glob(filepath.Join(dir, "*.json"))
	if err != nil {
		return nil, err
	}
	if len(files) == 0 {
		return nil, fmt.Errorf("read dashboards in %q: found no *.json", dir)
	}
	var all []*Dashboard
	var errs []error
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			return nil, err
		}
		d, err := Parse(filepath.Base(f), b)
		all, errs = append(all, d), append(errs, err)
	}
	return all, errors.Join(errs...)
}

// Parse reads one dashboard; file is its name in messages.
func Parse(file string, text []byte) (*Dashboard, error) {
	d := &Dashboard{file: file}
	if err := errors.Join(json.Unmarshal(text, d), json.Unmarshal(text, &d.text)); err != nil {
		return nil, fmt.Errorf("read dashboard %q: %w", file, err)
	}
	return d, nil
}

// each calls f for all panels, rows and the panels in them too.
func (d *Dashboard) each(f func(*Panel)) {
	for i := range d.Panels {
		f(&d.Panels[i])
		for j := range d.Panels[i].Panels {
			f(&d.Panels[i].Panels[j])
		}
	}
}

func (d *Dashboard) variable(name string) *Variable {
	for i := range d.Templating.List {
		if d.Templating.List[i].Name == name {
			return &d.Templating.List[i]
		}
	}
	return nil
}
