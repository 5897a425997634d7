package api_test

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os/user"
	"slices"
	"strings"
	"testing"

	"github.com/weirhq/weir/api"
	"github.com/weirhq/weir/flow"
	"github.com/weirhq/weir/policyd"
	"github.com/weirhq/weir/policyd/audit"
	"github.com/weirhq/weir/policyd/state"
)

// policies is policyd's part of policy: it notes what it is asked, and answers as hosts does, by the name in question.
// Revisions and drafts are asked of the real one: see rig.
type policies struct {
	*hosts
	api.PolicyService
}

func (p *policies) PolicyStatus(context.Context) (policyd.PolicyStatus, error) {
	return policyd.PolicyStatus{Revision: policyd.Revision{Revision: 3}, Rules: 2}, nil
}

func (p *policies) PolicySummary() policyd.PolicySummary {
	return policyd.PolicySummary{Revision: 3}
}

func (p *policies) Policy(_ context.Context, revision uint64) (policyd.PolicyText, error) {
	if revision == 9 {
		return policyd.PolicyText{}, p.answer("none")
	}
	return policyd.PolicyText{Revision: policyd.Revision{Revision: cmp.Or(revision, 3)}, Policy: "default: deny"}, nil
}

func (p *policies) Revisions(_ context.Context, _ uint64, limit int) ([]policyd.Revision, error) {
	return make([]policyd.Revision, min(limit, 3)), nil
}

func (p *policies) CheckPolicy(_ context.Context, text string) (policyd.PolicyCheck, error) {
	p.note("check %s", text)
	return policyd.PolicyCheck{}, p.answer(text)
}

func (p *policies) PlanPolicy(_ context.Context, r policyd.PlanRequest) (policyd.PolicyPlan, error) {
	p.note("plan %s", r.Policy)
	return policyd.PolicyPlan{}, p.answer(r.Policy)
}

func (p *policies) ApplyPolicy(_ context.Context, by audit.Actor, r policyd.ApplyRequest) (policyd.Applied, error) {
	p.note("apply %s at %s: %s by %s", r.Policy, strings.Join(r.Only, " "), r.Reason, by.User)
	return policyd.Applied{}, p.answer(r.Policy)
}

func (p *policies) Effective(_ context.Context, vif string) (policyd.Effective, error) {
	return policyd.Effective{VIF: vif}, p.answer(vif)
}

func (p *policies) EffectiveSettings(_ context.Context, r policyd.EffectiveRequest) ([]policyd.EffectiveVIF, bool, error) {
	list := []policyd.EffectiveVIF{}
	for i := range flow.ID(3) {
		if v := (policyd.EffectiveVIF{ID: i, VIF: r.Of, Hosts: []policyd.EffectiveHost{}}); v.Key() > r.After {
			list = append(list, v)
		}
	}
	most := min(r.Limit, len(list))
	return list[:most], most < len(list), p.answer(strings.TrimPrefix(r.Of, "vm:"))
}

func (p *policies) PlanMode(_ context.Context, host string, mode state.Mode) (policyd.ModePlan, error) {
	return policyd.ModePlan{Host: host, Mode: mode}, p.answer(host)
}

func (p *policies) SetMode(_ context.Context, by audit.Actor, host string, mode state.Mode) error {
	p.note("mode of %s %q by %s", host, mode, by.User)
	return p.answer(host)
}

func (p *policies) SetPool(_ context.Context, by audit.Actor, pool string, r policyd.PoolRequest) error {
	p.note("pool %s %s by %s", pool, *r.Mode, by.User)
	return p.answer(pool)
}

func (p *policies) Bypass(_ context.Context, by audit.Actor, r policyd.BypassRequest) (policyd.BypassChange, error) {
	p.note("bypass %s: %s by %s", r.Target, r.Reason, by.User)
	return policyd.BypassChange{BypassStatus: policyd.BypassStatus{Target: r.Target}}, p.answer(strings.TrimPrefix(r.Target, "host:"))
}

func (p *policies) EndBypass(_ context.Context, by audit.Actor, target string) (policyd.BypassChange, error) {
	p.note("restore %s by %s", target, by.User)
	return policyd.BypassChange{}, p.answer(strings.TrimPrefix(target, "host:"))
}

func (p *policies) Quarantine(_ context.Context, by audit.Actor, r policyd.QuarantineRequest) (policyd.QuarantineChange, error) {
	p.note("quarantine %s: %s by %s", r.VIF, r.Reason, by.User)
	return policyd.QuarantineChange{QuarantineStatus: policyd.QuarantineStatus{VIF: r.VIF}}, p.answer(r.VIF)
}

func (p *policies) Release(_ context.Context, by audit.Actor, vif string) (policyd.Concern, error) {
	p.note("release %s by %s", vif, by.User)
	return policyd.Concern{}, p.answer(vif)
}

// policyChanges are the calls of policy that change something or may take long, for a policy, host or pool of that name.
func policyChanges(name string) []struct{ method, path, body string } {
	return []struct{ method, path, body string }{
		{"POST", "/api/v1/policy/check", fmt.Sprintf(`{"policy": %q}`, name)},
		{"POST", "/api/v1/policy/plan", fmt.Sprintf(`{"policy": %q, "only": ["hv1"]}`, name)},
		{"POST", "/api/v1/policy/apply", fmt.Sprintf(`{"policy": %q, "only": ["hv1", "hv2"], "reason": "why"}`, name)},
		{"PUT", "/api/v1/hosts/" + name + "/mode", `{"mode": "inherit"}`},
		{"PUT", "/api/v1/pools/" + name + "/policy", `{"mode": "enforce"}`},
		{"POST", "/api/v1/policy/bypass", fmt.Sprintf(`{"target": "host:%s", "reason": "why"}`, name)},
		{"DELETE", "/api/v1/policy/bypass?target=host:" + name, ""},
		{"POST", "/api/v1/policy/quarantine", fmt.Sprintf(`{"vif": %q, "reason": "why"}`, name)},
		{"DELETE", "/api/v1/policy/quarantine?vif=" + name, ""},
	}
}

// Policy is changed over the socket, with who asks, and nowhere else.
func TestChangePolicy(t *testing.T) {
	r, h, do := adminServer(t)
	me, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range policyChanges("x") {
		if a := do(c.method, c.path, c.body); a.status/100 != 2 {
			t.Errorf("%s %s: %d %s", c.method, c.path, a.status, a.body)
		}
	}
	by := " by " + me.Username
	want := []string{
		"check x", "plan x", "apply x at hv1 hv2: why" + by, `mode of x ""` + by, "pool x enforce" + by, "bypass host:x: why" + by, "restore host:x" + by,
		"quarantine x: why" + by, "release x" + by,
	}
	if !slices.Equal(h.asked, want) {
		t.Errorf("asked %q, want %q", h.asked, want)
	}
	for name, want := range map[string]int{"wrong": 422, "none": 404, "broken": 503} {
		for _, c := range policyChanges(name) {
			if a := do(c.method, c.path, c.body); a.status != want || !json.Valid([]byte(a.body)) {
				t.Errorf("%s %s: %d %s, want %d", c.method, c.path, a.status, a.body, want)
			}
		}
	}
	before := len(h.asked)
	for _, c := range []struct{ method, path, body string }{
		{"POST", "/api/v1/policy/apply", `{}`},
		{"POST", "/api/v1/policy/apply", `{"policy": "x", "olny": ["hv1"]}`},
		{"POST", "/api/v1/policy/apply", `{"policy": 1}`},
		{"POST", "/api/v1/policy/check", `[`},
		{"PUT", "/api/v1/hosts/x/mode", `{"mode": "detach"}`},
		{"PUT", "/api/v1/pools/x/policy", `{"mode": "inherit"}`},
		{"POST", "/api/v1/policy/bypass", `{"target": ""}`},
		{"DELETE", "/api/v1/policy/bypass", ""},
		{"POST", "/api/v1/policy/quarantine", `{"vif": ""}`},
		{"DELETE", "/api/v1/policy/quarantine", ""},
	} {
		if a := do(c.method, c.path, c.body); a.status != http.StatusUnprocessableEntity && a.status != http.StatusBadRequest {
			t.Errorf("%s %s %s: %d %s", c.method, c.path, c.body, a.status, a.body)
		}
	}
	for _, c := range policyChanges("x") {
		if a := r.do(c.method, c.path, ""); a.status != http.StatusMethodNotAllowed && a.status != http.StatusNotFound {
			t.Errorf("over TCP: %s %s: %d %s", c.method, c.path, a.status, a.body)
		}
	}
	if len(h.asked) != before {
		t.Errorf("asked, though it is wrong or over TCP: %q", h.asked[before:])
	}
}

// Settings of many VIFs are told in pages, each VIF once.
func TestEffectiveSettingsInPages(t *testing.T) {
	_, _, do := adminServer(t)
	var ids []string
	path := "/api/v1/policy/effective/settings?of=network:lan&limit=2"
	for next := path; next != ""; {
		a := do("GET", next, "")
		var page struct {
			VIFs []struct{ ID, VIF string }
			Next string
		}
		if err := json.Unmarshal([]byte(a.body), &page); err != nil || a.status != http.StatusOK || len(ids) > 3 {
			t.Fatalf("%s: %d %s %v", next, a.status, a.body, err)
		}
		for _, v := range page.VIFs {
			ids = append(ids, v.ID)
		}
		if next = ""; page.Next != "" {
			next = path + "&cursor=" + page.Next
		}
	}
	if !slices.Equal(ids, []string{"0", "1", "2"}) {
		t.Errorf("VIFs %q", ids)
	}
}

// What is to be looked at stands in the line of the policy.
func TestPolicyLine(t *testing.T) {
	s := api.Status{Policy: policyd.PolicySummary{Revision: 3, Enforced: 2, Quarantined: 1, Unguarded: 12}}
	if got, want := s.PolicyLine(), "revision 3, 2 hosts enforced, 1 VIF quarantined, 12 VIFs not guarded in full (weir policy effective estate --unguarded)"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// What anybody may read is the same both ways.
func TestReadPolicy(t *testing.T) {
	r, _, do := adminServer(t)
	for path, want := range map[string]struct {
		status int
		text   string
	}{
		"/api/v1/policy/status":               {200, `"revision":3`},
		"/api/v1/policy":                      {200, `"policy":"default: deny"`},
		"/api/v1/policy?revision=2":           {200, `"revision":2`},
		"/api/v1/policy?revision=9":           {404, "not found"},
		"/api/v1/policy?revision=first":       {422, "query.revision"},
		"/api/v1/policy/revisions?limit=2":    {200, `"revisions":[{`},
		"/api/v1/policy/revisions?limit=0":    {422, "query.limit"},
		"/api/v1/policy/effective?vif=db%2F0": {200, `"vif":"db/0"`},
		"/api/v1/policy/effective?vif=none":   {404, "not found"},
		"/api/v1/policy/effective?vif=wrong":  {422, "that is wrong"},
		"/api/v1/policy/effective":            {422, "query.vif"},

		"/api/v1/policy/effective/settings?of=network:lan&limit=2": {200, `"next":`},
		"/api/v1/policy/effective/settings?of=vm:none":             {404, "not found"},
		"/api/v1/policy/effective/settings?of=vm:wrong":            {422, "that is wrong"},
		"/api/v1/policy/effective/settings":                        {422, "query.of"},
		"/api/v1/policy/effective/settings?of=lan&cursor=!":        {422, "query.cursor"},
		"/api/v1/hosts/hv1/mode?mode=enforce":                      {200, `"mode":"enforce"`},
		"/api/v1/hosts/hv1/mode?mode=enfrce":                       {422, "query.mode"},
		"/api/v1/hosts/none/mode?mode=observe":                     {404, "not found"},
		"/api/v1/hosts/broken/mode?mode=inherit":                   {503, "disk full"},
	} {
		for way, a := range map[string]answer{"TCP": r.get(path), "the socket": do("GET", path, "")} {
			if a.status != want.status || !strings.Contains(a.body, want.text) {
				t.Errorf("GET %s over %s: %d %s, want %d and %s", path, way, a.status, a.body, want.status, want.text)
			}
		}
	}
}
