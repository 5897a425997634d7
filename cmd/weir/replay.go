package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/netip"
	"time"

	"github.com/spf13/cobra"

	"github.com/weirhq/weir/lab/replay"
)

func newReplay() *cobra.Command {
	var to string
	var asJSON bool
	var ports portList
	cfg := replay.Config{}
	cmd := &cobra.Command{
		Use:   "replay FILE… --to ADDR",
		Short: "Send captured flow datagrams to a collector again",
		Long: `Sends the flow datagrams of pcap and pcapng captures (also gzipped), or of files with one raw datagram each, over UDP.
Only the payload is sent; --keep-sources sends what came from different exporters from different local addresses.`,
		Example: `  weir replay capture.pcapng --to 127.0.0.1:2055 --rate 1000
  weir replay templates.dat data.dat --to 127.0.0.1:4739`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if to == "" {
				return usagef("no collector: name it with --to, e.g. --to 127.0.0.1:2055")
			}
			addr, err := net.ResolveUDPAddr("udp", to)
			if err != nil || addr.Port == 0 {
				return usagef("--to %q: expected host:port, e.g. 127.0.0.1:2055", to)
			}
			if cfg.Rate < 0 {
				return usagef("--rate %v: expected 0 (as fast as possible) or more datagrams a second", cfg.Rate)
			}
			cfg.Ports = ports
			cfg.Files, cfg.To = args, netip.AddrPortFrom(addr.AddrPort().Addr().Unmap(), addr.AddrPort().Port())
			begun := time.Now()
			cfg.Progress = func(c replay.Counts) {
				if time.Since(begun) > 2*time.Second { // a short replay only says what it did
					fmt.Fprintf(cmd.ErrOrStderr(), "%d datagrams sent\n", c.Sent)
				}
			}
			result, err := replay.Run(cmd.Context(), cfg)
			if err != nil {
				return err
			}
			return printReplay(cmd.OutOrStdout(), result, asJSON)
		},
	}
	f := cmd.Flags()
	f.StringVar(&to, "to", "", "host:port of the collector (required)")
	f.Float64Var(&cfg.Rate, "rate", 0, "datagrams a second; 0 is as fast as possible")
	f.Var(&ports, "port", "take captured datagrams to these UDP ports (default: all that look like flows)")
	f.BoolVar(&cfg.KeepSources, "keep-sources", false, "send from different local addresses what came from different exporters")
	f.BoolVar(&asJSON, "json", false, "print the result as JSON")
	return cmd
}

func printReplay(out io.Writer, r replay.Result, asJSON bool) error {
	if asJSON {
		return json.NewEncoder(out).Encode(r.Counts)
	}
	_, err := fmt.Fprintf(out, "%d of %d frames sent in %.1f s; not sent: %d other traffic, %d fragments, %d truncated, %d of unknown link type, %d refused by the kernel\n",
		r.Sent, r.Frames, r.Took.Seconds(), r.Other, r.Fragments, r.Truncated, r.Foreign, r.Failed)
	return err
}
