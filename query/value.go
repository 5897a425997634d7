package query

import (
	"bytes"
	"math"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/weirhq/weir/internal/nearest"
)

// Value is a value in a filter. Which members are set depends on Kind.
type Value struct {
	Kind      ValueKind
	Text      string     // ByName: the name or UUID; ByPattern: with * and ?
	Low, High uint64     // Numbers: both inclusive; equal for a single number. ByID: both the id
	From, To  netip.Addr // Addresses: both inclusive, IPv4 in its own form; equal for a single address
}

// ValueKind is what a [Value] is.
type ValueKind uint8

// The kinds of values.
const (
	NoEntity  ValueKind = iota + 1 // none known
	ByName                         // entity by name or UUID
	ByID                           // entity by id
	ByPattern                      // entities by pattern of their name
	Numbers                        // one number, or all from one to another
	Addresses                      // one address, or all from one to another
	Anything                       // the word any: whatever the field is
)

// Ops returns the relations that the field can be in, in the order of the reference page.
func (f *Field) Ops() []Op {
	switch f.Type {
	case Entity, Group:
		return []Op{Eq, Ne, In, NotIn, Like, NotLike}
	case Flags:
		return []Op{Eq, Ne, In, NotIn, Has, NotHas}
	case Bool:
		return []Op{Eq, Ne}
	case Port, Number, Count, Size, Span, DSCP:
		return []Op{Eq, Ne, Lt, Le, Gt, Ge, In, NotIn}
	default:
		return []Op{Eq, Ne, In, NotIn}
	}
}

// Example returns what values of the type look like, for errors and the reference.
func (t Type) Example() string {
	switch t {
	case Entity, Group:
		return "web-01, \"a name\", a UUID, #id or none"
	case Address:
		return "192.0.2.1, 10.0.0.0/8 or 2001:db8::1"
	case MAC:
		return "52:54:00:12:34:56"
	case Port:
		return "443, https or 8000-8100"
	case Protocol:
		return "tcp, udp, icmp or a number up to 255"
	case EtherType:
		return "ipv4, arp or 0x0800"
	case DSCP:
		return "ef, af41, cs1 or a number up to 63"
	case Flags:
		return "syn or syn+ack"
	case Enum:
		return "one of its words"
	case Bool:
		return "true or false"
	case Number:
		return "42, 0x2a or 10-20"
	case Count:
		return "1000, 10k or 1M"
	case Size:
		return "1500, 10kB or 1MiB"
	case Span:
		return "500ms, 10s or 1h"
	default:
		panic("BUG: type of field without an example")
	}
}

// parseValue returns the value that t is for the field, or what was expected.
func parseValue(f *Field, op Op, t token) (v Value, hint string) {
	if t.keyword("any") && !op.ordered() && op != Has && op != NotHas {
		return Value{Kind: Anything}, ""
	}
	switch f.Type {
	case Entity, Group:
		v, hint = parseName(op, t)
	case Address:
		v, hint = parseAddresses(t.text)
	default:
		v, hint = parseNumber(f, t.text)
	}
	if hint != "" {
		return Value{}, hint
	}
	if op.ordered() && v.Low != v.High {
		return Value{}, "expected a single value after " + op.String()
	}
	if op == Has || op == NotHas {
		if v.Low == 0 {
			return Value{}, "has takes at least one flag"
		}
	}
	return v, ""
}

func parseName(op Op, t token) (Value, string) {
	if op == Like || op == NotLike {
		return Value{Kind: ByPattern, Text: t.text}, ""
	}
	if t.kind == tokenString {
		if t.text == "" {
			return Value{}, "expected a name, or the bare word none or any"
		}
		return Value{Kind: ByName, Text: t.text}, ""
	}
	if strings.EqualFold(t.text, "none") {
		return Value{Kind: NoEntity}, ""
	}
	if id, ok := strings.CutPrefix(t.text, "#"); ok {
		n, err := strconv.ParseUint(id, 10, 64)
		if err != nil {
			return Value{}, "expected # and a decimal id"
		}
		if n == 0 {
			return Value{Kind: NoEntity}, ""
		}
		return Value{Kind: ByID, Low: n, High: n}, ""
	}
	if strings.ContainsAny(t.text, "*?") {
		return Value{}, "patterns are written with like; a name with such characters is quoted"
	}
	return Value{Kind: ByName, Text: t.text}, ""
}

// parseAddresses reads an address, a prefix, or two addresses with "-" between.
func parseAddresses(s string) (Value, string) {
	hint := "expected " + Address.Example()
	if strings.Contains(s, "/") {
		p, err := netip.ParsePrefix(s)
		if err != nil {
			return Value{}, hint
		}
		p = p.Masked()
		return addresses(p.Addr().As16(), lastOf(p)), ""
	}
	first, last, isRange := strings.Cut(s, "-")
	from, err := netip.ParseAddr(first)
	if err != nil || from.Zone() != "" {
		return Value{}, hint
	}
	if !isRange {
		return addresses(from.As16(), from.As16()), ""
	}
	to, err := netip.ParseAddr(last)
	if err != nil || to.Zone() != "" {
		return Value{}, hint
	}
	a, b := from.As16(), to.As16()
	if bytes.Compare(a[:], b[:]) > 0 {
		return Value{}, "expected the lower address first"
	}
	return addresses(a, b), ""
}

func addresses(from, to [16]byte) Value {
	return Value{Kind: Addresses, From: netip.AddrFrom16(from).Unmap(), To: netip.AddrFrom16(to).Unmap()}
}

// lastOf returns the last address of a masked prefix, IPv4 as IPv4-mapped.
func lastOf(p netip.Prefix) [16]byte {
	a := p.Addr().As16()
	bits := p.Bits()
	if p.Addr().Is4() {
		bits += 96
	}
	for i := bits; i < 128; i++ {
		a[i/8] |= 0x80 >> (i % 8)
	}
	return a
}

// addressText is the inverse of parseAddresses.
func addressText(v Value) string {
	if v.From == v.To {
		return v.From.String()
	}
	from, to := v.From.As16(), v.To.As16()
	bits := 0
	for bits < 128 && (from[bits/8]^to[bits/8])&(0x80>>(bits%8)) == 0 {
		bits++
	}
	if v.From.Is4() && bits >= 96 {
		bits -= 96
	} else if v.From.Is4() {
		return v.From.String() + "-" + v.To.String()
	}
	p := netip.PrefixFrom(v.From, bits)
	if p.Masked().Addr() == v.From && lastOf(p) == to {
		return p.String()
	}
	return v.From.String() + "-" + v.To.String()
}

// parseNumber reads a value of the types that are numbers in the table.
func parseNumber(f *Field, s string) (Value, string) {
	hint := "expected " + f.Type.Example()
	var n uint64
	ok := false
	switch lower := strings.ToLower(s); f.Type {
	case Enum:
		if n, ok = numberOf(f.words, lower); !ok {
			hint = f.Name + " is one of " + strings.Join(f.Words(), ", ")
			if w := nearest.Word(s, f.Words()); w != "" {
				hint = "did you mean " + w + "? " + hint
			}
		}
	case Bool:
		switch lower {
		case "true", "yes", "1":
			n, ok = 1, true
		case "false", "no", "0":
			n, ok = 0, true
		}
	case MAC:
		n, ok = parseMAC(lower)
	case Flags:
		n, ok = parseFlags(lower)
	case Count, Size:
		n, ok = parseSize(s)
	case Span:
		n, ok = parseSpan(s)
	case Port:
		for _, x := range services {
			if x.name == lower {
				return Value{Kind: Numbers, Low: uint64(x.port), High: uint64(x.port)}, ""
			}
		}
		return parseRange(f, s, hint)
	case Protocol:
		if n, ok = numberOf(protocols, lower); !ok {
			return parseRange(f, s, hint)
		}
	case EtherType:
		if n, ok = numberOf(etherTypes, lower); !ok {
			return parseRange(f, s, hint)
		}
	case DSCP:
		if n, ok = numberOf(codePoints, lower); !ok {
			return parseRange(f, s, hint)
		}
	default:
		return parseRange(f, s, hint)
	}
	if !ok || n > f.limit() {
		return Value{}, hint
	}
	return Value{Kind: Numbers, Low: n, High: n}, ""
}

// limit returns the largest number that the field can hold.
func (f *Field) limit() uint64 {
	if f.Type == DSCP {
		return 63
	}
	return largest(f.columns[0])
}

// parseRange reads "n" or "low-high", in decimal or with 0x.
func parseRange(f *Field, s, hint string) (Value, string) {
	first, last, isRange := strings.Cut(s, "-")
	low, err := strconv.ParseUint(first, 0, 64)
	if err != nil || strings.Contains(first, "_") {
		return Value{}, hint
	}
	high := low
	if isRange {
		if high, err = strconv.ParseUint(last, 0, 64); err != nil || strings.Contains(last, "_") {
			return Value{}, hint
		}
	}
	switch {
	case high > f.limit():
		return Value{}, f.Name + " is at most " + strconv.FormatUint(f.limit(), 10)
	case low > high:
		return Value{}, "expected the lower number first"
	}
	return Value{Kind: Numbers, Low: low, High: high}, ""
}

func parseMAC(s string) (uint64, bool) {
	s = strings.NewReplacer(":", "", "-", "", ".", "").Replace(s)
	n, err := strconv.ParseUint(s, 16, 64)
	return n, err == nil && len(s) == 12
}

// FormatMAC returns a MAC address as text; the first octet is the highest of the low 48 bits.
func FormatMAC(n uint64) string {
	const digits = "0123456789abcdef"
	b := make([]byte, 0, 17)
	for shift := 40; shift >= 0; shift -= 8 {
		octet := byte(n >> shift)
		b = append(b, digits[octet>>4], digits[octet&15])
		if shift > 0 {
			b = append(b, ':')
		}
	}
	return string(b)
}

// parseFlags is the inverse of FlagNames.
func parseFlags(s string) (uint64, bool) {
	if s == "none" {
		return 0, true
	}
	flags := uint64(0)
	for part := range strings.SplitSeq(s, "+") {
		n, ok := numberOf(tcpFlags, part)
		if !ok {
			var err error
			if n, err = strconv.ParseUint(part, 0, 16); err != nil || strings.Contains(part, "_") {
				return 0, false
			}
		}
		flags |= n
	}
	return flags, true
}

// factors are the units of sizes and counts, by the text after the number.
var factors = map[string]uint64{
	"": 1, "b": 1, "k": 1e3, "kb": 1e3, "m": 1e6, "mb": 1e6, "g": 1e9, "gb": 1e9, "t": 1e12, "tb": 1e12,
	"ki": 1 << 10, "kib": 1 << 10, "mi": 1 << 20, "mib": 1 << 20, "gi": 1 << 30, "gib": 1 << 30, "ti": 1 << 40, "tib": 1 << 40,
}

// parseSize reads a number with one of the units; a fraction may be given, as 1.5MiB.
func parseSize(s string) (uint64, bool) {
	end := strings.IndexFunc(s, func(r rune) bool { return (r < '0' || r > '9') && r != '.' })
	if end < 0 {
		end = len(s)
	}
	factor, ok := factors[strings.ToLower(s[end:])]
	if !ok {
		return 0, false
	}
	if n, err := strconv.ParseUint(s[:end], 10, 64); err == nil {
		return n * factor, n <= math.MaxUint64/factor
	}
	x, err := strconv.ParseFloat(s[:end], 64)
	if err != nil {
		return 0, false
	}
	x = math.Round(x * float64(factor))
	return uint64(x), x < 1<<63
}

// parseSpan reads a length of time, and returns it in ms.
func parseSpan(s string) (uint64, bool) {
	var d time.Duration
	if days, ok := strings.CutSuffix(s, "d"); ok {
		n, err := strconv.ParseUint(days, 10, 16)
		if err != nil {
			return 0, false
		}
		d = time.Duration(n) * 24 * time.Hour
	} else {
		var err error
		if d, err = time.ParseDuration(s); err != nil || d < 0 {
			return 0, false
		}
	}
	return uint64(d / time.Millisecond), d%time.Millisecond == 0
}

// text returns the value in its canonical form, which parseValue reads again.
func (v Value) text(f *Field) string {
	switch v.Kind {
	case NoEntity:
		return "none"
	case Anything:
		return "any"
	case ByName, ByPattern:
		return enquote(v.Text)
	case ByID:
		return "#" + strconv.FormatUint(v.Low, 10)
	case Addresses:
		return addressText(v)
	default:
		if v.Low != v.High {
			return strconv.FormatUint(v.Low, 10) + "-" + strconv.FormatUint(v.High, 10)
		}
		return f.Format(v.Low)
	}
}

// Format returns the text of a number in the field, as a filter takes it: "tcp", "443", "syn+ack", "1500ms".
func (f *Field) Format(n uint64) string {
	switch f.Type {
	case Enum:
		return nameOf(f.words, n)
	case Bool:
		return strconv.FormatBool(n != 0)
	case MAC:
		return FormatMAC(n)
	case Flags:
		return FlagNames(uint16(n))
	case Protocol:
		return nameOf(protocols, n)
	case EtherType:
		return nameOf(etherTypes, n)
	case DSCP:
		return nameOf(codePoints, n)
	case Span:
		return strconv.FormatUint(n, 10) + "ms"
	default:
		return strconv.FormatUint(n, 10)
	}
}
