package policy

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Ports are port numbers that a rule matches. Nil is any.
type Ports []PortRange

// PortRange is the ports from First to Last, both included, not 0.
type PortRange struct{ First, Last uint16 }

// MaxPorts is how many ranges one list may have.
const MaxPorts = 100

// Has reports whether port is one of p, or p is any.
func (p Ports) Has(port uint16) bool {
	return len(p) == 0 || slices.ContainsFunc(p, func(r PortRange) bool { return r.First <= port && port <= r.Last })
}

// String returns p as a rule says it: "22,8000-8099"; any is empty.
func (p Ports) String() string {
	var s strings.Builder
	for i, r := range p {
		if i > 0 {
			s.WriteByte(',')
		}
		s.WriteString(strconv.Itoa(int(r.First)))
		if r.Last != r.First {
			s.WriteString("-" + strconv.Itoa(int(r.Last)))
		}
	}
	return s.String()
}

// Form says what the text looks like.
func (Ports) Form() string { return `ports, e.g. "443", "22,8000-8099"` }

// MarshalText implements encoding.TextMarshaler with [Ports.String].
func (p Ports) MarshalText() ([]byte, error) { return []byte(p.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler with [ParsePorts].
func (p *Ports) UnmarshalText(text []byte) (err error) {
	*p, err = ParsePorts(string(text))
	return err
}

// ParsePorts reads what String returns, and blanks after commas.
func ParsePorts(s string) (Ports, error) {
	if n := 1 + strings.Count(s, ","); n > MaxPorts {
		return nil, fmt.Errorf("found %d ports and ranges, want at most %d", n, MaxPorts)
	}
	var list Ports
	for part := range strings.SplitSeq(s, ",") {
		part = strings.TrimSpace(part)
		low, high, isRange := strings.Cut(part, "-")
		if !isRange {
			high = low
		}
		first, err1 := strconv.ParseUint(low, 10, 16)
		last, err2 := strconv.ParseUint(high, 10, 16)
		if err1 != nil || err2 != nil || first == 0 {
			return nil, fmt.Errorf("found %q, want ports from 1 to 65535 and ranges of them, e.g. 443 or 22,8000-8099", s)
		}
		if last < first {
			return nil, fmt.Errorf("found range %q, want the lower port first", part)
		}
		list = append(list, PortRange{uint16(first), uint16(last)})
	}
	return list, nil
}

// merged returns the same ports in the fewest ranges, ascending.
func (p Ports) merged() Ports {
	if len(p) == 0 {
		return nil
	}
	sorted := slices.SortedFunc(slices.Values(p), func(a, b PortRange) int { return cmp.Compare(a.First, b.First) })
	out := sorted[:1]
	for _, r := range sorted[1:] {
		if last := &out[len(out)-1]; int(r.First) <= int(last.Last)+1 {
			last.Last = max(last.Last, r.Last)
		} else {
			out = append(out, r)
		}
	}
	return out
}

// covers reports whether every port of q is in p. Both are merged.
func (p Ports) covers(q Ports) bool {
	if len(p) == 0 {
		return true
	}
	if len(q) == 0 {
		q = Ports{{0, 65535}}
	}
	return !slices.ContainsFunc(q, func(r PortRange) bool {
		return !slices.ContainsFunc(p, func(o PortRange) bool { return o.First <= r.First && r.Last <= o.Last })
	})
}
