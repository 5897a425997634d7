package main

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/weirhq/weir/api"
	"github.com/weirhq/weir/cli"
	"github.com/weirhq/weir/estate"
	"github.com/weirhq/weir/estate/file"
	"github.com/weirhq/weir/estate/hosts"
	"github.com/weirhq/weir/estate/libvirt"
	"github.com/weirhq/weir/estate/xapi"
	"github.com/weirhq/weir/internal/strictyaml"
)

// estateConfig says where the estate is known from, beside the databases of hosts.
type estateConfig struct {
	file.Config `yaml:",inline"`

	XAPI    []xapi.Config    `yaml:"xapi" doc:"Pools of XenServer and XCP-ng, which are asked by their management API, XAPI (docs/howto/xcp-ng.md). Nothing is changed there but what write says."`
	Libvirt []libvirt.Config `yaml:"libvirt" doc:"Hosts with libvirt, which are asked for their domains. Nothing is changed there."`
}

// Validate checks what concerns more than one source.
func (c *estateConfig) Validate() error {
	errs := []error{c.Config.Validate()}
	once := func(key, name string, seen map[string]bool) {
		if name != "" && seen[name] {
			errs = append(errs, strictyaml.At(key, fmt.Errorf("found %q a second time, want a name for each", name)))
		}
		seen[name] = true
	}
	pools, hosts := map[string]bool{}, map[string]bool{}
	for i := range c.XAPI {
		once(fmt.Sprintf("xapi[%d].name", i), c.XAPI[i].Name, pools)
	}
	for i := range c.Libvirt {
		once(fmt.Sprintf("libvirt[%d].name", i), c.Libvirt[i].Name, hosts)
	}
	return errors.Join(errs...)
}

// check looks whether the files that sources need are there and hold what they should.
func (c *estateConfig) check() error {
	var errs []error
	for i := range c.XAPI {
		if err := c.XAPI[i].Check(); err != nil {
			errs = append(errs, fmt.Errorf("check estate.xapi %q: %w", c.XAPI[i].Name, err))
		}
	}
	for i := range c.Libvirt {
		if err := c.Libvirt[i].Check(); err != nil {
			errs = append(errs, fmt.Errorf("check estate.libvirt %q: %w", c.Libvirt[i].Name, err))
		}
	}
	return errors.Join(errs...)
}

// sources are the names of pools and hosts that are asked by their management.
func (c *estateConfig) sources() []string {
	var list []string
	for i := range c.XAPI {
		list = append(list, estate.XAPISourcePrefix+c.XAPI[i].Name)
	}
	for i := range c.Libvirt {
		list = append(list, estate.LibvirtSourcePrefix+c.Libvirt[i].Name)
	}
	return list
}

// keptSources gives the estate what pools and hosts say that are asked by their management, and keeps it for the next run.
type keptSources struct {
	assembler *estate.Assembler
	memory    *hosts.Memory
}

// Set implements [xapi.Estate] and [libvirt.Estate].
func (k *keptSources) Set(source string, m *estate.Model, at time.Time) {
	k.memory.Keep(source, m, at)
	k.assembler.Set(source, m, at)
}

// Lost implements [xapi.Estate] and [libvirt.Estate].
func (k *keptSources) Lost(source string, since time.Time) { k.assembler.Lost(source, since) }

// remember brings what a source said last in a run before into the estate, as of one that cannot be asked since: until it can be, VMs have
// the names and tags that only it knows, and groups their members.
func (k *keptSources) remember(source string) {
	if m, seen := k.memory.Recall(source); m != nil {
		k.assembler.Set(source, m, seen)
		k.assembler.Lost(source, seen)
	}
}

// sourcesDir holds what sources said last.
func sourcesDir(data string) string { return filepath.Join(data, "sources") }

// wireSources makes what asks pools and hosts by their management.
func (n *node) wireSources() error {
	n.kept = &keptSources{n.assembler, hosts.NewMemory(sourcesDir(n.data), hosts.MemoryDeps{Log: n.log})}
	gone, err := n.kept.memory.Retain(n.config.Estate.sources())
	if err != nil {
		n.log.Warn("what sources said that are not configured any more is still kept", "err", err)
	}
	if gone > 0 {
		n.log.Info("what sources said that are not configured any more is forgotten", "sources", gone)
	}
	for _, cfg := range n.config.Estate.XAPI {
		n.kept.remember(estate.XAPISourcePrefix + cfg.Name)
		p, err := xapi.New(cfg, xapi.Deps{Log: n.log, Estate: n.kept, Events: n.events, Metrics: n.metrics, Own: ofThisMachine, Asked: n.askedOfPool})
		if err != nil {
			return err
		}
		n.pools = append(n.pools, p)
	}
	for _, cfg := range n.config.Estate.Libvirt {
		n.kept.remember(estate.LibvirtSourcePrefix + cfg.Name)
		h, err := libvirt.New(cfg, libvirt.Deps{Log: n.log, Estate: n.kept, Events: n.events, Metrics: n.metrics})
		if err != nil {
			return err
		}
		n.libvirts = append(n.libvirts, h)
	}
	return nil
}

// askedOfPool returns what policy asks of bridges of a pool when a host starts.
func (n *node) askedOfPool(uuid string) xapi.Asked {
	if n.policyd == nil {
		return xapi.Asked{}
	}
	mode, not := n.policyd.AtStart(uuid)
	return xapi.Asked{FailMode: mode, Not: not}
}

// ofThisMachine reports whether an address is one of this machine's.
func ofThisMachine(a netip.Addr) bool {
	list, err := net.InterfaceAddrs()
	if err != nil {
		return false
	}
	return slices.ContainsFunc(list, func(x net.Addr) bool {
		p, err := netip.ParsePrefix(x.String())
		return err == nil && p.Addr().Unmap() == a
	})
}

// reports says how each source does, also those that have told nothing yet.
func (n *node) reports() []api.SourceReport {
	var list []api.SourceReport
	for _, s := range n.assembler.Sources() {
		list = append(list, api.SourceReport{SourceStatus: s})
	}
	of := func(name string) *api.SourceReport {
		i := slices.IndexFunc(list, func(r api.SourceReport) bool { return r.Name == name })
		if i < 0 {
			i = len(list)
			list = append(list, api.SourceReport{SourceStatus: estate.SourceStatus{Name: name, Title: name}})
		}
		return &list[i]
	}
	byUUID := map[string]string{} // names of pools
	for _, p := range n.pools {
		s := p.Status()
		r := of(estate.XAPISourcePrefix + s.Name)
		r.XAPI, r.Problems = &s, append(s.Problems, halves(r.Hosts)...)
		if first := byUUID[s.UUID]; first != "" && s.UUID != "" {
			r.Problems = append(r.Problems, fmt.Sprintf("it is the pool that %s is, too: remove one of them from estate.xapi", first))
		}
		byUUID[s.UUID] = s.Name
	}
	for _, h := range n.libvirts {
		s := h.Status()
		r := of(estate.LibvirtSourcePrefix + s.Name)
		r.Libvirt, r.Problems = &s, slices.Clone(s.Problems)
		if s.Error != "" {
			r.Problems = append(r.Problems, fmt.Sprintf("it cannot be asked since %s: %s", s.Since.UTC().Format(time.DateTime), s.Error))
		}
	}
	return list
}

// halves says which hosts of a pool only XAPI or only Weir knows, unless none of them was added to Weir.
func halves(hosts []estate.SourceHost) []string {
	var missing, beyond, twice []string
	pool, added := "", 0
	other := func(h *estate.SourceHost) int { // the same by its name only
		return slices.IndexFunc(hosts, func(o estate.SourceHost) bool { return o.Name == h.Name && o.Told != h.Told })
	}
	for i := range hosts {
		h := &hosts[i]
		switch {
		case h.Told && h.Database != "":
			added++
		case h.Told && other(h) >= 0:
			twice = append(twice, fmt.Sprintf("%s (--uuid %s)", h.Name, h.UUID))
		case !h.Told && other(h) >= 0:
		case h.Told:
			missing, pool = append(missing, fmt.Sprintf("%s (--uuid %s)", h.Name, h.UUID)), h.Pool
		default:
			beyond = append(beyond, h.Name)
		}
	}
	var list []string
	if len(twice) > 0 {
		list = append(list, fmt.Sprintf("hosts were added to Weir with another UUID than the pool has, and are taken for others: weir hosts remove NAME, and add it again with --uuid, %s", strings.Join(twice, ", ")))
	}
	if added+len(twice) > 0 && len(missing) > 0 {
		list = append(list, fmt.Sprintf("half a pool: Weir has no session with %s, so no flows come from there and no policy is enforced there: weir hosts add NAME TARGET --pool %s, with the --uuid given here",
			strings.Join(missing, ", "), pool))
	}
	if len(beyond) > 0 {
		list = append(list, fmt.Sprintf("hosts were added to Weir as of this pool that the pool does not have: %s; were they ejected? weir hosts remove NAME", strings.Join(beyond, ", ")))
	}
	return list
}

// sourceLine says in a line how a pool or host that is asked by its management does.
func sourceLine(r *api.SourceReport, now time.Time) (cli.Style, string) {
	style := cli.Plain
	if len(r.Problems) > 0 {
		style = cli.Warn
	}
	var parts []string
	state := ""
	ago := func(what string, t time.Time) {
		if !t.IsZero() {
			parts = append(parts, fmt.Sprintf("%s %s ago", what, cli.Span(now.Sub(t))))
		}
	}
	switch {
	case r.XAPI != nil:
		s := r.XAPI
		if state = string(s.State); s.Coordinator != "" {
			state += " with " + s.Coordinator
		}
		parts = append(parts, state, cli.Counted(s.Hosts, "host"), cli.Counted(s.VMs, "VM"))
		ago("read", s.Read)
		ago("changed", s.Changed)
		if m := &s.FailMode; m.Wanted != "" && !s.Read.IsZero() {
			parts = append(parts, failModeText(m))
		}
		if s.Drift > 0 {
			parts = append(parts, fmt.Sprintf("drift %d", s.Drift))
		}
		if s.State != xapi.StateConnected && s.Error != "" {
			style = cli.Bad
		}
	case r.Libvirt != nil:
		s := r.Libvirt
		parts = append(parts, string(s.State), cli.Counted(s.Domains, "domain"))
		ago("read", s.Read)
		if s.State != libvirt.StateConnected && s.Error != "" {
			style = cli.Bad
		}
	}
	return style, strings.Join(parts, ", ")
}

// failModeText says what a pool has as its fail mode, and whether that is what it should be.
func failModeText(m *xapi.FailMode) string {
	text := "fail mode " + cmp.Or(m.Found, "not set")
	if m.Wanted != "" && m.Wanted != m.Found {
		text += ", want " + m.Wanted
	}
	return text
}

// checkSource judges a pool or host that is asked by its management.
func checkSource(r *api.SourceReport, now time.Time) finding {
	style, text := sourceLine(r, now)
	f := finding{Check: "source " + r.Title, State: "ok", Found: text}
	if len(r.Problems) > 0 {
		f.State, f.Do = "warning", strings.Join(r.Problems, "\n  ")
	}
	if style == cli.Bad {
		f.State = "problem"
	}
	return f
}

func newEstateSources() *cobra.Command {
	var data string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "sources [SOURCE]",
		Short: "Show who tells of the estate, how each does, and what is wrong",
		Long: `Lists the sources of the estate, the most believed first: pools that are asked by XAPI, hosts that are asked by libvirt, the estate file, and the
databases of hosts.

With SOURCE, as xapi:berlin, it shows all that is known of one, and host by host whether its database is read, too.`,
		Example: `  weir estate sources
  weir estate sources xapi:berlin`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := connect(cmd, data)
			if err != nil {
				return err
			}
			var answer struct {
				Sources []api.SourceReport `json:"sources"`
			}
			if err := c.Get(cmd.Context(), "/api/v1/estate/sources", &answer); err != nil {
				return err
			}
			out := outputOf(cmd, asJSON)
			list := answer.Sources
			if len(args) == 1 {
				list = slices.DeleteFunc(slices.Clone(list), func(r api.SourceReport) bool { return r.Name != args[0] && r.Title != args[0] })
				if len(list) == 0 {
					return notFoundf("find source %q: found none of that name; weir estate sources lists all", args[0])
				}
			}
			switch {
			case asJSON:
				return cli.WriteJSON(out, list)
			case len(list) == 0:
				_, err := fmt.Fprintln(out.W, "nobody tells of the estate: describe it in a file, add hosts (weir hosts add), or name pools (estate.xapi)")
				return err
			case len(args) == 1:
				return writeSource(out, &list[0], time.Now())
			}
			return writeSources(out, list, time.Now())
		},
	}
	dataFlag(cmd, &data)
	jsonFlag(cmd, &asJSON)
	return cmd
}

// writeSources lists sources and what is wrong with them.
func writeSources(out *cli.Output, list []api.SourceReport, now time.Time) error {
	t := &cli.Table{Columns: []cli.Column{{Name: "SOURCE"}, {Name: "STATE"}, {Name: "VMS", Right: true}, {Name: "TOLD"}, {Name: "WHAT"}}}
	for i := range list {
		r := &list[i]
		style, what := cli.Plain, ""
		if r.XAPI != nil || r.Libvirt != nil {
			style, what = sourceLine(r, now)
		}
		state, stateStyle := "current", cli.Plain
		switch {
		case r.Told.IsZero():
			state, stateStyle = "not read yet", cli.Bad
		case !r.Stale.IsZero():
			state, stateStyle = "stale for "+cli.Span(now.Sub(r.Stale)), cli.Warn
		}
		told := ""
		if !r.Told.IsZero() {
			told = cli.Span(now.Sub(r.Told)) + " ago"
		}
		t.Add(cell(r.Title), cli.Cell{Text: state, Style: stateStyle}, cell(fmt.Sprint(r.VMs)), cell(told), cli.Cell{Text: what, Style: style})
	}
	if err := t.Write(out); err != nil {
		return err
	}
	for i := range list {
		for _, p := range list[i].Problems {
			if _, err := fmt.Fprintf(out.W, "\n%s: %s\n", list[i].Title, cli.Clean(p)); err != nil {
				return err
			}
		}
	}
	return nil
}

// writeSource tells all of one source.
func writeSource(out *cli.Output, r *api.SourceReport, now time.Time) error {
	t := &cli.Table{Columns: []cli.Column{{Name: "WHAT"}, {Name: "FOUND"}}}
	add := func(what string, style cli.Style, format string, args ...any) {
		if text := fmt.Sprintf(format, args...); text != "" {
			t.Add(cell(what), cli.Cell{Text: text, Style: style})
		}
	}
	ago := func(what string, at time.Time) {
		if !at.IsZero() {
			add(what, cli.Plain, "%s ago", cli.Span(now.Sub(at)))
		}
	}
	add("source", cli.Plain, "%s", r.Title)
	for _, p := range r.Problems {
		add("problem", cli.Bad, "%s", p)
	}
	add("VMs", cli.Plain, "%d", r.VMs)
	ago("told", r.Told)
	if !r.Stale.IsZero() {
		add("stale for", cli.Warn, "%s", cli.Span(now.Sub(r.Stale)))
	}
	if s := r.XAPI; s != nil {
		add("state", cli.Plain, "%s for %s", s.State, cli.Span(now.Sub(s.Since)))
		add("pool", cli.Plain, "%s", s.Pool)
		add("UUID", cli.Plain, "%s", s.UUID)
		add("coordinator", cli.Plain, "%s", strings.TrimSpace(s.Master+" "+s.Coordinator))
		add("version", cli.Plain, "%s", s.Version)
		add("sessions opened", cli.Plain, "%d", s.Logins)
		ago("all read", s.Read)
		ago("last change", s.Changed)
		add("drift", cli.Plain, "%d", s.Drift)
		add("networks", cli.Plain, "%d", s.Networks)
		add("VIFs", cli.Plain, "%d", s.VIFs)
		m := &s.FailMode
		style, wanted := cli.Plain, "left as it is"
		if m.Wanted != "" {
			wanted = m.Wanted
			if m.Wanted != m.Found {
				style = cli.Warn
			}
		}
		if !s.Read.IsZero() {
			add("fail mode", style, "%s", cmp.Or(m.Found, "not set"))
		}
		add("fail mode wanted", cli.Plain, "%s", wanted)
		if m.Asked != "" && m.Asked != m.Wanted {
			add("fail mode asked", cli.Warn, "%s by policy, not written: %s", m.Asked, m.Not)
		}
		ago("fail mode written", m.Written)
		if m.Overridden > 0 {
			add("fail mode overridden", cli.Warn, "%d times by others", m.Overridden)
		}
		add("fail mode error", cli.Bad, "%s", m.Error)
		for _, c := range s.Controllers {
			add("SDN controller", cli.Plain, "%s", c)
		}
	}
	if s := r.Libvirt; s != nil {
		add("state", cli.Plain, "%s for %s", s.State, cli.Span(now.Sub(s.Since)))
		add("host", cli.Plain, "%s", s.Host)
		add("version", cli.Plain, "%s", s.Version)
		ago("all read", s.Read)
		add("events", cli.Plain, "%d", s.Events)
		add("VIFs", cli.Plain, "%d", s.VIFs)
	}
	if err := t.Write(out); err != nil || len(r.Hosts) == 0 {
		return err
	}
	fmt.Fprintln(out.W)
	hosts := &cli.Table{Columns: []cli.Column{{Name: "HOST"}, {Name: "UUID"}, {Name: "POOL"}, {Name: "TOLD HERE"}, {Name: "DATABASE"}}}
	for _, h := range r.Hosts {
		told, database, style := "yes", h.Database, cli.Plain
		if !h.Told {
			told, style = "no", cli.Warn
		}
		if database == "" {
			database, style = "not added", cli.Warn
		}
		hosts.Add(cell(h.Name), cell(h.UUID), cell(h.Pool), cell(told), cli.Cell{Text: database, Style: style})
	}
	return hosts.Write(out)
}
