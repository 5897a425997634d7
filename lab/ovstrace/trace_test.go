package ovstrace_test

import (
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/weirhq/weir/lab/ovstrace"
)

// testdata/tracked.txt is what Open vSwitch 3.1.0 said of a tagged packet that is sampled, tracked, goes on by a conjunction, is
// committed, and leaves by two ports, one of them without the tag.
func tracked(t *testing.T) string {
	b, err := os.ReadFile("testdata/tracked.txt")
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestParse(t *testing.T) {
	got, err := ovstrace.Parse(tracked(t), []uint16{10})
	if err != nil {
		t.Fatal(err)
	}
	got.Text = ""
	for i := range got.Flows {
		got.Flows[i].Match = ""
	}
	want := &ovstrace.Trace{
		Flows: []ovstrace.Flow{
			{Table: 0, Priority: 60100, Cookie: 0x5745000000000001},
			{Table: 15, Priority: 10},
			{Table: 21, Priority: 5},
			{Table: 30, Priority: 10},
			{Table: 60, Priority: 10},
			{Table: 70, Priority: 10},
			{Table: 71, Priority: 1},
		},
		Samples: []ovstrace.Sample{{Set: 1, Domain: 7, Point: 98}},
		Outputs: []ovstrace.Output{{Port: 4, Tagged: true, VLAN: 10}, {Port: 3}},
		Commits: []ovstrace.Commit{{Zone: 5, Mark: 1, MarkMask: 1, Label: ovstrace.Label{Lo: 5}, LabelMask: ovstrace.Label{Lo: 0xffffffff}}},
		Resumed: 1,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// The export of a bridge is beside what its flows ask for.
func TestParseExports(t *testing.T) {
	got, err := ovstrace.Parse(strings.Replace(tracked(t), "Datapath actions: ct(commit", "Datapath actions: userspace(pid=0,ipfix(output_port=4294967295)),ct(commit", 1), []uint16{10})
	if err != nil {
		t.Fatal(err)
	}
	if got.Exports != 1 || len(got.Samples) != 1 {
		t.Errorf("%d exports and %d samples, want 1 of each", got.Exports, len(got.Samples))
	}
}

// A line that is not known, or not there, is no trace.
func TestParseIsStrict(t *testing.T) {
	lines := strings.SplitAfter(tracked(t), "\n")
	parse := func(lines []string) error {
		_, err := ovstrace.Parse(strings.Join(lines, ""), []uint16{10})
		return err
	}
	if err := parse(lines); err != nil {
		t.Fatal(err)
	}
	for i, line := range lines {
		for _, unknown := range []string{"    dec_ttl\n", " -> something else\n", "Datapath actions: drop\n"} {
			if err := parse(slices.Insert(slices.Clone(lines), i, unknown)); err == nil {
				t.Errorf("%q before line %d, %q, is read", unknown, i, line)
			}
		}
		if strings.HasPrefix(line, "Datapath actions: ") {
			if err := parse(slices.Delete(slices.Clone(lines), i, i+1)); err == nil {
				t.Errorf("without line %d, %q, it is read", i, line)
			}
		}
	}
	for _, action := range []string{"set(eth(dst=02:00:00:00:00:01))", "ct(nat)", "userspace(pid=0,slow_path(cfm))", "pop_vlan,pop_vlan", "sample(sample=50.0%,actions(1))", "recirc(0x9)"} {
		changed := strings.Replace(tracked(t), "Datapath actions: ct(commit", "Datapath actions: "+action+",ct(commit", 1)
		if _, err := ovstrace.Parse(changed, []uint16{10}); err == nil {
			t.Errorf("datapath action %q is read", action)
		}
	}
}
