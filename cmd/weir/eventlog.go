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

// silenceInterval is how often it is looked which exporters have fallen silent.
const silenceInterval = 5 * time.Second

// watchExporters tells when exporters fall silent or are heard again.
func (n *node) watchExporters(ctx context.Context) error {
	silence := collector.NewSilence()
	tick := time.NewTicker(silenceInterval)
	defer tick.Stop()
	for {
		now := time.Now()
		for _, e := range silence.Look(n.collector.Exporters(now), now) {
			if exporter, err := netip.ParseAddr(e.Subject); err == nil {
				n.about(&e, exporter)
			}
			n.events.Emit(e)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
	}
}

// about says of an event of an exporter to which host it belongs, if that is known.
func (n *node) about(e *event.Event, exporter netip.Addr) {
	s := n.estate.Load()
	v := s.Vantage(flow.Addr(exporter.As16()), 0, 0)
	if v.Host == 0 {
		return
	}
	e.Host, e.Pool = flow.ID(v.Host), flow.ID(v.Pool)
	if host, ok := s.Entity(e.Host); ok {
		e.Subject, e.Text = host.Name, "exporter "+exporter.String()+" "+e.Text
	}
}
