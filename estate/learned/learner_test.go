package learned_test

import (
	"encoding/binary"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/weirhq/weir/estate"
	"github.com/weirhq/weir/estate/learned"
	"github.com/weirhq/weir/event"
	"github.com/weirhq/weir/flow"
)

// told keeps events.
type told struct {
	mu   sync.Mutex
	list []event.Event
}

func (s *told) Emit(e event.Event) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.list = append(s.list, e)
}

// site is an estate of VMs v1, v2, … at one bridge, and a Learner.
type site struct {
	*learned.Learner
	t      *testing.T
	estate *estate.Assembler
	holder *estate.Holder
	events told
	now    time.Time
	file   string
}

func newSite(t *testing.T, vms int, file string, now time.Time) *site {
	t.Helper()
	s := &site{t: t, holder: estate.NewHolder(), now: now, file: file}
	s.estate = estate.NewAssembler(estate.AssemblerDeps{Log: slog.New(slog.DiscardHandler), Estate: s.holder})
	s.learn()
	m := &estate.Model{
		Hosts:    []estate.Host{{Name: "hv1", UUID: "11111111-0000-4000-8000-000000000001", Bridges: []estate.Bridge{{Name: "br0"}}}},
		Networks: []estate.Network{{Name: "front", Bridge: "br0"}},
	}
	for i := range vms {
		m.VMs = append(m.VMs, estate.VM{Name: fmt.Sprint("v", i+1), Host: "hv1", VIFs: []estate.VIF{{
			Device: "0", MAC: mac + estate.MAC(i), Network: "front", Ports: []estate.Port{{Host: "hv1", Bridge: "br0", OFPort: uint32(i + 1)}},
		}}})
	}
	s.estate.Set("file", m, now)
	return s
}

// learn starts another Learner.
func (s *site) learn() {
	s.t.Helper()
	var err error
	s.Learner, err = learned.New(learned.Deps{
		Log: slog.New(slog.DiscardHandler), Estate: s.estate, Events: &s.events, File: s.file, Now: func() time.Time { return s.now },
	})
	if err != nil {
		s.t.Fatal(err)
	}
}

// sends has a VM send a frame, in which a zero stands for the number of a VM in its MAC address.
func (s *site) sends(port int, text string) {
	s.t.Helper()
	s.Frame(learned.Port{Host: "11111111-0000-4000-8000-000000000001", Bridge: "br0", OFPort: uint32(port)}, frame(s.t, text))
}

// announces has a VM announce an address.
func (s *site) announces(vm int, addr string) {
	s.t.Helper()
	a := netip.MustParseAddr(addr).As4()
	s.sends(vm, fmt.Sprintf("ffffffffffff 0200000000%02x 0806 0001 0800 06 04 0001 0200000000%02x %08x 000000000000 %08x", vm, vm, binary.BigEndian.Uint32(a[:]), binary.BigEndian.Uint32(a[:])))
	s.Settle()
}

// whose returns the VIF of an address, as flows see it; "": nobody's.
func (s *site) whose(addr string) string {
	ref, match := s.holder.Load().Addr(flow.Addr(netip.MustParseAddr(addr).As16()), 0)
	if match != estate.Hit {
		return ""
	}
	e, _ := s.holder.Load().Entity(flow.ID(s.holder.Load().Endpoint(ref).ID))
	return e.Name
}

// kinds returns what was told since the last call.
func (s *site) kinds() string {
	s.events.mu.Lock()
	defer s.events.mu.Unlock()
	var list []string
	for _, e := range s.events.list {
		list = append(list, string(e.Kind)+" "+e.Subject+" "+e.Attributes["address"])
	}
	s.events.list = nil
	return strings.Join(list, ", ")
}

func (s *site) has(what, addr, want string) {
	s.t.Helper()
	if got := s.whose(addr); got != want {
		s.t.Errorf("%s: %s is of %q, want %q", what, addr, got, want)
	}
}

func (s *site) tells(what, want string) {
	s.t.Helper()
	if got := s.kinds(); got != want {
		s.t.Errorf("%s: told %q, want %q", what, got, want)
	}
}

// What VMs announce is in the estate, with where it comes from; what contradicts is told once.
func TestLearner(t *testing.T) {
	s := newSite(t, 3, "", noon)
	s.announces(1, "198.51.100.7")
	s.has("announced", "198.51.100.7", "v1/0")
	e := s.estate.Explain("198.51.100.7")
	if got := fmt.Sprintf("%+v", e); !strings.Contains(got, "learned:arp") || !strings.Contains(got, "medium") || !strings.Contains(got, "nobody else has it") {
		t.Errorf("explained without its source and confidence: %s", got)
	}
	s.sends(1, arpHead+"0001 020000000002 c6336408 000000000000 c6336408") // says nothing: the sender is another one
	s.sends(1, "ffffffffffff 020000000099 0806 0001 0800 06 04 0001 020000000099 c6336408 000000000000 c6336408")
	s.sends(9, arpHead+"0001"+arpTail)
	s.Settle()
	s.has("announced by whoever is behind the VIF", "198.51.100.8", "")

	s.announces(2, "198.51.100.7")
	s.has("claimed by another", "198.51.100.7", "v1/0")
	s.tells("claimed by another", "address_conflict v2/0 198.51.100.7")
	s.announces(2, "198.51.100.7")
	s.tells("claimed again", "")
	if got := fmt.Sprintf("%+v", s.estate.Explain("198.51.100.7")); !strings.Contains(got, "not used: another VIF has it") {
		t.Errorf("who claims it is not explained: %s", got)
	}

	s.now = s.now.Add(59 * time.Minute)
	s.announces(1, "198.51.100.7")
	s.now = s.now.Add(2 * time.Minute)
	s.Settle()
	s.has("of v2's claim it is too long ago", "198.51.100.7", "v1/0")
	s.now = s.now.Add(time.Hour)
	s.Settle()
	s.has("of v1's claim, too", "198.51.100.7", "")

	for i := range 100 {
		s.announces(3, fmt.Sprint("10.0.0.", i+1))
	}
	s.tells("a flood", "address_flood v3/0 10.0.0.17")
	for i := range 16 {
		s.announces(1, fmt.Sprint("10.0.0.", i+1))
	}
	if n := strings.Count(s.kinds(), "address_conflict"); n != 8 {
		t.Errorf("%d conflicts of one VIF are told at a time, want 8", n)
	}
}

// An address comes by DHCP if the VIF asked for it, whoever answers, and goes when it is given back.
func TestDHCP(t *testing.T) {
	s := newSite(t, 2, "", noon)
	request := dhcpHead + "0044 0043 0134 0000" + bootp("01", "00000000", "00000000", "350103 3204c6336407 ff")
	ack := strings.Replace(dhcpHead, "020000000001", "0200000000ee", 1) + "0043 0044 0134 0000" + bootp("02", "00000000", "c6336407", "350105 330400000e10 ff")
	s.sends(0xfffe, ack)
	s.Settle()
	s.has("an answer that nobody asked for", "198.51.100.7", "")
	s.sends(1, request)
	s.sends(77, strings.Replace(ack, "3903f326", "3903f327", 1))
	s.Settle()
	s.has("an answer to another question", "198.51.100.7", "")
	s.sends(77, ack)
	s.Settle()
	s.has("an answer", "198.51.100.7", "v1/0")
	if got := fmt.Sprintf("%+v", s.estate.Explain("v1/0")); !strings.Contains(got, "learned:dhcp") || !strings.Contains(got, "high") {
		t.Errorf("explained without its source and confidence: %s", got)
	}
	s.announces(2, "198.51.100.7")
	s.now = s.now.Add(10 * time.Minute)
	s.announces(2, "198.51.100.7")
	s.has("a lease that another one claims", "198.51.100.7", "v1/0")
	s.sends(1, dhcpHead+"0044 0043 0134 0000"+bootp("01", "c6336407", "00000000", "350107 ff"))
	s.Settle()
	s.has("given back", "198.51.100.7", "v2/0")

	// A question is forgotten with its VIF.
	s.sends(1, request)
	s.estate.Set("file", &estate.Model{}, s.now)
	s.Settle()
	if n := s.Asked(); n != 0 {
		t.Errorf("questions of %d VIFs that are gone are remembered", n)
	}
}

// What was learned is there before anything else after a restart, and what is damaged is as if there were nothing.
func TestLearnedOverRestart(t *testing.T) {
	file := filepath.Join(t.TempDir(), "learned.json")
	s := newSite(t, 2, file, noon)
	s.announces(1, "198.51.100.7")
	s.announces(2, "198.51.100.8")
	s = newSite(t, 2, file, noon.Add(10*time.Minute)) // 198.51.100.8 came within keepEvery, and the Weir was killed
	s.has("before the first look", "198.51.100.7", "v1/0")
	s.Settle()
	s.has("after it", "198.51.100.7", "v1/0")
	s.has("what was not kept", "198.51.100.8", "")
	if err := os.WriteFile(file, []byte(`{"form":1,"known":[{`), 0o600); err != nil {
		t.Fatal(err)
	}
	s = newSite(t, 2, file, noon.Add(10*time.Minute))
	s.has("of a damaged file", "198.51.100.7", "")
}

// From the flows of a VIF its addresses are learned where they are of its network.
func TestFlows(t *testing.T) {
	s := newSite(t, 1, "", noon)
	m := *s.estate.Model()
	key := m.VMs[0].VIFs[0].Key
	sent := []learned.Sent{{VIF: flow.NewID(flow.KindVIF, key), Addr: netip.MustParseAddr("::ffff:198.51.100.7")}, {VIF: 5, Addr: a1}, {VIF: flow.NewID(flow.KindVIF, key), Addr: netip.MustParseAddr("198.51.100.9"), MAC: 0x020000000099}}
	s.Flows(sent)
	s.Settle()
	s.has("without a subnet", "198.51.100.7", "")
	if got := fmt.Sprintf("%+v", s.estate.Explain("198.51.100.7")); !strings.Contains(got, "learned:flow") || !strings.Contains(got, "no subnet") {
		t.Errorf("not explained: %s", got)
	}
	s.estate.Set("policy", &estate.Model{Networks: []estate.Network{{Name: "front", Bridge: "br0", Subnets: []netip.Prefix{netip.MustParsePrefix("198.51.100.0/24")}}}}, noon)
	s.Settle()
	s.has("of a subnet", "198.51.100.7", "v1/0")
}
