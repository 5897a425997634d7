package site_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/weirhq/weir/lab/netns/netnstest"
	"github.com/weirhq/weir/lab/ovsbed/ovsbedtest"
	"github.com/weirhq/weir/lab/site"
)

// The whole site runs, its VMs converse, and everything that can happen happens.
func TestSite(t *testing.T) {
	ovsbedtest.New(t) // skips where there can be none
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	defer cancel()
	began := time.Now()
	s, err := site.New(ctx, site.Config{Hosts: 2, VMs: 24, Farm: 1, XAPI: true}, netnstest.New(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("started within %v", time.Since(began).Round(time.Millisecond))
	playing, stop := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- s.Play(playing, 100, 1) }()
	converse := func(n uint64) site.Stats {
		t.Helper()
		before := s.Stats()
		for deadline := time.Now().Add(2 * time.Minute); ; time.Sleep(20 * time.Millisecond) {
			now := s.Stats()
			if now.Conversations >= before.Conversations+n {
				return site.Stats{Conversations: now.Conversations - before.Conversations, Failed: now.Failed - before.Failed, LeftOut: now.LeftOut - before.LeftOut}
			}
			if time.Now().After(deadline) {
				t.Fatalf("no %d conversations within two minutes: %+v, before %+v", n, now, before)
			}
		}
	}
	if d := converse(100); d.Failed > 5 {
		t.Errorf("of the first conversations %+v", d)
	}
	commands := map[string]bool{}
	for _, line := range []string{
		"move web-01 xcp-02", "move web-01 xcp-01", "unplug db-01", "plug db-01", "replug app-01", "rename app-01 shop", "replug shop",
		"emer-reset xcp-01", "restart xcp-01", "restart-db xcp-01", "kill xcp-02", "start xcp-02", "freeze xcp-02", "thaw xcp-02",
		"cut xcp-01", "join xcp-01", "restart farm-1",
		"add-vif web-01 back", "move web-01 xcp-02", "tag web-01 shop,eu", "tag web-02 -", "address web-01 10.20.9.9", "failover xcp-02", "expire", "restart-xapi", "controller 192.0.2.9",
	} {
		words := strings.Fields(line)
		commands[words[0]] = true
		began := time.Now()
		if err := s.Do(ctx, words[0], words[1:]...); err != nil {
			t.Error(err)
		}
		t.Logf("%s within %v", line, time.Since(began).Round(time.Millisecond))
	}
	for _, c := range site.Commands {
		if !commands[c.Name] || c.Doc == "" {
			t.Errorf("command %q was not tried, or is not described", c.Name)
		}
	}
	for line, want := range map[string]string{
		"move": "want VM HOST", "move wev-01 xcp-01": "did you mean web-01", "move web-01 xcp-02": "already", "plug web-01": "already",
		"fly web-01": "no such command", "rename web-01 web-02": "there is", "address web-01 192.0.2.1": "want one in 10.20.0.0/16", "failover farm-1": "of the farm", "add-vif web-01 bac": "did you mean back",
	} {
		words := strings.Fields(line)
		if err := s.Do(ctx, words[0], words[1:]...); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v, want %q in it", line, err, want)
		}
	}
	converse(50) // switches learn again
	if d := converse(100); d.Failed > 20 {
		t.Errorf("after all that %+v", d)
	}
	t.Logf("in all %+v", s.Stats())
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if list := s.List(); !strings.Contains(list, "shop") || strings.Count(list, "\n") < 25 {
		t.Errorf("list:\n%s", list)
	}
	// The pool says what there is, and the file only what it does not.
	pool := s.Management()
	names := map[any]string{}
	for _, ref := range pool.Refs("VM") {
		vm := pool.Record("VM", ref)
		names[vm["name_label"]] = fmt.Sprint(vm["tags"], pool.Record("host", vm["resident_on"].(string))["name_label"])
	}
	if len(names) != 24 || names["shop"] == "" || names["web-01"] != "[shop eu]xcp-02" || names["web-02"] != "[]xcp-02" || len(pool.Refs("VIF")) != 33+1 {
		t.Errorf("the pool has VMs %v and %d VIFs", names, len(pool.Refs("VIF")))
	}
	if m := s.Model(); len(m.VMs) != 50 || m.VMs[0].UUID == "" || len(m.VMGroups) == 0 {
		t.Errorf("model %+v", m)
	}
	if a := s.Access(); len(a.Addresses) != 2 || len(a.Pins) != 3 || pool.Master() != a.Addresses[1] {
		t.Errorf("access %v, coordinator %s", a, pool.Master())
	}
}

// Without XAPI, names are in the file, and what only XAPI can do is refused.
func TestSiteWithoutXAPI(t *testing.T) {
	ovsbedtest.New(t) // skips where there can be none
	s, err := site.New(t.Context(), site.Config{Hosts: 1, VMs: 2}, netnstest.New(t))
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Do(t.Context(), "rename", "web-01", "shop"); err != nil {
		t.Error(err)
	}
	if err := s.Do(t.Context(), "tag", "shop", "eu"); err == nil || !strings.Contains(err.Error(), "has no XAPI") {
		t.Errorf("tag without XAPI: %v", err)
	}
	if m := s.Model(); len(m.VMs) != 2 || m.VMs[0].Name != "shop" || m.VMs[0].VIFs[0].UUID == "" || m.VMs[0].VIFs[0].UUID == m.VMs[0].VIFs[1].UUID {
		t.Errorf("model %+v", m)
	}
}
