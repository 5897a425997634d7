package policyd

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/weirhq/weir/estate"
	"github.com/weirhq/weir/internal/nearest"
	"github.com/weirhq/weir/ovs/ovsdb"
	"github.com/weirhq/weir/policyd/audit"
	"github.com/weirhq/weir/policyd/export"
	"github.com/weirhq/weir/policyd/state"
)

// HostStatus is a host, as people added it and as it is.
type HostStatus struct {
	UUID    string          `json:"uuid" doc:"Its identity for ever."`
	Name    string          `json:"name"`
	Pool    string          `json:"pool,omitempty"`
	Target  string          `json:"target,omitempty" doc:"Where Weir dials; absent of a host that dials in."`
	DialsIn bool            `json:"dials_in,omitempty"`
	Mode    state.Mode      `json:"mode" doc:"observe; enforce: policy is in force; or detach: everything of Weir's is taken off it, or is off."`
	OwnMode bool            `json:"own_mode,omitempty" doc:"The mode was said of this host, not of its pool."`
	Added   time.Time       `json:"added"`
	Trust   TrustStatus     `json:"trust"`
	Export  export.Override `json:"export,omitzero" doc:"What was said of its export in particular."`

	State       ovsdb.State    `json:"state" doc:"Of the session: connected, connecting, waiting, backoff, confirm, refused, new or stopped."`
	Since       time.Time      `json:"since" doc:"Of state."`
	Next        time.Time      `json:"next,omitzero" doc:"Of the next attempt to connect."`
	Peer        netip.AddrPort `json:"peer,omitzero" doc:"Other end of the connection that is, or was last."`
	TLS         string         `json:"tls,omitempty" doc:"Version and cipher suite."`
	Certificate *Certificate   `json:"certificate,omitempty" doc:"That the host presented."`
	Error       string         `json:"error,omitempty" doc:"Why there is no session."`

	OVSVersion    string   `json:"ovs_version,omitempty"`
	SchemaVersion string   `json:"schema_version,omitempty"`
	SystemID      string   `json:"system_id,omitempty"`
	Missing       []string `json:"missing,omitempty" doc:"What this version of Open vSwitch lacks."`
	Bridges       int      `json:"bridges"`
	VIFs          int      `json:"vifs"`

	Exports     []export.Bridge `json:"exports,omitempty" doc:"How its bridges export flows."`
	ExportError string          `json:"export_error,omitempty" doc:"Why the export is not as it is to be."`
	Detached    bool            `json:"detached,omitempty" doc:"It was verified that nothing of Weir's is left at it."`
}

// TrustStatus is by what a host is believed.
type TrustStatus struct {
	By          ovsdb.Trust       `json:"by" doc:"authority, pin or none."`
	Own         bool              `json:"own,omitempty" doc:"With by authority: Weir's own."`
	Name        string            `json:"name,omitempty" doc:"Name that the certificate must be for."`
	Pin         ovsdb.Fingerprint `json:"pin,omitempty"`
	ConfirmedAt time.Time         `json:"confirmed_at,omitzero"`
	ConfirmedBy string            `json:"confirmed_by,omitempty"`
	OldTLS      bool              `json:"old_tls,omitempty" doc:"Cipher suites of old hosts are allowed."`
}

// Certificate is what a person compares.
type Certificate struct {
	Fingerprint ovsdb.Fingerprint `json:"fingerprint"`
	Subject     string            `json:"subject"`
	Issuer      string            `json:"issuer"`
	NotBefore   time.Time         `json:"not_before"`
	NotAfter    time.Time         `json:"not_after"`
}

func certificate(c ovsdb.Certificate) *Certificate {
	if c.IsZero() {
		return nil
	}
	return &Certificate{c.Fingerprint, c.Subject, c.Issuer, c.NotBefore, c.NotAfter}
}

// Waiting is a host that dialled in and that is not, or not yet, believed to be one that was added.
type Waiting struct {
	Addr        netip.AddrPort `json:"addr,omitzero"`
	Since       time.Time      `json:"since"`
	TLS         string         `json:"tls,omitempty"`
	Certificate *Certificate   `json:"certificate,omitempty" doc:"To be compared with the one at the host."`
	SystemID    string         `json:"system_id,omitempty" doc:"As it says; nobody has checked that."`
	Hostname    string         `json:"hostname,omitempty" doc:"As it says."`
	Host        string         `json:"host,omitempty" doc:"Name of the host that it says, or seems, to be."`
	Reason      string         `json:"reason" doc:"Why it waits."`
}

// Summary is how the hosts do, in figures and sentences.
type Summary struct {
	Hosts     int      `json:"hosts"`
	Connected int      `json:"connected"`
	Waiting   int      `json:"waiting" doc:"Certificates that wait to be confirmed."`
	Problems  []string `json:"problems,omitempty" doc:"What wants somebody to act, in sentences."`
}

// Summarize makes it of what Hosts returns.
func Summarize(list []HostStatus, waiting []Waiting, now time.Time) Summary {
	s := Summary{Hosts: len(list), Waiting: len(waiting)}
	say := func(format string, args ...any) { s.Problems = append(s.Problems, fmt.Sprintf(format, args...)) }
	for i := range list {
		h := &list[i]
		switch h.State {
		case ovsdb.StateConnected:
			s.Connected++
		case ovsdb.StateConfirm:
			s.Waiting++
			say("the certificate of host %s waits to be confirmed: weir hosts confirm %s", h.Name, h.Name)
		case ovsdb.StateRefused:
			say("host %s is refused: %s", h.Name, h.Error)
		default:
			if now.Sub(h.Since) > settles || h.Error != "" {
				say("host %s is not connected (%s)%s", h.Name, h.State, after(": ", h.Error))
			}
		}
		if h.State == ovsdb.StateConnected && h.ExportError != "" {
			say("the export of host %s is not as it is to be: %s", h.Name, h.ExportError)
		}
	}
	if n := len(waiting); n > 0 {
		say("hosts that dialled in wait to be confirmed (%d): weir hosts list", n)
	}
	return s
}

// settles is how long a session may take to be there before that is a problem.
const settles = 15 * time.Second

func after(lead, text string) string {
	if text == "" {
		return ""
	}
	return lead + text
}

// Hosts returns all hosts, by name, and those that wait.
func (s *Service) Hosts() ([]HostStatus, []Waiting) {
	exports := map[string]export.HostStatus{}
	for _, e := range s.exports.Status() {
		exports[e.UUID] = e
	}
	list := []HostStatus{}
	names := map[string]string{}
	for _, st := range s.fleet.Hosts() {
		s.mu.Lock()
		h := s.hosts[st.Host.ID]
		s.mu.Unlock()
		if h != nil {
			list = append(list, s.status(h, st.Session, exports[h.UUID]))
			names[h.UUID] = h.Name
		}
	}
	waiting := []Waiting{}
	for _, w := range s.fleet.Strangers() {
		waiting = append(waiting, Waiting{
			Addr: w.Addr, Since: w.Since, TLS: w.TLS, Certificate: certificate(w.Cert), SystemID: w.Claim.SystemID, Hostname: w.Claim.Hostname,
			Host: names[w.Host], Reason: w.Reason,
		})
	}
	return list, waiting
}

func (s *Service) status(h *host, st ovsdb.Status, e export.HostStatus) HostStatus {
	x := HostStatus{
		UUID: h.UUID, Name: h.Name, Pool: h.Pool, Target: h.Target.String(), DialsIn: h.Target.IsZero(), Mode: h.mode, OwnMode: h.Mode != state.ModeInherit, Added: h.Added, Export: h.Host.Export,
		Trust: TrustStatus{
			By: h.TLS.Trust, Own: h.TLS.Trust == ovsdb.TrustAuthority && h.TLS.Authority == "", Name: h.TLS.Name, Pin: h.TLS.Pin,
			ConfirmedAt: h.ConfirmedAt, ConfirmedBy: h.ConfirmedBy, OldTLS: h.TLS.Legacy,
		},
		State: st.State, Since: st.Since, Next: st.Next, Peer: st.Peer, TLS: st.TLS, Certificate: certificate(st.Cert), Error: st.Error,
		OVSVersion: st.OVSVersion, SchemaVersion: st.SchemaVersion, SystemID: st.SystemID, Missing: st.Missing,
		Exports: e.Bridges, ExportError: e.Error, Detached: e.Detached,
	}
	s.mu.Lock()
	inventory := h.inventory
	s.mu.Unlock()
	if inventory != nil {
		x.Bridges, x.VIFs = len(inventory.Bridges), len(inventory.VIFs)
	}
	return x
}

// Host returns the host of a name or UUID; an error for which errors.Is(err, state.ErrNotFound) if there is none.
func (s *Service) Host(nameOrUUID string) (HostStatus, error) {
	list, _ := s.Hosts()
	for i := range list {
		if list[i].Name == nameOrUUID || list[i].UUID == strings.ToLower(nameOrUUID) {
			return list[i], nil
		}
	}
	names := make([]string, len(list))
	for i := range list {
		names[i] = list[i].Name
	}
	return HostStatus{}, fmt.Errorf("find host %q: %w%s", nameOrUUID, state.ErrNotFound, nearest.Hint(nameOrUUID, names, ": weir hosts list shows all"))
}

// MistakeError says what is wrong with what was asked.
type MistakeError struct {
	Reason   string
	Problems []Problem // of a policy: everything that is wrong, as Reason says it, too
}

func (e *MistakeError) Error() string { return e.Reason }

func mistake(format string, args ...any) error {
	return &MistakeError{Reason: fmt.Sprintf(format, args...)}
}

// AddRequest says which host to add, and how it is reached and believed.
type AddRequest struct {
	Name   string          `json:"name" minLength:"1" maxLength:"128" doc:"Name, unique."`
	Pool   string          `json:"pool,omitempty" maxLength:"128" doc:"Pool that it belongs to."`
	Target ovsdb.Target    `json:"target,omitzero" doc:"Where to dial: ssl:HOST[:PORT], tcp:HOST[:PORT] or unix:PATH; absent: the host dials in."`
	UUID   string          `json:"uuid,omitempty" doc:"Identity that the platform gives it; absent: the one that other sources of the estate tell of a host at that address, or of that name in that pool; else a new one."`
	TLS    TLSRequest      `json:"tls,omitzero"`
	Export export.Override `json:"export,omitzero"`
}

// TLSRequest says how a host is believed: with nothing, by Weir's own authority.
type TLSRequest struct {
	CA       string `json:"ca,omitempty" maxLength:"1000000" doc:"Certificates (PEM) of the authority that signed the host's."`
	Name     string `json:"name,omitempty" maxLength:"253" doc:"Name that the certificate must be for; absent: any of that authority."`
	Pin      string `json:"pin,omitempty" maxLength:"200" doc:"SHA-256 of the host's certificate."`
	PinFirst bool   `json:"pin_first,omitempty" doc:"The first certificate that is seen is shown, and believed when somebody confirms it."`
	Insecure bool   `json:"insecure,omitempty" doc:"The host dials in without TLS."`
	OldTLS   bool   `json:"old_tls,omitempty" doc:"Allows cipher suites of old hosts: TLS 1.2 with RSA key exchange."`
}

// trust returns the settings of a session.
func (r *TLSRequest) trust() (ovsdb.TLS, error) {
	t := ovsdb.TLS{Trust: ovsdb.TrustAuthority, Authority: r.CA, Name: r.Name, Legacy: r.OldTLS}
	ways := 0
	for _, given := range []bool{r.CA != "", r.Pin != "", r.PinFirst, r.Insecure} {
		if given {
			ways++
		}
	}
	if ways > 1 {
		return t, mistake("more than one way to believe the host is given: want one of an authority, a fingerprint, the first one that is seen, or none at all")
	}
	switch {
	case r.Pin != "":
		pin, err := ovsdb.ParseFingerprint(r.Pin)
		if err != nil {
			return t, mistake("%v", err)
		}
		t.Trust, t.Pin = ovsdb.TrustPin, pin
	case r.PinFirst:
		t.Trust = ovsdb.TrustPin
	case r.Insecure:
		t.Trust = ovsdb.TrustNone
	}
	if err := t.Validate(); err != nil {
		return t, mistake("%v", err)
	}
	return t, nil
}

// validName says what is wrong with the name of a host or pool.
func validName(what, name string) error {
	if name == "" || len(name) > 128 || !utf8.ValidString(name) || strings.ContainsFunc(name, func(r rune) bool { return !unicode.IsGraphic(r) }) ||
		strings.TrimSpace(name) != name || strings.Contains(name, "/") {
		return mistake("name of %s %q: want 1 to 128 printable characters without /", what, name)
	}
	return nil
}

// Add adds a host. It returns the host as it was added: what it is like is known a moment later. A *MistakeError, or
// state.ErrExists, is the asker's.
func (s *Service) Add(ctx context.Context, by audit.Actor, r AddRequest) (state.Host, error) {
	if err := validName("host", r.Name); err != nil {
		return state.Host{}, err
	}
	if r.Pool != "" {
		if err := validName("pool", r.Pool); err != nil {
			return state.Host{}, err
		}
	}
	if r.UUID != "" && !estate.IsUUID(r.UUID) {
		return state.Host{}, mistake("UUID %q: want one as %s", r.UUID, state.NewUUID())
	}
	trust, err := r.TLS.trust()
	if err != nil {
		return state.Host{}, err
	}
	if r.Target.IsZero() && len(s.deps.Listeners) == 0 {
		return state.Host{}, mistake("nothing listens for hosts that dial in: configure hosts.listeners")
	}
	if trust.Trust == ovsdb.TrustNone && !r.Target.IsZero() {
		return state.Host{}, mistake("a host without TLS that Weir dials is given by its target, tcp:… or unix:…")
	}
	if err := checkOverride(r.Export); err != nil {
		return state.Host{}, err
	}
	if r.UUID == "" {
		r.UUID = s.uuidOf(&r)
	}
	h := state.Host{UUID: r.UUID, Name: r.Name, Pool: r.Pool, Target: r.Target, TLS: trust, Export: r.Export}
	if trust.Pin != "" {
		h.ConfirmedAt, h.ConfirmedBy = time.Now().UTC(), by.User
	}
	h, err = s.deps.State.AddHost(ctx, by.Does(audit.HostAdd), h)
	if err != nil {
		return h, err
	}
	if err := s.Configure(ctx); err != nil {
		return h, err
	}
	s.log.Info("host added", "host", h.Name, "uuid", h.UUID, "target", h.Target.String(), "by", by.User)
	return h, nil
}

// uuidOf returns the UUID that the estate knows a host by which is to be added: by its address, else by its name in its pool; "" if that is none,
// or of several, or of a host that was added before.
func (s *Service) uuidOf(r *AddRequest) string {
	m := s.deps.Assembler.Model()
	pools := map[string]string{} // names, by key
	for i := range m.Pools {
		pools[m.Pools[i].Key] = m.Pools[i].Name
	}
	addr, _ := netip.ParseAddr(r.Target.Host) // invalid: a name
	var byAddr, byName []string
	for i := range m.Hosts {
		h := &m.Hosts[i]
		if addr.IsValid() && slices.Contains(h.Exporters, addr.Unmap()) {
			byAddr = append(byAddr, h.UUID)
		}
		if h.Name == r.Name && pools[h.Pool] == r.Pool {
			byName = append(byName, h.UUID)
		}
	}
	found := byName
	if len(byAddr) > 0 {
		found = byAddr
	}
	if len(found) != 1 || found[0] == "" {
		return ""
	}
	if _, err := s.Host(found[0]); err == nil {
		return ""
	}
	return found[0]
}

// checkOverride says what is wrong with export settings.
func checkOverride(o export.Override) error {
	settings := export.Default().With(o)
	if err := settings.Validate(); err != nil {
		return mistake("export: %v", err)
	}
	return nil
}

// Confirm believes a certificate that waits: what names the host, or the fingerprint. fingerprint, if not empty, must be
// that of the certificate. It returns the host's name and the fingerprint that is believed from now on.
func (s *Service) Confirm(ctx context.Context, by audit.Actor, what, fingerprint string) (string, ovsdb.Fingerprint, error) {
	name, seen, err := s.unconfirmed(what)
	if err != nil {
		return "", "", err
	}
	if fingerprint != "" {
		want, err := ovsdb.ParseFingerprint(fingerprint)
		if err != nil {
			return "", "", mistake("%v", err)
		}
		if want != seen {
			return "", "", mistake("host %q presents another certificate: found %s, asked for %s", name, seen, want)
		}
	}
	_, err = s.deps.State.UpdateHost(ctx, by.Does(audit.HostConfirm), name, func(h *state.Host) error {
		h.TLS.Trust, h.TLS.Pin = ovsdb.TrustPin, seen
		h.ConfirmedAt, h.ConfirmedBy = time.Now().UTC(), by.User
		return nil
	})
	if err != nil {
		return "", "", err
	}
	if err := s.Configure(ctx); err != nil {
		return "", "", err
	}
	s.log.Info("certificate of host confirmed", "host", name, "fingerprint", string(seen), "by", by.User)
	return name, seen, nil
}

// unconfirmed returns which host is meant, and the certificate that waits at it.
func (s *Service) unconfirmed(what string) (name string, seen ovsdb.Fingerprint, err error) {
	list, waiting := s.Hosts()
	wanted, notFingerprint := ovsdb.ParseFingerprint(what)
	type candidate struct {
		host string
		pin  ovsdb.Fingerprint
	}
	var found []candidate
	add := func(host string, c *Certificate) {
		if c == nil || notFingerprint == nil && c.Fingerprint != wanted || notFingerprint != nil && host != what {
			return
		}
		if x := (candidate{host, c.Fingerprint}); !slices.Contains(found, x) {
			found = append(found, x)
		}
	}
	for i := range list {
		if h := &list[i]; h.State == ovsdb.StateConfirm || h.State == ovsdb.StateRefused {
			add(h.Name, h.Certificate)
		}
	}
	for i := range waiting {
		add(waiting[i].Host, waiting[i].Certificate)
	}
	found = slices.DeleteFunc(found, func(c candidate) bool { return c.host == "" && len(found) > 1 })
	switch {
	case len(found) > 1:
		return "", "", mistake("%d certificates wait for %q: name the one that you have compared by its fingerprint", len(found), what)
	case len(found) == 1 && found[0].host == "":
		return "", "", mistake("the host that presents %s is none that was added: add it with weir hosts add NAME --dials-in --pin %s", found[0].pin, found[0].pin)
	case len(found) == 1:
		return found[0].host, found[0].pin, nil
	}
	for i := range list {
		if h := &list[i]; h.Name == what {
			return "", "", mistake("no certificate of host %q waits to be confirmed: it is %s", what, h.State)
		}
	}
	return "", "", fmt.Errorf("find what waits for %q: %w", what, state.ErrNotFound)
}

// Remove forgets a host. What Weir has set up at it stays: unless force is given, a host at which there may be something is refused.
func (s *Service) Remove(ctx context.Context, by audit.Actor, nameOrUUID string, force bool) error {
	h, err := s.Host(nameOrUUID)
	if err != nil {
		return err
	}
	if !force && !h.Detached && mayHaveOurs(&h) {
		return mistake("host %q: Weir has, or may have, set something up there: take it off with weir hosts detach %s, or leave it as it is with --force", h.Name, h.Name)
	}
	if err := s.deps.State.RemoveHost(ctx, by.Does(audit.HostRemove), h.UUID); err != nil {
		return err
	}
	if err := s.Configure(ctx); err != nil {
		return err
	}
	s.log.Info("host removed", "host", h.Name, "uuid", h.UUID, "by", by.User, "force", force)
	return nil
}

// mayHaveOurs tells whether something of Weir's can be at the host. One whose content was never known cannot have been changed by this Weir
// since it was added, but perhaps by a run before.
func mayHaveOurs(h *HostStatus) bool {
	for i := range h.Exports {
		if h.Exports[i].Ours() {
			return true
		}
	}
	if h.Mode == state.ModeEnforce { // a host that is away has what it got last
		return true
	}
	return h.State == ovsdb.StateConnected && h.ExportError != ""
}

// SetExport says how a host exports flows, over what its pool says. A host that was detached is looked after again, unless that is off.
func (s *Service) SetExport(ctx context.Context, by audit.Actor, nameOrUUID string, o export.Override) error {
	if err := checkOverride(o); err != nil {
		return err
	}
	h, err := s.deps.State.UpdateHost(ctx, by.Does(audit.HostExport), nameOrUUID, func(h *state.Host) error {
		h.Export = o
		if o.Protocol != export.Off && h.Mode == state.ModeDetach {
			h.Mode = state.ModeObserve
		}
		return nil
	})
	if err != nil {
		return err
	}
	s.log.Info("export of host set", "host", h.Name, "protocol", string(o.Protocol), "by", by.User)
	return nil
}

// SetPoolExport says how the hosts of a pool export flows.
func (s *Service) SetPoolExport(ctx context.Context, by audit.Actor, pool string, o export.Override) error {
	if err := validName("pool", pool); err != nil {
		return err
	}
	if err := checkOverride(o); err != nil {
		return err
	}
	if _, err := s.deps.State.UpdatePool(ctx, by.Does(audit.PoolExport), pool, func(p *state.Pool) error {
		p.Export = o
		return nil
	}); err != nil {
		return err
	}
	s.log.Info("export of pool set", "pool", pool, "protocol", string(o.Protocol), "by", by.User)
	return nil
}

// Pools returns the pools that hosts were added to, by name.
func (s *Service) Pools(ctx context.Context) ([]state.Pool, error) { return s.deps.State.Pools(ctx) }

// PlanDetach returns what Detach would change at a host.
func (s *Service) PlanDetach(ctx context.Context, nameOrUUID string) (export.Plan, error) {
	h, err := s.Host(nameOrUUID)
	if err != nil {
		return export.Plan{}, err
	}
	return s.exports.Plan(ctx, h.UUID, nil)
}

// Detach takes everything of Weir's off a host, puts back what was there before, and returns when that was verified, or ctx is done: it goes
// on then, also after a restart.
func (s *Service) Detach(ctx context.Context, by audit.Actor, nameOrUUID string) error {
	h, err := s.deps.State.UpdateHost(ctx, by.Does(audit.HostDetach), nameOrUUID, func(h *state.Host) error {
		h.Mode = state.ModeDetach
		return nil
	})
	if err != nil {
		return err
	}
	s.log.Info("host is being detached", "host", h.Name, "by", by.User)
	changes, stop := s.fleet.Subscribe()
	defer stop()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		st, err := s.Host(h.UUID)
		if errors.Is(err, state.ErrNotFound) { // removed meanwhile, or not configured yet, as just after a start
			_, err = s.deps.State.Host(context.WithoutCancel(ctx), h.UUID)
		}
		if err != nil {
			return err
		}
		if st.Mode == state.ModeDetach && st.Detached {
			return nil
		}
		select {
		case <-changes:
		case <-tick.C:
		case <-ctx.Done():
			why := st.Error
			if why == "" {
				why = st.ExportError
			}
			return fmt.Errorf("detach host %q: it goes on: %s", h.Name, why)
		}
	}
}

// TestRequest says what to try: a host that was added, or a target and how it would be believed.
type TestRequest struct {
	Host   string       `json:"host,omitempty" maxLength:"128" doc:"Name or UUID of a host that was added."`
	Target ovsdb.Target `json:"target,omitzero" doc:"Where to dial, if no host is given."`
	TLS    TLSRequest   `json:"tls,omitzero" doc:"How the host would be believed, if none is given."`
}

// Step is one thing that a test looked at.
type Step struct {
	Name    string        `json:"name"`
	Outcome ovsdb.Outcome `json:"outcome" doc:"ok, warning, failed or skipped."`
	Text    string        `json:"text" doc:"What was found."`
	Advice  string        `json:"advice,omitempty" doc:"What to do."`
	TookMs  int64         `json:"took_ms"`
}

// Test tries step by step what a session with a host needs. It changes nothing at the host.
func (s *Service) Test(ctx context.Context, r TestRequest) ([]Step, error) {
	cfg := ovsdb.Config{Target: r.Target, Limits: s.cfg.Session}
	switch {
	case r.Host != "" && !r.Target.IsZero():
		return nil, mistake("found a host and a target: want one of them")
	case r.Host != "":
		h, err := s.deps.State.Host(ctx, r.Host)
		if err != nil {
			return nil, err
		}
		if h.Target.IsZero() {
			return nil, mistake("host %q dials in: it cannot be dialled; weir hosts list shows it as soon as it does, and what it presents", h.Name)
		}
		cfg.Target, cfg.TLS = h.Target, h.TLS
		if h.TLS.Trust == ovsdb.TrustAuthority && h.TLS.Authority == "" && h.TLS.Name == "" {
			cfg.TLS.Name = h.Name // as the fleet does
		}
	case r.Target.IsZero():
		return nil, mistake("found neither a host nor a target")
	default:
		var err error
		if cfg.TLS, err = r.TLS.trust(); err != nil {
			return nil, err
		}
	}
	return steps(ovsdb.Diagnose(ctx, cfg, ovsdb.Deps{Identity: s.deps.Identity, Authority: s.deps.Authority, Dial: s.deps.Dial})), nil
}

func steps(list []ovsdb.Step) []Step {
	out := make([]Step, len(list))
	for i, x := range list {
		out[i] = Step{x.Name, x.Outcome, x.Text, x.Advice, x.Took.Milliseconds()}
	}
	return out
}
