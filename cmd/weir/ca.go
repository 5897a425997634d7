package main

import (
	"crypto/x509"
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/weirhq/weir/cli"
	"github.com/weirhq/weir/internal/instance"
	"github.com/weirhq/weir/ovs/ovsdb"
	"github.com/weirhq/weir/pki"
)

func newCA() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "ca",
		Short: "Weir's own certificate authority, for sessions with hosts",
		Long: `Makes certificates by which hosts and Weir know each other over TLS. Weir believes what the authority in its data directory
has signed, for the name of the host; hosts are given its certificate, weir-ca.pem, and a certificate and key of their own.
docs/howto/connect-hosts.md goes through it.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newCAInit(), newCAShow(), newCAHost(), newCARenew())
	return cmd
}

func caData(data string) string { return authorityDir(instance.DataDir(data)) }

// openCA opens the authority of a data directory.
func openCA(data string) (*pki.Authority, error) { return pki.Open(caData(data)) }

func rsaFlag(cmd *cobra.Command, rsa *bool, usage string) {
	cmd.Flags().BoolVar(rsa, "rsa", false, usage)
}

func newCAInit() *cobra.Command {
	var data string
	var rsa, asJSON bool
	cmd := &cobra.Command{
		Use:   "init",
		Short: "Make the authority",
		Long:  "Makes the authority, which is good for ten years. `weir up` makes one itself, if there is none, when it first speaks TLS.",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			algorithm := pki.ECDSA
			if rsa {
				algorithm = pki.RSA
			}
			a, err := pki.Init(caData(data), algorithm, time.Now())
			if err != nil {
				return err
			}
			return showCertificates(cmd, asJSON, []certificate{describe("authority", a.Certificate())})
		},
	}
	dataFlag(cmd, &data)
	jsonFlag(cmd, &asJSON)
	rsaFlag(cmd, &rsa, "a key of RSA instead of ECDSA: for hosts whose OpenSSL knows nothing else (before 1.0)")
	return cmd
}

func newCAShow() *cobra.Command {
	var data string
	var asJSON, asPEM bool
	cmd := &cobra.Command{
		Use:   "show",
		Short: "List the authority, what Weir presents, and the certificates of hosts, with their ends",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			a, err := openCA(data)
			if err != nil {
				return err
			}
			if asPEM {
				_, err := cmd.OutOrStdout().Write(a.PEM())
				return err
			}
			list := []certificate{describe("authority", a.Certificate())}
			own, err := a.Identities(time.Now())
			if err != nil {
				return err
			}
			for _, c := range own {
				list = append(list, describe("weir", c.Leaf))
			}
			issued, err := a.Issued()
			if err != nil {
				return err
			}
			for _, c := range issued {
				list = append(list, describe("host", c))
			}
			return showCertificates(cmd, asJSON, list)
		},
	}
	dataFlag(cmd, &data)
	jsonFlag(cmd, &asJSON)
	cmd.Flags().BoolVar(&asPEM, "pem", false, "print the authority's certificate, which hosts are given")
	return cmd
}

func newCARenew() *cobra.Command {
	var data string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "renew",
		Short: "Give the authority a new certificate of the same key",
		Long: `Gives the authority a certificate that is good for another ten years. What it has signed stays good, and hosts that have the old
certificate believe Weir until the old one ends: give them the new one (weir-ca.pem) before. What Weir presents itself is
renewed without being asked; certificates of hosts are renewed by weir ca host.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			a, err := openCA(data)
			if err == nil {
				err = a.Renew(time.Now())
			}
			if err != nil {
				return err
			}
			return showCertificates(cmd, asJSON, []certificate{describe("authority", a.Certificate())})
		},
	}
	dataFlag(cmd, &data)
	jsonFlag(cmd, &asJSON)
	return cmd
}

func newCAHost() *cobra.Command {
	var data, out string
	var rsa, asJSON bool
	var days int
	var addresses []string
	cmd := &cobra.Command{
		Use:   "host NAME --out DIR",
		Short: "Make key and certificate for a host, and say what to do with them",
		Long: `Makes a key and a certificate for the host of that name, as weir hosts has it, and writes NAME-privkey.pem, NAME-cert.pem and
weir-ca.pem to a directory, with mode 0600. They are renewed by the same command; an earlier certificate stays good until it
ends. The key is nowhere else: remove the directory when the host has it.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if out == "" {
				return usagef("no --out: want a directory for the host's key and certificate")
			}
			if days < 1 {
				return usagef("--days %d: want at least 1", days)
			}
			if err := pki.ValidName(args[0]); err != nil {
				return usageError{err}
			}
			request := pki.Request{Name: args[0], Life: time.Duration(days) * 24 * time.Hour}
			if rsa {
				request.Algorithm = pki.RSA
			}
			for _, text := range addresses {
				addr, err := netip.ParseAddr(text)
				if err != nil {
					return usageError{fmt.Errorf("--address %q: want an IP address", text)}
				}
				request.Addresses = append(request.Addresses, addr)
			}
			a, err := openCA(data)
			if err != nil {
				return err
			}
			pair, err := a.Issue(request, time.Now())
			if err != nil {
				return err
			}
			if err := a.WriteHost(out, pair); err != nil {
				return err
			}
			output := outputOf(cmd, asJSON)
			c := describe("host", pair.Certificate)
			commands := hostCommands(args[0])
			if asJSON {
				return cli.WriteJSON(output, map[string]any{"certificate": c, "directory": out, "commands": commands})
			}
			if err := showCertificates(cmd, false, []certificate{c}); err != nil {
				return err
			}
			w := cmd.OutOrStdout()
			fmt.Fprintf(w, "\nCopy the three files of %s to /etc/openvswitch of the host, mode 0600. Then on the host:\n\n", out)
			for _, line := range commands {
				fmt.Fprintf(w, "  %s\n", line)
			}
			_, err = fmt.Fprint(w, `
set-ssl replaces the keys that Open vSwitch uses for all its managers and controllers: look at ovs-vsctl get-ssl before.
Of the last two, the first lets Weir dial the host, the second has the host dial Weir. Other managers stay.
`)
			return err
		},
	}
	dataFlag(cmd, &data)
	jsonFlag(cmd, &asJSON)
	rsaFlag(cmd, &rsa, "a key of RSA: for hosts with legacy TLS")
	cmd.Flags().StringVar(&out, "out", "", "directory for key and certificate; it is made if it is not there")
	cmd.Flags().IntVar(&days, "days", int(pki.HostLife/(24*time.Hour)), "how long the certificate is good")
	cmd.Flags().StringArrayVar(&addresses, "address", nil, "address that is in the certificate, too (may be repeated)")
	return cmd
}

// hostCommands are what gives a host its key and a way to Weir.
func hostCommands(name string) []string {
	port := strconv.Itoa(ovsdb.DefaultPort)
	manager := func(target string) string {
		return `ovs-vsctl -- --id=@weir create Manager target='"` + target + `"' -- add Open_vSwitch . manager_options @weir`
	}
	return []string{
		fmt.Sprintf("ovs-vsctl set-ssl /etc/openvswitch/%s-privkey.pem /etc/openvswitch/%s-cert.pem /etc/openvswitch/weir-ca.pem", name, name),
		manager("pssl:" + port),
		manager("ssl:WEIR:" + port),
	}
}

// certificate is what is shown of one.
type certificate struct {
	Of          string            `json:"of"` // authority, weir or host
	Name        string            `json:"name"`
	Key         string            `json:"key"`
	NotAfter    time.Time         `json:"not_after"`
	Fingerprint ovsdb.Fingerprint `json:"fingerprint"`
}

func describe(of string, c *x509.Certificate) certificate {
	return certificate{Of: of, Name: c.Subject.CommonName, Key: c.PublicKeyAlgorithm.String(), NotAfter: c.NotAfter, Fingerprint: ovsdb.FingerprintOf(c)}
}

// certificateWarning is how long before its end a certificate is shown in red.
const certificateWarning = 30 * 24 * time.Hour

func showCertificates(cmd *cobra.Command, asJSON bool, list []certificate) error {
	out := outputOf(cmd, asJSON)
	if asJSON {
		return cli.WriteJSON(out, list)
	}
	if len(list) == 0 {
		return errors.New("BUG: no certificate to show")
	}
	t := cli.Table{Columns: []cli.Column{{Name: "OF"}, {Name: "NAME"}, {Name: "KEY"}, {Name: "UNTIL", Right: true}, {Name: "SHA-256", Right: true}}}
	for _, c := range list {
		until := cli.Cell{Text: c.NotAfter.UTC().Format(time.DateOnly)}
		if time.Until(c.NotAfter) < certificateWarning {
			until.Style = cli.Bad
		}
		t.Add(cli.Cell{Text: c.Of}, cli.Cell{Text: c.Name}, cli.Cell{Text: c.Key}, until, cli.Cell{Text: string(c.Fingerprint)})
	}
	return t.Write(out)
}
