package main

import (
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/weirhq/weir/cli"
	"github.com/weirhq/weir/policyd"
)

// quarantineVIF is which VIFs weir policy quarantine takes.
const quarantineVIF = `VIF is VM/DEVICE, pool/VM/DEVICE, a UUID, or the name of a VM that has one VIF.`

// concernedByVIF is which hosts are waited for when something is done to a VIF.
const concernedByVIF = `Of a VIF those hosts are concerned where it is plugged, or was when the host was reached last, and where its VM runs; if that is not known, the
hosts of its pool and those without one; else all. Others are not waited for. The exit code is 6 if one that is concerned is offline, or takes
longer than --wait: it gets it when it is back.`

func newPolicyQuarantine() *cobra.Command {
	var data, reason string
	var wait time.Duration
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "quarantine VIF",
		Short: "Have a VIF send and receive nothing, until it is released",
		Long: `Takes a VIF off the network: whatever it sends and whatever is sent to it is dropped, ARP, too, and flows say so. It is done within a second at
hosts that are reached and enforce policy, nowhere else; it stays over restarts and migrations, is told as an event, and is shown by weir status
and weir policy status until weir policy release ends it. Weir itself does it where the setting quarantine asks for it. Weir's own VIF
cannot be quarantined; one of which policy is off (weir bypass) is not while that lasts.

` + concernedByVIF + `

` + quarantineVIF,
		Example: `  weir policy quarantine web-01/0 --reason "scans the network"`,
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := connect(cmd, data)
			if err != nil {
				return err
			}
			var q policyd.QuarantineChange
			if err := c.Change(cmd.Context(), http.MethodPost, "/api/v1/policy/quarantine", policyd.QuarantineRequest{VIF: args[0], Reason: reason}, &q); err != nil {
				return err
			}
			o := outcome{What: "quarantine", Text: q.VIF + " is quarantined", Concerned: q.Concerned, JSON: func(l late) any {
				return struct {
					policyd.QuarantineChange
					late
				}{q, l}
			}}
			if len(enforcedAt(q.Hosts)) == 0 {
				o.Warning = "it is plugged into no bridge at which policy is in force: nothing is dropped yet"
			}
			return finish(cmd, c, wait, asJSON, &o)
		},
	}
	apiFlags(cmd, &data)
	f := cmd.Flags()
	f.StringVar(&reason, "reason", "", "why; it is shown as long as the VIF is quarantined")
	waitFlag(cmd, &wait, 10*time.Second, "longest wait; 0s: none")
	jsonFlag(cmd, &asJSON)
	return cmd
}

// enforcedAt are the hosts of which it cannot be said that policy is not in force there for a VIF.
func enforcedAt(hosts []policyd.EffectiveHost) (names []string) {
	for _, h := range hosts {
		switch {
		case h.Bypassed != "", h.State == policyd.HostObserving, h.State == policyd.HostLeaving, h.State == policyd.HostNoPolicy:
		default:
			names = append(names, h.Host)
		}
	}
	return names
}

func newPolicyRelease() *cobra.Command {
	var data string
	var wait time.Duration
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "release VIF",
		Short: "Release a VIF that is quarantined",
		Long: `Ends a quarantine, and waits until hosts that are concerned and reached let pass again what policy allows. If the VIF goes on with what it was
quarantined for, and a setting asks for it, it is quarantined again.

` + concernedByVIF + `

` + quarantineVIF + ` One that does not exist any more is named as weir policy quarantined shows it.`,
		Example: `  weir policy release web-01/0`,
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := connect(cmd, data)
			if err != nil {
				return err
			}
			var where policyd.Concern
			if err := c.Change(cmd.Context(), http.MethodDelete, "/api/v1/policy/quarantine?vif="+url.QueryEscape(args[0]), nil, &where); err != nil {
				return err
			}
			return finish(cmd, c, wait, asJSON, &outcome{What: "release", Text: args[0] + " is released", Concerned: where.Concerned, JSON: func(l late) any {
				return struct {
					VIF string `json:"vif"`
					policyd.Concern
					late
				}{args[0], where, l}
			}})
		},
	}
	apiFlags(cmd, &data)
	waitFlag(cmd, &wait, 10*time.Second, "longest wait; 0s: none")
	jsonFlag(cmd, &asJSON)
	return cmd
}

func newPolicyQuarantined() *cobra.Command {
	var data string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "quarantined",
		Short: "List the VIFs that are quarantined, since when, by whom and why",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := connect(cmd, data)
			if err != nil {
				return err
			}
			var answer struct {
				Quarantined []policyd.QuarantineStatus `json:"quarantined"`
			}
			if err := c.Get(cmd.Context(), "/api/v1/policy/quarantine", &answer); err != nil {
				return err
			}
			out := outputOf(cmd, asJSON)
			if asJSON {
				return cli.WriteJSON(out, answer.Quarantined)
			}
			t := &cli.Table{Columns: []cli.Column{{Name: "VIF"}, {Name: "SINCE"}, {Name: "BY"}, {Name: "DROPPED AT"}, {Name: "REASON"}}}
			for _, q := range answer.Quarantined {
				at := cli.Cell{Text: strings.Join(enforcedAt(q.Hosts), ", ")}
				if at.Text == "" {
					at = cli.Cell{Text: "no host", Style: cli.Warn}
				}
				t.Add(cli.Cell{Text: q.VIF, Style: cli.Bad}, cell(q.Since.Local().Format(time.DateTime)), cell(q.By), at, cell(q.Reason))
			}
			return t.Write(out)
		},
	}
	apiFlags(cmd, &data)
	jsonFlag(cmd, &asJSON)
	return cmd
}
