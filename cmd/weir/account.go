package main

import (
	"context"
	"crypto/tls"
	"errors"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/weirhq/weir/api"
	"github.com/weirhq/weir/api/account"
	"github.com/weirhq/weir/internal/atomicfile"
	"github.com/weirhq/weir/pki"
	"github.com/weirhq/weir/policyd/audit"
	"github.com/weirhq/weir/store"
)

// wireAccounts makes users.
func (n *node) wireAccounts() (err error) {
	n.accounts, err = account.New(account.Deps{Log: n.log, Store: n.state, PasswordChanged: n.forgetFirst})
	return err
}

// adminSink brings what is told of changes into the store.
type adminSink struct{ table *store.AdminEvents }

// Write writes entries.
func (s adminSink) Write(ctx context.Context, list []audit.Entry) error {
	rows := make([]store.AdminEvent, len(list))
	for i := range list {
		rows[i] = api.StoredEvent(&list[i])
	}
	return s.table.Write(ctx, rows)
}

// firstUser is who was made since there was nobody.
type firstUser struct{ name, password string }

// firstPasswordFile is where the first user's password is.
func firstPasswordFile(data string) string { return filepath.Join(data, "first-password") }

// firstUser makes the first superuser if there is no user. His password, which is for one time, is told on standard output and in a file.
func (n *node) firstUser(ctx context.Context) error {
	return n.accounts.First(ctx, func(name, password string) error {
		n.first = firstUser{name, password}
		return atomicfile.Write(firstPasswordFile(n.data), []byte(password+"\n"))
	})
}

// forgetFirst removes the file with the first user's password once it is no password any more.
func (n *node) forgetFirst(user string) {
	if user != account.FirstUser {
		return
	}
	if err := os.Remove(firstPasswordFile(n.data)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		n.log.Warn("file with the first password not removed; it is no password any more", "err", err)
	}
}

// apiIdentity is what the API presents by TLS: the certificate that was configured, else one of Weir's own; nil without TLS.
func (n *node) apiIdentity() (func() (*tls.Certificate, error), error) {
	c := &n.config.API
	if !c.Encrypted() {
		return nil, nil
	}
	if c.TLS.CertFile != "" {
		return api.Files(c.TLS.CertFile, c.TLS.KeyFile)
	}
	names, addresses := apiNames(c, n.sockets.api.Addr(), hostName(), net.InterfaceAddrs)
	own := func() (*tls.Certificate, error) {
		a, err := n.authority.open(func() (*pki.Authority, error) { return pki.Ensure(n.authority.dir, time.Now()) })
		if err != nil {
			return nil, err
		}
		return a.Server(names, addresses, time.Now())
	}
	_, err := own()
	return own, err
}

// apiNames are what clients may call the API: what is configured, the name of the machine, and the addresses at which it listens.
func apiNames(c *api.Config, listen net.Addr, machine string, interfaces func() ([]net.Addr, error)) (names []string, addresses []netip.Addr) {
	names = []string{"localhost"}
	if machine != "" {
		names = append(names, strings.ToLower(machine))
	}
	addresses = []netip.Addr{netip.AddrFrom4([4]byte{127, 0, 0, 1}), netip.IPv6Loopback()}
	for _, name := range c.Names {
		if a, err := netip.ParseAddr(name); err == nil {
			addresses = append(addresses, a.Unmap())
		} else {
			names = append(names, strings.ToLower(name))
		}
	}
	if a, err := netip.ParseAddrPort(listen.String()); err == nil && !a.Addr().IsUnspecified() {
		addresses = append(addresses, a.Addr().Unmap().WithZone(""))
	} else if list, err := interfaces(); err == nil { // else who has another address gives it as a name
		for _, i := range list {
			if p, err := netip.ParsePrefix(i.String()); err == nil && !p.Addr().IsLinkLocalUnicast() {
				addresses = append(addresses, p.Addr().Unmap())
			}
		}
	}
	slices.SortFunc(addresses, netip.Addr.Compare)
	slices.Sort(names)
	return slices.Compact(names), slices.Compact(addresses)
}
