package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/weirhq/weir/api"
	"github.com/weirhq/weir/cli"
	"github.com/weirhq/weir/client"
	"github.com/weirhq/weir/ovs/ovsdb"
	"github.com/weirhq/weir/policyd"
	"github.com/weirhq/weir/policyd/attach"
	"github.com/weirhq/weir/policyd/export"
	"github.com/weirhq/weir/policyd/mirror"
	"github.com/weirhq/weir/policyd/shape"
)

func newHosts() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "hosts",
		Short: "Add Open vSwitch hosts, and look after the sessions with them",
		Long: `Weir keeps one session with the configuration database (OVSDB) of each host that is added here. By it, VMs and their interfaces
get into the estate by themselves, and bridges are made to export flows. It observes, and touches no traffic, unless weir hosts
mode has policy be in force; weir hosts detach puts everything back as it was. docs/howto/connect-hosts.md says what to do at hosts.

Hosts are kept by a running instance, which these commands talk to over a socket in its data directory, as its user or root, or over its API
(--server).`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newHostsAdd(), newHostsList(), newHostsShow(), newHostsFailModes(), newHostsTest(), newHostsConfirm(), newHostsExport(), newHostsMode(), newHostsDetach(), newHostsRemove())
	return cmd
}

// trustOptions are the flags that say how a host is believed.
type trustOptions struct {
	ca, certName, pin          string
	pinFirst, insecure, oldTLS bool
}

func (o *trustOptions) flags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&o.ca, "ca", "", "file with the certificates (PEM) of the authority that signed the host's; without it, Weir's own (weir ca)")
	f.StringVar(&o.certName, "cert-name", "", "name or address that the host's certificate must be for (with --ca)")
	f.StringVar(&o.pin, "pin", "", "SHA-256 fingerprint of the host's certificate, as openssl x509 -fingerprint -sha256 prints it")
	f.BoolVar(&o.pinFirst, "pin-first", false, "show the certificate that the host presents, and believe it once weir hosts confirm says so")
	f.BoolVar(&o.insecure, "insecure", false, "the host dials in without TLS")
	f.BoolVar(&o.oldTLS, "old-tls", false, "allow TLS 1.2 with RSA key exchange, which hosts with an old Open vSwitch need")
	cmd.MarkFlagsMutuallyExclusive("ca", "pin", "pin-first", "insecure")
}

// request reads the file that is named.
func (o *trustOptions) request() (policyd.TLSRequest, error) {
	r := policyd.TLSRequest{Name: o.certName, Pin: o.pin, PinFirst: o.pinFirst, Insecure: o.insecure, OldTLS: o.oldTLS}
	if o.ca != "" {
		pem, err := os.ReadFile(o.ca)
		if err != nil {
			return r, fmt.Errorf("read authority: %w", err)
		}
		r.CA = string(pem)
	}
	return r, nil
}

func newHostsAdd() *cobra.Command {
	var data, pool, uuid, protocol string
	var trust trustOptions
	var dialsIn, asJSON bool
	cmd := &cobra.Command{
		Use:   "add NAME [TARGET]",
		Short: "Add a host, which Weir dials at TARGET or which dials in",
		Long: `Adds a host by a name of your choice and shows whether it can be reached. TARGET is where its database listens: ssl:HOST[:PORT],
tcp:HOST[:PORT] or unix:PATH; the port is 6640 unless told. With --dials-in the host dials Weir at one of hosts.listeners.

With ssl, and of hosts that dial in, the certificate of the host is believed if Weir's own authority signed it for NAME (weir ca); if another
one did (--ca); if its fingerprint is the given one (--pin); or, with --pin-first, after you have compared it: then weir hosts confirm.

Try it first with weir hosts test. Exports of flows are set up at once, as configured (hosts.export), unless --export says otherwise.`,
		Example: `  weir hosts add xcp1 ssl:192.0.2.11 --pin-first --pool berlin
  weir hosts add kvm1 ssl:kvm1.example --export off
  weir hosts add xcp2 --dials-in --pin-first --old-tls
  weir hosts add here unix:/run/openvswitch/db.sock`,
		Args: cobra.RangeArgs(1, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			r := policyd.AddRequest{Name: args[0], Pool: pool, UUID: uuid, Export: export.Override{}}
			switch {
			case len(args) == 2 && dialsIn:
				return usagef("found a target and --dials-in: expected one of them")
			case len(args) == 1 && !dialsIn:
				return usagef("found no target: expected where Weir dials, as ssl:192.0.2.11, or --dials-in")
			case len(args) == 2:
				if err := r.Target.UnmarshalText([]byte(args[1])); err != nil {
					return usageError{err}
				}
			}
			var err error
			if r.TLS, err = trust.request(); err != nil {
				return err
			}
			if protocol != "" {
				if err := r.Export.Protocol.UnmarshalText([]byte(protocol)); err != nil {
					return usageError{fmt.Errorf("--export: %w", err)}
				}
			}
			c, err := connect(cmd, data)
			if err != nil {
				return err
			}
			if err := c.Change(cmd.Context(), http.MethodPost, "/api/v1/hosts", r, nil); err != nil {
				return err
			}
			h, err := settledHost(cmd.Context(), c, r.Name)
			if err != nil {
				return err
			}
			out := outputOf(cmd, asJSON)
			if asJSON {
				return cli.WriteJSON(out, h)
			}
			return tellAdded(out.W, h, time.Now())
		},
	}
	f := cmd.Flags()
	apiFlags(cmd, &data)
	f.BoolVar(&dialsIn, "dials-in", false, "the host dials Weir")
	f.StringVar(&pool, "pool", "", "pool that the host belongs to")
	f.StringVar(&uuid, "uuid", "", "UUID that the platform gives the host (default: as the pool or estate file has a host of that address or name, else made)")
	f.StringVar(&protocol, "export", "", "how its bridges are made to export flows: auto, ipfix, netflow or off (default: as configured)")
	trust.flags(cmd)
	jsonFlag(cmd, &asJSON)
	return cmd
}

// settleWait is how long weir hosts add waits for news of a host.
const settleWait = 10 * time.Second

// settledHost returns a host once it is known how it is, or after some seconds.
func settledHost(ctx context.Context, c *client.API, name string) (h policyd.HostStatus, err error) {
	deadline := time.Now().Add(settleWait)
	for {
		if err := c.Get(ctx, "/api/v1/hosts/"+url.PathEscape(name), &h); err != nil && time.Now().After(deadline) {
			return h, err
		}
		switch {
		case h.State == ovsdb.StateConnected && h.Bridges+h.VIFs > 0, h.State == ovsdb.StateConfirm, h.State == ovsdb.StateRefused, h.State == ovsdb.StateBackoff, h.State == ovsdb.StateWaiting:
			return h, nil
		}
		if time.Now().After(deadline) {
			return h, nil
		}
		select {
		case <-time.After(50 * time.Millisecond):
		case <-ctx.Done():
			return h, ctx.Err()
		}
	}
}

// tellAdded says how a host is that was just added, and what to do next.
func tellAdded(w io.Writer, h policyd.HostStatus, now time.Time) error {
	var lines []string
	switch h.State {
	case ovsdb.StateConnected:
		lines = append(lines, fmt.Sprintf("%s is connected: Open vSwitch %s, %s, %s", h.Name, firstOf(h.OVSVersion, "of unknown version"), cli.Counted(h.Bridges, "bridge"), cli.Counted(h.VIFs, "VIF")))
	case ovsdb.StateConfirm:
		lines = append(lines, h.Name+" presents a certificate that nobody has confirmed yet:", "")
		lines = append(lines, certificateLines(h.Certificate)...)
		lines = append(lines, "", "Compare the fingerprint with that at the host (docs/howto/connect-hosts.md), then:", "", "  weir hosts confirm "+h.Name)
	case ovsdb.StateWaiting:
		lines = append(lines, h.Name+" is awaited: it has not dialled in yet")
	default:
		lines = append(lines, fmt.Sprintf("%s was added, and is not connected: %s", h.Name, firstOf(h.Error, string(h.State))), "Weir keeps trying. weir hosts test "+h.Name+" looks for the reason.")
	}
	_, err := fmt.Fprintln(w, strings.Join(lines, "\n"))
	return err
}

func firstOf(list ...string) string {
	for _, s := range list {
		if s != "" {
			return s
		}
	}
	return ""
}

// certificateLines shows a certificate to a person who compares it.
func certificateLines(c *policyd.Certificate) []string {
	if c == nil {
		return []string{"  (none)"}
	}
	return []string{
		"  subject      " + cli.Clean(c.Subject),
		"  issuer       " + cli.Clean(c.Issuer),
		"  valid        " + c.NotBefore.Format(time.DateOnly) + " to " + c.NotAfter.Format(time.DateOnly),
		"  fingerprint  " + string(c.Fingerprint),
	}
}

func newHostsList() *cobra.Command {
	var data string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List hosts: session, version, what exists there, how flows are exported, what waits for you",
		Long: `Lists the hosts that were added, and below them what waits to be confirmed. VIFS are those that are plugged; EXPORT says of how many
bridges flows are exported, and what is not as it is to be; FAIL MODE what bridges do while Weir is away (weir hosts fail-modes).`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := connect(cmd, data)
			if err != nil {
				return err
			}
			var list api.Hosts
			if err := c.Get(cmd.Context(), "/api/v1/hosts", &list); err != nil {
				return err
			}
			out := outputOf(cmd, asJSON)
			if asJSON {
				return cli.WriteJSON(out, list)
			}
			if len(list.Hosts)+len(list.Waiting) == 0 {
				_, err := fmt.Fprintln(out.W, "no hosts: add one with weir hosts add NAME TARGET")
				return err
			}
			if err := hostTable(list.Hosts, time.Now()).Write(out); err != nil {
				return err
			}
			return tellWaiting(out, &list, time.Now())
		},
	}
	apiFlags(cmd, &data)
	jsonFlag(cmd, &asJSON)
	return cmd
}

// stateStyles are how states of a session stand out.
var stateStyles = map[ovsdb.State]cli.Style{
	ovsdb.StateConnected: cli.Good, ovsdb.StateConfirm: cli.Warn, ovsdb.StateRefused: cli.Bad, ovsdb.StateBackoff: cli.Bad, ovsdb.StateWaiting: cli.Warn,
}

func hostTable(list []policyd.HostStatus, now time.Time) *cli.Table {
	t := &cli.Table{Columns: []cli.Column{
		{Name: "HOST"},
		{Name: "POOL"},
		{Name: "STATE"},
		{Name: "SINCE", Right: true},
		{Name: "OVS"},
		{Name: "BRIDGES", Right: true},
		{Name: "VIFS", Right: true},
		{Name: "EXPORT"},
		{Name: "FAIL MODE"},
		{Name: "REACHED BY"},
		{Name: "PROBLEM"},
	}}
	for i := range list {
		h := &list[i]
		exported, style := exportSummary(h)
		away, awayStyle := failModeSummary(h)
		by := firstOf(h.Target, "dials in")
		t.Add(cell(h.Name), cell(h.Pool), cli.Cell{Text: string(h.State), Style: stateStyles[h.State]}, cell(cli.Span(now.Sub(h.Since))), cell(h.OVSVersion),
			cell(h.Bridges), cell(h.VIFs), cli.Cell{Text: exported, Style: style}, cli.Cell{Text: away, Style: awayStyle}, cell(by), cli.Cell{Text: firstOf(h.Error, h.ExportError), Style: cli.Bad})
	}
	return t
}

// failModeSummary says in a few words what a host's bridges do while Weir is away, and that it is not what they are to do.
func failModeSummary(h *policyd.HostStatus) (string, cli.Style) {
	var is []string
	style := cli.Plain
	for i := range h.Exports {
		w := &h.Exports[i].Away
		text := firstOf(string(w.Is), "-")
		if w.Differs() != "" {
			text, style = fmt.Sprintf("%s, not %s", text, w.Wanted), cli.Warn
		}
		if !slices.Contains(is, text) {
			is = append(is, text)
		}
	}
	return strings.Join(is, "; "), style
}

// exportSummary says in a few words how a host exports flows.
func exportSummary(h *policyd.HostStatus) (string, cli.Style) {
	if h.Detached {
		return "detached", cli.Dim
	}
	if h.Mode == "detach" {
		return "detaching", cli.Warn
	}
	counts := map[export.State]int{}
	protocols := map[export.Protocol]bool{}
	rules := 0 // bridges whose flows are exported
	for i := range h.Exports {
		b := &h.Exports[i]
		counts[b.State]++
		if b.Rules != nil && b.Rules.State == export.StateSet {
			rules++
		}
		if b.State == export.StateSet {
			protocols[b.Protocol] = true
		}
	}
	var words []string
	for _, p := range []export.Protocol{export.IPFIX, export.NetFlow} {
		if protocols[p] {
			words = append(words, string(p))
		}
	}
	style := cli.Plain
	if n := counts[export.StateSet]; n > 0 {
		words = append(words, strconv.Itoa(n)+" of "+strconv.Itoa(len(h.Exports)))
	} else if len(h.Exports) > 0 && counts[export.StateOff] == len(h.Exports) && rules == 0 {
		words = append(words, "off")
	}
	if rules > 0 {
		words = append(words, fmt.Sprintf("rules %d of %d", rules, len(h.Exports)))
	}
	for _, s := range []export.State{export.StateForeign, export.StateYielded, export.StateFailed, export.StateSetting} {
		if n := counts[s]; n > 0 {
			words = append(words, fmt.Sprintf("%d %s", n, s))
			style = cli.Warn
		}
	}
	return strings.Join(words, " "), style
}

// tellWaiting says what waits for a person.
func tellWaiting(out *cli.Output, list *api.Hosts, now time.Time) error {
	var lines []string
	add := func(title string, c *policyd.Certificate, do string) {
		lines = append(lines, "", title)
		lines = append(lines, certificateLines(c)...)
		lines = append(lines, "  to believe it: "+do)
	}
	for i := range list.Hosts {
		if h := &list.Hosts[i]; h.State == ovsdb.StateConfirm {
			add(fmt.Sprintf("Host %s presents a certificate that waits to be confirmed:", h.Name), h.Certificate, "weir hosts confirm "+h.Name)
		}
	}
	for i := range list.Waiting {
		w := &list.Waiting[i]
		who := firstOf(w.Host, "a host that was not added")
		if w.Hostname != "" {
			who += fmt.Sprintf(", which calls itself %q", cli.Clean(w.Hostname))
		}
		do := "weir hosts add NAME --dials-in --pin FINGERPRINT"
		if w.Host != "" && w.Certificate != nil {
			do = "weir hosts confirm " + w.Host
		}
		add(fmt.Sprintf("From %s since %s, %s: %s", w.Addr, cli.Span(now.Sub(w.Since)), who, cli.Clean(w.Reason)), w.Certificate, do)
	}
	if len(lines) == 0 {
		return nil
	}
	_, err := fmt.Fprintln(out.W, strings.Join(lines, "\n"))
	return err
}

// bridgeAway is a bridge, and what it does while Weir is away.
type bridgeAway struct {
	Host   string `json:"host"`
	Bridge string `json:"bridge"`
	attach.Away
}

func newHostsFailModes() *cobra.Command {
	var data string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "fail-modes [HOST]",
		Short: "Say what each bridge does if Weir dies, and if Open vSwitch restarts, too",
		Long: `Says of each bridge, as it is there at present, what happens if Weir dies, and what if Open vSwitch is started anew meanwhile. Policy says
what bridges are to do (fail_mode, of all pools or of one); where they do not do that yet, it is said why. docs/explanation/fail-modes.md
says what each fail mode does and does not.`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := connect(cmd, data)
			if err != nil {
				return err
			}
			var all api.Hosts
			if len(args) == 0 {
				err = c.Get(cmd.Context(), "/api/v1/hosts", &all)
			} else {
				all.Hosts = make([]policyd.HostStatus, 1)
				err = c.Get(cmd.Context(), "/api/v1/hosts/"+url.PathEscape(args[0]), &all.Hosts[0])
			}
			if err != nil {
				return err
			}
			list := []bridgeAway{}
			for i := range all.Hosts {
				for j := range all.Hosts[i].Exports {
					list = append(list, bridgeAway{all.Hosts[i].Name, all.Hosts[i].Exports[j].Name, all.Hosts[i].Exports[j].Away})
				}
			}
			out := outputOf(cmd, asJSON)
			if asJSON {
				return cli.WriteJSON(out, list)
			}
			if len(list) == 0 {
				_, err := fmt.Fprintln(out.W, "no bridges are known")
				return err
			}
			return failModeTable(list).Write(out)
		},
	}
	apiFlags(cmd, &data)
	jsonFlag(cmd, &asJSON)
	return cmd
}

func failModeTable(list []bridgeAway) *cli.Table {
	t := &cli.Table{Columns: []cli.Column{{Name: "HOST"}, {Name: "BRIDGE"}, {Name: "FAIL MODE"}, {Name: "IF WEIR DIES"}, {Name: "AND OPEN VSWITCH RESTARTS"}, {Name: "NOT AS WANTED"}}}
	for i := range list {
		b := &list[i]
		t.Add(cell(b.Host), cell(b.Bridge), cell(firstOf(string(b.Is), "-")), cell(b.IfWeirDies), cell(b.IfSwitchRestarts), cli.Cell{Text: b.Differs(), Style: cli.Warn})
	}
	return t
}

func newHostsShow() *cobra.Command {
	var data string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "show NAME",
		Short: "Show everything about a host",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := connect(cmd, data)
			if err != nil {
				return err
			}
			var h policyd.HostStatus
			if err := c.Get(cmd.Context(), "/api/v1/hosts/"+url.PathEscape(args[0]), &h); err != nil {
				return err
			}
			out := outputOf(cmd, asJSON)
			if asJSON {
				return cli.WriteJSON(out, h)
			}
			return hostDetails(&h, time.Now()).Write(out)
		},
	}
	apiFlags(cmd, &data)
	jsonFlag(cmd, &asJSON)
	return cmd
}

// hostDetails tells all that is known of a host: the session with it, what it is, and what Weir has set up there, bridge by bridge.
func hostDetails(h *policyd.HostStatus, now time.Time) *cli.Table {
	t := &cli.Table{Columns: []cli.Column{{Name: "WHAT"}, {Name: "FOUND"}}}
	add := func(what string, style cli.Style, format string, args ...any) {
		t.Add(cli.Cell{Text: what}, cli.Cell{Text: fmt.Sprintf(format, args...), Style: style})
	}
	addSession(add, h, now)
	addSwitch(add, h)
	for i := range h.Exports {
		addBridge(add, &h.Exports[i], now)
	}
	return t
}

// addSession says how a host is reached, and why it is believed to be the one.
func addSession(add addRow, h *policyd.HostStatus, now time.Time) {
	add("host", cli.Plain, "%s, %s", h.Name, h.UUID)
	if h.Pool != "" {
		add("pool", cli.Plain, "%s", h.Pool)
	}
	add("added", cli.Plain, "%s", h.Added.Local().Format(time.DateTime))
	add("reached by", cli.Plain, "%s", firstOf(h.Target, "it dials in"))
	add("session", stateStyles[h.State], "%s since %s", h.State, cli.Span(now.Sub(h.Since)))
	if h.Error != "" {
		add("problem", cli.Bad, "%s", h.Error)
	}
	if !h.Next.IsZero() && h.Next.After(now) {
		add("next attempt", cli.Plain, "in %s", cli.Span(h.Next.Sub(now)))
	}
	if h.Peer.IsValid() {
		add("peer", cli.Plain, "%s", h.Peer)
	}
	add("believed by", cli.Plain, "%s", trustText(&h.Trust))
	if h.TLS != "" {
		add("TLS", cli.Plain, "%s", h.TLS)
	}
	if c := h.Certificate; c != nil {
		add("certificate", cli.Plain, "%s, of %s, valid %s to %s", c.Subject, c.Issuer, c.NotBefore.Format(time.DateOnly), c.NotAfter.Format(time.DateOnly))
		add("fingerprint", cli.Plain, "%s", c.Fingerprint)
	}
}

// addSwitch says what runs at a host, what exists there, and what Weir may do.
func addSwitch(add addRow, h *policyd.HostStatus) {
	if h.OVSVersion != "" {
		add("Open vSwitch", cli.Plain, "%s, schema %s", h.OVSVersion, h.SchemaVersion)
	}
	if h.SystemID != "" {
		add("system id", cli.Plain, "%s", h.SystemID)
	}
	if len(h.Missing) > 0 {
		add("it lacks", cli.Dim, "%s", strings.Join(h.Missing, ", "))
	}
	add("exists there", cli.Plain, "%s, %s", cli.Counted(h.Bridges, "bridge"), cli.Counted(h.VIFs, "VIF"))
	add("mode", cli.Plain, "%s", h.Mode)
	if h.ExportError != "" {
		add("export", cli.Bad, "%s", h.ExportError)
	}
	if h.Detached {
		add("export", cli.Plain, "detached: nothing of Weir's is left at it")
	}
}

// exportStyles are how states of what Weir sets up at a bridge are shown.
var exportStyles = map[export.State]cli.Style{
	export.StateSet: cli.Good, export.StateForeign: cli.Warn, export.StateYielded: cli.Warn, export.StateFailed: cli.Bad, export.StateSetting: cli.Warn,
}

// addBridge says what Weir has set up at a bridge, and what happens there while Weir is away.
func addBridge(add addRow, b *export.Bridge, now time.Time) {
	line := fmt.Sprintf("%s: %s", b.State, b.Why)
	if b.State == export.StateSet {
		line = fmt.Sprintf("%s to %s since %s, domain %d (%s)", b.Protocol, strings.Join(b.Targets, ", "), cli.Span(now.Sub(b.Since)), b.Domain, b.Why)
	}
	if b.Wiped > 0 {
		line += fmt.Sprintf("; undone by others %d times", b.Wiped)
	}
	add("bridge "+b.Name, exportStyles[b.State], "%s", line)
	if r := b.Rules; r != nil {
		line := fmt.Sprintf("%s: %s", r.State, r.Why)
		if r.State == export.StateSet {
			line = fmt.Sprintf("ipfix to %s since %s, domain %d", strings.Join(r.Targets, ", "), cli.Span(now.Sub(r.Since)), r.Domain)
			if r.Totals {
				line += ", the source of totals"
			}
		}
		add("  what flows sample", exportStyles[r.State], "%s", line)
	}
	if b.Controller != nil {
		addController(add, b.Controller, now)
	}
	for i := range b.Mirrors {
		addMirror(add, &b.Mirrors[i], now)
	}
	if b.Limits != nil {
		hostRates(add, exportStyles[b.Limits.State], b.Limits)
	}
	addAway(add, &b.Away)
}

// addController says by what a bridge dials Weir, and what others are there.
func addController(add addRow, c *attach.Bridge, now time.Time) {
	line := fmt.Sprintf("%s: %s", c.State, firstOf(c.Why, c.Wipes))
	if c.State == attach.StateSet {
		line = fmt.Sprintf("%s, a %s controller, since %s", c.Target, c.Type, cli.Span(now.Sub(c.Since)))
	}
	for _, x := range c.Foreign {
		line += fmt.Sprintf("; beside %s (%s, of others)", x.Target, x.Type)
	}
	style := exportStyles[export.State(c.State)]
	if len(c.Exposed) > 0 {
		style = cli.Warn
		line += "; in-band control lets pass, whatever policy says, TCP from and to " + strings.Join(c.Exposed, ", ")
	}
	add("  dials", style, "%s", line)
}

// addMirror says where copies go, and of which VIFs.
func addMirror(add addRow, m *mirror.Mirror, now time.Time) {
	line, style := fmt.Sprintf("%s: %s: %s", m.To, m.State, m.Why), cli.Warn
	if m.State == mirror.StateActive {
		line, style = fmt.Sprintf("%s, since %s", m.To, cli.Span(now.Sub(m.Since))), cli.Good
	}
	if line += "; of " + strings.Join(m.VIFs, ", "); len(m.Sinks) > 0 {
		line += "; not of " + strings.Join(m.Sinks, ", ") + ", which get them"
	}
	add("  mirror "+m.Target, style, "%s", line)
}

// addAway says what a bridge does while Weir is away; nothing where that is not known.
func addAway(add addRow, w *attach.Away) {
	if w.IfWeirDies == "" {
		return
	}
	if text := w.Differs(); text != "" {
		add("  fail mode", cli.Warn, "%s", text)
	} else if w.Is != "" {
		add("  fail mode", cli.Plain, "%s", w.Is)
	}
	add("  if Weir dies", cli.Plain, "%s", w.IfWeirDies)
	add("  and OVS restarts", cli.Plain, "%s", w.IfSwitchRestarts)
	if w.Loses != "" {
		add("  it will forget", cli.Warn, "%s", w.Loses)
	}
}

// hostRates lists the rates of a bridge's VIFs.
func hostRates(add addRow, style cli.Style, l *export.Limits) {
	for i := range l.Ports {
		add("  rate", style, "%s", l.Ports[i].String())
		for _, d := range []*shape.Direction{l.Ports[i].Out, l.Ports[i].In} {
			if d != nil {
				for _, w := range d.Warnings {
					add("", cli.Warn, "%s", w)
				}
			}
		}
	}
}

func trustText(t *policyd.TrustStatus) string {
	text := ""
	switch t.By {
	case ovsdb.TrustPin:
		text = "a certificate that nobody has confirmed yet"
		if t.Pin != "" {
			text = fmt.Sprintf("its certificate, confirmed by %s on %s", t.ConfirmedBy, t.ConfirmedAt.Local().Format(time.DateTime))
		}
	case ovsdb.TrustNone:
		text = "nothing: without TLS"
	default:
		text = "a certificate of the given authority"
		if t.Own {
			text = "a certificate of Weir's own authority"
		}
		if t.Name != "" {
			text += " for " + t.Name
		}
	}
	if t.OldTLS {
		text += ", old cipher suites allowed"
	}
	return text
}

func newHostsTest() *cobra.Command {
	var data string
	var trust trustOptions
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "test NAME|TARGET",
		Short: "Look for what is wrong with the way to a host, step by step",
		Long: `Tries what a session with a host needs, one step after the other: name, connection, TLS, certificate, database, schema, the running
switch, who the host is, and how long a question takes. Nothing is changed at the host. TARGET is a host that need not be added, with the
flags of weir hosts add that say how it would be believed. Exit code 1 means that a step failed.`,
		Example: `  weir hosts test xcp1
  weir hosts test ssl:192.0.2.11 --pin-first`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			r := policyd.TestRequest{Host: args[0]}
			if scheme, _, ok := strings.Cut(args[0], ":"); ok && (scheme == "ssl" || scheme == "tcp" || scheme == "unix") {
				r.Host = ""
				if err := r.Target.UnmarshalText([]byte(args[0])); err != nil {
					return usageError{err}
				}
				var err error
				if r.TLS, err = trust.request(); err != nil {
					return err
				}
			}
			c, err := connect(cmd, data)
			if err != nil {
				return err
			}
			var answer struct {
				Steps []policyd.Step `json:"steps"`
			}
			if err := c.Change(cmd.Context(), http.MethodPost, "/api/v1/hosts/test", r, &answer); err != nil {
				return err
			}
			out := outputOf(cmd, asJSON)
			if asJSON {
				err = cli.WriteJSON(out, answer.Steps)
			} else {
				err = writeSteps(out, answer.Steps)
			}
			if err != nil {
				return err
			}
			for _, s := range answer.Steps {
				if s.Outcome == ovsdb.Failed {
					return fmt.Errorf("test of %s: step %s failed", args[0], s.Name)
				}
			}
			return nil
		},
	}
	apiFlags(cmd, &data)
	trust.flags(cmd)
	jsonFlag(cmd, &asJSON)
	return cmd
}

func writeSteps(out *cli.Output, steps []policyd.Step) error {
	styles := map[ovsdb.Outcome]cli.Style{ovsdb.OK: cli.Good, ovsdb.Warning: cli.Warn, ovsdb.Failed: cli.Bad, ovsdb.Skipped: cli.Dim}
	t := &cli.Table{Columns: []cli.Column{{Name: "STEP"}, {Name: "OUTCOME"}, {Name: "TOOK", Right: true}, {Name: "FOUND"}}}
	for _, s := range steps {
		took := ""
		if s.Outcome != ovsdb.Skipped {
			took = cli.Span(time.Duration(s.TookMs) * time.Millisecond)
		}
		t.Add(cell(s.Name), cli.Cell{Text: string(s.Outcome), Style: styles[s.Outcome]}, cell(took), cell(s.Text))
	}
	if err := t.Write(out); err != nil {
		return err
	}
	for _, s := range steps {
		if s.Advice != "" {
			if _, err := fmt.Fprintf(out.W, "\n%s: %s\n", s.Name, cli.Clean(s.Advice)); err != nil {
				return err
			}
		}
	}
	return nil
}

func newHostsConfirm() *cobra.Command {
	var data string
	var yes, asJSON bool
	cmd := &cobra.Command{
		Use:   "confirm NAME|FINGERPRINT",
		Short: "Believe a host's certificate that you have compared",
		Long: `Believes a certificate that a host has presented and that waits. By its fingerprint, at once; by the name of the host, the certificate is
shown and you are asked, unless --yes. Compare the fingerprint with the one at the host itself:

  openssl x509 -in CERTIFICATE -noout -fingerprint -sha256`,
		Example: `  weir hosts confirm xcp1
  weir hosts confirm 5E:21:…:0B`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := connect(cmd, data)
			if err != nil {
				return err
			}
			what, fingerprint := args[0], ""
			if _, err := ovsdb.ParseFingerprint(what); err != nil && !yes {
				c, err := presented(cmd.Context(), c, what)
				if err != nil {
					return err
				}
				fmt.Fprintf(cmd.ErrOrStderr(), "Host %s presents:\n\n%s\n\n", what, strings.Join(certificateLines(c), "\n"))
				sure, err := confirmed(cmd, "Is this the certificate at the host?")
				if err != nil {
					return err
				}
				if !sure {
					return errors.New("confirm: not confirmed")
				}
				fingerprint = string(c.Fingerprint)
			}
			var done struct {
				Name        string `json:"name"`
				Fingerprint string `json:"fingerprint"`
			}
			body := map[string]string{"what": what}
			if fingerprint != "" {
				body["fingerprint"] = fingerprint
			}
			if err := c.Change(cmd.Context(), http.MethodPost, "/api/v1/hosts/confirm", body, &done); err != nil {
				return err
			}
			out := outputOf(cmd, asJSON)
			if asJSON {
				return cli.WriteJSON(out, done)
			}
			_, err = fmt.Fprintf(out.W, "%s is believed by %s\n", done.Name, done.Fingerprint)
			return err
		},
	}
	apiFlags(cmd, &data)
	cmd.Flags().BoolVar(&yes, "yes", false, "do not ask")
	jsonFlag(cmd, &asJSON)
	return cmd
}

// presented returns the certificate that waits at a host.
func presented(ctx context.Context, c *client.API, name string) (*policyd.Certificate, error) {
	var list api.Hosts
	if err := c.Get(ctx, "/api/v1/hosts", &list); err != nil {
		return nil, err
	}
	known := false
	for i := range list.Hosts {
		h := &list.Hosts[i]
		if h.Name != name {
			continue
		}
		known = true
		if (h.State == ovsdb.StateConfirm || h.State == ovsdb.StateRefused) && h.Certificate != nil {
			return h.Certificate, nil
		}
	}
	for i := range list.Waiting {
		if w := &list.Waiting[i]; w.Host == name && w.Certificate != nil {
			return w.Certificate, nil
		}
	}
	if !known {
		return nil, notFoundf("confirm: no host %q was added: weir hosts list shows all", name)
	}
	return nil, fmt.Errorf("confirm: no certificate of host %q waits to be confirmed", name)
}

func newHostsExport() *cobra.Command {
	var data, pool, collector string
	var external []string
	var sampling uint32
	var takeOver, asJSON bool
	cmd := &cobra.Command{
		Use:   "export [NAME] PROTOCOL",
		Short: "Say how a host, or the hosts of a pool, export flows",
		Long: `Says by which protocol the bridges of a host are made to export flows, or those of the hosts of a pool with --pool. What a host says comes
before its pool, and that before hosts.export of the configuration.

  auto      IPFIX with the userspace datapath, else NetFlow 5
  ipfix     samples of packets, with MAC addresses, VLANs and IPv6
  netflow   NetFlow 5: all packets, IPv4 only
  off       Weir sets up nothing, and takes away what it has set up
  inherit   as the pool or the configuration says

A host that was detached is looked after again, unless this is off.`,
		Example: `  weir hosts export xcp1 ipfix --sampling 100
  weir hosts export --pool berlin auto --external 192.0.2.9:2055
  weir hosts export xcp1 off`,
		Args: cobra.RangeArgs(1, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			o := export.Override{Sampling: sampling, TakeOver: takeOver}
			switch {
			case pool == "" && len(args) != 2:
				return usagef("found no host: expected its name, or --pool, and a protocol")
			case pool != "" && len(args) != 1:
				return usagef("found a host and --pool: expected one of them")
			}
			if word := args[len(args)-1]; word != "inherit" {
				if err := o.Protocol.UnmarshalText([]byte(word)); err != nil {
					return usageError{fmt.Errorf("protocol: %w or inherit", err)}
				}
			}
			if cmd.Flags().Changed("sampling") && (sampling == 0 || o.Protocol == export.NetFlow || o.Protocol == export.Off) {
				return usagef("--sampling %d with %s: expected 1 or more, with ipfix or auto", sampling, args[len(args)-1])
			}
			if collector != "" {
				if err := o.Collector.UnmarshalText([]byte(collector)); err != nil {
					return usageError{fmt.Errorf("--collector %q: expected address and port, as 192.0.2.5:4739", collector)}
				}
			}
			for _, e := range external {
				addr, err := netip.ParseAddrPort(e)
				if err != nil {
					return usageError{fmt.Errorf("--external %q: expected address and port, as 192.0.2.5:4739", e)}
				}
				o.External = append(o.External, addr)
			}
			c, err := connect(cmd, data)
			if err != nil {
				return err
			}
			path := "/api/v1/pools/" + url.PathEscape(pool) + "/export"
			if pool == "" {
				path = "/api/v1/hosts/" + url.PathEscape(args[0]) + "/export"
			}
			if err := c.Change(cmd.Context(), http.MethodPut, path, o, nil); err != nil {
				return err
			}
			out := outputOf(cmd, asJSON)
			if asJSON {
				return cli.WriteJSON(out, o)
			}
			of := "host " + args[0]
			if pool != "" {
				of = "pool " + pool
			}
			_, err = fmt.Fprintf(out.W, "%s: exports %s: see weir hosts list\n", cli.Clean(of), args[len(args)-1])
			return err
		},
	}
	f := cmd.Flags()
	apiFlags(cmd, &data)
	f.StringVar(&pool, "pool", "", "the hosts of this pool, instead of one host")
	f.StringVar(&collector, "collector", "", "address and port of Weir as the hosts reach it (default: found by itself)")
	f.StringSliceVar(&external, "external", nil, "address and port of further collectors, which are sent the same")
	f.Uint32Var(&sampling, "sampling", 0, "with ipfix or auto: look at one packet in so many (default: all with the userspace datapath, else one in 400)")
	f.BoolVar(&takeOver, "take-over", false, "replace exports of others that are in the way, until the host is detached")
	jsonFlag(cmd, &asJSON)
	return cmd
}

func newHostsDetach() *cobra.Command {
	var data string
	var yes, asJSON bool
	var wait time.Duration
	cmd := &cobra.Command{
		Use:   "detach NAME",
		Short: "Take everything of Weir's off a host and put back what was there before",
		Long: `Shows what will be changed at the host, asks, and waits until it was verified that nothing of Weir's is left. What others set up before
Weir came is put back as it was. The host stays in the list and is still read; weir hosts remove forgets it, weir hosts export sets its
export up again. If the host cannot be reached, this goes on by itself when it can, also after a restart of Weir; the exit code is 6 then.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := connect(cmd, data)
			if err != nil {
				return err
			}
			path := "/api/v1/hosts/" + url.PathEscape(args[0]) + "/detach"
			out := outputOf(cmd, asJSON)
			if !yes {
				var plan export.Plan
				if err := c.Get(cmd.Context(), path, &plan); err != nil {
					return err
				}
				to := *out
				to.W = cmd.ErrOrStderr()
				if err := writeChanges(&to, &plan); err != nil {
					return err
				}
				sure, err := confirmed(cmd, "Detach "+args[0]+"?")
				if err != nil {
					return err
				}
				if !sure {
					return errors.New("detach: not detached")
				}
			}
			seconds := max(0, min(int(wait/time.Second), 300))
			var done struct {
				Done  bool   `json:"done"`
				Waits string `json:"waits,omitempty"`
			}
			if err := c.Change(cmd.Context(), http.MethodPost, path+"?wait="+strconv.Itoa(seconds), nil, &done); err != nil {
				return err
			}
			if asJSON {
				if err := cli.WriteJSON(out, done); err != nil {
					return err
				}
			}
			if !done.Done {
				return partialf("%s", done.Waits)
			}
			if !asJSON {
				_, err = fmt.Fprintf(out.W, "%s is detached: nothing of Weir's is left at it\n", args[0])
			}
			return err
		},
	}
	apiFlags(cmd, &data)
	f := cmd.Flags()
	f.BoolVar(&yes, "yes", false, "do not ask")
	waitFlag(cmd, &wait, time.Minute, "longest wait, up to 5m; 0s: none")
	jsonFlag(cmd, &asJSON)
	return cmd
}

// writeChanges shows what would be changed at a host.
func writeChanges(out *cli.Output, plan *export.Plan) error {
	if len(plan.Changes) == 0 {
		_, err := fmt.Fprintln(out.W, "nothing of Weir's is at the host")
		return err
	}
	t := &cli.Table{Columns: []cli.Column{{Name: "TABLE"}, {Name: "ROW"}, {Name: "COLUMN"}, {Name: "NOW"}, {Name: "AFTERWARDS"}}}
	for i := range plan.Changes {
		c := &plan.Changes[i]
		t.Add(cell(c.Table), cell(c.Row), cell(c.Column), cell(firstOf(c.Before, "(nothing)")), cell(firstOf(c.After, "(nothing)")))
	}
	if err := t.Write(out); err != nil {
		return err
	}
	for _, w := range plan.Wipes {
		if _, err := fmt.Fprintf(out.W, "\nBridge %s loses %s.\n", w.Bridge, w.What); err != nil {
			return err
		}
	}
	return nil
}

func newHostsRemove() *cobra.Command {
	var data string
	var force, asJSON bool
	cmd := &cobra.Command{
		Use:   "remove NAME",
		Short: "Forget a host",
		Long: `Ends the session with a host and forgets it. What Weir has set up at it would stay: detach it first. --force forgets it all the same, for a
host that will not come back.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := connect(cmd, data)
			if err != nil {
				return err
			}
			path := "/api/v1/hosts/" + url.PathEscape(args[0])
			if force {
				path += "?force=true"
			}
			if err := c.Change(cmd.Context(), http.MethodDelete, path, nil, nil); err != nil {
				return err
			}
			out := outputOf(cmd, asJSON)
			if asJSON {
				return cli.WriteJSON(out, map[string]string{"removed": args[0]})
			}
			_, err = fmt.Fprintf(out.W, "%s is forgotten\n", args[0])
			return err
		},
	}
	apiFlags(cmd, &data)
	cmd.Flags().BoolVar(&force, "force", false, "also if something of Weir's stays at the host")
	jsonFlag(cmd, &asJSON)
	return cmd
}
