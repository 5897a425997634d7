package policy_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weirhq/weir/estate"
	"github.com/weirhq/weir/estate/file"
	"github.com/weirhq/weir/flow"
	"github.com/weirhq/weir/policyd/policy"
)

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// estateText has two pools, so that names are of several things.
const estateText = `
pools: [{name: berlin}, {name: paris}]
hosts: [{name: b1, pool: berlin}, {name: p1, pool: paris}]
networks:
  - {name: front, pool: berlin, bridge: xenbr0, vlan: 10}
  - {name: back, pool: berlin, bridge: xenbr0, vlan: 20}
  - {name: front, pool: paris, bridge: xenbr0}
vms:
  - name: web
    pool: berlin
    host: b1
    tags: [www]
    vifs:
      - {device: "0", network: front, mac: "02:00:00:00:00:01", ips: [192.0.2.1, "2001:db8::1"]}
      - {device: "1", network: back, mac: "02:00:00:00:00:02", ips: [198.51.100.1]}
  - name: db
    uuid: 3f1c5a9e-8d7b-4c06-9a53-0e2b6d4f8c11
    pool: berlin
    host: b1
    vifs: [{device: "0", network: back, mac: "02:00:00:00:00:03", ips: [198.51.100.2]}]
  - name: web
    pool: paris
    host: p1
    vifs: [{device: "0", network: front, mac: "02:00:00:00:00:04", ips: [203.0.113.1]}]
address_groups:
  - {name: office, members: [10.0.0.0/9, 10.128.0.0/9, 10.1.2.3, "2001:db8:1::/48"]}
vm_groups:
  - {name: www, select: [{tags: [www]}]}
`

// model returns the merged estate that a file says.
func model(t testing.TB, text string) *estate.Model {
	t.Helper()
	m, _, err := file.Parse("estate.yaml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	a := estate.NewAssembler(estate.AssemblerDeps{Estate: estate.NewHolder()})
	a.Set(estate.FileSource, m, noon)
	return a.Model()
}

// parse returns the policy that text says, of which the rules have ids.
func parse(t testing.TB, text string) *policy.Policy {
	t.Helper()
	p, err := policy.Parse("policy.yaml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	p.Identify(nil, func() string { n++; return fmt.Sprintf("r%d", n) })
	return p
}

// resolve returns the set of a policy that is applied for the first time, numbered from 1000.
func resolve(t testing.TB, m *estate.Model, text string) *policy.Set {
	t.Helper()
	d, err := policy.Resolve(policy.Request{Policy: parse(t, text), Names: policy.NamesOf(m), Now: noon, Applied: true})
	if err != nil {
		t.Fatal(err)
	}
	return d.Set(1000)
}

func TestResolve(t *testing.T) {
	m := model(t, estateText)
	set := resolve(t, m, `
default: deny
address_groups:
  - {name: admins, members: [192.0.2.200-192.0.2.203, address-group:office]}
vm_groups:
  - {name: all-db, vms: [db], groups: [www]}
global:
  mandatory:
    - {id: a, action: deny, direction: to, remote: address-group:admins}
    - {id: off, action: allow, disabled: true}
    - {id: gone, action: allow, expires: 2026-03-01T12:00:00Z}
    - {id: soon, action: allow, expires: 2026-03-01T13:00:00+01:00, protocol: arp}
    - {id: later, action: allow, expires: 2026-03-02T12:00:00Z}
pools: [{name: paris, default: [{id: b, action: allow, protocol: tcp, remote_ports: "443,80-90,85-100"}]}]
vms: [{name: berlin/web, mandatory: [{id: c, action: shadow, remote: vm-group:all-db}]}]
vifs: [{name: paris/web/0, rules: [{id: d, action: allow}]}]
`)
	var got []string
	for _, e := range set.Entries() {
		got = append(got, fmt.Sprintf("%d %s %d", e.Scope.Tier, e.Rule.ID, e.Instance))
	}
	if diff := cmp.Diff([]string{"1 a 1001", "1 later 1002", "4 c 1003", "5 d 1004", "8 b 1005", "0 default 1000"}, got); diff != "" {
		t.Errorf("entries (-want +got):\n%s", diff)
	}
	if want := noon.Add(24 * time.Hour); !set.Expires.Equal(want) {
		t.Errorf("Expires = %s, want %s", set.Expires, want)
	}
	e := policy.EstateOf(m, set.Groups, nil)
	admins, all := flow.NewID(flow.KindAddressGroup, "admins"), flow.NewID(flow.KindVMGroup, "all-db")
	if got, want := fmt.Sprint(e.AddressGroups[admins]), "[10.0.0.0/8 192.0.2.200/30 2001:db8:1::/48]"; got != want {
		t.Errorf("address group = %s, want %s", got, want)
	}
	if got, want := fmt.Sprint(e.VMGroups[all]), "[192.0.2.1 198.51.100.1 198.51.100.2 2001:db8::1]"; got != want {
		t.Errorf("VM group = %s, want %s", got, want)
	}
	if len(e.VIFs) != 4 {
		t.Errorf("%d VIFs, want 4", len(e.VIFs))
	}
}

func TestResolveRefuses(t *testing.T) {
	m := model(t, estateText)
	for name, c := range map[string]struct{ text, want string }{
		"unknown pool":      {`pools: [{name: berln}]`, `pools[0].name: "berln" is no pool; did you mean "berlin"?`},
		"unknown VM":        {`vms: [{name: dbx}]`, `vms[0].name: "dbx" is no VM; did you mean "db"?`},
		"unknown VIF":       {`vifs: [{name: db/1, rules: []}]`, `vifs[0].name: "db/1" is no VIF; did you mean "db/0"?`},
		"ambiguous VM":      {`vms: [{name: web}]`, `vms[0].name: "web" is the name of 2 VMs (berlin/web, paris/web): write it as pool/name or by UUID`},
		"ambiguous network": {`networks: [{name: front}]`, `networks[0].name: "front" is the name of 2 networks (berlin/front, paris/front)`},
		"unknown group": {
			`global: {default: [{action: deny, remote: address-group:offices}]}`,
			`global.default[0].remote: "offices" is no address group; did you mean "office"?`,
		},
		"unknown own group": {
			"vm_groups: [{name: mine, vms: [db]}]\nglobal: {default: [{action: deny, remote: vm-group:mina}]}",
			`global.default[0].remote: "mina" is no VM group; did you mean "mine"?`,
		},
		"group of the estate": {
			`address_groups: [{name: office, members: [10.0.0.1]}]`,
			`address_groups[0].name: the estate has an address group "office", too`,
		},
		"unknown member":    {`vm_groups: [{name: g, vms: [nobody]}]`, `vm_groups[0].vms[0]: "nobody" is no VM`},
		"unknown selection": {`vm_groups: [{name: g, select: [{network: bac}]}]`, `vm_groups[0].select[0].network: "bac" is no network; did you mean "back"?`},
		"unknown in group":  {`address_groups: [{name: g, members: [address-group:h]}]`, `address_groups[0].members[0]: "h" is no address group`},
		"same VM twice": {
			"vms: [{name: db}, {name: 3F1C5A9E-8D7B-4C06-9A53-0E2B6D4F8C11}]",
			`vms[1].name: "3F1C5A9E-8D7B-4C06-9A53-0E2B6D4F8C11" is the same VM as "db", at vms[0]: write rules and settings there`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := policy.Resolve(policy.Request{Policy: parse(t, c.text), Names: policy.NamesOf(m), Now: noon, Applied: true})
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("Resolve: %v, want %s", err, c.want)
			}
		})
	}
}
