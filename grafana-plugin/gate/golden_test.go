package gate_test

import (
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/grafana/grafana-plugin-sdk-go/backend"
	"github.com/grafana/grafana-plugin-sdk-go/data"
)

var update = flag.Bool("update", false, "write golden files")

// goldenRows are rows of a frame that a golden file shows; of the others it has the number.
const goldenRows = 12

// golden compares text with testdata/<name>. Only -update writes it; one that is missing fails.
func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		must(t, os.MkdirAll(filepath.Dir(path), 0o755))
		must(t, os.WriteFile(path, []byte(got), 0o600))
		return
	}
	want, err := os.ReadFile(path)
	must(t, err)
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-want +got; go test -update writes it):\n%s", path, diff)
	}
}

// describe writes an answer as text: of each frame its type, notices and fields with labels and configuration, and its
// first rows. Times are relative to base.
func describe(r backend.DataResponse) string {
	var b strings.Builder
	if r.Error != nil {
		fmt.Fprintf(&b, "error %d %s: %s\n", r.Status, r.ErrorSource, withoutDay(r.Error.Error()))
	}
	for i, f := range r.Frames {
		describeFrame(&b, i, f)
	}
	return b.String()
}

func describeFrame(b *strings.Builder, i int, f *data.Frame) {
	fmt.Fprintf(b, "frame %d %q", i, f.Name)
	if m := f.Meta; m != nil {
		fmt.Fprintf(b, " type=%s version=%v visualisation=%q topic=%q", m.Type, m.TypeVersion, m.PreferredVisualization, m.DataTopic)
		for _, n := range m.Notices {
			fmt.Fprintf(b, "\n  %s: %s", n.Severity, withoutDay(n.Text))
		}
	}
	b.WriteByte('\n')
	for _, field := range f.Fields {
		fmt.Fprintf(b, "  field %q %s", field.Name, field.Type())
		for _, key := range slices.Sorted(maps.Keys(field.Labels)) {
			fmt.Fprintf(b, " %s=%q", key, field.Labels[key])
		}
		if field.Config != nil {
			config, err := json.Marshal(field.Config)
			if err != nil {
				panic("BUG: a field's configuration is not JSON: " + err.Error())
			}
			fmt.Fprintf(b, " %s", config)
		}
		b.WriteByte('\n')
	}
	rows, err := f.RowLen()
	if err != nil {
		fmt.Fprintf(b, "  %v\n", err)
		return
	}
	for row := range min(rows, goldenRows) {
		b.WriteString("  ")
		for n, field := range f.Fields {
			if n > 0 {
				b.WriteString(" | ")
			}
			value, ok := field.ConcreteAt(row)
			if raw, isJSON := value.(json.RawMessage); isJSON {
				value = string(raw)
			}
			switch at, isTime := value.(time.Time); {
			case !ok:
				b.WriteString("null")
			case field.Name == "silence" || field.Name == "last": // of now, which is at another distance from base each time
				b.WriteString("<" + field.Name + ">")
			case isTime:
				b.WriteString(relative(at))
			default:
				b.WriteString(withoutDay(fmt.Sprint(value)))
			}
		}
		b.WriteByte('\n')
	}
	fmt.Fprintf(b, "  %d rows\n", rows)
}

// relative writes a time as its distance from base.
func relative(at time.Time) string {
	if at.Unix() == 0 {
		return "1970"
	}
	return "base+" + at.Sub(base).String()
}

// withoutDay replaces in a text what says on which day it was seeded: dates, and times in ms since 1970.
func withoutDay(text string) string {
	text = strings.NewReplacer(base.Format(time.DateOnly), "<day>", base.AddDate(0, 0, -1).Format(time.DateOnly), "<day before>").Replace(text)
	return milliseconds.ReplaceAllStringFunc(text, func(number string) string {
		ms, err := strconv.ParseInt(number, 10, 64)
		if at := time.UnixMilli(ms); err == nil && !at.Before(base) && at.Before(base.AddDate(0, 0, 1)) {
			return relative(at)
		}
		return number
	})
}

// milliseconds are no part of a longer number: of the ids of things some would begin like times of one day or another.
var milliseconds = regexp.MustCompile(`\b\d{13}\b`)
