package dashboard

import (
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strings"
)

const (
	gridColumns   = 24
	schemaVersion = 42 // of the classic form; Grafana 13 loads it as it is

	// The variable that chooses the data source, and its type.
	sourceVariable = "datasource"
	sourceType     = "weir-datasource"
)

// A reference to a variable: ${name}, ${name.field["x"]:format}, $name or [[name]].
var reference = regexp.MustCompile(`\$\{(\w+)(?:[.\[][^:}]*)?(?::(\w+))?\}|\$(\w+)|\[\[(\w+)(?::(\w+))?\]\]`)

// Check tells what is wrong with dashboards that are loaded together, all of it. Of a panel it wants an id, a title, a description,
// a unit where it shows figures and a place of its own; of the whole, that variables exist where they are used, that the data source is
// the one that a variable chooses, and that links lead to dashboards and variables that are there.
func Check(all []*Dashboard) error {
	var errs []error
	files := map[string]string{}
	for _, d := range all {
		refuse := func(format string, args ...any) { errs = append(errs, fmt.Errorf(d.file+": "+format, args...)) }
		if other, taken := files[d.UID]; taken {
			refuse("uid %q is that of %s", d.UID, other)
		}
		files[d.UID] = d.file
		d.checkHead(refuse)
		d.checkVariables(refuse)
		d.checkPanels(refuse)
		d.checkReferences(refuse)
		d.checkLinks(all, refuse)
	}
	return errors.Join(errs...)
}

type refuse func(format string, args ...any)

func (d *Dashboard) checkHead(refuse refuse) {
	if d.file != d.UID+".json" || len(d.UID) > 40 { // 40: Grafana's limit
		refuse("uid %q: want the name of the file without .json, at most 40 letters", d.UID)
	}
	if d.Title == "" || d.Description == "" {
		refuse("it has no title, or no description")
	}
	if !slices.Contains(d.Tags, "weir") {
		refuse("it has no tag weir, so the other dashboards do not list it")
	}
	if d.SchemaVersion != schemaVersion {
		refuse("schemaVersion %d, want %d", d.SchemaVersion, schemaVersion)
	}
	if d.Time.From == "" || d.Time.To == "" || d.Refresh == "" {
		refuse("it has no time range, or is never refreshed")
	}
}

func (d *Dashboard) checkVariables(refuse refuse) {
	names := map[string]bool{}
	for _, v := range d.Templating.List {
		if v.Name == "" || names[v.Name] {
			refuse("variable %q: it has no name, or not one of its own", v.Name)
		}
		names[v.Name] = true
		if v.Label == "" {
			refuse("variable %q: no label", v.Name)
		}
		switch v.Type {
		case "datasource":
			if v.Name != sourceVariable || string(v.Query) != `"`+sourceType+`"` {
				refuse("variable %q: a data source of type %s, want %s of %q", v.Name, v.Query, sourceVariable, sourceType)
			}
		case "query", "adhoc":
			if err := fromVariable(v.Datasource); err != nil {
				refuse("variable %q: %w", v.Name, err)
			}
		case "custom":
			if !slices.ContainsFunc(v.Options, func(o Option) bool { return o.Value == v.Current.Value }) {
				refuse("variable %q: its value %v is none of its options", v.Name, v.Current.Value)
			}
		}
	}
	if !names[sourceVariable] {
		refuse("it has no variable %q", sourceVariable)
	}
}

func fromVariable(r *Reference) error {
	if want := (Reference{sourceType, "${" + sourceVariable + "}"}); r == nil || *r != want {
		return fmt.Errorf("data source is %v, want %v", r, &want)
	}
	return nil
}

func (d *Dashboard) checkPanels(refuse refuse) {
	seen := map[int]string{}
	var placed []*Panel
	d.each(func(p *Panel) {
		at := fmt.Sprintf("panel %d %q", p.ID, p.Title)
		if other, taken := seen[p.ID]; taken || p.ID < 1 {
			refuse("%s: want an id of its own from 1, %q has it", at, other)
		}
		seen[p.ID] = p.Title
		if p.Title == "" {
			refuse("%s: no title", at)
		}
		if g := p.GridPos; g.X < 0 || g.Y < 0 || g.W < 1 || g.H < 1 || g.X+g.W > gridColumns {
			refuse("%s: place %+v is not on the grid", at, g)
		}
		for _, other := range placed {
			if p.GridPos.overlaps(other.GridPos) {
				refuse("%s: overlaps panel %d %q", at, other.ID, other.Title)
			}
		}
		placed = append(placed, p)
		if p.Type == "row" {
			return
		}
		if p.Description == "" {
			refuse("%s: no description", at)
		}
		if p.FieldConfig.Defaults.Unit == "" && p.Type != "logs" {
			refuse("%s: no unit", at)
		}
		if err := fromVariable(p.Datasource); err != nil {
			refuse("%s: %w", at, err)
		}
		if len(p.Targets) == 0 {
			refuse("%s: asks nothing", at)
		}
		letters := map[string]bool{}
		for _, raw := range p.Targets {
			t, err := readTarget(raw)
			if err != nil {
				refuse("%s: %w", at, err)
				continue
			}
			if t.RefID == "" || letters[t.RefID] {
				refuse("%s: query %q: want a refId of its own", at, t.RefID)
			}
			letters[t.RefID] = true
			if err := fromVariable(t.Datasource); err != nil {
				refuse("%s: query %s: %w", at, t.RefID, err)
			}
		}
	})
	for _, a := range d.Annotations.List {
		if a.BuiltIn != 0 {
			continue // Grafana's own
		}
		if err := fromVariable(a.Datasource); err != nil || a.Name == "" {
			refuse("annotation %q: %v", a.Name, err)
		}
		if _, err := readTarget(a.Target); err != nil {
			refuse("annotation %q: %w", a.Name, err)
		}
	}
}

// checkReferences refuses variables that are used and not there; those that begin with __ are Grafana's.
func (d *Dashboard) checkReferences(refuse refuse) {
	unknown := map[string]bool{}
	texts(d.text, func(s string) {
		for _, name := range references(s) {
			if !strings.HasPrefix(name, "__") && d.variable(name) == nil && !unknown[name] {
				unknown[name] = true
				refuse("%q: there is no variable %q", s, name)
			}
		}
	})
}

func references(s string) (names []string) {
	for _, m := range reference.FindAllStringSubmatch(s, -1) {
		names = append(names, m[1]+m[3]+m[4])
	}
	return names
}

// checkLinks refuses links to dashboards that are not there, that set variables which those have not, or that lose time or data source.
func (d *Dashboard) checkLinks(all []*Dashboard, refuse refuse) {
	texts(d.text, func(s string) {
		path, query, _ := strings.Cut(s, "?")
		uid, ok := strings.CutPrefix(path, "/d/")
		if !ok {
			return
		}
		i := slices.IndexFunc(all, func(o *Dashboard) bool { return o.UID == uid })
		if i < 0 {
			refuse("link %q: there is no dashboard %q", s, uid)
			return
		}
		parts := strings.Split(query, "&")
		for _, want := range []string{"${__url_time_range}", "${" + sourceVariable + ":queryparam}"} {
			if !slices.Contains(parts, want) {
				refuse("link %q: does not hand on %s", s, want)
			}
		}
		for _, part := range parts {
			name, value, ok := strings.Cut(part, "=")
			if !ok {
				continue
			}
			variable, _ := strings.CutPrefix(name, "var-")
			if all[i].variable(variable) == nil {
				refuse("link %q: dashboard %q has no variable %q", s, uid, variable)
			}
			if _, err := url.QueryUnescape(reference.ReplaceAllString(value, "")); err != nil {
				refuse("link %q: %w", s, err)
			}
			for _, m := range reference.FindAllStringSubmatch(value, -1) {
				if m[2] != "percentencode" {
					refuse("link %q: %s is not encoded: want :percentencode", s, m[0])
				}
			}
		}
	})
}

// texts calls f for every text in a JSON value.
func texts(v any, f func(string)) {
	switch v := v.(type) {
	case string:
		f(v)
	case []any:
		for _, e := range v {
			texts(e, f)
		}
	case map[string]any:
		for _, e := range v {
			texts(e, f)
		}
	}
}
