package explain

import (
	"cmp"
	"fmt"
	"math/big"
	"net/netip"
	"slices"
	"strings"

	"github.com/weirhq/weir/estate"
	"github.com/weirhq/weir/policyd/policy"
)

// Kinds of groups, as policy.GroupDifference says them.
const (
	kindAddress = "address-group"
	kindVM      = "vm-group"
)

const addressWord = kindAddress + ":"

// group says what became of a group, and of which rules that is about.
func (w *work) group(d *policy.GroupDifference) Point {
	p := Point{Mark: map[policy.Change]string{policy.Added: "+", policy.Removed: "-", policy.Changed: "~"}[d.Change], Kind: d.Kind, Group: d.Name, Effect: None, idle: idleGroup}
	noun := map[string]string{kindAddress: "Address group", kindVM: "VM group"}[d.Kind]
	name := fmt.Sprintf("%s %q", noun, d.Name)
	of := w.after
	if d.Change == policy.Removed {
		of = w.before
	}
	users := w.users(of, d.Kind, d.Name)
	var change reach
	if d.Kind == kindAddress {
		change = w.addresses(d.Name)
	} else {
		change = reach{gains: len(d.Added) > 0, loses: len(d.Removed) > 0}
	}
	switch d.Change {
	case policy.Added:
		p.Text = fmt.Sprintf("%s is added: %s%s", name, memberText(d.Added), change.gained)
		change = w.former(users, w.before) // of a rule that named it before, it was another group of that name
	case policy.Removed:
		p.Text = fmt.Sprintf("%s is removed: it held %s%s", name, memberText(d.Removed), change.lost)
		change = w.former(users, w.after)
	default:
		var words []string
		if len(d.Added) > 0 {
			words = append(words, "gains "+memberText(d.Added)+change.gained)
		}
		if len(d.Removed) > 0 {
			words = append(words, "loses "+memberText(d.Removed)+change.lost)
		}
		p.Text = name + " " + join(words)
		if d.Kind == kindAddress && !change.gains && !change.loses {
			p.Text, p.idle = p.Text+", which are the same addresses", idleWritten
		}
	}
	for _, r := range users {
		switch {
		case r.Action == policy.Allow && change.gains, r.Action == policy.Deny && change.loses:
			p.Effect = p.Effect.and(Opens)
		}
		switch {
		case r.Action == policy.Deny && change.gains, r.Action == policy.Allow && change.loses:
			p.Effect = p.Effect.and(Closes)
		}
		if r.Action == policy.Shadow && p.Effect == None {
			p.idle = idleShadow
		}
	}
	var names []string
	for _, r := range users {
		names = append(names, full(r))
	}
	uses, used := "use", "used"
	if len(users) == 1 {
		uses = "uses"
	}
	switch {
	case len(users) == 0 && d.Change == policy.Removed:
		p.Text += "; no rule in force " + used + " it."
	case len(users) == 0:
		p.Text += "; no rule in force uses it."
	case d.Change == policy.Removed:
		p.Text += fmt.Sprintf("; %s %s it: %s.", counted(len(users), "rule"), used, some(names, 4))
	default:
		p.Text += fmt.Sprintf("; %s %s it: %s.", counted(len(users), "rule"), uses, some(names, 4))
	}
	if d.Kind == kindAddress && d.Change != policy.Removed {
		w.groupDangers(d.Name, len(users))
	}
	return p
}

// former is the change of a group for users of which some name it in the other policy, too, where it is another one or none.
func (w *work) former(users []*policy.Rule, other *side) reach {
	for _, r := range users {
		if o := other.at[r.ID]; o != nil && o.rule.Remote == r.Remote && w.inForce(o) {
			return reach{gains: true, loses: true}
		}
	}
	return reach{}
}

// users returns the rules in force whose remote is the group, or one that holds it.
func (w *work) users(s *side, kind, name string) (list []*policy.Rule) {
	names := map[string]bool{name: true}
	for more := true; more; {
		more = false
		hold := func(outer, inner string) {
			if names[inner] && !names[outer] {
				names[outer], more = true, true
			}
		}
		if kind == kindAddress {
			for i := range s.policy.AddressGroups {
				for _, m := range s.policy.AddressGroups[i].Members {
					if inner, ok := strings.CutPrefix(m, addressWord); ok {
						hold(s.policy.AddressGroups[i].Name, inner)
					}
				}
			}
		} else {
			for i := range s.policy.VMGroups {
				for _, inner := range s.policy.VMGroups[i].Groups {
					hold(s.policy.VMGroups[i].Name, inner)
				}
			}
		}
	}
	for r := range s.policy.Rules() {
		of := r.Remote.AddressGroup
		if kind == kindVM {
			of = r.Remote.VMGroup
		}
		if of != "" && names[of] && r.InForce(w.now) {
			list = append(list, r)
		}
	}
	return list
}

// reach is whether a group holds more and less than before, and in words how much.
type reach struct {
	gains, loses bool
	gained, lost string // " (256 addresses)"; "": it is not known, or nothing to say
}

// addresses compares what an address group holds.
func (w *work) addresses(name string) reach {
	was, wasMore := w.before.members(name)
	is, isMore := w.after.members(name)
	all := merge(append(slices.Clone(was), is...))
	whole, a, b := sizeOf(all), sizeOf(merge(was)), sizeOf(merge(is))
	r := reach{gains: whole.more(a) || !slices.Equal(wasMore, isMore), loses: whole.more(b) || !slices.Equal(wasMore, isMore)}
	if len(wasMore)+len(isMore) == 0 {
		r.gained, r.lost = whole.minus(a).words(), whole.minus(b).words()
	}
	return r
}

// members returns the spans of addresses that a group of the policy holds, by its own and by those of groups in it, and the names of groups in it that are not the policy's.
func (s *side) members(name string) (spans []span, others []string) {
	byName := map[string]*policy.AddressGroup{}
	for i := range s.policy.AddressGroups {
		byName[s.policy.AddressGroups[i].Name] = &s.policy.AddressGroups[i]
	}
	seen := map[string]bool{}
	var add func(name string)
	add = func(name string) {
		g := byName[name]
		switch {
		case seen[name]:
			return
		case g == nil:
			others = append(others, name)
		}
		seen[name] = true
		if g == nil {
			return
		}
		for _, m := range g.Members {
			if inner, ok := strings.CutPrefix(m, addressWord); ok {
				add(inner)
			} else if list, err := estate.ParseMember(m); err == nil { // the policy is valid
				for _, p := range list {
					spans = append(spans, span{p.Addr(), lastOf(p)})
				}
			}
		}
	}
	if byName[name] != nil {
		add(name)
	}
	slices.Sort(others)
	return spans, others
}

// span is the addresses from one to another one of the same family, both included.
type span struct{ from, to netip.Addr }

func lastOf(p netip.Prefix) netip.Addr {
	b := p.Addr().AsSlice()
	for i := p.Bits(); i < 8*len(b); i++ {
		b[i/8] |= 0x80 >> (i % 8)
	}
	a, _ := netip.AddrFromSlice(b) // of 4 or 16 bytes
	return a
}

// merge returns the same addresses in disjoint spans, ascending.
func merge(list []span) []span {
	sorted := slices.SortedFunc(slices.Values(list), func(a, b span) int { return cmp.Or(a.from.Compare(b.from), a.to.Compare(b.to)) })
	var out []span
	for _, s := range sorted {
		if n := len(out); n > 0 && s.from.BitLen() == out[n-1].to.BitLen() && !out[n-1].to.Less(s.from) {
			if out[n-1].to.Less(s.to) {
				out[n-1].to = s.to
			}
			continue
		}
		out = append(out, s)
	}
	return out
}

// size is how many addresses of each family there are.
type size struct{ v4, v6 *big.Int }

func sizeOf(merged []span) size {
	n := size{new(big.Int), new(big.Int)}
	for _, s := range merged {
		of := n.v6
		if s.from.Is4() {
			of = n.v4
		}
		d := new(big.Int).Sub(new(big.Int).SetBytes(s.to.AsSlice()), new(big.Int).SetBytes(s.from.AsSlice()))
		of.Add(of, d.Add(d, big.NewInt(1)))
	}
	return n
}

func (n size) more(o size) bool { return n.v4.Cmp(o.v4) > 0 || n.v6.Cmp(o.v6) > 0 }

func (n size) minus(o size) size {
	return size{new(big.Int).Sub(n.v4, o.v4), new(big.Int).Sub(n.v6, o.v6)}
}

// words says the size in parentheses, with a space before; "" of one address or none.
func (n size) words() string {
	if sum := new(big.Int).Add(n.v4, n.v6); sum.Cmp(big.NewInt(1)) <= 0 {
		return ""
	}
	var list []string
	for _, x := range []struct {
		n      *big.Int
		family string
	}{{n.v4, ""}, {n.v6, "IPv6 "}} {
		switch {
		case x.n.Sign() == 0:
		case x.n.IsUint64() && x.n.Uint64() == 1:
			list = append(list, "1 "+x.family+"address")
		default:
			list = append(list, amount(x.n)+" "+x.family+"addresses")
		}
	}
	return " (" + join(list) + ")"
}

// amount says a number as people do: 256, 16.8 million, 2^64.
func amount(n *big.Int) string {
	if n.BitLen() > 50 {
		about := ""
		if new(big.Int).Lsh(big.NewInt(1), uint(n.BitLen()-1)).Cmp(n) != 0 {
			about = "about "
		}
		return fmt.Sprintf("%s2^%d", about, n.BitLen()-1)
	}
	f := float64(n.Uint64())
	for _, u := range []struct {
		one  float64
		noun string
	}{{1e12, "trillion"}, {1e9, "billion"}, {1e6, "million"}} {
		if f >= u.one {
			return strings.TrimSuffix(fmt.Sprintf("%.1f", f/u.one), ".0") + " " + u.noun
		}
	}
	return n.String()
}

// memberText lists members.
func memberText(list []string) string {
	if len(list) == 0 {
		return "nothing"
	}
	return some(list, 6)
}

// groupDangers warns of an address group that holds everything or nothing.
func (w *work) groupDangers(name string, users int) {
	if users == 0 {
		return
	}
	was, _ := w.before.members(name)
	is, others := w.after.members(name)
	before, after := sizeOf(merge(was)), sizeOf(merge(is))
	for _, x := range []struct {
		was, is *big.Int
		bits    uint
		family  string
	}{{before.v4, after.v4, 32, "IPv4"}, {before.v6, after.v6, 128, "IPv6"}} {
		if all := new(big.Int).Lsh(big.NewInt(1), x.bits); x.is.Cmp(all) == 0 && x.was.Cmp(all) != 0 {
			w.warn("Address group %q holds every %s address.", name, x.family)
		}
	}
	if len(is)+len(others) == 0 {
		w.warn("Address group %q is empty: rules that name it match nobody.", name)
	}
}
