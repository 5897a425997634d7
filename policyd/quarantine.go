package policyd

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/weirhq/weir/event"
	"github.com/weirhq/weir/flow"
	"github.com/weirhq/weir/policyd/audit"
	"github.com/weirhq/weir/policyd/state"
)

// QuarantineRequest says which VIF is to send and receive nothing.
type QuarantineRequest struct {
	VIF    string `json:"vif" minLength:"1" maxLength:"512" doc:"VM/DEVICE, pool/VM/DEVICE, UUID, or the name of a VM that has one VIF."`
	Reason string `json:"reason,omitempty" maxLength:"1000" doc:"Why; it is shown as long as the VIF is quarantined."`
}

// QuarantineStatus is a VIF that is quarantined.
type QuarantineStatus struct {
	VIF    string          `json:"vif" doc:"VM and device."`
	ID     flow.ID         `json:"id,string" doc:"As in flows."`
	Since  time.Time       `json:"since"`
	By     string          `json:"by" doc:"weir, if guards dropped its packets and its setting quarantine says so."`
	Reason string          `json:"reason,omitempty"`
	Hosts  []EffectiveHost `json:"hosts" doc:"Where it is plugged, and whether policy is in force there: it is quarantined nowhere else."`
}

// Quarantine has a VIF send and receive nothing, from within a moment at hosts that are reached until Release. One that is quarantined stays so, for the
// new reason.
func (s *Service) Quarantine(ctx context.Context, by audit.Actor, r QuarantineRequest) (QuarantineChange, error) {
	v, err := s.findVIF(r.VIF)
	if err != nil {
		return QuarantineChange{}, err
	}
	if s.isWeirs(v.id) {
		return QuarantineChange{}, mistake("VIF %s is Weir's own: it is never quarantined", v.name)
	}
	by.Reason = cmp.Or(r.Reason, by.Reason)
	q, err := s.quarantine(ctx, by, v)
	return QuarantineChange{q, s.concernOfVIF(v.id)}, err
}

func (s *Service) quarantine(ctx context.Context, by audit.Actor, v vif) (QuarantineStatus, error) {
	q, err := s.deps.State.SetQuarantine(ctx, by.Does(audit.VIFQuarantine), v.id, v.name)
	if err != nil {
		return QuarantineStatus{}, err
	}
	s.bypassed(ctx)
	s.log.Warn("VIF quarantined", "vif", q.Name, "by", q.By, "reason", q.Reason)
	s.tellQuarantine(event.VIFQuarantined, q, fmt.Sprintf("%s was quarantined by %s%s", q.Name, q.By, after(": ", q.Reason)), q.By)
	return s.quarantineStatus(q, s.plugged()), nil
}

func (s *Service) tellQuarantine(kind event.Kind, q state.Quarantine, text, by string) {
	e := event.Event{
		Time: time.Now(), Kind: kind, Subject: q.Name, VIF: q.VIF, Text: text,
		Attributes: map[string]string{"by": by, "reason": q.Reason, "since": q.Since.Format(time.RFC3339)},
	}
	if known, ok := s.deps.Estate.Load().Entity(q.VIF); ok {
		e.VM, e.Pool = known.Parent, known.Pool
	}
	s.emit(e)
}

// Release ends the quarantine of a VIF, which need not exist any more, and says where something changes. An error for which errors.Is(err, state.ErrNotFound): it was not quarantined.
func (s *Service) Release(ctx context.Context, by audit.Actor, name string) (Concern, error) {
	i, err := s.deps.State.Intent(ctx)
	if err != nil {
		return Concern{}, err
	}
	var found []state.Quarantine
	v, unknown := s.findVIF(name)
	for _, q := range i.Quarantines {
		switch {
		case unknown == nil && q.VIF == v.id, name == strconv.FormatUint(uint64(q.VIF), 10):
			found = []state.Quarantine{q}
		case unknown != nil && q.Name == name:
			found = append(found, q)
		default:
			continue
		}
	}
	switch len(found) {
	case 0:
		return Concern{}, fmt.Errorf("release VIF %q: %w: weir policy quarantined shows what there is", name, state.ErrNotFound)
	case 1:
	default:
		return Concern{}, mistake("VIF %q is the name of %d that are quarantined: write its id, as weir policy quarantined --json shows it", name, len(found))
	}
	q := found[0]
	if err := s.deps.State.EndQuarantine(ctx, by.Does(audit.VIFRelease), q.VIF); err != nil {
		return Concern{}, err
	}
	s.bypassed(ctx)
	s.log.Info("VIF released", "vif", q.Name, "by", by.User)
	s.tellQuarantine(event.VIFReleased, q, fmt.Sprintf("%s was released by %s", q.Name, by.User), by.User)
	return s.concernOfVIF(q.VIF), nil
}

// isWeirs reports whether a VIF is that of the machine that Weir runs on.
func (s *Service) isWeirs(id flow.ID) bool {
	s.governor.mu.Lock()
	own := s.governor.own
	s.governor.mu.Unlock()
	m := s.deps.Assembler.Model()
	for i := range m.VMs {
		for j := range m.VMs[i].VIFs {
			v := &m.VMs[i].VIFs[j]
			if flow.NewID(flow.KindVIF, v.Key) == id && own.Is(v.MAC, v.Told()) {
				return true
			}
		}
	}
	return false
}

// maxCaught is how many VIFs may wait to be quarantined.
const maxCaught = 1024

// catchAll quarantines VIFs of which guards dropped packets again and again, until ctx is done.
func (s *Service) catchAll(ctx context.Context) error {
	for {
		select {
		case c := <-s.caught:
			s.catch(ctx, c)
		case <-ctx.Done():
			return nil
		}
	}
}

func (s *Service) catch(ctx context.Context, c culprit) {
	i, err := s.deps.State.Intent(ctx)
	if err == nil {
		if s.isWeirs(c.vif) || slices.ContainsFunc(i.Quarantines, func(q state.Quarantine) bool { return q.VIF == c.vif }) {
			return
		}
		_, err = s.quarantine(ctx, audit.Actor{User: audit.Weir, Source: "guard", Reason: c.reason}, vif{c.vif, c.name})
	}
	if err != nil && ctx.Err() == nil {
		s.log.Error("VIF that spoofs not quarantined", "vif", c.name, "err", err)
	}
}

// quarantineStatus says how a quarantine stands; at is where VIFs are plugged.
func (s *Service) quarantineStatus(q state.Quarantine, at map[flow.ID][]plugged) QuarantineStatus {
	st := QuarantineStatus{q.Name, q.VIF, q.Since, q.By, q.Reason, []EffectiveHost{}}
	s.governor.mu.Lock()
	i := s.governor.intent
	s.governor.mu.Unlock()
	for _, h := range at[q.VIF] {
		bypassed := h.bypassed
		if bypassed == "" && i != nil {
			bypassed = vifBypass(i, q.VIF)
		}
		st.Hosts = append(st.Hosts, EffectiveHost{h.Name, h.state, bypassed})
	}
	return st
}

// quarantines returns the VIFs that are quarantined, by name.
func (s *Service) quarantines(i *state.Intent) []QuarantineStatus {
	list := []QuarantineStatus{}
	if len(i.Quarantines) == 0 {
		return list
	}
	at := s.plugged()
	for _, q := range i.Quarantines {
		list = append(list, s.quarantineStatus(q, at))
	}
	return list
}

// quarantineOf says since when and why a VIF is quarantined; "" it is not.
func quarantineOf(i *state.Intent, id flow.ID) string {
	for _, q := range i.Quarantines {
		if q.VIF == id {
			return fmt.Sprintf("since %s, by %s%s", q.Since.UTC().Format(time.DateTime), q.By, after(": ", q.Reason))
		}
	}
	return ""
}
