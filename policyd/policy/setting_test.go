package policy_test

import (
	"math/rand/v2"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/weirhq/weir/flow"
	"github.com/weirhq/weir/internal/chance"
	"github.com/weirhq/weir/policyd/policy"
	"github.com/weirhq/weir/policyd/policy/policytest"
)

// saidBy returns what a level says of the setting with a key, as the document has it.
func saidBy(s *policy.Settings, key string) string {
	v := reflect.ValueOf(s).Elem()
	for i := range v.NumField() {
		if name, _, _ := strings.Cut(v.Type().Field(i).Tag.Get("yaml"), ","); name == key {
			return v.Field(i).Interface().(interface{ String() string }).String()
		}
	}
	panic("no setting " + key)
}

// plainEffective is what holds for a VIF of a world, read in the document from the bottom up.
func plainEffective(w *policytest.World, vif *policy.Interface, key string) (value, level string, overridden []policy.SaidSetting) {
	called := func(kind flow.Kind, id flow.ID, name string) bool {
		if _, short, ok := strings.Cut(name, "/"); ok && kind == flow.KindVM { // pool/VM
			name = short
		}
		return flow.NewID(kind, name) == id // names of worlds are keys
	}
	var chain []policy.SaidSetting
	say := func(level string, s *policy.Settings) {
		if v := saidBy(s, key); v != "" {
			chain = append(chain, policy.SaidSetting{Level: level, Value: v})
		}
	}
	p := w.Policy
	for i := range p.VIFs {
		if called(flow.KindVIF, vif.ID, p.VIFs[i].Name) {
			say("VIF "+p.VIFs[i].Name, &p.VIFs[i].Settings)
		}
	}
	for i := range p.VMs {
		if called(flow.KindVM, vif.VM, p.VMs[i].Name) {
			say("VM "+p.VMs[i].Name, &p.VMs[i].Settings)
		}
	}
	for i := range p.Networks {
		if called(flow.KindNetwork, vif.Network, p.Networks[i].Name) {
			say("network "+p.Networks[i].Name, &p.Networks[i].Settings)
		}
	}
	for i := range p.Pools {
		if called(flow.KindPool, vif.Pool, p.Pools[i].Name) {
			say("pool "+p.Pools[i].Name, &p.Pools[i].Settings)
		}
	}
	say("global", &p.Global.Settings)
	if len(chain) == 0 {
		if key == "guard_mac" {
			return "on", "built in", nil
		}
		return "off", "built in", nil
	}
	return chain[0].Value, chain[0].Level, append(overridden, chain[1:]...)
}

// Of 500 random worlds: what is in force for each VIF, who says it, and what is said in vain is what a reader finds who goes from the VIF
// upwards; values and explanation agree.
func TestEffectiveSettings(t *testing.T) {
	seed := chance.Seed(t)
	levels := map[string]int{}
	for run := range 500 {
		w := policytest.New(rand.New(rand.NewPCG(seed, uint64(run))), policytest.Small)
		for _, vif := range w.VIFs() {
			inForce := w.Set.SettingsOf(vif)
			for _, got := range policy.EffectiveSettings(w.Set, vif) {
				want := policy.EffectiveSetting{Key: got.Key, Notes: got.Notes} // TestSettingNotes
				want.Value, want.Level, want.Overridden = plainEffective(w, vif, got.Key)
				if diff := cmp.Diff(want, got); diff != "" {
					t.Fatalf("seed %d, run %d, %s (-want +got):\n%s", seed, run, vif.Name, diff)
				}
				if v := saidBy(&inForce, got.Key); v != got.Value {
					t.Fatalf("seed %d, run %d, %s: %s is %q in force, and shown as %q", seed, run, vif.Name, got.Key, v, got.Value)
				}
				kind, _, _ := strings.Cut(got.Level, " ")
				levels[kind]++
				if len(got.Overridden) > 0 {
					levels["overridden"]++
				}
			}
		}
	}
	for _, kind := range []string{"VIF", "VM", "network", "pool", "global", "built", "overridden"} {
		if levels[kind] < 500 {
			t.Errorf("seed %d: %d settings of level %q, want 500: the worlds try little", seed, levels[kind], kind)
		}
	}
}

// What is not enforced at a VIF, and what the platform does by itself, is said with the setting that it is about.
func TestSettingNotes(t *testing.T) {
	const mac = 0x020000000001
	told := func(list ...string) (addrs []netip.Addr) {
		for _, a := range list {
			addrs = append(addrs, netip.MustParseAddr(a))
		}
		return addrs
	}
	f := func(global string, vif *policy.Interface, want ...string) {
		t.Helper()
		p := parsed(t, "global: {settings: {"+global+"}}")
		set := &policy.Set{Settings: map[policy.LevelID]*policy.Said{{}: {Settings: p.Global.Settings}}}
		var got []string
		for _, s := range policy.EffectiveSettings(set, vif) {
			for _, n := range s.Notes {
				got = append(got, s.Key+": "+n)
			}
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", global, diff)
		}
		unguarded := slices.ContainsFunc(got, func(n string) bool {
			return strings.Contains(n, "not enforced") || strings.Contains(n, "only MAC addresses are enforced")
		})
		if set.Unguarded(vif) != unguarded {
			t.Errorf("%s: unguarded is %t, and notes %q", global, !unguarded, got)
		}
	}
	f("guard_ip: on", &policy.Interface{MAC: mac, Told: told("192.0.2.1", "2001:db8::1")})
	f("guard_ip: on", &policy.Interface{MAC: mac}, "guard_ip: only MAC addresses are enforced: no source has told an IP address of it")
	f("guard_ip: on, guard_mac: off", &policy.Interface{Told: told("192.0.2.1")}, "guard_ip: not enforced: its MAC address is not known")
	f("guard_ip: off", &policy.Interface{}, "guard_mac: not enforced: its MAC address is not known")
	f("guard_ip: on", &policy.Interface{MAC: mac, Told: told("192.0.2.1", "fe80::1")},
		"guard_ip: not enforced for IPv6: no source has told such an address of it, besides link-local ones")
	f("guard_ip: on", &policy.Interface{MAC: mac, Told: told("2001:db8::1")}, "guard_ip: not enforced for IPv4: no source has told such an address of it")
	f("guard_mac: off, allowed_addresses: 192.0.2.7", &policy.Interface{MAC: mac}, "allowed_addresses: without effect: guard_mac and guard_ip are off")
	limited := &policy.Interface{MAC: mac, Platform: policy.Platform{Rate: 8192, Locking: "locked", Allowed: "192.0.2.1, 2001:db8::1"}}
	locked := "guard_ip: XAPI locks it to its MAC address and 192.0.2.1, 2001:db8::1, which does not act where Weir enforces policy: "
	f("rate_in: 1Mbit/s", limited, "rate_out: XAPI limits it to 8192kbit/s by itself", locked+"guard_ip: on does, with allowed_addresses for those that no source tells")
	limited.Told = told("192.0.2.1", "2001:db8::1")
	f("rate_out: 5Mbit/s, guard_ip: on", limited, "rate_out: XAPI limits it to 8192kbit/s by itself; the smaller acts, 5Mbit/s", locked+"this guard does, with allowed_addresses")
	f("rate_out: 9Mbit/s", &policy.Interface{MAC: mac, Platform: policy.Platform{Rate: 8192, Locking: "unlocked"}}, "rate_out: XAPI limits it to 8192kbit/s by itself; the smaller acts, 8192kbit/s")
	f("", &policy.Interface{MAC: mac, Platform: policy.Platform{Locking: "disabled"}},
		"guard_ip: XAPI disables it, which does not act where Weir enforces policy: rules do, or weir policy quarantine")
}

// Every field of Settings is a setting, in its place: one that is forgotten would never be inherited.
func TestEverySettingIsListed(t *testing.T) {
	var fields, keys []string
	typ := reflect.TypeFor[policy.Settings]()
	for f := range typ.Fields() {
		name, _, _ := strings.Cut(f.Tag.Get("yaml"), ",")
		fields = append(fields, name)
	}
	for _, s := range policy.EffectiveSettings(&policy.Set{}, &policy.Interface{}) {
		keys = append(keys, s.Key)
	}
	if diff := cmp.Diff(fields, keys); diff != "" {
		t.Error(diff)
	}
}

func TestSettingTexts(t *testing.T) {
	same := func(key, text string) {
		t.Helper()
		p := parsed(t, "mirror_targets: [{name: ids, port: eth1}]\nglobal: {settings: {"+key+": \""+text+"\"}}")
		if got := saidBy(&p.Global.Settings, key); got != text {
			t.Errorf("%s %q is read as %q", key, text, got)
		}
	}
	for _, text := range []string{"off", "64kbit/s", "1500kbit/s", "20Mbit/s", "1Gbit/s", "20Mbit/s burst 2MiB", "20Mbit/s burst 1500B", "20Mbit/s burst 2MB", "20Mbit/s burst 64kB"} {
		same("rate_out", text)
		same("rate_in", text)
	}
	for _, text := range []string{"off", "ids", "ids in", "ids out"} {
		same("mirror", text)
	}
	for _, text := range []string{"off", "00:00:5e:00:01:0a", "192.0.2.1", "192.0.2.0/28, 2001:db8::/64", "00:00:5e:00:01:0a 192.0.2.1, 02:00:00:00:00:01 2001:db8::1"} {
		same("allowed_addresses", text)
	}
	for _, key := range []string{"guard_mac", "guard_ip", "guard_dhcp", "guard_ra"} {
		same(key, "on")
		same(key, "off")
	}
}

// What is wrong is said with its place, all of it at once.
func TestSettingsAreChecked(t *testing.T) {
	_, err := policy.Parse("p.yaml", []byte(`fail_mode: shut
mirror_targets: [{name: off, port: e}, {name: a, vlan: 9, port: e}, {name: a, gre: 224.0.0.1}, {name: b, erspan: 192.0.2.1, key: 2000}, {name: c, vlan: 5000}, {name: d, vlan: 12}, {name: e, port: x, key: 3}]
global:
  settings: {rate_out: 100MB, rate_in: 20Mbit/s burst 3, guard_mac: true, mirror: nowhere, allowed_addresses: "192.0.2.1 192.0.2.2"}
pools: [{name: p, mirror_vlans: [9, 0]}]
networks: [{name: n, settings: {rate_out: 1kbit/s, mirror: ids sideways, allowed_addresses: "01:00:00:00:00:01"}}]
vms: [{name: v, settings: {allowed_addresses: "192.0.2.1-192.0.2.9", speed: 3}}]
`))
	if err == nil {
		t.Fatal("accepted")
	}
	for _, want := range []string{
		`fail_mode: found "shut", want open or safe or static`,
		`global.settings.rate_out: found "100MB", want off or a rate in kbit/s, Mbit/s or Gbit/s, e.g. 100Mbit/s`,
		`global.settings.rate_in: burst: `,
		`global.settings.guard_mac: found "true", want on or off`,
		`global.settings.allowed_addresses: found "192.0.2.1 192.0.2.2", want a MAC address, an address or prefix, or both`,
		`networks[0].settings.rate_out: found rate "1kbit/s", want a whole number from 64kbit/s to 1000Gbit/s`,
		`networks[0].settings.mirror: found "ids sideways", want off or the name of a mirror target`,
		`networks[0].settings.allowed_addresses: found MAC address 01:00:00:00:00:01, want that of one interface`,
		`vms[0].settings.allowed_addresses: found "192.0.2.1-192.0.2.9", want an address or a prefix`,
		`vms[0].settings.speed: `,
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("not said: %s", want)
		}
	}
	if t.Failed() {
		t.Log(err)
	}
	_, err = policy.Parse("p.yaml", []byte(`mirror_targets: [{name: off, port: e}, {name: a, vlan: 9, port: e}, {name: a, gre: 224.0.0.1}, {name: b, erspan: 192.0.2.1, key: 2000}, {name: c, vlan: 5000}, {name: d, vlan: 12}, {name: e, port: x, key: 3}]
global: {settings: {mirror: b1}}
pools: [{name: p, mirror_vlans: [9, 0]}]
`))
	if err == nil {
		t.Fatal("accepted")
	}
	for _, want := range []string{
		`mirror_targets[0].name: found "off", want 1 to 64 letters, digits and any of . _ -, and not off`,
		`mirror_targets[1]: says 2 of vlan, port, gre and erspan, want one`,
		`mirror_targets[2].name: "a" is the name of mirror_targets[1], too`,
		`mirror_targets[2].gre: found 224.0.0.1, want the address of one machine`,
		`mirror_targets[3].key: found 2000, want a session of ERSPAN from 1 to 1023`,
		`mirror_targets[4].vlan: found 5000, want a VLAN from 1 to 4094`,
		`mirror_targets[5].vlan: no pool has VLAN 12 among its mirror_vlans`,
		`mirror_targets[6].key: only gre and erspan have a key`,
		`pools[0].mirror_vlans[1]: found 0, want a VLAN from 1 to 4094`,
		`global.settings.mirror: "b1" is no mirror target`,
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("not said: %s", want)
		}
	}
	if t.Failed() {
		t.Log(err)
	}
}

// Who changes a setting only changes the set, and who changes none does not.
func TestSettingsShare(t *testing.T) {
	w := policytest.New(rand.New(rand.NewPCG(1, 2)), policytest.Small)
	resolve := func() *policy.Set {
		d, err := policy.Resolve(policy.Request{Policy: w.Policy, Names: policy.NamesOf(w.Model), Now: policytest.Now, Former: w.Set.Kept(), Last: w.Set, Applied: true})
		if err != nil {
			t.Fatal(err)
		}
		return d.Set(0)
	}
	if resolve() != w.Set {
		t.Error("the same policy is another set")
	}
	w.Policy.Networks[1].Settings.RateIn = policy.Limit{Rate: 12345, Burst: 2000}
	changed := resolve()
	if changed == w.Set {
		t.Error("another setting is the same set")
	}
	if diff := cmp.Diff(w.Set.Lists, changed.Lists, same); diff != "" {
		t.Errorf("rules differ:\n%s", diff)
	}
}

func TestFailModeOf(t *testing.T) {
	set := &policy.Set{FailMode: policy.FailSafe, Pools: map[flow.ID]*policy.PoolSettings{1: {FailMode: policy.FailStatic}, 2: {MirrorVLANs: []uint16{9}}}}
	for pool, want := range map[flow.ID]policy.FailMode{0: policy.FailSafe, 1: policy.FailStatic, 2: policy.FailSafe, 3: policy.FailSafe} {
		if got := set.FailModeOf(pool); got != want {
			t.Errorf("fail mode of pool %d is %q, want %q", pool, got, want)
		}
	}
}
