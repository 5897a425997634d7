package policy

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/weirhq/weir/estate"
	"github.com/weirhq/weir/flow"
	"github.com/weirhq/weir/internal/bytesize"
)

// Settings are what a level says of the ports of VIFs. A setting that is not said is that of the level above; of those who say it, the
// lowest level wins, whole: nothing is added up. settingKeys lists them.
type Settings struct {
	RateOut          Limit      `yaml:"rate_out,omitempty" doc:"How fast the VM may send, and how much at once: 100Mbit/s, or 100Mbit/s burst 2MB; off: as fast as it can."`
	RateIn           Limit      `yaml:"rate_in,omitempty" doc:"The same of what the VM gets."`
	Mirror           Mirror     `yaml:"mirror,omitempty" doc:"Where a copy of the traffic goes: the name of one of mirror_targets, for both directions, or NAME in (what the VM gets) or NAME out; off: nowhere."`
	GuardMAC         Switch     `yaml:"guard_mac,omitempty" doc:"Drop what the VM sends with a source MAC address that it may not use; on, unless a level says otherwise."`
	GuardIP          Switch     `yaml:"guard_ip,omitempty" doc:"Drop what it sends with a source IP address that it may not use, also in ARP and neighbour discovery, as far as its addresses are known; and with a source MAC address that it may not use, whatever guard_mac says."`
	GuardDHCP        Switch     `yaml:"guard_dhcp,omitempty" doc:"Drop what a DHCP server sends."`
	GuardRA          Switch     `yaml:"guard_ra,omitempty" doc:"Drop IPv6 router advertisements that it sends."`
	Quarantine       Quarantine `yaml:"quarantine,omitempty" doc:"Quarantine the VIF when guards drop its packets again and again, until somebody releases it: mac, for its source MAC addresses; any, for whatever a guard drops; off."`
	AllowedAddresses Pairs      `yaml:"allowed_addresses,omitempty" doc:"What the VM may use besides its own addresses, as clusters do: MAC addresses, addresses and prefixes, or both, 00:00:5e:00:01:0a 192.0.2.1; several with commas; off: none."`
}

// builtIn is what holds where no level says anything.
var builtIn = Settings{
	RateOut: Limit{Off: true}, RateIn: Limit{Off: true}, Mirror: Mirror{Off: true}, GuardMAC: On, GuardIP: Off, GuardDHCP: Off, GuardRA: Off,
	Quarantine: QuarantineOff, AllowedAddresses: Pairs{Off: true},
}

// settingKey is one of Settings. Its text is that of the document; "" says nothing.
type settingKey struct {
	name    string // key in the document
	text    func(*Settings) string
	take    func(to, from *Settings)
	sayable sayable
}

func keyOf[T any, V value[T]](name string, field func(*Settings) *T) settingKey {
	return settingKey{
		name, func(s *Settings) string { return V(field(s)).String() }, func(to, from *Settings) { *field(to) = *field(from) },
		sayableOf[T, V](name, "global.settings."+name, Levels, func(l *level) *T {
			if l.settings == nil {
				return nil
			}
			return field(l.settings)
		}),
	}
}

// settingKeys are the settings, in the order of the document; a test compares them with the fields.
var settingKeys = []settingKey{
	keyOf("rate_out", func(s *Settings) *Limit { return &s.RateOut }),
	keyOf("rate_in", func(s *Settings) *Limit { return &s.RateIn }),
	keyOf("mirror", func(s *Settings) *Mirror { return &s.Mirror }),
	keyOf("guard_mac", func(s *Settings) *Switch { return &s.GuardMAC }),
	keyOf("guard_ip", func(s *Settings) *Switch { return &s.GuardIP }),
	keyOf("guard_dhcp", func(s *Settings) *Switch { return &s.GuardDHCP }),
	keyOf("guard_ra", func(s *Settings) *Switch { return &s.GuardRA }),
	keyOf("quarantine", func(s *Settings) *Quarantine { return &s.Quarantine }),
	keyOf("allowed_addresses", func(s *Settings) *Pairs { return &s.AllowedAddresses }),
}

// equal reports whether two say the same.
func (s *Settings) equal(o *Settings) bool {
	return !slices.ContainsFunc(settingKeys, func(k settingKey) bool { return k.text(s) != k.text(o) })
}

// empty reports whether nothing is said.
func (s *Settings) empty() bool { return s.equal(&Settings{}) }

const off = "off"

// Switch is a setting that is on or off; "" says nothing.
type Switch string

// The values of Switch.
const (
	On  Switch = "on"
	Off Switch = off
)

func (s Switch) String() string { return string(s) }

// Allowed lists the values of Switch.
func (Switch) Allowed() []string { return []string{string(On), string(Off)} }

// UnmarshalText implements encoding.TextUnmarshaler.
func (s *Switch) UnmarshalText(text []byte) error { return oneOf(s, text, s.Allowed()) }

// Quarantine is for what a VIF is quarantined; "" says nothing.
type Quarantine string

// The values of Quarantine.
const (
	QuarantineMAC Quarantine = "mac" // for source MAC addresses that it may not use
	QuarantineAny Quarantine = "any" // for whatever a guard drops
	QuarantineOff Quarantine = off
)

func (q Quarantine) String() string { return string(q) }

// Allowed lists the values of Quarantine.
func (Quarantine) Allowed() []string {
	return []string{string(QuarantineMAC), string(QuarantineAny), string(QuarantineOff)}
}

// UnmarshalText implements encoding.TextUnmarshaler.
func (q *Quarantine) UnmarshalText(text []byte) error { return oneOf(q, text, q.Allowed()) }

// For reports whether a VIF is quarantined for what the guard with a built-in rule drops.
func (q Quarantine) For(instance uint32) bool {
	return q == QuarantineAny || q == QuarantineMAC && instance == flow.SystemSpoofedMAC
}

// Limit is how fast something may go. The zero value says nothing.
type Limit struct {
	Off   bool   // it is not limited
	Rate  uint64 // kbit/s
	Burst uint64 // bytes that may come at once; 0: what is usual, as [Limit.BurstBytes] says
}

// Bounds of a Limit.
const (
	MinRate  = 64            // kbit/s
	MaxRate  = 1_000_000_000 // kbit/s
	MinBurst = 1500          // bytes: one frame passes
	MaxBurst = 1 << 30       // bytes
)

// BurstBytes returns how many bytes may come at once: where nobody says, what is sent in 0.8 s, which Open vSwitch advises for TCP
// (ovs-vswitchd.conf.db(5), ingress_policing_burst), within the bounds.
func (l Limit) BurstBytes() uint64 {
	return cmp.Or(l.Burst, min(MaxBurst, max(MinBurst, l.Rate*100)))
}

// rateUnits in kbit/s, the largest first.
var rateUnits = []struct {
	name string
	kbit uint64
}{{"Gbit/s", 1_000_000}, {"Mbit/s", 1000}, {"kbit/s", 1}}

// String returns what ParseLimit reads.
func (l Limit) String() string {
	switch {
	case l.Off:
		return off
	case l.Rate == 0:
		return ""
	}
	text := rateText(l.Rate)
	if l.Burst != 0 {
		text += " burst " + burstText(l.Burst)
	}
	return text
}

// rateText writes a rate, which is in kbit/s, in the largest unit of which it is a whole number.
func rateText(kbit uint64) string {
	for _, u := range rateUnits {
		if kbit%u.kbit == 0 {
			return strconv.FormatUint(kbit/u.kbit, 10) + u.name
		}
	}
	panic("BUG: rateUnits ends with 1")
}

// burstText writes a size in decimal units, as rates are, if it is a whole number of them.
func burstText(n uint64) string {
	switch {
	case n%1_000_000 == 0:
		return strconv.FormatUint(n/1_000_000, 10) + "MB"
	case n%1000 == 0:
		return strconv.FormatUint(n/1000, 10) + "kB"
	}
	return bytesize.Size(n).String()
}

// Form says what the text looks like.
func (Limit) Form() string { return `off, or a rate, e.g. "100Mbit/s", "20Mbit/s burst 2MB"` }

// MarshalText implements encoding.TextMarshaler with [Limit.String].
func (l Limit) MarshalText() ([]byte, error) { return []byte(l.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler with [ParseLimit].
func (l *Limit) UnmarshalText(text []byte) (err error) {
	*l, err = ParseLimit(string(text))
	return err
}

// ParseLimit reads off, or a rate in whole kbit/s, Mbit/s or Gbit/s and perhaps a burst in bytes.
func ParseLimit(s string) (Limit, error) {
	if s == off {
		return Limit{Off: true}, nil
	}
	rate, burst, hasBurst := strings.Cut(s, " burst ")
	var l Limit
	for _, u := range rateUnits {
		number, ok := strings.CutSuffix(rate, u.name)
		if !ok {
			continue
		}
		n, err := strconv.ParseUint(strings.TrimSpace(number), 10, 32)
		if l.Rate = n * u.kbit; err != nil || l.Rate < MinRate || l.Rate > MaxRate {
			return Limit{}, fmt.Errorf("found rate %q, want a whole number from %dkbit/s to %dGbit/s", rate, MinRate, MaxRate/1_000_000)
		}
	}
	if l.Rate == 0 {
		return Limit{}, fmt.Errorf("found %q, want off or a rate in kbit/s, Mbit/s or Gbit/s, e.g. 100Mbit/s", s)
	}
	if hasBurst {
		n, err := bytesize.Parse(burst)
		if err != nil {
			return Limit{}, fmt.Errorf("burst: %w", err)
		}
		if n < MinBurst || n > MaxBurst {
			return Limit{}, fmt.Errorf("found burst %q, want %dB, which one frame has, to %s", burst, MinBurst, bytesize.Size(MaxBurst))
		}
		l.Burst = uint64(n)
	}
	return l, nil
}

// Warnings say what of the policy's settings will disappoint, or endangers others, each with the level that says it.
func (p *Policy) Warnings() (list []string) {
	for _, l := range p.levels() {
		for _, text := range l.settings.warnings() {
			list = append(list, levelName(l.kind, l.of)+": "+text)
		}
		if l.vlans != nil && len(*l.vlans) > 0 {
			list = append(list, fmt.Sprintf("%s: copies of traffic leave in VLAN %s: a switch on their way that learns addresses there sends traffic astray",
				levelName(l.kind, l.of), l.vlans))
		}
	}
	return list
}

// warnings say what of the settings will disappoint, each with its key.
func (s *Settings) warnings() (list []string) {
	for _, x := range []struct {
		key string
		Limit
	}{{"rate_out", s.RateOut}, {"rate_in", s.RateIn}} {
		if usual := (Limit{Rate: x.Rate}).BurstBytes(); x.Burst != 0 && x.Burst < usual {
			list = append(list, fmt.Sprintf("%s: a burst of %s is less than what comes in 0.8 s at that rate, %s: TCP is slower than %s",
				x.key, burstText(x.Burst), burstText(usual), Limit{Rate: x.Rate}))
		}
	}
	return list
}

// MirrorDirection is which traffic of a VIF is copied.
type MirrorDirection string

// The values of MirrorDirection.
const (
	MirrorBoth MirrorDirection = "both"
	MirrorIn   MirrorDirection = "in"  // what the VM gets
	MirrorOut  MirrorDirection = "out" // what the VM sends
)

// Mirror is where a copy of a VIF's traffic goes. The zero value says nothing.
type Mirror struct {
	Off       bool // nowhere
	Target    string
	Direction MirrorDirection
}

// String returns what ParseMirror reads.
func (m Mirror) String() string {
	switch {
	case m.Off:
		return off
	case m.Direction == MirrorIn || m.Direction == MirrorOut:
		return m.Target + " " + string(m.Direction)
	}
	return m.Target
}

// Form says what the text looks like.
func (Mirror) Form() string { return `off, or a mirror target, e.g. "ids", "ids in", "ids out"` }

// MarshalText implements encoding.TextMarshaler with [Mirror.String].
func (m Mirror) MarshalText() ([]byte, error) { return []byte(m.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler with [ParseMirror].
func (m *Mirror) UnmarshalText(text []byte) (err error) {
	*m, err = ParseMirror(string(text))
	return err
}

// ParseMirror reads off, or the name of a target and perhaps a direction.
func ParseMirror(s string) (Mirror, error) {
	if s == off {
		return Mirror{Off: true}, nil
	}
	target, word, hasWord := strings.Cut(s, " ")
	m := Mirror{Target: target, Direction: MirrorBoth}
	if hasWord {
		m.Direction = MirrorDirection(word)
	}
	if target == "" || !isID(target) || !slices.Contains([]MirrorDirection{MirrorBoth, MirrorIn, MirrorOut}, m.Direction) {
		return Mirror{}, fmt.Errorf("found %q, want off or the name of a mirror target, perhaps with in, out or both, e.g. ids or ids in", s)
	}
	return m, nil
}

// Pair is what a VM may use besides its own addresses.
type Pair struct {
	MAC    estate.MAC   // 0: its own
	Prefix netip.Prefix // invalid: with MAC, its own addresses
}

func (p Pair) String() string {
	var words []string
	if p.MAC != 0 {
		words = append(words, p.MAC.String())
	}
	switch {
	case p.Prefix.IsSingleIP():
		words = append(words, p.Prefix.Addr().String())
	case p.Prefix.IsValid():
		words = append(words, p.Prefix.String())
	}
	return strings.Join(words, " ")
}

// Pairs are what a VM may use besides its own addresses. The zero value says nothing.
type Pairs struct {
	Off  bool // nothing
	List []Pair
}

// MaxPairs is how many pairs one list may have.
const MaxPairs = 64

// String returns what ParsePairs reads.
func (p Pairs) String() string {
	if p.Off {
		return off
	}
	var list []string
	for _, x := range p.List {
		list = append(list, x.String())
	}
	return strings.Join(list, ", ")
}

// Form says what the text looks like.
func (Pairs) Form() string {
	return `off, or addresses, e.g. "00:00:5e:00:01:0a 192.0.2.1", "192.0.2.0/28, 2001:db8::/64"`
}

// MarshalText implements encoding.TextMarshaler with [Pairs.String].
func (p Pairs) MarshalText() ([]byte, error) { return []byte(p.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler with [ParsePairs].
func (p *Pairs) UnmarshalText(text []byte) (err error) {
	*p, err = ParsePairs(string(text))
	return err
}

// ParsePairs reads off, or MAC addresses, addresses and prefixes with commas; a MAC address may stand before an address that is used with it.
func ParsePairs(s string) (Pairs, error) {
	if s == off {
		return Pairs{Off: true}, nil
	}
	if n := 1 + strings.Count(s, ","); n > MaxPairs {
		return Pairs{}, fmt.Errorf("found %d addresses, want at most %d", n, MaxPairs)
	}
	var p Pairs
	for part := range strings.SplitSeq(s, ",") {
		x, err := parsePair(strings.Fields(part))
		if err != nil {
			return Pairs{}, err
		}
		p.List = append(p.List, x)
	}
	return p, nil
}

func parsePair(words []string) (p Pair, err error) {
	rest := words
	if len(rest) > 0 && len(rest[0]) == len("00:00:5e:00:01:0a") && strings.Count(rest[0], ":") == 5 {
		if p.MAC, err = estate.ParseMAC(rest[0]); err != nil {
			return Pair{}, err
		}
		if p.MAC == 0 || p.MAC>>40&1 != 0 {
			return Pair{}, fmt.Errorf("found MAC address %s, want that of one interface", rest[0])
		}
		rest = rest[1:]
	}
	if len(rest) == 1 {
		list, err := estate.ParseMember(rest[0])
		if err != nil || len(list) != 1 || list[0].Addr().IsMulticast() || list[0].IsSingleIP() && list[0].Addr().IsUnspecified() {
			return Pair{}, fmt.Errorf("found %q, want an address or a prefix of addresses that one interface may have, e.g. 192.0.2.1 or 2001:db8::/64", rest[0])
		}
		p.Prefix = list[0]
	}
	if len(words) == 0 || len(rest) > 1 {
		return Pair{}, fmt.Errorf("found %q, want a MAC address, an address or prefix, or both, e.g. 00:00:5e:00:01:0a 192.0.2.1", strings.Join(words, " "))
	}
	return p, nil
}

// FailMode is what bridges do while Weir is away.
type FailMode string

// The values of FailMode; "" says nothing.
const (
	FailOpen   FailMode = "open"
	FailSafe   FailMode = "safe"
	FailStatic FailMode = "static"
)

func (f FailMode) String() string { return string(f) }

// Allowed lists the values of FailMode.
func (FailMode) Allowed() []string {
	return []string{string(FailOpen), string(FailSafe), string(FailStatic)}
}

// UnmarshalText implements encoding.TextUnmarshaler.
func (f *FailMode) UnmarshalText(text []byte) error { return oneOf(f, text, f.Allowed()) }

// MirrorTarget is where copies of traffic go: exactly one of VLAN, Port, GRE and ERSPAN is set.
type MirrorTarget struct {
	Name   string     `yaml:"name" doc:"Name, unique among mirror targets: letters, digits and any of . _ -"`
	VLAN   uint16     `yaml:"vlan,omitempty" doc:"Copies leave in this VLAN (RSPAN), at hosts of pools that have it among their mirror_vlans. Switches between must not learn addresses in it."`
	Port   string     `yaml:"port,omitempty" doc:"Copies leave by this port of the VIF's bridge (SPAN), which carries nothing else."`
	GRE    netip.Addr `yaml:"gre,omitempty" doc:"Copies go to this address, in GRE."`
	ERSPAN netip.Addr `yaml:"erspan,omitempty" doc:"Copies go to this address, in ERSPAN (version 1); Open vSwitch 2.10 or newer."`
	Key    uint32     `yaml:"key,omitempty" doc:"Key of GRE, or session of ERSPAN (1 to 1023)."`
}

// String says where copies go.
func (t *MirrorTarget) String() string {
	key := ""
	if t.Key != 0 {
		key = fmt.Sprintf(" key %d", t.Key)
	}
	switch {
	case t.VLAN != 0:
		return fmt.Sprintf("vlan %d", t.VLAN)
	case t.Port != "":
		return "port " + t.Port
	case t.GRE.IsValid():
		return "gre " + t.GRE.String() + key
	case t.ERSPAN.IsValid():
		return "erspan " + t.ERSPAN.String() + key
	}
	return ""
}

// PoolSettings are settings of whole pools.
type PoolSettings struct {
	FailMode    FailMode `yaml:"fail_mode,omitempty" doc:"What the pool's bridges do while Weir is away: open, safe or static; else as fail_mode at the top says."`
	MirrorVLANs []uint16 `yaml:"mirror_vlans,omitempty" doc:"VLANs of the pool that are for copies of traffic only. A switch on their way that learns addresses there sends traffic astray."`
}

// LevelID is a level: of all (Kind is ""), a pool, network, VM or VIF.
type LevelID struct {
	Kind flow.Kind
	Of   flow.ID
}

// levelsOf returns the levels that a VIF is in, the lowest first.
func levelsOf(vif *Interface) [5]LevelID {
	return [...]LevelID{
		{flow.KindVIF, vif.ID}, {flow.KindVM, vif.VM}, {flow.KindNetwork, vif.Network}, {flow.KindPool, vif.Pool}, {},
	}
}

// SettingsOf returns those of a VIF as they are in force: all are said.
func (s *Set) SettingsOf(vif *Interface) Settings {
	in := builtIn
	levels := levelsOf(vif)
	for _, level := range slices.Backward(levels[:]) {
		said := s.said(level)
		if said == nil {
			continue
		}
		for _, k := range settingKeys {
			if k.text(&said.Settings) != "" {
				k.take(&in, &said.Settings)
			}
		}
	}
	return in
}

// Said is what a level says of ports.
type Said struct {
	Name string // of the level, as the policy has it; "" of the global one
	Settings
}

// said returns what a level says; nil: nothing.
func (s *Set) said(level LevelID) *Said {
	if level.Of == 0 && level.Kind != "" {
		return nil
	}
	return s.Settings[level]
}

// EffectiveSetting is a setting of a VIF, and who says it.
type EffectiveSetting struct {
	Key        string        `json:"key" doc:"As in the policy document."`
	Value      string        `json:"value" doc:"As in the policy document; off, too, if it is off."`
	Level      string        `json:"level" doc:"Who says it: global, pool NAME, network NAME, VM NAME or VIF NAME; built in, if no level does."`
	Overridden []SaidSetting `json:"overridden,omitempty" doc:"What levels above say in vain, the nearest first."`
	Notes      []string      `json:"notes,omitempty" doc:"What is to be known of it at this VIF: what is not enforced, and why; what the platform limits by itself."`
}

// SaidSetting is what a level says of a setting.
type SaidSetting struct {
	Level string `json:"level"`
	Value string `json:"value"`
}

// EffectiveSettings returns the settings of vif, in the order of the document.
func EffectiveSettings(set *Set, vif *Interface) []EffectiveSetting {
	list := make([]EffectiveSetting, 0, len(settingKeys))
	in := set.SettingsOf(vif)
	notes := in.notes(vif)
	for _, k := range settingKeys {
		x := EffectiveSetting{Key: k.name, Notes: notes[k.name]}
		for _, level := range levelsOf(vif) {
			said := set.said(level)
			if said == nil || k.text(&said.Settings) == "" {
				continue
			}
			if v := (SaidSetting{levelName(level.Kind, said.Name), k.text(&said.Settings)}); x.Level == "" {
				x.Level, x.Value = v.Level, v.Value
			} else {
				x.Overridden = append(x.Overridden, v)
			}
		}
		if x.Level == "" {
			x.Level, x.Value = levelBuiltIn, k.text(&builtIn)
		}
		list = append(list, x)
	}
	return list
}

// notes returns by key what is to be known of settings that are in force at a VIF.
func (s *Settings) notes(vif *Interface) map[string][]string {
	notes := map[string][]string{}
	note := func(key, format string, args ...any) { notes[key] = append(notes[key], fmt.Sprintf(format, args...)) }

	if text := vif.RateNote(s.RateOut); text != "" {
		note("rate_out", "%s", text)
	}

	g := GuardOf(s, vif.MAC, vif.Told)
	switch {
	case g.MACs == nil:
		for key, x := range map[string]Switch{"guard_mac": s.GuardMAC, "guard_ip": s.GuardIP} {
			if x == On {
				note(key, "not enforced: its MAC address is not known")
			}
		}
	case s.GuardIP == On && g.Four == nil && g.Six == nil:
		note("guard_ip", "only MAC addresses are enforced: no source has told an IP address of it")
	case s.GuardIP == On && g.Four == nil:
		note("guard_ip", "not enforced for IPv4: no source has told such an address of it")
	case s.GuardIP == On && g.Six == nil:
		note("guard_ip", "not enforced for IPv6: no source has told such an address of it, besides link-local ones")
	}
	if looks := s.GuardMAC == On || s.GuardIP == On; s.Quarantine == QuarantineMAC && !looks || s.Quarantine == QuarantineAny && !looks && s.GuardDHCP != On && s.GuardRA != On {
		note("quarantine", "without effect: the guards are off")
	}
	if !s.AllowedAddresses.Off && s.GuardMAC != On && s.GuardIP != On {
		note("allowed_addresses", "without effect: guard_mac and guard_ip are off")
	}

	switch vif.Locking {
	case "locked":
		text := "XAPI locks it to its MAC address"
		if vif.Allowed != "" {
			text += " and " + vif.Allowed
		}
		text += ", which does not act where Weir enforces policy: "
		if s.GuardIP == On {
			text += "this guard does, with allowed_addresses"
		} else {
			text += "guard_ip: on does, with allowed_addresses for those that no source tells"
		}
		note("guard_ip", "%s", text)
	case "disabled":
		note("guard_ip", "XAPI disables it, which does not act where Weir enforces policy: rules do, or weir policy quarantine")
	}
	return notes
}

// Unguarded reports whether guards that are on at a VIF are not enforced in full, since its MAC address, or its addresses of a family, are not known:
// what the notes of [EffectiveSettings] say.
func (s *Set) Unguarded(vif *Interface) bool {
	in := s.SettingsOf(vif)
	g := GuardOf(&in, vif.MAC, vif.Told)
	return (in.GuardMAC == On || in.GuardIP == On) && g.MACs == nil || in.GuardIP == On && (g.Four == nil || g.Six == nil)
}

// levelName says for people which level it is.
func levelName(kind flow.Kind, name string) string {
	noun := string(kind)
	switch kind {
	case "":
		return "global"
	case flow.KindVM, flow.KindVIF:
		noun = strings.ToUpper(noun)
	case KindMirrorTarget:
		noun = "mirror target"
	default:
	}
	return noun + " " + name
}

// FailModeOf returns what bridges of a pool, or of none (0), do while Weir is away; "" if nobody says.
func (s *Set) FailModeOf(pool flow.ID) FailMode {
	if p := s.Pools[pool]; p != nil && p.FailMode != "" {
		return p.FailMode
	}
	return s.FailMode
}
