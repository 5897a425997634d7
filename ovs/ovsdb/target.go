package ovsdb

import (
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
)

// DefaultPort is IANA's of OVSDB (RFC 7047 §8), on which Open vSwitch listens.
const DefaultPort = 6640

// maxUnixPath is what a socket's address takes, less the final zero (unix(7)).
const maxUnixPath = 107

// Target is where a host's database is reached, in the words of ovs-vsctl(8). The zero Target is nowhere: the host dials in.
type Target struct {
	TLS  bool
	Host string // name or IP address; empty of a unix socket
	Port uint16
	Path string // of a unix socket
}

// ParseTarget parses "ssl:host[:port]", "tcp:host[:port]" and "unix:path". An IPv6 address is in brackets. Without a port it is
// DefaultPort.
func ParseTarget(text string) (Target, error) {
	t, err := parseTarget(text)
	if err != nil {
		return Target{}, fmt.Errorf("parse target %q: %w", text, err)
	}
	return t, nil
}

func parseTarget(text string) (Target, error) {
	scheme, rest, found := strings.Cut(text, ":")
	switch {
	case !found:
		return Target{}, fmt.Errorf("expected ssl:HOST:PORT, tcp:HOST:PORT or unix:PATH")
	case scheme == "unix":
		if rest == "" || len(rest) > maxUnixPath || strings.ContainsRune(rest, 0) {
			return Target{}, fmt.Errorf("expected unix:PATH, of a path of 1 to %d bytes", maxUnixPath)
		}
		return Target{Path: rest}, nil
	case scheme == "pssl", scheme == "ptcp", scheme == "punix":
		return Target{}, fmt.Errorf("%s: is what the host listens on; expected %s: and its address, or say that the host dials in", scheme, scheme[1:])
	case scheme != "ssl" && scheme != "tcp":
		return Target{}, fmt.Errorf("found scheme %q, expected ssl, tcp or unix", scheme)
	}
	t := Target{TLS: scheme == "ssl", Port: DefaultPort}
	host, port, err := splitHostPort(rest)
	if err != nil {
		return Target{}, err
	}
	if !validHost(host) {
		return Target{}, fmt.Errorf("found host %q, expected a name or an IP address; IPv6 in brackets", host)
	}
	t.Host = host
	if port != "" {
		n, err := strconv.ParseUint(port, 10, 16)
		if err != nil || n == 0 {
			return Target{}, fmt.Errorf("found port %q, expected a number from 1 to 65535", port)
		}
		t.Port = uint16(n)
	}
	return t, nil
}

// splitHostPort takes "host", "host:port", "[v6]" and "[v6]:port" apart.
func splitHostPort(s string) (host, port string, err error) {
	if strings.HasPrefix(s, "[") {
		address, rest, closed := strings.Cut(s[1:], "]")
		a, err := netip.ParseAddr(address)
		if !closed || err != nil || !a.Is6() || rest != "" && (rest[0] != ':' || rest == ":") {
			return "", "", fmt.Errorf("expected an IPv6 address in brackets, and perhaps a port, as [2001:db8::1]:%d", DefaultPort)
		}
		return address, strings.TrimPrefix(rest, ":"), nil
	}
	switch strings.Count(s, ":") {
	case 0:
		return s, "", nil
	case 1:
		host, port, _ = strings.Cut(s, ":")
		if port == "" {
			return "", "", fmt.Errorf("expected a port after the colon")
		}
		return host, port, nil
	default:
		return "", "", fmt.Errorf("found several colons: an IPv6 address is in brackets, as [2001:db8::1]:%d", DefaultPort)
	}
}

func validHost(h string) bool {
	if a, err := netip.ParseAddr(h); err == nil {
		return !a.IsUnspecified() && !a.IsMulticast()
	}
	if h == "" || len(h) > 253 {
		return false
	}
	for label := range strings.SplitSeq(strings.TrimSuffix(h, "."), ".") {
		if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' {
			return false
		}
		for _, c := range []byte(label) {
			if c != '-' && c != '_' && (c < '0' || c > '9') && (c|0x20 < 'a' || c|0x20 > 'z') {
				return false
			}
		}
	}
	return true
}

// IsZero says that the target is nowhere.
func (t Target) IsZero() bool { return t == Target{} }

// String is what ParseTarget parses, with the port; empty of the zero Target.
func (t Target) String() string {
	switch {
	case t.IsZero():
		return ""
	case t.Path != "":
		return "unix:" + t.Path
	case t.TLS:
		return "ssl:" + t.address()
	default:
		return "tcp:" + t.address()
	}
}

// MarshalText writes the target.
func (t Target) MarshalText() ([]byte, error) { return []byte(t.String()), nil }

// UnmarshalText is ParseTarget; empty text is the zero Target.
func (t *Target) UnmarshalText(b []byte) (err error) {
	if len(b) == 0 {
		*t = Target{}
		return nil
	}
	*t, err = ParseTarget(string(b))
	return err
}

// network and address are what net.Dial takes.
func (t Target) network() string {
	if t.Path != "" {
		return "unix"
	}
	return "tcp"
}

func (t Target) address() string {
	if t.Path != "" {
		return t.Path
	}
	return net.JoinHostPort(t.Host, strconv.Itoa(int(t.Port)))
}
