package main

import (
	"context"
	"net/netip"
	"path/filepath"
	"time"

	"github.com/weirhq/weir/collector"
	"github.com/weirhq/weir/event"
	"github.com/weirhq/weir/event/syslog"
	"github.com/weirhq/weir/flow"
	"github.com/weirhq/weir/policyd/state"
	"github.com/weirhq/weir/store"
)

// eventsConfig says who is told of network events, besides the store, the log and the API.
type eventsConfig struct {
	Syslog syslog.Config `yaml:"syslog" doc:"A syslog receiver."`
}

// stateFile is where policyd's state is in a data directory.
func stateFile(data string) string { return filepath.Join(data, "state.db") }

// openState opens what outlives a restart: hosts, ids, events on their way.
func (n *node) openState(ctx context.Context) (err error) {
	n.state, err = state.Open(ctx, stateFile(n.data), state.Deps{})
	return err
}

// wireEvents makes the log of events and, where one is configured, the sender to a syslog receiver.
func (n *node) wireEvents() (err error) {
	n.events, err = event.New(event.Deps{Log: n.log, Metrics: n.metrics, Keep: n.state, Table: store.NewEvents(n.client)})
	if err != nil || n.config.Events.Syslog.Address == "" {
		return err
	}
	n.syslog, err = syslog.New(n.config.Events.Syslog, syslog.Deps{
		Log: n.log, Metrics: n.metrics, Events: n.events, Keep: n.state, Name: n.nameOf,
	})
	return err
}

// nameOf returns the name that an entity has now, "" if it is not known.
func (n *node) nameOf(id flow.ID) string {
	e, _ := n.estate.Load().Entity(id)
	return e.Name
}

// watchInterval is how often it is looked what exporters do.
const watchInterval = 5 * time.Second

// watchExporters tells when exporters fall silent or are heard again, has hosts send the templates that data waits for, and tells of
// hosts whose exporters number anew.
func (n *node) watchExporters(ctx context.Context) error {
	silence, restarts := collector.NewSilence(), collector.NewRestarts()
	others := elsewhere{map[netip.Addr]int64{}}
	tick := time.NewTicker(watchInterval)
	defer tick.Stop()
	for {
		now := time.Now()
		var list []collector.Exporter
		if n.role.collects {
			list = n.collector.Exporters(now)
		}
		for _, e := range silence.Look(others.add(list, n.live, now), now) {
			n.events.Emit(n.about(e))
		}
		for _, exporter := range restarts.Look(list) {
			if host := n.hostOf(exporter); host != 0 {
				n.policyd.ExporterRestarted(host)
			}
		}
		for i := range list {
			e := &list[i]
			if e.HeldNow > 0 {
				n.policyd.Resend(n.hostOf(e.Exporter), e.Domain)
			}
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
	}
}

// hostOf returns the host that an exporter belongs to, 0 if that is not known.
func (n *node) hostOf(exporter netip.Addr) flow.ID {
	v := n.estate.Load().Vantage(flow.Addr(exporter.As16()), 0, 0)
	return flow.ID(v.Host)
}

// about says of an event of an exporter to which host it belongs, if that is known.
func (n *node) about(e event.Event) event.Event {
	exporter, err := netip.ParseAddr(e.Attributes["exporter"])
	if err != nil {
		return e
	}
	s := n.estate.Load()
	if host, ok := s.Entity(n.hostOf(exporter)); ok {
		e.Host, e.Pool = host.ID, host.Pool
		e.Subject, e.Text = host.Name, "exporter "+exporter.String()+" "+e.Text
	}
	return e
}
