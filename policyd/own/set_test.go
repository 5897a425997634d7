package own_test

import (
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/weirhq/weir/ovs/ovsdb"
	"github.com/weirhq/weir/ovs/ovsdb/ovsdbtest"
	"github.com/weirhq/weir/policyd/own"
)

// everything makes a transaction of all that stands beside what others have at br0, or writes what is there.
func everything(t *testing.T, r *ovsdb.Rows) []ovsdb.Operation {
	t.Helper()
	tx, err := own.Begin(r, "this")
	if err != nil {
		t.Fatal(err)
	}
	tx.Claim()
	b := own.Bridges(r)[0]
	if ours, _ := own.Controllers(r, b); len(ours) == 0 {
		tx.AddController(b, ovsdb.Values{"target": "tcp:192.0.2.5:6653", "type": "service"})
	} else {
		tx.WriteController(b, ours[0], ovsdb.Values{"connection_mode": "out-of-band"})
	}
	if ours, _ := own.SampleSets(r); len(ours) == 0 {
		tx.AddSampleSet(b, 7, map[string]string{"weir-totals": "true"}, ovsdb.Values{"targets": []string{"192.0.2.5:4739"}})
	} else {
		tx.WriteSampleSet(ours[0], ovsdb.Values{"targets": []string{"192.0.2.6:4739"}}, true)
		tx.MarkSampleSet(ours[0], map[string]string{"weir-totals": "false"})
	}
	for setting, value := range map[*own.Setting]string{own.DisableInBand: "true", own.FailMode: "secure"} {
		if err := tx.Set(setting, b, value); err != nil {
			t.Fatal(err)
		}
	}
	return tx.Operations()
}

// Weir's rows stand beside those of others, are written in place, and are the ones that are released.
func TestRowsBesideThoseOfOthers(t *testing.T) {
	server, s := connect(t)
	server.VSCtl("--no-wait", "set-controller", "br0", "tcp:203.0.113.1:6653", "--", "set", "bridge", "br0", "other_config:disable-in-band=false", "other_config:theirs=1",
		"--", "--id=@b", "get", "bridge", "br0", "--", "--id=@i", "create", "IPFIX", `targets="203.0.113.1:4739"`, "--", "create", "Flow_Sample_Collector_Set", "id=1", "bridge=@b", "ipfix=@i")
	state := func() string {
		return strings.Join([]string{
			server.VSCtl("--no-wait", "--columns=target,type,connection_mode,external_ids", "list", "Controller"), server.VSCtl("--no-wait", "--columns=id,external_ids", "list", "Flow_Sample_Collector_Set"),
			server.VSCtl("--no-wait", "--columns=targets,external_ids", "list", "IPFIX"), server.VSCtl("--no-wait", "--columns=fail_mode,other_config,external_ids", "list", "Bridge"),
			server.VSCtl("--no-wait", "--columns=external_ids", "list", "Open_vSwitch"),
		}, "\n\n")
	}
	ovsdbtest.Until(t, "all is known", func() bool { return len(s.Rows().SampleSets) == 1 && len(s.Rows().Controllers) == 1 })
	before := state()
	for _, want := range []string{`"true"`, `"false"`} {
		if _, err := s.Transact(t.Context(), everything(t, s.Rows())...); err != nil {
			t.Fatal(err)
		}
		ovsdbtest.Until(t, "it is known", func() bool {
			ours, others := own.SampleSets(s.Rows())
			return len(ours) == 1 && len(others) == 1 && `"`+ours[0].ExternalIDs["weir-totals"]+`"` == want
		})
	}
	r := s.Rows()
	ours, others := own.Controllers(r, own.Bridges(r)[0])
	if len(ours) != 1 || len(others) != 1 || ours[0].ConnectionMode != "out-of-band" || others[0].Target != "tcp:203.0.113.1:6653" {
		t.Errorf("controllers %+v and %+v, want one written and one of others", ours, others)
	}
	sets, _ := own.SampleSets(r)
	if row := r.IPFIXs[sets[0].IPFIX]; row == nil || !cmp.Equal(row.Targets, []string{"192.0.2.6:4739"}) {
		t.Errorf("row %+v, want it written", row)
	} else if awaited, seen := own.Awaited(r, row.ExternalIDs); !awaited || seen {
		t.Errorf("awaited %v, seen %v: want that it waits for a switch", awaited, seen)
	}
	tx, err := own.Begin(r, "this")
	if err != nil {
		t.Fatal(err)
	}
	if err := tx.Release(); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Transact(t.Context(), tx.Operations()...); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(strings.Split(before, "\n"), strings.Split(state(), "\n")); diff != "" {
		t.Errorf("after release (-before +after):\n%s", diff)
	}
}

// What others did since the host was observed stays, of all kinds of rows.
func TestWhatOthersDidToSetsMeanwhileStays(t *testing.T) {
	for name, c := range map[string]struct {
		there     bool // Weir's rows
		meanwhile []string
	}{
		"another controller":     {false, []string{"set-controller", "br0", "tcp:203.0.113.1:6653"}},
		"controllers are gone":   {true, []string{"del-controller", "br0"}},
		"another setting":        {false, []string{"set", "bridge", "br0", "other_config:disable-in-band=false"}},
		"another fail mode":      {true, []string{"set-fail-mode", "br0", "standalone"}},
		"collector sets go":      {true, []string{"--all", "destroy", "Flow_Sample_Collector_Set"}},
		"another has the number": {true, []string{"set", "Flow_Sample_Collector_Set", ".", "id=8"}},
		"the bridge is gone":     {false, []string{"del-br", "br0"}},
	} {
		t.Run(name, func(t *testing.T) {
			server, s := connect(t)
			if c.there {
				if _, err := s.Transact(t.Context(), everything(t, s.Rows())...); err != nil {
					t.Fatal(err)
				}
				ovsdbtest.Until(t, "it is known", func() bool { return len(s.Rows().SampleSets) == 1 && len(s.Rows().Controllers) == 1 })
			}
			ops := everything(t, s.Rows())
			if c.meanwhile[0] == "set" && c.there {
				c.meanwhile[2] = server.VSCtl("--no-wait", "--bare", "--columns=_uuid", "list", "Flow_Sample_Collector_Set")
			}
			server.VSCtl(append([]string{"--no-wait"}, c.meanwhile...)...)
			if _, err := s.Transact(t.Context(), ops...); !errors.Is(err, ovsdb.ErrChanged) {
				t.Errorf("Transact = %v, want ErrChanged", err)
			}
		})
	}
}

// A column is given back as others gave it last: what it was before Weir, or what they made of it since.
func TestFormerFailMode(t *testing.T) {
	for name, c := range map[string]struct {
		before, meanwhile, after []string // arguments of ovs-vsctl; meanwhile nil: nobody does anything
		want                     string
	}{
		"it was empty":              {nil, nil, nil, "[]"},
		"it had a value":            {[]string{"set-fail-mode", "br0", "standalone"}, nil, nil, "standalone"},
		"it had the same":           {[]string{"set-fail-mode", "br0", "secure"}, nil, nil, "secure"},
		"others changed it since":   {nil, []string{"set-fail-mode", "br0", "standalone"}, nil, "standalone"},
		"others emptied it since":   {[]string{"set-fail-mode", "br0", "standalone"}, []string{"del-fail-mode", "br0"}, nil, "[]"},
		"others changed it between": {[]string{"set-fail-mode", "br0", "secure"}, []string{"set-fail-mode", "br0", "standalone"}, []string{"again"}, "standalone"},
	} {
		t.Run(name, func(t *testing.T) {
			server, s := connect(t)
			do := func(args []string) {
				t.Helper()
				if args == nil {
					return
				}
				server.VSCtl(append([]string{"--no-wait"}, args...)...)
				want := server.VSCtl("--no-wait", "get-fail-mode", "br0")
				ovsdbtest.Until(t, "it is known", func() bool { return own.Bridges(s.Rows())[0].FailMode == want })
			}
			change := func(f func(*own.Transaction, *ovsdb.Bridge) error) {
				t.Helper()
				r := s.Rows()
				tx, err := own.Begin(r, "this")
				if err != nil {
					t.Fatal(err)
				}
				if err := f(tx, own.Bridges(r)[0]); err != nil {
					t.Fatal(err)
				}
				if _, err := s.Transact(t.Context(), tx.Operations()...); err != nil {
					t.Fatal(err)
				}
			}
			set := func() {
				change(func(tx *own.Transaction, b *ovsdb.Bridge) error { return tx.Set(own.FailMode, b, "secure") })
				ovsdbtest.Until(t, "it is set", func() bool {
					held, kept, err := own.FailMode.Held(own.Bridges(s.Rows())[0])
					return held && kept && err == nil
				})
				if is := server.VSCtl("--no-wait", "get", "bridge", "br0", "fail_mode"); is != "secure" {
					t.Errorf("fail_mode is %s", is)
				}
			}
			do(c.before)
			set()
			do(c.meanwhile)
			if c.after != nil {
				set()
			}
			change(func(tx *own.Transaction, b *ovsdb.Bridge) error { return tx.Unset(own.FailMode, b) })
			if is := server.VSCtl("--no-wait", "get", "bridge", "br0", "fail_mode"); is != c.want {
				t.Errorf("fail_mode is %s after all, want %s", is, c.want)
			}
			if ids := server.VSCtl("--no-wait", "get", "bridge", "br0", "external_ids"); ids != "{}" {
				t.Errorf("external_ids are %s", ids)
			}
		})
	}
}

// Whoever may write into a host's database may write anything into what Weir saved there.
func FuzzFormerSettings(f *testing.F) {
	f.Add(`{"set":"true"}`, "true")
	f.Add(`{"set":"true","was":"false"}`, "true")
	f.Add(`{"set":"true","was":"false"}`, "")
	f.Add(`{}`, "x")
	f.Add(`nothing`, "")
	f.Fuzz(func(t *testing.T, text, now string) {
		r := &ovsdb.Rows{Root: ovsdb.Root{UUID: "root", Bridges: []ovsdb.UUID{"b"}}}
		b := &ovsdb.Bridge{
			UUID: "b", Name: "br0", ExternalIDs: map[string]string{"weir-former-other-config-disable-in-band": text, "weir-former-fail_mode": text},
			OtherConfig: map[string]string{"theirs": "1"}, FailMode: now,
		}
		if now != "" {
			b.OtherConfig["disable-in-band"] = now
		}
		r.Bridges = map[ovsdb.UUID]*ovsdb.Bridge{"b": b}
		for _, do := range []func(*own.Transaction) error{
			func(tx *own.Transaction) error { return tx.Unset(own.DisableInBand, b) },
			func(tx *own.Transaction) error { return tx.Set(own.DisableInBand, b, "true") },
			func(tx *own.Transaction) error { return tx.Unset(own.FailMode, b) },
			func(tx *own.Transaction) error { return tx.Set(own.FailMode, b, "secure") },
		} {
			tx, err := own.Begin(r, "this")
			if err != nil {
				t.Fatal(err)
			}
			if err := do(tx); err == nil && !json.Valid([]byte(text)) {
				t.Fatalf("%q was taken", text)
			}
			for _, c := range tx.Changes() {
				if !slices.Contains([]string{"other_config:disable-in-band", "external_ids:weir-former-other-config-disable-in-band", "fail_mode", "external_ids:weir-former-fail_mode"}, c.Column) {
					t.Fatalf("%q: changes %+v", text, c)
				}
			}
		}
	})
}
