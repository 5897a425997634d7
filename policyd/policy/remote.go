package policy

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"github.com/weirhq/weir/estate"
)

// Remote is the other end that a rule matches. The zero value is any. At most one of the fields is set.
type Remote struct {
	Prefix       netip.Prefix // without bits beyond its length, never of IPv4-mapped addresses
	MAC          estate.MAC
	AddressGroup string // name
	VMGroup      string // name
}

const (
	addressGroupWord = "address-group:"
	vmGroupWord      = "vm-group:"
)

// String returns r as a rule says it.
func (r Remote) String() string {
	switch {
	case r.AddressGroup != "":
		return addressGroupWord + r.AddressGroup
	case r.VMGroup != "":
		return vmGroupWord + r.VMGroup
	case r.MAC != 0:
		return r.MAC.String()
	case r.Prefix.IsValid():
		return prefixText(r.Prefix)
	}
	return "any"
}

// prefixText returns p, an address alone without its length.
func prefixText(p netip.Prefix) string {
	if p.IsSingleIP() {
		return p.Addr().String()
	}
	return p.String()
}

// Form says what the text looks like.
func (Remote) Form() string { return `remote, e.g. "192.0.2.0/24", "address-group:office"` }

// MarshalText implements encoding.TextMarshaler with [Remote.String].
func (r Remote) MarshalText() ([]byte, error) { return []byte(r.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler with [ParseRemote].
func (r *Remote) UnmarshalText(text []byte) (err error) {
	*r, err = ParseRemote(string(text))
	return err
}

// ParseRemote reads what String returns.
func ParseRemote(s string) (Remote, error) {
	if s == "any" {
		return Remote{}, nil
	}
	if name, ok := strings.CutPrefix(s, addressGroupWord); ok {
		return Remote{AddressGroup: name}, checkName(name)
	}
	if name, ok := strings.CutPrefix(s, vmGroupWord); ok {
		return Remote{VMGroup: name}, checkName(name)
	}
	if m, err := estate.ParseMAC(s); err == nil {
		if m == 0 {
			return Remote{}, fmt.Errorf("found %q, which is no address of anybody", s)
		}
		return Remote{MAC: m}, nil
	}
	if !strings.Contains(s, "-") {
		list, err := estate.ParseMember(s)
		if err == nil {
			return Remote{Prefix: list[0]}, nil
		}
		if strings.Contains(s, "/") {
			return Remote{}, err
		}
	}
	return Remote{}, fmt.Errorf("found %q, want any, an IP address, a prefix, a MAC address, address-group:NAME or vm-group:NAME", s)
}

// checkName returns what is wrong with a name, if anything is.
func checkName(name string) error {
	const most = 256
	switch {
	case name == "":
		return errors.New("missing, want a name")
	case len(name) > most:
		return fmt.Errorf("found a name of %d bytes, want at most %d", len(name), most)
	case strings.TrimSpace(name) != name || strings.ContainsFunc(name, func(r rune) bool { return r < ' ' || r == 0x7f || r == '\ufffd' }):
		return fmt.Errorf("found %q, want a name without control characters and spaces around it", name)
	}
	return nil
}
