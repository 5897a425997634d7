package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/weirhq/weir/cli"
	"github.com/weirhq/weir/internal/apptest"
	"github.com/weirhq/weir/lab/ovsbed"
	"github.com/weirhq/weir/lab/ovsbed/ovsbedtest"
	"github.com/weirhq/weir/lab/traffic"
	"github.com/weirhq/weir/policyd"
	"github.com/weirhq/weir/policyd/policy/explain"
)

// policyRun is a Weir with one host whose bridge has two VMs, web and db.
type policyRun struct {
	*testing.T
	ctx     context.Context
	app     *apptest.App
	host    *ovsbed.Host
	web, db ovsbed.VM
	data    string
}

// startPolicyRun starts it; encrypted: its database is reached, and its bridge dials, by TLS.
func startPolicyRun(t *testing.T, encrypted bool) *policyRun {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	t.Cleanup(cancel)
	r := &policyRun{T: t, ctx: ctx, data: t.TempDir()}
	bed := ovsbedtest.New(t)
	var err error
	r.host, err = bed.Host(ctx, "hv1")
	r.must(err)
	r.must(r.host.AddBridge(ctx, "br0"))
	estate := "vms:\n"
	for i, vm := range []*ovsbed.VM{&r.web, &r.db} {
		name, mac := []string{"web", "db"}[i], fmt.Sprintf("02:00:00:00:00:%02x", i+1)
		*vm, err = r.host.AddVM(ctx, ovsbed.VM{
			Name: name, Bridge: "br0", MAC: mac, Addrs: []netip.Prefix{netip.MustParsePrefix(fmt.Sprintf("10.1.0.%d/24", i+1))},
			Identity: ovsbed.Identity{Platform: ovsbed.XenServer},
		})
		r.must(err)
		estate += fmt.Sprintf("  - {name: %s, host: hv1, vifs: [{device: \"0\", mac: %q, ips: [10.1.0.%[3]d, \"2001:db8::%[3]d\"]}]}\n", name, mac, i+1)
	}
	r.must(os.WriteFile(filepath.Join(r.data, "estate.yaml"), []byte("hosts: [{name: hv1}]\n"+estate), 0o600))
	r.must(os.WriteFile(filepath.Join(r.data, "weir.yaml"), fmt.Appendf(nil, `
collector: {listen: ["%[1]s:0"], active_timeout: 3s, flush_interval: 100ms}
estate: {file: estate.yaml}
hosts: {export: {active_timeout: 1s}}
policy: {listeners: [{addr: "%[1]s:0", tls: %[2]v, insecure: %[3]v}]}
`, r.host.Root, encrypted, !encrypted), 0o600))
	if encrypted {
		keys := filepath.Join(t.TempDir(), "hv1")
		r.weir("ca", "init")
		r.weir("ca", "host", "hv1", "--out", keys)
		r.must(r.host.SetTLS(ctx, ovsbed.TLS{
			Key: filepath.Join(keys, "hv1-privkey.pem"), Certificate: filepath.Join(keys, "hv1-cert.pem"), CA: filepath.Join(keys, "weir-ca.pem"),
		}))
	}
	r.app = apptest.Start(t, r.data, "--store-listen", "127.0.0.1:0", "--api-listen", "127.0.0.1:0")
	target, err := r.host.Listen(ctx, encrypted)
	r.must(err)
	r.weir("hosts", "add", "hv1", target, "--pool", "lab")
	apptest.Eventually(t, soon, "VIFs are known", func() error {
		if h := parse[policyd.HostStatus](t, r.weir("hosts", "show", "hv1", "--json")); h.VIFs != 2 {
			return fmt.Errorf("%+v", h)
		}
		return nil
	})
	return r
}

func (r *policyRun) must(err error) {
	r.Helper()
	if err != nil {
		r.Fatal(err)
	}
}

// weir runs a command line that succeeds.
func (r *policyRun) weir(args ...string) string {
	r.Helper()
	return good(r.T, append(args, "--data", r.data)...)
}

// says wants a command line to succeed and to print something.
func (r *policyRun) says(want string, args ...string) {
	r.Helper()
	if out := r.weir(args...); !strings.Contains(out, want) {
		r.Errorf("weir %s: want %q in:\n%s", strings.Join(args, " "), want, out)
	}
}

// file writes a policy.
func (r *policyRun) file(text string) string {
	return write(r.T, r.TempDir(), "policy.yaml", []byte(text))
}

// passes wants connections from web to a port of db, on which nobody listens, to be answered, or to be so no more: on a busy machine the
// switch's cache follows its flows a moment later.
func (r *policyRun) passes(what string, port uint16, want bool) {
	r.Helper()
	patience := map[bool]time.Duration{true: soon, false: 500 * time.Millisecond}[want]
	for deadline := time.Now().Add(soon); ; {
		ctx, cancel := context.WithTimeout(r.ctx, patience)
		got := traffic.Knock(ctx, r.web.Namespace, r.web.Addrs[0].Addr(), netip.AddrPortFrom(r.db.Addrs[0].Addr(), port))
		cancel()
		if got == want {
			return
		}
		if want || time.Now().After(deadline) {
			out, err := r.host.OFCtl(r.ctx, "dump-flows", "br0")
			r.Fatalf("%s: port %d passes: %v, want %v\n%s\n%v\n%s", what, port, got, want, out, err, r.weir("policy", "status"))
		}
	}
}

// webPolicy lets db be reached at one port only.
const webPolicy = `default: allow
address_groups: [{name: inside, members: [10.1.0.0/24]}]
vms:
  - name: db
    mandatory:
      - {id: postgres, action: allow, direction: from, protocol: tcp, remote: address-group:inside, local_ports: "5432", comment: from web}
      - {id: nothing-else, action: deny, direction: from}
`

// One host from a plan to enforced rules, around a bypass, and back to how it was.
func TestPolicy(t *testing.T) {
	if testing.Short() {
		t.Skip("runs weir up and Open vSwitch")
	}
	r := startPolicyRun(t, false)
	before, err := r.host.VSCtl(r.ctx, "--format=csv", "--columns=controller,fail_mode,other_config", "list", "Bridge")
	r.must(err)
	file := r.file(webPolicy)

	// What is wrong is refused with what to do, and nothing is changed.
	fails(t, exitFailed, `vms[0].name: "dbb" is no VM; did you mean "db"?`, "policy", "validate", r.file("vms: [{name: dbb}]"), "--data", r.data)
	fails(t, exitFailed, "want allow or deny or shadow", "policy", "apply", r.file("global: {default: [{action: alow}]}"), "--data", r.data)
	fails(t, exitNotFound, "none was applied yet", "policy", "get", "--data", r.data)
	fails(t, exitUsage, `mode "enfrce": expected observe, enforce or inherit`, "hosts", "mode", "hv1", "enfrce", "--data", r.data)
	r.says("right: 2 rules in force", "policy", "validate", file)
	for _, word := range []string{"validate", "plan", "apply"} {
		fails(t, exitFailed, "it is empty; a policy without rules is written as: default: allow", "policy", word, r.file(" \n"), "--data", r.data)
	}
	fails(t, exitNotFound, `find host "hv2": not found; did you mean "hv1"?`, "hosts", "show", "hv2", "--data", r.data)
	r.says("pool nowhere: mode observe, no host is in it yet", "pool", "mode", "nowhere", "observe", "--yes")
	r.says("pool nowhere: sampling inherit, no host is in it yet", "pool", "sampling", "nowhere", "inherit")
	r.says("host hv1: exports inherit", "hosts", "export", "hv1", "inherit")

	// While the host is observed, a policy touches nothing.
	r.says("no host has mode enforce", "policy", "plan", file)
	r.says("applied as revision 1: 2 rules", "policy", "apply", file, "--reason", "to begin with")
	r.says("revision 1 is that policy already", "policy", "apply", file)
	r.says("id: postgres", "policy", "get")
	r.passes("observed", 80, true)
	if out, err := r.host.OFCtl(r.ctx, "dump-flows", "br0"); err != nil || strings.Count(out, "cookie=") != 1 {
		t.Errorf("a host that is observed has flows: %s %v", out, err)
	}

	// Enforced: shown first, then done.
	if a := weirIn(t, "no\n", "hosts", "mode", "hv1", "enforce", "--data", r.data); a.code != exitFailed || !strings.Contains(a.err, "controller") || !strings.Contains(a.err, "flows are added") {
		t.Errorf("weir hosts mode, answered no: %+v", a)
	}
	r.passes("not enforced", 80, true)
	r.says("enforced: revision 1 is in force and verified at 1 bridge", "hosts", "mode", "hv1", "enforce", "--yes")
	r.passes("enforced", 80, false)
	r.passes("enforced", 5432, true)
	r.says("postgres      VM db mandatory  allow from address-group:inside tcp local ports 5432", "policy", "effective", "db/0")
	r.says("at hv1: enforced", "policy", "effective", "db")

	// A change, planned and then made.
	more := r.file(strings.Replace(webPolicy, `"5432"`, `"80,5432"`, 1))
	r.says(`~ Rule "postgres" has local ports 80,5432 instead of 5432: allow from address-group:inside tcp local ports 80,5432.`, "policy", "plan", more)
	r.says("1 VIF gets other rules: db/0", "policy", "plan", more)
	r.says("1 VIF gets other settings\n  guard_mac: on (built in) → off (VM db) for 1 VIF: db/0\n", "policy", "plan", r.file(webPolicy+"    settings: {guard_mac: off}\n"))
	r.passes("planned", 80, false)
	r.says("in force and verified at hv1", "policy", "apply", more, "--only", "host:hv1")
	r.passes("applied", 80, true)
	r.says("host hv1 has revision 2", "policy", "status")
	r.says("applied as revision 3", "policy", "apply", more)

	// What rules decided is told, and counted.
	apptest.Eventually(t, soon, "flows say which rule decided", func() error {
		out, err := r.app.SQL("SELECT DISTINCT rule_name, toString(verdict) FROM flows WHERE rule_name IN ('postgres', 'nothing-else') ORDER BY ALL")
		if want := "nothing-else\tdenied\npostgres\tallowed"; err == nil && out != want {
			err = fmt.Errorf("%q, want %q", out, want)
		}
		return err
	})
	for _, name := range []string{"postgres", "nothing-else"} {
		if out := r.weir("policy", "hits", name); !strings.Contains(out, name) {
			t.Errorf("weir policy hits %s:\n%s", name, out)
		}
	}
	apptest.Eventually(t, soon, "the rules of a VIF come with how often they are met", func() error {
		for _, rule := range parse[effective](t, r.weir("policy", "effective", "db/0", "--json")).Rules {
			if h := rule.Hits; h == nil || h.Rule != rule.Rule || h.Instance != rule.Instance || !h.InForce {
				return fmt.Errorf("of %+v: %+v", rule.EffectiveRule, h)
			}
		}
		return nil
	})
	fails(t, exitUsage, `duration "soon"`, "policy", "effective", "db/0", "--last", "soon", "--data", r.data)
	fails(t, exitUsage, `unknown rule "nobody"`, "policy", "hits", "nobody", "--data", r.data)

	// A policy that is too large is refused as a whole.
	var large strings.Builder
	large.WriteString("global:\n  default:\n")
	for i := range 3001 {
		fmt.Fprintf(&large, "    - {action: deny, remote: 10.%d.%d.1}\n", i/200, i%200)
	}
	fails(t, exitFailed, "3000", "policy", "apply", r.file(large.String()), "--data", r.data)
	r.passes("refused", 80, true)
	r.passes("refused", 81, false)

	r.bypass()
	r.away()
	r.leave(before)
}

// From a draft to a revision that nobody confirms: Weir is stopped and started in between, and at the deadline what was in force before is so again, also
// at the host.
func TestPolicyNotConfirmed(t *testing.T) {
	if testing.Short() {
		t.Skip("runs weir up and Open vSwitch")
	}
	r := startPolicyRun(t, false)
	r.says("applied as revision 1", "policy", "apply", r.file(webPolicy))
	r.says("enforced: revision 1 is in force and verified at 1 bridge", "hosts", "mode", "hv1", "enforce", "--yes")
	r.passes("enforced", 5432, true)
	r.passes("enforced", 80, false)
	for i := range 3 { // a draft is nothing that hosts are behind of
		r.weir("policy", "draft", "new", fmt.Sprint("other", i))
		if s := parse[policyd.PolicyStatus](t, r.weir("policy", "status", "--json")); s.Hosts[0].State != policyd.HostEnforced {
			t.Errorf("after a draft was begun: %+v", s.Hosts)
		}
		r.weir("policy", "draft", "discard", fmt.Sprint("other", i), "--yes")
	}

	editor(t, `sed -i 's/"5432"/"80"/' "$1"`)
	r.says(`Rule "postgres" has local ports 80 instead of 5432`, "policy", "edit", "web")
	plan := parse[planned](t, r.weir("policy", "plan", "--json"))
	if len(plan.Hosts) != 1 || len(plan.Hosts[0].Bridges) != 1 || plan.Hosts[0].Bridges[0].Added == 0 || plan.Hosts[0].Bridges[0].Removed == 0 ||
		!slices.Equal(plan.VIFs, []string{"db/0"}) || plan.Explained.Effect != explain.Both {
		t.Errorf("plan %+v", plan)
	}
	r.passes("planned", 80, false)
	begin := time.Now()
	r.says("revision 2 waits to be confirmed", "policy", "apply", "--draft", "web", "--confirm", "30s", "--reason", "a new port")
	r.passes("applied", 80, true)
	r.says("in force, ", "policy", "history")
	r.app.Stop()
	r.app = apptest.Start(t, r.data, "--store-listen", "127.0.0.1:0", "--api-listen", "127.0.0.1:0")
	apptest.Eventually(t, soon, "the revision is rolled back", func() error {
		s := parse[policyd.PolicyStatus](t, r.weir("policy", "status", "--json"))
		if s.Head != 3 || s.Pending != nil || len(s.Hosts) != 1 || s.Hosts[0].State != policyd.HostEnforced || s.Hosts[0].Verified != 3 {
			return fmt.Errorf("%+v", s)
		}
		return nil
	})
	t.Logf("rolled back %v after it was applied to be confirmed within 30s", time.Since(begin).Round(time.Second))
	r.passes("rolled back", 80, false)
	r.passes("rolled back", 5432, true)
	if out := stable(r.weir("policy", "history")); !strings.Contains(out, "undoes 2") || !strings.Contains(out, "revision 2 was not confirmed") || !strings.Contains(out, "not confirmed  a new port") {
		t.Errorf("history:\n%s", out)
	}
	r.says("No difference.", "policy", "diff", "1", "3")
	fails(t, exitConflict, "no revision waits to be confirmed", "policy", "confirm", "--data", r.data)

	// A host that is away gets it later, and that is said.
	r.must(r.host.Kill())
	apptest.Eventually(t, soon, "the host is offline", func() error {
		s := parse[policyd.PolicyStatus](t, r.weir("policy", "status", "--json"))
		if s.Hosts[0].State != policyd.HostOffline {
			return fmt.Errorf("%+v", s.Hosts)
		}
		return nil
	})
	got := weir(t, "policy", "apply", r.file(strings.Replace(webPolicy, `"5432"`, `"80"`, 1)), "--data", r.data)
	if got.code != exitPartial || !strings.Contains(got.stdout, "offline, it comes when they are back: hv1") || !strings.Contains(got.err, "revision 4 is kept; offline") {
		t.Errorf("weir policy apply with a host that is away: %+v", got)
	}
}

// Of a rule of which nothing is known, nothing is said.
func TestEffectiveHits(t *testing.T) {
	now := time.Now()
	e := effective{Rules: []effectiveRule{
		{policyd.EffectiveRule{Number: 1, Rule: "web"}, &cli.RuleHits{Packets: 12_345, LastHit: now.Add(-2 * time.Minute)}},
		{policyd.EffectiveRule{Number: 2, Rule: "ssh"}, &cli.RuleHits{}},
		{policyd.EffectiveRule{Number: 3, Rule: "dns"}, nil},
	}}
	var text strings.Builder
	if err := e.write(&cli.Output{W: &text}, now); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`web .* 12\.3k +2m ago`, `ssh .* 0 +never`, `dns .* \? +\?`} {
		if !regexp.MustCompile(want).MatchString(text.String()) {
			t.Errorf("there is no %s in\n%s", want, &text)
		}
	}
}

// A host that is reached by TLS has its bridge dial by TLS, with the certificate that its database has.
func TestPolicyTLS(t *testing.T) {
	if testing.Short() {
		t.Skip("runs weir up and Open vSwitch")
	}
	r := startPolicyRun(t, true)
	r.says("applied as revision 1", "policy", "apply", r.file(webPolicy))
	r.says("enforced: revision 1 is in force and verified at 1 bridge", "hosts", "mode", "hv1", "enforce", "--yes")
	r.passes("enforced", 80, false)
	r.passes("enforced", 5432, true)
	out, err := r.host.VSCtl(r.ctx, "--format=csv", "--no-headings", "--columns=target", "list", "Controller")
	r.must(err)
	if strings.Count(out, "ssl:") != 1 || strings.Contains(out, "tcp:") {
		t.Errorf("controllers %q, want one by TLS", out)
	}
	r.says("policy is off for estate", "bypass", "on", "estate")
	r.passes("bypassed", 80, true)
	r.says("policy is on again", "bypass", "off", "estate")
	r.passes("restored", 80, false)
	r.says("nothing of Weir's is left", "hosts", "detach", "hv1", "--yes")
	r.passes("detached", 80, true)
}

// bypass switches policy off and on: for all, and for one VIF.
func (r *policyRun) bypass() {
	for _, target := range []string{"estate", "host:hv1", "pool:lab", "vif:db/0"} {
		begin := time.Now()
		r.says("policy is off for "+target, "bypass", "on", target, "--reason", "a test")
		r.passes("bypassed", 81, true)
		r.Logf("bypass of %s: %v", target, time.Since(begin).Round(time.Millisecond))
		r.says("BYPASS: policy is off for "+target, "policy", "status")
		r.says("a test", "bypass", "list")
		if out := weir(r.T, "doctor", "--data", r.data); !strings.Contains(out.stdout, "POLICY IS OFF for "+target) {
			r.Errorf("weir doctor says nothing of it: %+v", out)
		}
		r.says("policy is on again", "bypass", "off", target)
		r.passes("restored", 81, false)
	}
	fails(r.T, exitNotFound, "not found", "bypass", "off", "estate", "--data", r.data)
	fails(r.T, exitFailed, "want estate, pool:NAME", "bypass", "on", "everything", "--data", r.data)
	apptest.Eventually(r, soon, "events tell of it", func() error {
		var kinds []string
		for _, e := range parse[[]struct{ Kind, Subject string }](r.T, r.weir("events", "--json")) {
			kinds = append(kinds, e.Kind)
		}
		for _, want := range []string{"policy_applied", "host_mode_changed", "policy_bypassed", "policy_restored"} {
			if !slices.Contains(kinds, want) {
				return errors.New("no " + want)
			}
		}
		return nil
	})
}

// away does things to a VIF while another host is not reached: they wait for that only if it is concerned.
func (r *policyRun) away() {
	r.weir("hosts", "add", "hv2", "unix:"+filepath.Join(r.data, "nobody"), "--pool", "lab")
	r.weir("hosts", "mode", "hv2", "enforce", "--yes", "--wait", "0s")
	for _, c := range [][]string{
		{"bypass", "on", "vif:db/0"},
		{"bypass", "off", "vif:db/0"},
		{"bypass", "on", "host:hv1"},
		{"bypass", "off", "host:hv1"},
		{"policy", "quarantine", "db/0"},
		{"policy", "release", "db/0"},
	} {
		if out := r.weir(c...); strings.Contains(out, "hv2") || strings.Contains(out, "offline") {
			r.Errorf("weir %s tells of a host that is not concerned: %s", strings.Join(c, " "), out)
		}
	}
	done := parse[struct{ Concerned, Behind, Offline []string }](r.T, r.weir("policy", "quarantine", "db/0", "--json"))
	if !slices.Equal(done.Concerned, []string{"hv1"}) || len(done.Behind)+len(done.Offline) > 0 {
		r.Errorf("quarantine as JSON: %+v", done)
	}
	r.weir("policy", "release", "db/0")
	for _, target := range []string{"estate", "pool:lab"} {
		for _, to := range []string{"on", "off"} {
			a := weir(r.T, "bypass", to, target, "--data", r.data)
			if a.code != exitPartial || !strings.Contains(a.stdout, "until they are back: hv2\n") || !strings.Contains(a.err, "not yet so at hv2") {
				r.Errorf("weir bypass %s %s: %+v", to, target, a)
			}
		}
	}
	r.weir("hosts", "remove", "hv2", "--force")
	r.passes("as before", 81, false)
}

// leave takes policy off the host, by its mode and by detaching it.
func (r *policyRun) leave(before string) {
	r.says("mode observe, observing", "hosts", "mode", "hv1", "observe", "--yes")
	r.passes("observed again", 81, true)
	r.says("enforced", "hosts", "mode", "hv1", "enforce", "--yes")
	r.passes("enforced again", 81, false)
	fails(r.T, exitFailed, "take it off", "hosts", "remove", "hv1", "--data", r.data)
	for i := range 4 { // the connection ends before the database tells that the controller is gone, or after
		if i > 0 {
			r.says("enforced", "hosts", "mode", "hv1", "enforce", "--yes")
		}
		r.says("nothing of Weir's is left", "hosts", "detach", "hv1", "--yes")
		after, err := r.host.VSCtl(r.ctx, "--format=csv", "--columns=controller,fail_mode,other_config", "list", "Bridge")
		r.must(err)
		if after != before {
			r.Fatalf("bridge after detaching:\n%s\nbefore Weir:\n%s", after, before)
		}
	}
	r.passes("detached", 81, true)
	if out, err := r.host.OFCtl(r.ctx, "dump-flows", "br0"); err != nil || strings.Count(out, "cookie=") != 1 {
		r.Errorf("flows after detaching: %s %v", out, err)
	}
}
