package policyd

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/weirhq/weir/estate"
	"github.com/weirhq/weir/policyd/policy"
)

// Everything that is wrong with a policy is told with its place.
func TestMistakes(t *testing.T) {
	f := func(text string, err error, want ...Problem) {
		t.Helper()
		m, ok := errors.AsType[*MistakeError](mistakes(text, err))
		if !ok {
			t.Fatalf("mistakes(%q, %v) is no mistake", text, err)
		}
		if diff := cmp.Diff(want, m.Problems); diff != "" {
			t.Errorf("mistakes(%q, %v): -want +got\n%s", text, err, diff)
		}
	}
	const broken = `global:
  mandatory:
    - {id: a, action: alow, remote_ports: "80"}
    - id: b
      actoin: deny
vms:
  - name: ""
`
	_, err := policy.Parse("policy", []byte(broken))
	f(broken, err,
		Problem{3, 23, "global.mandatory[0].action", `found "alow", want allow or deny or shadow; did you mean "allow"?`},
		Problem{3, 43, "global.mandatory[0].remote_ports", "protocol any has no ports, want tcp, udp or sctp"},
		Problem{4, 7, "global.mandatory[1].action", "missing, want allow or deny or shadow"},
		Problem{5, 15, "global.mandatory[1].actoin", `unknown key; did you mean "action"?`},
		Problem{7, 11, "vms[0].name", "missing, want a name"},
	)
	const torn = "global:\n  mandatory: [\n"
	_, err = policy.Parse("policy", []byte(torn))
	if m, ok := errors.AsType[*MistakeError](mistakes(torn, err)); !ok || len(m.Problems) != 1 || m.Problems[0].Line == 0 || m.Problems[0].Column == 0 {
		t.Errorf("of what is no YAML: %+v", mistakes(torn, err))
	}
	f("vms:\n  - name: dbb\n    default: []\n", &estate.Problems{List: []estate.Problem{{Path: "vms[0].name", Text: "is no VM"}}}, Problem{2, 11, "vms[0].name", "is no VM"})
	if _, ok := errors.AsType[*MistakeError](mistakes("", errors.New("other"))); !ok {
		t.Error("another error is no mistake")
	}
}
