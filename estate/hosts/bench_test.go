package hosts_test

import (
	"context"
	"testing"
	"time"

	"github.com/weirhq/weir/estate/hosts"
	"github.com/weirhq/weir/lab/ovsbed/ovsbedtest"
	"github.com/weirhq/weir/ovs/ovsdb"
)

// BenchmarkFleetOfFarm: from the moment at which a fleet gets 64 hosts with 50 VMs each until all of them are known, three of which are frozen and
// excepted.
func BenchmarkFleetOfFarm(b *testing.B) {
	const count, vms, frozen = 64, 50, 3
	farm, err := ovsbedtest.New(b).Farm(b.Context(), count, vms)
	if err != nil {
		b.Fatal(err)
	}
	list := make([]hosts.Host, count)
	for i, h := range farm.Hosts {
		list[i] = hosts.Host{ID: h.UUID, Name: h.Name, Target: ovsdb.Target{Path: h.DBSocket()}}
		if i < frozen {
			if err := h.Freeze(); err != nil {
				b.Fatal(err)
			}
			defer func() {
				if err := h.Thaw(); err != nil {
					b.Error(err)
				}
			}()
		}
	}
	for b.Loop() {
		cfg := hosts.Default()
		fleet, err := hosts.NewFleet(cfg, hosts.Deps{Events: &told{}})
		if err != nil {
			b.Fatal(err)
		}
		ctx, cancel := context.WithCancel(b.Context())
		done := make(chan error)
		go func() { done <- fleet.Run(ctx) }()
		changes, stop := fleet.Subscribe()
		if err := fleet.Set(list); err != nil {
			b.Fatal(err)
		}
		for deadline := time.After(time.Minute); ; {
			known := 0
			for _, h := range fleet.Hosts() {
				if rows := fleet.Session(h.Host.ID).Rows(); rows != nil && h.Session.State == ovsdb.StateConnected && len(rows.Interfaces) > vms {
					known++
				}
			}
			if known == count-frozen {
				break
			}
			select {
			case <-changes:
			case <-deadline:
				b.Fatalf("%d hosts are known after a minute", known)
			}
		}
		b.StopTimer()
		stop()
		cancel()
		if err := <-done; err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
	}
	b.ReportMetric(float64(count-frozen), "hosts")
}
