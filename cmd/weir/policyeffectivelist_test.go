package main

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/weirhq/weir/cli"
	"github.com/weirhq/weir/policyd"
	"github.com/weirhq/weir/policyd/policy"
)

// settingsShown is what is shown of the settings of VIFs, without the blanks that align columns.
func settingsShown(t *testing.T, out cli.Output, list []policyd.EffectiveVIF, all bool) string {
	t.Helper()
	var text bytes.Buffer
	out.W = &text
	if err := writeSettingsOf(&out, list, all); err != nil {
		t.Fatal(err)
	}
	return stable(text.String())
}

// guarded are n VIFs whose guard_mac is the same, and whose guard_ip is not at the second one.
func guarded(n int) []policyd.EffectiveVIF {
	var list []policyd.EffectiveVIF
	for i := range n {
		v := policyd.EffectiveVIF{VIF: fmt.Sprintf("web/%d", i), Hosts: []policyd.EffectiveHost{{Host: "hv1", State: policyd.HostEnforced}}, Settings: []policy.EffectiveSetting{
			{Key: "guard_mac", Value: "on", Level: "built in"}, {Key: "guard_ip", Value: "on", Level: "network lan", Notes: []string{"not enforced for IPv6"}},
		}}
		if i == 1 {
			v.Hosts = nil
			v.Settings[1] = policy.EffectiveSetting{
				Key: "guard_ip", Value: "off", Level: "VIF web/1", Overridden: []policy.SaidSetting{{Level: "VM web", Value: "on"}, {Level: "network lan", Value: "on"}},
			}
		}
		list = append(list, v)
	}
	return list
}

func TestSettingsOfSeveralVIFs(t *testing.T) {
	const head = "the same at all:\nSETTING  VALUE  SAID BY  OVERRIDDEN\nguard_mac  on  built in\n\n"
	want := `3 VIFs, where they are plugged policy is: enforced at 2, unknown at 1, which are plugged nowhere

` + head + `VIF  GUARD_IP
web/0  on (network lan)
web/1  off (VIF web/1)
  overridden: on (VM web), on (network lan)
web/2  on (network lan)

guard_ip: not enforced for IPv6: 2 VIFs: web/0, web/2
`
	if diff := cmp.Diff(stable(want), settingsShown(t, cli.Output{}, guarded(3), false)); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	want = `30 VIFs, where they are plugged policy is: enforced at 29, unknown at 1, which are plugged nowhere

` + head + `VIF  GUARD_IP
web/0, web/2, web/3 and 26 more  on (network lan)
web/1  off (VIF web/1)
  overridden: on (VM web), on (network lan)

guard_ip: not enforced for IPv6: 29 VIFs: web/0, web/2, web/3, web/4, web/5, web/6, web/7, web/8 and 21 more
`
	if diff := cmp.Diff(stable(want), settingsShown(t, cli.Output{}, guarded(30), false)); diff != "" {
		t.Errorf("many (-want +got):\n%s", diff)
	}
	if text := settingsShown(t, cli.Output{}, guarded(30), true); strings.Count(text, "  on (network lan)\n") != 29 || strings.Contains(text, "web/0, web/2, web/3 and 26") {
		t.Errorf("a line for each:\n%s", text)
	}
	// Where colours are shown, what is overridden is struck through, and no word is needed.
	if text := settingsShown(t, cli.Output{Color: true}, guarded(3), false); !strings.Contains(text, "\x1b[9mon (VM web), on (network lan)\x1b[0m") || strings.Contains(text, "overridden:") {
		t.Errorf("in colours: %q", text)
	}
	one := guarded(1)
	one[0].Quarantined = "since now"
	if text := settingsShown(t, cli.Output{}, one, false); !strings.Contains(text, "QUARANTINED: web/0\n") || strings.Contains(text, "VIF  GUARD_IP") {
		t.Errorf("one:\n%s", text)
	}
}
