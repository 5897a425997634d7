package alert_test

import (
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weirhq/weir/event"
	"github.com/weirhq/weir/grafana-plugin/pkg/alert"
	"github.com/weirhq/weir/grafana-plugin/pkg/dashboard"
	"github.com/weirhq/weir/grafana-plugin/pkg/model"
)

var update = flag.Bool("update", false, "write the file of rules and the table of the page")

const (
	root = "../../.."
	file = root + "/deploy/grafana/provisioning/alerting/weir.yaml"
	page = root + "/docs/howto/alerts.md"
)

// all calls f for every rule.
func all(f func(g *alert.Group, r *alert.Rule)) {
	for i := range alert.Groups {
		for j := range alert.Groups[i].Rules {
			f(&alert.Groups[i], &alert.Groups[i].Rules[j])
		}
	}
}

func readFile(t *testing.T, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// The file that Grafana loads, and the table of the page, are what the list says.
func TestGenerated(t *testing.T) {
	rules, err := alert.Encode(alert.Groups)
	if err != nil {
		t.Fatal(err)
	}
	text := string(readFile(t, page))
	const begin, end = "<!-- rules -->\n", "<!-- /rules -->"
	before, rest, ok := strings.Cut(text, begin)
	_, after, ok2 := strings.Cut(rest, end)
	if !ok || !ok2 {
		t.Fatalf("%s has no %s… %s", page, begin, end)
	}
	for path, want := range map[string]string{file: string(rules), page: before + begin + table() + end + after} {
		if *update {
			if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, []byte(want), 0o644); err != nil { //nolint:gosec // as git has it
				t.Fatal(err)
			}
			continue
		}
		if diff := cmp.Diff(want, string(readFile(t, path))); diff != "" {
			t.Errorf("%s is not up to date; run scripts/generate.sh (-want +got):\n%s", path, diff)
		}
	}
}

// table lists all rules, with their thresholds.
func table() string {
	var b strings.Builder
	b.WriteString("\n| alert | severity | fires when | for | thresholds |\n|---|---|---|---|---|\n")
	all(func(_ *alert.Group, r *alert.Rule) {
		var limits []string
		for i := range r.Figures {
			l := &r.Figures[i].Limit
			is := map[alert.Test]string{alert.Above: "above", alert.Below: "below", alert.Outside: "beyond ±"}[l.Is]
			limits = append(limits, fmt.Sprintf("`%s.%s` %s %s %s", r.Name, l.Name, is, strconv.FormatFloat(l.Value, 'f', -1, 64), l.Doc))
		}
		hold := "at once"
		if r.For > 0 {
			hold = strings.TrimSuffix(r.For.String(), "0s")
		}
		fmt.Fprintf(&b, "| [%s](../%s) | %s | %s | %s | %s |\n", r.Name, strings.TrimPrefix(r.Runbook(), "docs/"), r.Severity, r.About, hold, strings.Join(limits, "; "))
	})
	return b.String() + "\n"
}

var uid = regexp.MustCompile(`^[a-z][a-z0-9-]*$`)

// What Grafana refuses, or takes and then does not do as meant, is not in the file.
func TestFile(t *testing.T) {
	f, models, err := alert.Read(readFile(t, file))
	if err != nil {
		t.Fatal(err)
	}
	if f.APIVersion != 1 || len(f.Groups) != len(alert.Groups) {
		t.Errorf("version %d with %d groups, want version 1 with %d", f.APIVersion, len(f.Groups), len(alert.Groups))
	}
	uids, titles, names := map[string]bool{}, map[string]bool{}, map[string]bool{}
	for _, g := range f.Groups {
		interval, err := time.ParseDuration(g.Interval)
		// Grafana evaluates each ten seconds at most.
		if err != nil || interval <= 0 || interval%(10*time.Second) != 0 {
			t.Errorf("group %q: interval %q, want a multiple of 10 s: %v", g.Name, g.Interval, err)
			continue
		}
		if g.Name == "" || names[g.Name] || g.Folder != alert.Folder || g.OrgID != 1 || len(g.Rules) == 0 {
			t.Errorf("group %q in folder %q of organisation %d with %d rules: want a name of its own, folder %q, organisation 1", g.Name, g.Folder, g.OrgID, len(g.Rules), alert.Folder)
		}
		names[g.Name] = true
		for i := range g.Rules {
			r := &g.Rules[i]
			if !uid.MatchString(r.UID) || len(r.UID) > 40 || uids[r.UID] { // 40: Grafana's limit
				t.Errorf("uid %q: want one of its own of at most 40 letters", r.UID)
			}
			if r.Title == "" || len(r.Title) > 190 || titles[r.Title] { // 190: Grafana's limit; titles are unique in a folder
				t.Errorf("%s: title %q: want one of its own", r.UID, r.Title)
			}
			uids[r.UID], titles[r.Title] = true, true
			hold, err := time.ParseDuration(r.For)
			if err != nil || hold < 0 || hold%interval != 0 {
				t.Errorf("%s: for %q, want a multiple of the interval %s: %v", r.UID, r.For, g.Interval, err)
			}
			if !slices.Contains([]string{"Alerting", "NoData", "OK", "KeepLast"}, r.NoDataState) || !slices.Contains([]string{"Alerting", "Error", "OK", "KeepLast"}, r.ExecErrState) {
				t.Errorf("%s: noDataState %q, execErrState %q are none of Grafana's", r.UID, r.NoDataState, r.ExecErrState)
			}
			if !slices.Contains([]string{"critical", "warning", "info"}, r.Labels["severity"]) {
				t.Errorf("%s: severity %q", r.UID, r.Labels["severity"])
			}
			checkData(t, r, models[r.UID])
		}
	}
}

// checkData checks that what is asked can be asked, that expressions are of what is there, and that the condition is the last of a chain that
// everything is in.
func checkData(t *testing.T, r *alert.FileRule, models map[string]json.RawMessage) {
	t.Helper()
	used := map[string]bool{r.Condition: true}
	seen := map[string]bool{}
	now := time.Date(2026, 11, 26, 12, 0, 0, 0, time.UTC)
	for _, q := range r.Data {
		if q.RefID == "" || seen[q.RefID] || q.Model.RefID != q.RefID {
			t.Errorf("%s: refId %q with a model of refId %q: want one of its own, twice", r.UID, q.RefID, q.Model.RefID)
		}
		switch q.DatasourceUID {
		case "weir":
			if q.RelativeTimeRange == nil || q.RelativeTimeRange.To != 0 || q.RelativeTimeRange.From < 60 {
				t.Errorf("%s: %s: range %+v, want one that ends now", r.UID, q.RefID, q.RelativeTimeRange)
				continue
			}
			m, err := model.Parse(models[q.RefID])
			if err == nil {
				_, err = m.Plan(model.Env{From: now.Add(-time.Duration(q.RelativeTimeRange.From) * time.Second), To: now, Now: now, Interval: time.Minute, MaxPoints: 100, Alert: true})
			}
			if err != nil {
				t.Errorf("%s: %s: %v", r.UID, q.RefID, err)
			}
			if err == nil && m.Format() != model.Number {
				t.Errorf("%s: %s: format %s, want numbers, which need not be reduced", r.UID, q.RefID, m.Format())
			}
			if q.Model.SQL != nil && regexp.MustCompile(`\b(now|today|yesterday)\w*\(`).MatchString(string(q.Model.SQL.Text)) {
				t.Errorf("%s: %s asks as of now, and not of the end of the range", r.UID, q.RefID)
			}
		case "__expr__":
			var of []string
			switch q.Model.Type {
			case "threshold":
				of = []string{q.Model.Expression}
				c := q.Model.Conditions
				if len(c) != 1 || len(c[0].Evaluator.Params.Values) != map[string]int{"gt": 1, "lt": 1, "outside_range": 2}[c[0].Evaluator.Type] {
					t.Errorf("%s: %s: conditions %+v, want one of a type with as many numbers as it takes", r.UID, q.RefID, c)
				}
			case "math":
				for _, name := range regexp.MustCompile(`\$(\w+)`).FindAllStringSubmatch(q.Model.Expression, -1) {
					of = append(of, name[1])
				}
			}
			if len(of) == 0 {
				t.Errorf("%s: %s: expression %q of type %q is of nothing", r.UID, q.RefID, q.Model.Expression, q.Model.Type)
			}
			for _, x := range of {
				if !seen[x] {
					t.Errorf("%s: %s is of %q, which does not come before it", r.UID, q.RefID, x)
				}
				used[x] = true
			}
		default:
			t.Errorf("%s: %s: data source %q, want the one of the provisioning, or expressions", r.UID, q.RefID, q.DatasourceUID)
		}
		seen[q.RefID] = true
	}
	if !seen[r.Condition] || !maps.Equal(seen, used) {
		t.Errorf("%s: condition %q, queries %v of which %v are used: want all used, and the condition there", r.UID, r.Condition, slices.Sorted(maps.Keys(seen)), slices.Sorted(maps.Keys(used)))
	}
}

// unasked are kinds of events that tell of something amiss and that no rule asks for: they are in dashboards and annotations.
var unasked = []event.Kind{
	event.SwitchRestarted,                                                          // policy is installed anew, and policy-failed says if not
	event.VIFDuplicate, event.PortError, event.AddressConflict, event.AddressFlood, // of one VIF
	event.ForeignController, event.ExportForeign, event.PolicyForeign, event.LimitsForeign, // of others, and left alone
	event.MirrorFailed, event.PoolController, event.PoolLost, event.LibvirtLost, // seen in weir status
}

// Kinds that rules ask for are kinds that there are; each that tells of something amiss is asked for, or is not on purpose.
func TestKinds(t *testing.T) {
	asked := map[event.Kind]bool{}
	for _, word := range regexp.MustCompile(`'[a-z]+_[a-z_]+'`).FindAllString(string(readFile(t, file)), -1) {
		asked[event.Kind(strings.Trim(word, "'"))] = true
	}
	found := 0
	for _, k := range event.Kinds {
		if asked[k.Kind] {
			found++
		}
		amiss := k.Severity <= event.SeverityWarning
		if amiss && asked[k.Kind] == slices.Contains(unasked, k.Kind) {
			t.Errorf("event %s: asked for: %t, listed as not asked for: %[2]t", k.Kind, asked[k.Kind])
		}
	}
	if found < 10 {
		t.Errorf("%d kinds are asked for, want more: are they found at all?", found)
	}
}

// Each rule has a page that says what to do, which the alert leads to, and each page a rule.
func TestRunbooks(t *testing.T) {
	f, _, err := alert.Read(readFile(t, file))
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]bool{}
	for _, g := range f.Groups {
		for i := range g.Rules {
			r := &g.Rules[i]
			path, ok := strings.CutPrefix(r.Annotations.RunbookURL, "https://github.com/weirhq/weir/blob/main/")
			if !ok || filepath.Dir(path) != "docs/runbooks" {
				t.Errorf("%s: runbook %q is none of the repository", r.UID, r.Annotations.RunbookURL)
				continue
			}
			want[filepath.Base(path)] = true
			text, err := os.ReadFile(filepath.Join(root, path))
			if err != nil {
				t.Errorf("%s: %v", r.UID, err)
				continue
			}
			for _, part := range []string{"# " + r.Title + "\n", "\n## What it means\n", "\n## What to look at\n", "\n## What to do\n"} {
				if !strings.Contains(string(text), part) {
					t.Errorf("%s: no %q", path, part)
				}
			}
		}
	}
	have, err := filepath.Glob(filepath.Join(root, "docs/runbooks/*.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range have {
		if !want[filepath.Base(path)] {
			t.Errorf("%s: no alert leads to it", path)
		}
	}
}

// Alerts lead to dashboards that there are, and set variables that those have.
func TestJumps(t *testing.T) {
	boards, err := dashboard.Read(filepath.Join(root, "deploy/grafana/dashboards"))
	if err != nil {
		t.Fatal(err)
	}
	all(func(_ *alert.Group, r *alert.Rule) {
		path, query, ok := strings.Cut(regexp.MustCompile(`\{\{.*?\}\}`).ReplaceAllString(r.Jump, "x"), "?")
		i := slices.IndexFunc(boards, func(d *dashboard.Dashboard) bool { return "/d/"+d.UID == path })
		if !ok || i < 0 {
			t.Errorf("%s: %q leads to no dashboard", r.Name, r.Jump)
			return
		}
		for part := range strings.SplitSeq(query, "&") {
			name, _, _ := strings.Cut(part, "=")
			variable, isVariable := strings.CutPrefix(name, "var-")
			if name != "from" && (!isVariable || !slices.ContainsFunc(boards[i].Templating.List, func(v dashboard.Variable) bool { return v.Name == variable })) {
				t.Errorf("%s: %q: dashboard %s has no %q", r.Name, r.Jump, boards[i].UID, name)
			}
		}
	})
}

// What is not known in a file is refused, where Grafana would take no notice.
func TestReadIsStrict(t *testing.T) {
	good := string(readFile(t, file))
	for from, to := range map[string]string{
		"noDataState:":  "nodataState:",
		"datasourceUid": "dataSourceUid",
		"queryType:":    "querytype:",
		"evaluator:":    "evaluators:",
		"groups:":       "group:",
	} {
		bad := strings.Replace(good, from, to, 1)
		if bad == good {
			t.Errorf("the file has no %q", from)
			continue
		}
		if _, _, err := alert.Read([]byte(bad)); err == nil || !strings.Contains(err.Error(), strings.TrimSuffix(to, ":")) {
			t.Errorf("%s instead of %s: %v, want an error that names it", to, from, err)
		}
	}
	if _, _, err := alert.Read([]byte(good + "---\n{}\n")); err == nil {
		t.Error("a second document is taken")
	}
}

// What the page says of changing thresholds is done as it says: those lines change, and no others.
func TestThresholdsChangeAsThePageSays(t *testing.T) {
	_, rest, _ := strings.Cut(string(readFile(t, page)), "```\ncat > weir-alerts.sed")
	block, _, ok := strings.Cut(rest, "```")
	if !ok {
		t.Fatalf("%s has no block of commands that makes weir-alerts.sed", page)
	}
	dir := t.TempDir()
	from, err := filepath.Abs(file)
	if err != nil {
		t.Fatal(err)
	}
	script := strings.NewReplacer("deploy/grafana/provisioning/alerting/weir.yaml", from, "/etc/grafana/provisioning/alerting/weir.yaml", "changed.yaml").Replace("cat > weir-alerts.sed" + block)
	cmd := exec.CommandContext(t.Context(), "bash", "-euc", script)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s\n%s", err, script, out)
	}
	changed := readFile(t, filepath.Join(dir, "changed.yaml"))
	if _, _, err := alert.Read(changed); err != nil {
		t.Fatal(err)
	}
	before, after := strings.Split(string(readFile(t, file)), "\n"), strings.Split(string(changed), "\n")
	var got []string
	for i := range min(len(before), len(after)) {
		if before[i] != after[i] {
			got = append(got, strings.TrimSpace(after[i]))
		}
	}
	want := []string{"params: [2500000000] # vm-throughput.rate", "params: [-60, 60] # exporter-clock.seconds"}
	if len(before) != len(after) || !slices.Equal(got, want) {
		t.Errorf("lines %q changed, want %q", got, want)
	}
	if line := "                    params: [1000000000] # vm-throughput.rate"; !slices.Contains(before, line) || !strings.Contains(string(readFile(t, page)), strings.TrimSpace(line)) {
		t.Errorf("%s or the file does not have the line %q", page, line)
	}
}
