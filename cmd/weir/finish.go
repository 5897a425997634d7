package main

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/weirhq/weir/cli"
	"github.com/weirhq/weir/client"
	"github.com/weirhq/weir/policyd"
)

// outcome is what a command tells of a change that hosts have to carry out.
type outcome struct {
	What      string         // the change, in a word: what an error is about
	Text      string         // what is so now
	Warning   string         // what is amiss though it is so; "": nothing
	Concerned []string       // the hosts that have to carry it out; nil: it was not said which, so all
	JSON      func(late) any // the same for --json, with the hosts where it is not so yet
}

// late is at which hosts a change is not in force yet.
type late struct {
	Behind  []string `json:"behind"`  // reached, and not done in time
	Offline []string `json:"offline"` // they get it when they are back
}

// finish ends a command whose change was made: it waits until the hosts that are concerned and reached have it, and tells what is so. The exit code is
// that of what is done in part if some that are concerned do not have it after a wait that is not 0.
func finish(cmd *cobra.Command, c *client.API, wait time.Duration, asJSON bool, o *outcome) error {
	hosts, behind, err := inForce(cmd.Context(), c, wait, progressOf(cmd, asJSON), func(h *policyd.HostPolicy) bool {
		return o.Concerned == nil || slices.Contains(o.Concerned, h.Host)
	})
	if err != nil {
		return err
	}
	l := late{append([]string{}, behind...), []string{}}
	for i := range hosts {
		if hosts[i].State == policyd.HostOffline {
			l.Offline = append(l.Offline, hosts[i].Host)
		}
	}
	out := outputOf(cmd, asJSON)
	if asJSON {
		err = cli.WriteJSON(out, o.JSON(l))
	} else {
		err = o.write(out, &l)
	}
	if err != nil {
		return err
	}
	if list := slices.Concat(l.Behind, l.Offline); len(list) > 0 && wait > 0 { // who does not wait knows
		return partialf("%s: not yet so at %s: weir policy status tells", o.What, strings.Join(list, ", "))
	}
	return nil
}

func (o *outcome) write(out *cli.Output, l *late) error {
	_, err := fmt.Fprintln(out.W, cli.Clean(o.Text))
	if err == nil && len(l.Offline) > 0 {
		_, err = fmt.Fprintf(out.W, "offline, they have what they had until they are back: %s\n", cli.Clean(strings.Join(l.Offline, ", ")))
	}
	if err == nil && o.Warning != "" {
		_, err = fmt.Fprintln(out.W, out.Paint(o.Warning, cli.Warn))
	}
	return err
}
