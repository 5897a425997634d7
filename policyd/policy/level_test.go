package policy_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/weirhq/weir/flow"
	"github.com/weirhq/weir/internal/chance"
	"github.com/weirhq/weir/policyd/policy"
	"github.com/weirhq/weir/policyd/policy/policytest"
)

// values are values of each setting.
var values = map[string][]string{
	"rate_out": {"off", "20Mbit/s", "1Gbit/s burst 200MB"}, "rate_in": {"off", "64kbit/s", "20Mbit/s burst 2MiB"}, "mirror": {"off", "ids", "ids in", "ids out"},
	"guard_mac": {"on", "off"}, "guard_ip": {"on", "off"}, "guard_dhcp": {"on", "off"}, "guard_ra": {"on", "off"}, "quarantine": {"mac", "any", "off"},
	"allowed_addresses": {"off", "192.0.2.1", "192.0.2.0/28, 2001:db8::/64", "00:00:5e:00:01:0a 192.0.2.1, 02:00:00:00:00:01"},
	"fail_mode":         {"open", "safe", "static"}, "mirror_vlans": {"900", "900, 901"},
	"to": {"vlan 900", "port eth3", "gre 192.0.2.1", "gre 2001:db8::1 key 4294967295", "erspan 192.0.2.1 key 1023"},
}

// byHand is the document that says one thing, as people write it.
func byHand(level policy.LevelName, key, value string) string {
	quoted := fmt.Sprintf("%q", value)
	switch {
	case key == "to":
		words := strings.Fields(value)
		text := words[0] + ": \"" + words[1] + "\""
		if words[0] == "vlan" {
			text = "vlan: " + words[1]
		}
		if len(words) == 4 {
			text += ", key: " + words[3]
		}
		return fmt.Sprintf("mirror_targets: [{name: %s, %s}]", level.Name, text)
	case key == "mirror_vlans":
		return fmt.Sprintf("pools: [{name: %s, mirror_vlans: [%s]}]", level.Name, value)
	case key == "fail_mode" && level.Kind == "":
		return "fail_mode: " + value
	case key == "fail_mode":
		return fmt.Sprintf("pools: [{name: %s, fail_mode: %s}]", level.Name, value)
	case level.Kind == "":
		return fmt.Sprintf("global: {settings: {%s: %s}}", key, quoted)
	}
	return fmt.Sprintf("%ss: [{name: %s, settings: {%s: %s}}]", level.Kind, level.Name, key, quoted)
}

// Whatever is said of whatever says it is what the document says that somebody wrote by hand; when it is said no more, the document is what it was. A setting
// is said by exactly those levels that are listed with it.
func TestSay(t *testing.T) {
	encoded := func(p *policy.Policy) string {
		t.Helper()
		text, err := p.Encode()
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	said := 0
	for _, s := range policy.KnownSettings() {
		if len(values[s.Key]) == 0 || s.Doc == "" || s.Form == "" {
			t.Errorf("setting %q: %d values to try, doc %q, form %q", s.Key, len(values[s.Key]), s.Doc, s.Form)
		}
		for _, kind := range policy.Sayers {
			level := policy.LevelName{Kind: kind, Name: "web/0"}
			switch kind {
			case "":
				level.Name = ""
			case policy.KindMirrorTarget:
				level.Name = "ids"
			default:
			}
			if read, err := policy.ParseLevel(level.String(), policy.Sayers); err != nil || read != level {
				t.Errorf("level %s is read as %v, %v", level, read, err)
			}
			for _, value := range values[s.Key] {
				var got policy.Policy
				err := got.Say(level, s.Key, value)
				if !slices.Contains(s.Kinds, kind) {
					if err == nil || encoded(&got) != "{}\n" {
						t.Errorf("%s says %s=%s: %v", level, s.Key, value, err)
					}
					continue
				}
				if err != nil {
					t.Errorf("%s says %s=%s: %v", level, s.Key, value, err)
					continue
				}
				said++
				// As far as other things are not missing that it names.
				hand, err := policy.Parse("by hand", []byte(byHand(level, s.Key, value)))
				if err != nil && !strings.Contains(err.Error(), "is no mirror target") && !strings.Contains(err.Error(), "no pool has VLAN") {
					t.Fatal(err)
				}
				if err == nil {
					if diff := cmp.Diff(encoded(hand), encoded(&got)); diff != "" {
						t.Errorf("%s says %s=%s (-by hand +got):\n%s", level, s.Key, value, diff)
					}
				}
				if diff := cmp.Diff([]policy.Saying{{Level: level, Key: s.Key, Value: value}}, got.Sayings()); diff != "" {
					t.Errorf("%s says %s=%s, listed as (-want +got):\n%s", level, s.Key, value, diff)
				}
				if was, err := got.Unsay(level, s.Key); err != nil || !was || encoded(&got) != "{}\n" {
					t.Errorf("%s says %s no more: %v, %v, left is %s", level, s.Key, was, err, encoded(&got))
				}
				if was, err := got.Unsay(level, s.Key); err != nil || was {
					t.Errorf("%s says %s no more, twice: %v, %v", level, s.Key, was, err)
				}
			}
		}
	}
	if said < 5*20 {
		t.Errorf("%d were said: what is tried?", said)
	}
}

// Of random policies: one whose settings are all taken back and said again, in any order, is what it was; so is one of which one setting is changed, and
// changed back. Nothing else of it is touched meanwhile.
func TestSayRandom(t *testing.T) {
	seed := chance.Seed(t)
	for run := range 100 {
		r := rand.New(rand.NewPCG(seed, uint64(run)))
		p := policytest.New(r, policytest.Small).Policy
		text, err := p.Encode()
		if err != nil {
			t.Fatal(err)
		}
		before := parsed(t, string(text))
		same := func(what string) {
			t.Helper()
			if d := policy.Compare(before, p); !d.Empty() {
				t.Fatalf("seed %d, run %d: %s: %+v", seed, run, what, d)
			}
			if diff := cmp.Diff(before.Sayings(), p.Sayings()); diff != "" && what != "said again" { // levels that were gone are last
				t.Fatalf("seed %d, run %d: %s: %s", seed, run, what, diff)
			}
		}
		all := p.Sayings()
		one := all[r.IntN(len(all))]
		other := values[one.Key][r.IntN(len(values[one.Key]))]
		for _, value := range []string{other, one.Value} {
			if err := p.Say(one.Level, one.Key, value); err != nil {
				t.Fatalf("seed %d, run %d: %v", seed, run, err)
			}
		}
		same("changed and changed back")

		r.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
		for _, s := range all {
			if was, err := p.Unsay(s.Level, s.Key); err != nil || !was {
				t.Fatalf("seed %d, run %d: %+v is not said: %v", seed, run, s, err)
			}
		}
		if left := p.Sayings(); len(left) > 0 {
			t.Fatalf("seed %d, run %d: left %+v", seed, run, left)
		}
		if d := policy.Compare(before, p); len(d.Rules)+len(d.Groups) > 0 || d.Default != nil || len(d.Settings) != len(all) {
			t.Fatalf("seed %d, run %d: without settings more than those differ: %+v", seed, run, d)
		}
		for _, s := range all {
			if err := p.Say(s.Level, s.Key, s.Value); err != nil {
				t.Fatalf("seed %d, run %d: %v", seed, run, err)
			}
		}
		same("said again")
	}
}

// What cannot be said changes nothing, and the message says what was found and what is expected.
func TestSayRefuses(t *testing.T) {
	f := func(level, key, value, want string) {
		t.Helper()
		p := parsed(t, "vms: [{name: db, settings: {rate_out: 20Mbit/s}}]")
		name, err := policy.ParseLevel(level, policy.Sayers)
		if err == nil {
			err = p.Say(name, key, value)
		}
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s says %s=%s: %v, want %q", level, key, value, err, want)
		}
		if d := policy.Compare(parsed(t, "vms: [{name: db, settings: {rate_out: 20Mbit/s}}]"), p); !d.Empty() || len(p.VMs) != 1 || len(p.MirrorTargets) != 0 {
			t.Errorf("%s says %s=%s: refused, and changed: %+v", level, key, value, d)
		}
	}
	f("vms:db", "rate_out", "off", `found "vms:db", want global, pool:NAME, network:NAME, vm:NAME, vif:VM/DEVICE or mirror-target:NAME; did you mean vm:NAME?`)
	f("vm", "rate_out", "off", `found "vm", want global, pool:NAME`)
	f("vm:", "rate_out", "off", `found "vm:", want global`)
	f("global:x", "rate_out", "off", `found "global:x", want global`)
	f("vm:\x01", "rate_out", "off", "want a name without control characters")
	f("vm:db", "rate.out", "off", `setting "rate.out" is unknown; did you mean "rate_out"?`)
	f("vm:db", "speed", "off", `setting "speed" is unknown: vm:db may say rate_out, rate_in, mirror, guard_mac, guard_ip, guard_dhcp, guard_ra, quarantine or allowed_addresses`)
	f("vm:db", "fail_mode", "safe", `setting "fail_mode": found vm:db, want global or pool:NAME`)
	f("vm:db", "rate_out", "20MB", `setting "rate_out": found "20MB", want off or a rate in kbit/s, Mbit/s or Gbit/s`)
	f("vm:db", "rate_out", "", `setting "rate_out": found nothing, want off, or a rate`)
	f("vm:db", "rate_in", "20Mbit/s burst 3", "burst")
	f("vm:x", "guard_ip", "onn", `setting "guard_ip": found "onn", want on or off; did you mean "on"?`)
	f("pool:x", "fail_mode", "close", `found "close", want open or safe or static`)
	f("pool:x", "mirror_vlans", "900 901", `found "900 901", want VLANs from 1 to 4094, with commas`)
	f("pool:x", "mirror_vlans", "4095", `found "4095"`)
	for _, to := range []string{"gre", "gre x", "gre 192.0.2.1 key", "gre 192.0.2.1 kee 3", "gre 192.0.2.1 key 0", "gre 192.0.2.1 key 4294967296", "vlan 1,2", "tunnel 192.0.2.1"} {
		f("mirror-target:x", "to", to, `setting "to": `)
	}
	if _, err := new(policy.Policy).Unsay(policy.LevelName{Kind: flow.KindVIF, Name: "web/0"}, "fail_mode"); err == nil {
		t.Error("fail_mode is taken back from a VIF")
	}
}

// Rates that slow TCP and VLANs that switches must not learn in are warned of, with the level that asks for them.
func TestSettingWarnings(t *testing.T) {
	p := parsed(t, "pools: [{name: lab, mirror_vlans: [900, 901]}]\nvms: [{name: db, settings: {rate_in: 20Mbit/s burst 2000B, rate_out: 20Mbit/s burst 2MB}}]")
	want := []string{
		"pool lab: copies of traffic leave in VLAN 900, 901: a switch on their way that learns addresses there sends traffic astray",
		"VM db: rate_in: a burst of 2kB is less than what comes in 0.8 s at that rate, 2MB: TCP is slower than 20Mbit/s",
	}
	if diff := cmp.Diff(want, p.Warnings()); diff != "" {
		t.Error(diff)
	}
	for burst, want := range map[string]int{"": 0, " burst 2MB": 0, " burst 1999999B": 1} { // 0.8 s are 2 MB
		if got := parsed(t, "global: {settings: {rate_out: 20Mbit/s"+burst+"}}").Warnings(); len(got) != want {
			t.Errorf("20Mbit/s%s: warnings %q, want %d", burst, got, want)
		}
	}
}
