package export_test

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/weirhq/weir/lab/ovsbed/ovsbedtest"
	"github.com/weirhq/weir/ovs/ovsdb"
	"github.com/weirhq/weir/ovs/ovsdb/ovsdbtest"
	"github.com/weirhq/weir/policyd/export"
)

// All bridges of a farm are made to export, and given back.
func BenchmarkFarm(b *testing.B) {
	const hosts, vms = 64, 50
	farm, err := ovsbedtest.New(b).Farm(b.Context(), hosts, vms)
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(b.Context())
	var all sync.WaitGroup
	defer all.Wait()
	defer cancel()
	e, err := export.New(export.Config{Instance: instance}, export.Deps{Log: slog.New(slog.DiscardHandler), Events: &events{}})
	if err != nil {
		b.Fatal(err)
	}
	all.Go(func() { _ = e.Run(ctx) }) // it returns nil
	list := make([]export.Host, hosts)
	for i, h := range farm.Hosts {
		s, err := ovsdb.New(ovsdb.Config{Target: ovsdb.Target{Path: h.DBSocket()}, Limits: ovsdb.DefaultLimits()}, ovsdb.Deps{})
		if err != nil {
			b.Fatal(err)
		}
		all.Go(func() { _ = s.Run(ctx) }) // it returns nil
		list[i] = export.Host{Identity: export.Identity{UUID: h.UUID, Name: h.Name}, Session: s}
	}
	wait := func(what string, is func(export.HostStatus) bool) time.Duration {
		began := time.Now()
		e.Set(list)
		ovsdbtest.Until(b, what, func() bool {
			return !slices.ContainsFunc(e.Status(), func(s export.HostStatus) bool { return !is(s) })
		})
		return time.Since(began)
	}
	wait("hosts are known", func(s export.HostStatus) bool { return len(s.Bridges) > 0 })
	var set, detached time.Duration
	n := 0
	for b.Loop() {
		n++
		for i := range list {
			list[i].Detach = false
			list[i].Settings = settings(func(s *export.Settings) { s.Collector = netip.MustParseAddrPort(fmt.Sprintf("192.0.2.5:%d", 1024+n)) })
		}
		set += wait("bridges export", func(s export.HostStatus) bool { return len(s.Bridges) > 0 && s.Bridges[0].State == export.StateSet })
		for i := range list {
			list[i].Detach = true
		}
		detached += wait("hosts are detached", func(s export.HostStatus) bool { return s.Detached })
	}
	b.ReportMetric(float64(set.Milliseconds())/float64(n), "ms/set")
	b.ReportMetric(float64(detached.Milliseconds())/float64(n), "ms/detached")
}
