package xapi

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/weirhq/weir/internal/strictyaml"
	"github.com/weirhq/weir/ovs/ovsdb"
)

// Config is an element of estate.xapi in the configuration file: one pool.
type Config struct {
	Name         string              `yaml:"name" doc:"What Weir calls the pool as a source, in messages, metrics and listings."`
	Addresses    []string            `yaml:"addresses" doc:"Hosts of the pool: a name or an address, or a URL as https://192.0.2.1. One is enough to find the others; several let Weir in when that one is away."`
	User         string              `yaml:"user" doc:"Account of the pool; role read-only is enough unless write says something."`
	PasswordFile string              `yaml:"password_file" doc:"File whose first line is the password of user, readable by Weir alone."`
	CAFile       string              `yaml:"ca_file" doc:"File with certificates (PEM) of the authority that signed those of the hosts. Empty, and without pins: those that the machine trusts."`
	Pins         []ovsdb.Fingerprint `yaml:"pins" doc:"SHA-256 fingerprints of certificates of the hosts, which are believed whoever signed them. docs/howto/xcp-ng.md says how to see them at a host."`
	Pool         string              `yaml:"pool" doc:"What the pool is called in the estate; empty is its name label. Hosts that were added with weir hosts add --pool are of that pool if the names are the same."`
	Timeout      time.Duration       `yaml:"timeout" doc:"Longest wait for an answer, beside the wait for changes."`
	Resync       time.Duration       `yaml:"resync" doc:"All is read again so often, whatever has changed."`
	Write        Write               `yaml:"write" doc:"What Weir writes to the pool; without it nothing."`
}

// SetDefaults makes c a pool without address or account.
func (c *Config) SetDefaults() {
	*c = Config{User: "root", Timeout: 30 * time.Second, Resync: time.Hour}
}

// Validate reports everything that is wrong with c, each with its key.
func (c *Config) Validate() error {
	var errs []error
	refuse := func(key, format string, args ...any) {
		errs = append(errs, strictyaml.At(key, fmt.Errorf(format, args...)))
	}
	if c.Name == "" || strings.ContainsAny(c.Name, ":/ \t\n") {
		refuse("name", "found %q, want a name without spaces, colons and slashes", c.Name)
	}
	if len(c.Addresses) == 0 {
		refuse("addresses", "found none, want the name or address of at least one host")
	}
	for i, a := range c.Addresses {
		if _, err := endpoint(a); err != nil {
			errs = append(errs, strictyaml.At(fmt.Sprintf("addresses[%d]", i), err))
		}
	}
	if c.User == "" {
		refuse("user", "found none, want an account of the pool")
	}
	if c.PasswordFile == "" {
		refuse("password_file", "found none, want a file whose first line is the password")
	}
	if c.CAFile != "" && len(c.Pins) > 0 {
		refuse("pins", "found pins beside ca_file: want one of them")
	}
	if c.Timeout < time.Second || c.Timeout > 10*time.Minute {
		refuse("timeout", "found %s, want 1s to 10m", c.Timeout)
	}
	if c.Resync < time.Minute {
		refuse("resync", "found %s, want at least 1m", c.Resync)
	}
	if m := c.Write.FailMode; m != "" && m != "secure" && m != "standalone" && m != FollowPolicy {
		refuse("write.fail_mode", "found %q, want secure, standalone, policy, or nothing", m)
	}
	return errors.Join(errs...)
}

// Check looks whether the files that c names are there and hold what they should.
func (c *Config) Check() error {
	_, err := trust(c)
	_, err2 := c.password()
	if err2 == nil {
		var info os.FileInfo
		if info, err2 = os.Stat(c.PasswordFile); err2 == nil && info.Mode().Perm()&0o007 != 0 {
			err2 = fmt.Errorf("read password_file %q: everybody on this machine can read it too (mode %o): chmod 600", c.PasswordFile, info.Mode().Perm())
		}
	}
	return errors.Join(err, err2)
}

// password returns the first line of password_file.
func (c *Config) password() (string, error) {
	b, err := os.ReadFile(c.PasswordFile)
	if err != nil {
		return "", fmt.Errorf("read password_file: %w", err)
	}
	line, _, _ := strings.Cut(string(b), "\n")
	if line = strings.TrimSuffix(line, "\r"); line == "" {
		return "", fmt.Errorf("read password_file %q: found an empty first line, want the password", c.PasswordFile)
	}
	return line, nil
}

// endpoint returns where the API of a host is called.
func endpoint(address string) (string, error) {
	wrong := fmt.Errorf("found %q, want a name, an address, or a URL as https://192.0.2.1:443", address)
	if ip, err := netip.ParseAddr(address); err == nil && ip.Is6() {
		address = "[" + address + "]"
	}
	if !strings.Contains(address, "://") {
		address = "https://" + address
	}
	u, err := url.Parse(address)
	if err != nil || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" || strings.Trim(u.Path, "/") != "" {
		return "", wrong
	}
	switch u.Scheme {
	case "https":
	case "http":
		if ip, err := netip.ParseAddr(u.Hostname()); (err != nil || !ip.IsLoopback()) && u.Hostname() != "localhost" {
			return "", fmt.Errorf("found %q: the password would be sent unencrypted; want https", address)
		}
	default:
		return "", wrong
	}
	if strings.HasSuffix(u.Host, ":") || net.ParseIP(u.Hostname()) == nil && strings.ContainsAny(u.Hostname(), " \t\n") {
		return "", wrong
	}
	return u.Scheme + "://" + u.Host + "/jsonrpc", nil
}
