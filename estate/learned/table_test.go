package learned_test

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/weirhq/weir/estate"
	"github.com/weirhq/weir/estate/learned"
)

var (
	noon = time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)
	a1   = netip.MustParseAddr("198.51.100.1")
	a2   = netip.MustParseAddr("198.51.100.2")
)

// usedBy returns which VIFs have an address.
func usedBy(list estate.LearnedAt, addr netip.Addr) (keys []string) {
	for key, learned := range list {
		for _, l := range learned {
			if l.Addr == addr && l.Used {
				keys = append(keys, key)
			}
		}
	}
	slices.Sort(keys)
	return keys
}

func in(network string, told ...netip.Addr) learned.Place {
	return learned.Place{Network: network, Told: told}
}

func TestWhoHasAnAddress(t *testing.T) {
	type step struct {
		after time.Duration // noon
		vif   string        // "": nobody is seen
		from  learned.Source
		want  []string
	}
	subnet := in("n")
	subnet.Subnets = []netip.Prefix{netip.MustParsePrefix("198.51.100.0/24")}
	f := func(name string, places map[string]learned.Place, findings int, steps ...step) {
		t.Helper()
		var table learned.Table
		got := 0
		for i, s := range steps {
			now := noon.Add(s.after)
			if s.vif != "" {
				table.See(s.vif, a1, s.from, time.Hour, now)
			}
			list, found := table.Settle(now, places)
			got += len(found)
			if used := usedBy(list, a1); !slices.Equal(used, s.want) {
				t.Errorf("%s, step %d: %v has it, want %v: %+v", name, i, used, s.want, list)
			}
		}
		if got != findings {
			t.Errorf("%s: %d findings, want %d", name, got, findings)
		}
	}
	const s, m = time.Second, time.Minute
	two := map[string]learned.Place{"a": in("n"), "b": in("n")}
	x, y := []string{"a"}, []string{"b"}
	f("announced, aged", two, 0, step{0, "a", learned.ARP, x}, step{59 * m, "", 0, x}, step{61 * m, "", 0, nil})
	f("a lease is kept to its end", two, 0, step{0, "a", learned.DHCP, x}, step{59 * m, "", 0, x}, step{61 * m, "", 0, nil})
	f("who has it keeps it", two, 1, step{0, "a", learned.ARP, x}, step{s, "b", learned.ARP, x}, step{m, "a", learned.ARP, x}, step{2 * m, "b", learned.ARP, x})
	f("who goes loses it", two, 2, step{0, "a", learned.ARP, x}, step{s, "b", learned.ARP, x}, step{3 * m, "b", learned.ARP, y})
	f("a lease is not taken by an announcement", two, 1, step{0, "a", learned.DHCP, x}, step{10 * m, "b", learned.ARP, x})
	f("an announcement gives way to a lease when it is silent", two, 2, step{0, "a", learned.ARP, x}, step{s, "b", learned.DHCP, x}, step{3 * m, "b", learned.DHCP, y})
	f("two networks", map[string]learned.Place{"a": in("n"), "b": in("o")}, 0, step{0, "a", learned.ARP, x}, step{s, "b", learned.ARP, []string{"a", "b"}})
	f("a network that is not known", map[string]learned.Place{"a": in(""), "b": in("")}, 0, step{0, "a", learned.ARP, x}, step{s, "b", learned.ARP, []string{"a", "b"}})
	f("told of another", map[string]learned.Place{"a": in("n", a1), "b": in("n")}, 1, step{0, "b", learned.DHCP, nil}, step{m, "b", learned.DHCP, nil})
	f("told of it", map[string]learned.Place{"a": in("n", a1), "b": in("n")}, 0, step{0, "a", learned.ARP, x})
	f("told to have another", map[string]learned.Place{"a": in("n", a2)}, 1, step{0, "a", learned.ARP, x}, step{m, "a", learned.ARP, x})
	f("flows alone", two, 0, step{0, "a", learned.Flow, nil})
	f("flows of the subnet", map[string]learned.Place{"a": subnet}, 0, step{0, "a", learned.Flow, x}, step{16 * m, "", 0, nil})
}

// A VM that claims ever new addresses costs what maxAddrs do, and is told of once; its lease has room all the same.
func TestFlood(t *testing.T) {
	var table learned.Table
	places := map[string]learned.Place{"a": in("n"), "b": in("n", a1)}
	told := 0
	for i := range 1 << 20 {
		table.See("a", netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}), learned.ARP, 0, noon)
		if i%(1<<17) == 0 {
			_, found := table.Settle(noon, places)
			told += len(found)
		}
	}
	table.See("a", a2, learned.DHCP, time.Hour, noon)
	list, found := table.Settle(noon, places)
	if told += len(found); told != 1 || len(list["a"]) != learned.MaxAddrs || len(usedBy(list, a2)) != 1 {
		t.Errorf("%d findings and %d addresses, want 1 and %d: %+v", told, len(list["a"]), learned.MaxAddrs, list)
	}
	list, _ = table.Settle(noon.Add(2*time.Hour), places)
	if len(list) != 0 {
		t.Errorf("after two hours %+v is there", list)
	}
	table.See("a", a2, learned.ARP, 0, noon)
	_, _ = table.Settle(noon, map[string]learned.Place{})
	if list, _ = table.Settle(noon.Add(11*time.Minute), map[string]learned.Place{}); len(list) != 0 {
		t.Errorf("of a VIF that is gone %+v is there", list)
	}
}

// What is kept is what was there, whatever is in a file besides.
func TestRecall(t *testing.T) {
	var table learned.Table
	places := map[string]learned.Place{"a": in("n"), "b": in("n")}
	table.See("a", a1, learned.DHCP, time.Hour, noon)
	table.See("a", a1, learned.ARP, 0, noon.Add(time.Second))
	table.See("b", a1, learned.ARP, 0, noon.Add(2*time.Second))
	want, _ := table.Settle(noon.Add(3*time.Second), places)
	kept := table.Keep()
	now := noon.Add(10 * time.Second)
	var next learned.Table
	got := next.Recall(append(kept,
		learned.Kept{VIF: "c", Addr: netip.Addr{}, From: "arp", First: noon, Last: noon, Until: now.Add(time.Minute)},
		learned.Kept{VIF: "c", Addr: a1, From: "gossip", First: noon, Last: noon, Until: now.Add(time.Minute)},
		learned.Kept{VIF: "c", Addr: a1, From: "arp", First: noon, Last: noon, Until: now.Add(1000 * time.Hour)},
		learned.Kept{VIF: "c", Addr: a1, From: "arp", First: noon, Last: now.Add(time.Hour), Until: now.Add(time.Minute)},
		learned.Kept{VIF: "c", Addr: a1, From: "arp", First: noon, Last: noon, Until: noon},
	), now)
	if d := gocmp.Diff(want, got, cmpopts.IgnoreFields(estate.Learned{}, "Why"), cmpopts.EquateComparable(netip.Addr{})); d != "" {
		t.Errorf("what is recalled differs from what was there (-want +got):\n%s", d)
	}
	settled, _ := next.Settle(now, places)
	if d := gocmp.Diff(want, settled, cmpopts.EquateComparable(netip.Addr{})); d != "" {
		t.Errorf("what is recalled settles otherwise (-want +got):\n%s", d)
	}
}

// slow is a table as a list of words, and says who has what by its rules in the order in which docs/explanation/estate.md has them.
type slow struct {
	words []word
	had   map[string]string // by network and address
}

type word struct {
	vif   string
	addr  netip.Addr
	from  learned.Source
	at    time.Time
	until time.Time
}

func (s *slow) see(w word) {
	addrs := map[netip.Addr]bool{}
	for _, o := range s.words {
		if o.vif == w.vif {
			addrs[o.addr] = true
		}
	}
	if !addrs[w.addr] && len(addrs) >= learned.MaxAddrs {
		panic("the test is not about that")
	}
	s.words = append(s.words, w)
}

// alive returns what is believed of an address of a VIF: how much, from when and until when it was seen; 0: nothing.
func (s *slow) alive(vif string, addr netip.Addr, now time.Time) (belief int, first, last time.Time) {
	latest := map[learned.Source]word{}
	for _, w := range s.words {
		if w.vif != vif || w.addr != addr {
			continue
		}
		latest[w.from] = w
		if first.IsZero() || w.at.Before(first) {
			first = w.at
		}
		if w.at.After(last) {
			last = w.at
		}
	}
	for from, w := range latest {
		if w.until.After(now) {
			belief = max(belief, map[learned.Source]int{learned.Flow: 1, learned.ARP: 2, learned.ND: 2, learned.DHCP: 3}[from])
		}
	}
	return belief, first, last
}

func (s *slow) settle(now time.Time, places map[string]learned.Place) map[string]string {
	var keys []string
	for key := range places {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	var addrs []netip.Addr
	for _, w := range s.words {
		if !slices.Contains(addrs, w.addr) {
			addrs = append(addrs, w.addr)
		}
	}
	for i := 0; i < len(s.words); i++ { // a claim that ended begins anew
		if belief, _, _ := s.alive(s.words[i].vif, s.words[i].addr, now); belief == 0 {
			s.words = slices.Delete(s.words, i, i+1)
			i--
		}
	}
	out, had := map[string]string{}, map[string]string{}
	for _, addr := range addrs {
		for _, network := range []string{"n", "o"} {
			var claims []string
			told := ""
			for _, key := range keys {
				p := places[key]
				if p.Network != network {
					continue
				}
				has := slices.Contains(p.Told, addr)
				if has && told == "" {
					told = key
				}
				switch belief, _, _ := s.alive(key, addr, now); {
				case belief == 0:
				case has:
					out[key+" "+addr.String()] = "used"
					claims = append(claims, key)
				case belief == 1 && !slices.ContainsFunc(p.Subnets, func(x netip.Prefix) bool { return x.Contains(addr) }):
				default:
					claims = append(claims, key)
				}
			}
			if told != "" || len(claims) == 0 {
				continue
			}
			at := network + addr.String()
			order := func(latest bool) string {
				return slices.MinFunc(claims, func(a, b string) int {
					x, firstX, lastX := s.alive(a, addr, now)
					y, firstY, lastY := s.alive(b, addr, now)
					if latest {
						return cmp.Or(y-x, lastY.Compare(lastX), cmp.Compare(a, b))
					}
					return cmp.Or(y-x, firstX.Compare(firstY), cmp.Compare(a, b))
				})
			}
			holder := s.had[at]
			switch best := order(true); {
			case holder == "":
				holder = order(false)
			case !slices.Contains(claims, holder):
				holder = best
			default:
				x, _, lastX := s.alive(holder, addr, now)
				y, _, lastY := s.alive(best, addr, now)
				if y >= x && lastY.Sub(lastX) > 2*time.Minute {
					holder = best
				}
			}
			had[at] = holder
			out[holder+" "+addr.String()] = "used"
		}
	}
	s.had = had
	return out
}

// The table says what the slow twin says, whatever happens.
func TestTableIsItsTwin(t *testing.T) {
	const seeds = 60
	for seed := range uint64(seeds) {
		r := rand.New(rand.NewPCG(seed, 1))
		var table learned.Table
		twin := slow{had: map[string]string{}}
		pick := func() netip.Addr { return netip.AddrFrom4([4]byte{198, 51, 100, byte(1 + r.IntN(4))}) }
		place := func() learned.Place {
			p := learned.Place{Network: []string{"n", "n", "o"}[r.IntN(3)]}
			if r.IntN(4) == 0 {
				p.Told = []netip.Addr{pick()}
			}
			if r.IntN(3) == 0 {
				p.Subnets = []netip.Prefix{netip.MustParsePrefix("198.51.100.0/30")}
			}
			return p
		}
		places := map[string]learned.Place{}
		for i := range 5 {
			places[fmt.Sprint("v", i)] = place()
		}
		now := noon
		for step := range 80 {
			now = now.Add(time.Duration(r.IntN(400)) * time.Second)
			for range r.IntN(4) {
				vif, addr, from := fmt.Sprint("v", r.IntN(5)), pick(), learned.Source(r.IntN(4))
				lease := time.Duration(r.IntN(7200)) * time.Second
				table.See(vif, addr, from, lease, now)
				keeps := map[learned.Source]time.Duration{learned.Flow: 15 * time.Minute, learned.ARP: time.Hour, learned.ND: time.Hour, learned.DHCP: max(time.Minute, lease)}
				twin.see(word{vif, addr, from, now, now.Add(keeps[from])})
				now = now.Add(time.Millisecond)
			}
			if r.IntN(10) == 0 {
				vif, addr := fmt.Sprint("v", r.IntN(5)), pick()
				table.Leave(vif, addr)
				twin.words = slices.DeleteFunc(twin.words, func(w word) bool { return w.vif == vif && w.addr == addr })
			}
			if r.IntN(10) == 0 {
				places[fmt.Sprint("v", r.IntN(5))] = place()
			}
			list, _ := table.Settle(now, places)
			got := map[string]string{}
			for key, learned := range list {
				for _, l := range learned {
					if l.Used {
						got[key+" "+l.Addr.String()] = "used"
					}
				}
			}
			if d := gocmp.Diff(twin.settle(now, places), got); d != "" {
				t.Fatalf("seed %d, step %d: table and twin differ (-twin +table):\n%s\n%+v", seed, step, d, list)
			}
		}
	}
}
