package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/weirhq/weir/collector/netflow"
	"github.com/weirhq/weir/lab/replay"
)

func newDecode() *cobra.Command {
	var asJSON bool
	var ports portList
	cmd := &cobra.Command{
		Use:   "decode FILE…",
		Short: "Print every element of captured flow datagrams by name",
		Long: `Prints all that the datagrams in the files say: templates, options and every field of every record, also those that
Weir does not store. A file is a pcap or pcapng capture (also gzipped), or one raw datagram. Templates of one file are
known in the next, so name the files in the order in which they were sent.`,
		Example: `  weir decode capture.pcapng | less
  weir decode --json template.dat data.dat`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			out := bufio.NewWriter(cmd.OutOrStdout())
			defer func() { err = errors.Join(err, out.Flush()) }() // what was decoded before an error is shown
			describer := netflow.NewDescriber()
			found := 0
			for _, file := range args {
				err := replay.Datagrams(file, ports, func(d replay.Datagram) error {
					found++
					described := decoded{File: file, Frame: d.Frame, Datagram: describer.Describe(d.Payload, d.Source.Addr().Unmap())}
					if d.Source.IsValid() {
						described.Source = &d.Source
					}
					if asJSON {
						return json.NewEncoder(out).Encode(described)
					}
					return described.print(out)
				})
				if err != nil {
					return fmt.Errorf("decode: %w", err)
				}
			}
			if found == 0 {
				return fmt.Errorf("decode: no datagram of flows found in %s; if they go to an unusual UDP port, name it with --port", strings.Join(args, ", "))
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one JSON object a datagram")
	cmd.Flags().Var(&ports, "port", "take captured datagrams to these UDP ports (default: all that look like flows)")
	return cmd
}

// decoded is one datagram and where it was found.
type decoded struct {
	File   string          `json:"file"`
	Frame  int             `json:"frame"`
	Source *netip.AddrPort `json:"source,omitempty"`
	netflow.Datagram
}

// print writes the datagram as indented text. Errors of out stay in it until Flush.
func (d *decoded) print(out io.Writer) error {
	fmt.Fprintf(out, "%s frame %d: %s", d.File, d.Frame, bytesText(d.Length))
	if d.Source != nil {
		fmt.Fprintf(out, " from %s", d.Source)
	}
	fmt.Fprintln(out)
	problem(out, "  ", d.Problem)
	for i := range d.Messages {
		m := &d.Messages[i]
		name := fmt.Sprintf("NetFlow %d", m.Version)
		if m.Version == netflow.VersionIPFIX {
			name = "IPFIX"
		}
		fmt.Fprintf(out, "  %s: domain %d, sequence %d, exported %s", name, m.Domain, m.Sequence, m.Exported.UTC().Format("2006-01-02 15:04:05 MST"))
		if m.Version != netflow.VersionIPFIX {
			fmt.Fprintf(out, ", uptime %d ms", m.Uptime)
		}
		if m.SamplingInterval > 0 {
			fmt.Fprintf(out, ", sampling 1:%d (mode %d)", m.SamplingInterval, m.SamplingMode)
		}
		fmt.Fprintln(out)
		problem(out, "    ", m.Problem)
		for j := range m.Sets {
			printSet(out, &m.Sets[j])
		}
	}
	_, err := fmt.Fprintln(out)
	return err
}

func printSet(out io.Writer, s *netflow.Set) {
	fmt.Fprintf(out, "    set %d: %s, %s\n", s.ID, kindText(s.Kind), bytesText(s.Length))
	problem(out, "      ", s.Problem)
	for i := range s.Layouts {
		l := &s.Layouts[i]
		if l.Withdrawal {
			fmt.Fprintf(out, "      template %d withdrawn\n", l.ID)
			continue
		}
		fmt.Fprintf(out, "      template %d\n", l.ID)
		for k, f := range l.Fields {
			scope := ""
			if k < l.Scopes {
				scope = " (scope)"
			}
			length := bytesText(int(f.Length))
			if f.Length == 65535 { // RFC 7011 §7
				length = "variable"
			}
			fmt.Fprintf(out, "        %-40s %s%s\n", elementName(f.Name, f.Enterprise, f.Number), length, scope)
		}
		problem(out, "        ", l.Problem)
	}
	for i := range s.Records {
		fmt.Fprintf(out, "      record %d\n", i+1)
		for _, e := range s.Records[i].Elements {
			fmt.Fprintf(out, "        %-40s %s\n", elementName(e.Name, e.Enterprise, e.Number), valueText(e.Value))
		}
	}
}

func kindText(kind string) string {
	switch kind {
	case netflow.KindOptionsTemplates:
		return "templates of options"
	case netflow.KindUnknownTemplate:
		return "data of a template that was not seen before"
	default:
		return kind
	}
}

func bytesText(n int) string {
	if n == 1 {
		return "1 byte"
	}
	return fmt.Sprintf("%d bytes", n)
}

func problem(out io.Writer, indent, text string) {
	if text != "" {
		fmt.Fprintf(out, "%sproblem: %s\n", indent, text)
	}
}

func elementName(name string, enterprise uint32, number uint16) string {
	switch {
	case name != "":
		return name
	case enterprise != 0:
		return fmt.Sprintf("enterprise %d element %d", enterprise, number)
	default:
		return fmt.Sprintf("element %d", number)
	}
}

// valueText writes text quoted, since it comes from the network, and everything else plainly.
func valueText(v any) string {
	switch v := v.(type) {
	case string:
		return fmt.Sprintf("%+q", v)[1 : len(fmt.Sprintf("%+q", v))-1]
	case *netflow.List:
		b, err := json.Marshal(v)
		if err != nil {
			return err.Error()
		}
		return string(b)
	default:
		return fmt.Sprint(v)
	}
}

// portList is a flag that holds UDP ports, separated by commas or given several times.
type portList []uint16

// Set adds ports.
func (l *portList) Set(text string) error {
	for word := range strings.SplitSeq(text, ",") {
		port, err := strconv.ParseUint(word, 10, 16)
		if err != nil || port == 0 {
			return errors.New("expected ports of 1 to 65535")
		}
		*l = append(*l, uint16(port))
	}
	return nil
}

// String lists the ports.
func (l *portList) String() string {
	return strings.Trim(strings.ReplaceAll(fmt.Sprint(*l), " ", ","), "[]")
}

// Type says in help texts what the flag takes.
func (*portList) Type() string { return "ports" }
