package xapi_test

import (
	"errors"
	"fmt"
	"maps"
	"reflect"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/weirhq/weir/estate/xapi"
	fake "github.com/weirhq/weir/lab/xapi"
)

const (
	failMode   = "vswitch-controller-fail-mode"
	removeCall = "pool.remove_from_other_config"
	addCall    = "pool.add_to_other_config"
)

// written is a rig whose configuration says what is written.
func written(t *testing.T, cfg fake.Config, write xapi.Write, prepare func(*fake.Site), change ...func(*xapi.Deps)) *rig {
	t.Helper()
	r := &rig{t: t}
	r.site, r.hosts = build(t, cfg)
	r.site.Configure("pool", r.site.Refs("pool")[0], map[string]string{"owner": "alice"})
	if prepare != nil {
		prepare(r.site)
	}
	c := config(t, r.hosts...)
	c.Write = write
	r.Pool, r.sink, r.reg = follow(t, c, change...)
	r.equal("at first")
	return r
}

// other returns what the pool has as its other_config.
func (r *rig) other() map[string]string {
	return r.site.Record("pool", r.site.Refs("pool")[0])["other_config"].(map[string]string)
}

// becomes waits until the pool has a fail mode, nothing else of it changed, and Weir knows, and that it has written it so many times.
func (r *rig) becomes(want string, writes uint64, when string) {
	r.t.Helper()
	until(r.t, fmt.Sprintf("%s the fail mode is %s, and was written %d times", when, want, writes), func() bool {
		s := r.Status()
		return maps.Equal(r.other(), map[string]string{"owner": "alice", failMode: want}) && s.FailMode.Found == want && s.FailMode.Writes == writes && s.FailMode.Error == "" && s.State == xapi.StateConnected
	})
	r.equal(when)
}

func set(s *fake.Site, value string) {
	s.Configure("pool", s.Refs("pool")[0], map[string]string{failMode: value})
}

// What the configuration says is written once, and again when somebody else changed it; nothing is if it is there, or not said.
func TestFailMode(t *testing.T) {
	t.Parallel()
	r := written(t, fake.Config{}, xapi.Write{FailMode: "secure"}, nil)
	r.becomes("secure", 1, "at first")
	if n, s := r.site.Changes(), r.Status(); n != 2 || s.FailMode.Overridden != 0 || s.FailMode.Written.IsZero() || len(s.Problems) > 0 {
		t.Errorf("%d changes, status %+v, want one write", n, s)
	}
	before := r.Status().Read
	r.site.Restart()
	until(t, "all is read again", func() bool { return r.Status().Read.After(before) })
	r.site.Configure("pool", r.site.Refs("pool")[0], map[string]string{"owner": "alice"})
	r.becomes("secure", 1, "after all was read again")
	if n := r.site.Changes(); n != 2 {
		t.Errorf("%d changes, want no more", n)
	}
	set(r.site, "standalone")
	r.becomes("secure", 2, "after somebody changed it")
	if s := r.Status(); r.site.Changes() != 4 || s.FailMode.Overridden != 1 {
		t.Errorf("%d changes, status %+v, want two writes", r.site.Changes(), s)
	}

	there := written(t, fake.Config{}, xapi.Write{FailMode: "standalone"}, func(s *fake.Site) { set(s, "standalone") })
	there.becomes("standalone", 0, "from the beginning")
	untold := written(t, fake.Config{}, xapi.Write{TunnelStatus: true}, func(s *fake.Site) { set(s, "secure") })
	set(untold.site, "standalone")
	untold.becomes("standalone", 0, "by somebody else")
	if a, b := there.site.Changes(), untold.site.Changes(); a+b != 0 {
		t.Errorf("%d and %d changes, want none", a, b)
	}
}

// The fail mode follows policy where the configuration says so; where it is another one and is not written, that is told with what to do.
func TestFailModeOfPolicy(t *testing.T) {
	t.Parallel()
	var asked atomic.Pointer[xapi.Asked]
	asks := func(mode, not string) { asked.Store(&xapi.Asked{FailMode: mode, Not: not}) }
	deps := func(d *xapi.Deps) {
		d.Asked = func(uuid string) xapi.Asked {
			if uuid == "" {
				t.Error("asked of a pool without UUID")
			}
			return *asked.Load()
		}
	}
	asks("", "")
	r := written(t, fake.Config{}, xapi.Write{FailMode: xapi.FollowPolicy}, func(s *fake.Site) { set(s, "standalone") }, deps)
	untold := written(t, fake.Config{}, xapi.Write{}, func(s *fake.Site) { set(s, "standalone") }, deps)
	look := func(r *rig) { // something happens at the pool, by which it is looked at
		r.site.Set("pool", r.site.Refs("pool")[0], fake.Record{})
	}
	tells := func(r *rig, what, want string) {
		t.Helper()
		until(t, what, func() bool {
			look(r)
			return strings.Contains(strings.Join(r.Status().Problems, "; "), want) && (want != "" || len(r.Status().Problems) == 0)
		})
	}
	tells(r, "policy asks for nothing", "")
	asks("secure", "hosts hv1 could not be reached")
	tells(r, "it is not written, and told", "is not written: hosts hv1 could not be reached")
	tells(untold, "it may not be written, and that is told", "set write.fail_mode of the pool in estate.xapi to policy")
	if n := r.site.Changes() + untold.site.Changes(); n != 0 {
		t.Errorf("%d changes, want none", n)
	}
	asks("secure", "")
	look(r)
	r.becomes("secure", 1, "as policy asks")
	asks("standalone", "")
	look(r)
	r.becomes("standalone", 2, "as policy asks otherwise")
	tells(r, "all is as asked", "")
	tells(untold, "all is as asked by itself", "")
	if s := r.Status(); s.FailMode.Writes != 2 || s.FailMode.Overridden != 0 || untold.site.Changes() != 0 {
		t.Errorf("status %+v, want two writes and nobody else's", s.FailMode)
	}
}

// Whatever happens between the two halves of a write, it ends right.
func TestFailModeInterrupted(t *testing.T) {
	t.Parallel()
	for name, meet := range map[string]func(*rig){
		"another coordinator": func(r *rig) { r.site.Then(removeCall, func() { r.site.SetMaster(r.hosts[1].Address()) }) },
		"session ends":        func(r *rig) { r.site.Then(removeCall, r.site.EndSessions) },
		"somebody else adds":  func(r *rig) { r.site.Then(removeCall, func() { set(r.site, "open") }) },
		"connection cut":      func(r *rig) { r.site.Fail(addCall, "") },
		"cut before":          func(r *rig) { r.site.Fail(removeCall, "") },
		"refused":             func(r *rig) { r.site.Fail(addCall, "INTERNAL_ERROR") },
		"refused twice":       func(r *rig) { r.site.Fail(addCall, "INTERNAL_ERROR"); r.site.Fail(addCall, "INTERNAL_ERROR") },
		"restart":             func(r *rig) { r.site.Then(removeCall, r.site.Restart) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := written(t, fake.Config{}, xapi.Write{FailMode: "secure"}, nil)
			r.becomes("secure", 1, "at first")
			before := r.site.Calls(addCall)
			meet(r)
			set(r.site, "standalone")
			until(t, "it is tried again", func() bool { return r.site.Calls(addCall) > before })
			r.becomes("secure", 2, "after it was interrupted")
		})
	}
}

// An account that may not write goes on reading, and it is said which role it takes.
func TestReadOnlyRole(t *testing.T) {
	t.Parallel()
	r := written(t, fake.Config{ReadOnly: true}, xapi.Write{FailMode: "secure", TunnelStatus: true}, func(s *fake.Site) { set(s, "standalone") })
	until(t, "it says so", func() bool { return r.Status().FailMode.Error != "" })
	s := r.Status()
	for _, want := range []string{`is "standalone", and "secure" cannot be written`, "RBAC_PERMISSION_DENIED", "role pool-operator, or take write.fail_mode out of the configuration"} {
		if !strings.Contains(strings.Join(s.Problems, "\n"), want) {
			t.Errorf("%q is not in %q", want, s.Problems)
		}
	}
	if s.State != xapi.StateConnected || s.Error != "" || s.FailMode.Found != "standalone" || s.FailMode.Writes != 0 {
		t.Errorf("status %+v", s)
	}
	r.site.AddVM("after", r.site.Refs("host")[0])
	r.equal("while it may not write")
	r.site.Create("tunnel", fake.Record{"uuid": "t", "status": map[string]string{}})
	if err := r.SetTunnelStatus(t.Context(), "t", nil); err == nil || !strings.Contains(err.Error(), "role pool-operator, or take write.tunnel_status out") {
		t.Errorf("tunnel: %v", err)
	}
	set(r.site, "secure") // somebody does it
	until(t, "nothing is wrong", func() bool { return len(r.Status().Problems) == 0 && r.Status().FailMode.Found == "secure" })
}

// The status of a tunnel is written if that is allowed, whole.
func TestTunnelStatus(t *testing.T) {
	t.Parallel()
	r := written(t, fake.Config{}, xapi.Write{TunnelStatus: true}, nil)
	tunnel := r.site.Create("tunnel", fake.Record{"uuid": "t", "status": map[string]string{"active": "false", "old": "x"}})
	want := map[string]string{"active": "true", "key": "7"}
	if err := r.SetTunnelStatus(t.Context(), "t", want); err != nil {
		t.Fatal(err)
	}
	if got := r.site.Record("tunnel", tunnel)["status"]; !reflect.DeepEqual(got, want) {
		t.Errorf("status %v, want %v", got, want)
	}
	if err := r.SetTunnelStatus(t.Context(), "u", want); err == nil || !strings.Contains(err.Error(), `tunnel "u" in pool "berlin": UUID_INVALID`) {
		t.Errorf("a tunnel that is none: %v", err)
	}

	site, hosts := newSite(t, fake.Config{})
	site.Create("tunnel", fake.Record{"uuid": "t", "status": map[string]string{}})
	p, _, _ := follow(t, config(t, hosts...))
	until(t, "it is connected", func() bool { return p.Status().State == xapi.StateConnected })
	if err := p.SetTunnelStatus(t.Context(), "t", want); !errors.Is(err, xapi.ErrNotAllowed) || !strings.Contains(err.Error(), "set write.tunnel_status") || site.Calls("tunnel.get_by_uuid") != 0 {
		t.Errorf("without leave: %v", err)
	}
}

// Who fights over a value makes Weir write ever more rarely, and is forgotten when the value stays.
func TestKeeper(t *testing.T) {
	k := xapi.NewKeeper("secure")
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	start, writes := now, 0
	for now.Sub(start) < time.Hour { // somebody changes it at once, each second
		if k.See("standalone", now) {
			k.Wrote(now, false, nil)
			writes++
		}
		now = now.Add(time.Second)
	}
	if writes < 12 || writes > 22 || k.Overridden() < 12 {
		t.Errorf("%d writes in an hour, overridden %d times", writes, k.Overridden())
	}
	for !k.See("standalone", now) {
		if w := k.Wait(now); w <= 0 || w > 30*time.Second {
			t.Fatalf("changes are waited for %s while a write is due", w)
		}
		now = now.Add(k.Wait(now))
	}
	k.Wrote(now, false, nil)
	now = now.Add(10 * time.Minute)
	if k.See("secure", now) || k.Overridden() != 0 {
		t.Errorf("overridden %d times after it was calm", k.Overridden())
	}
	if !k.See("standalone", now.Add(time.Second)) {
		t.Error("after it was calm it is not written at once")
	}

	// A write that failed is tried again: often while there may be no value at all, rarely if it never began.
	for half, longest := range map[bool]time.Duration{true: 30 * time.Second, false: 5 * time.Minute} {
		k := xapi.NewKeeper("secure")
		var waited time.Duration
		for range 20 {
			if !k.See("", now) {
				t.Fatal("it is not written when that is due")
			}
			k.Wrote(now, half, errors.New("no"))
			if k.See("", now) {
				t.Fatal("it is written again at once")
			}
			for waited = 0; !k.See("", now); now = now.Add(time.Second) {
				waited += time.Second
			}
		}
		if waited != longest {
			t.Errorf("half %t: tried again after %s, want %s", half, waited, longest)
		}
	}
	if none := xapi.NewKeeper(""); none.See("standalone", now) {
		t.Error("without a wanted value one is written")
	}
}

func TestWriteValidate(t *testing.T) {
	c := config(t)
	c.Addresses = []string{"192.0.2.1"}
	for _, mode := range []string{"", "secure", "standalone"} {
		if c.Write.FailMode = mode; c.Validate() != nil {
			t.Errorf("%q: %v", mode, c.Validate())
		}
	}
	c.Write.FailMode = "open"
	if err := c.Validate(); err == nil || !strings.Contains(err.Error(), `write.fail_mode: found "open", want secure, standalone`) {
		t.Errorf("found %v", err)
	}
}
