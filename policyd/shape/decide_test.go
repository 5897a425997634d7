package shape_test

import (
	"maps"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/weirhq/weir/ovs/ovsdb"
	"github.com/weirhq/weir/policyd/own"
	"github.com/weirhq/weir/policyd/policy"
	"github.com/weirhq/weir/policyd/shape"
)

const (
	instance = "weir-of-test"
	policed  = `{"set":{"rate":20000,"burst":800},"was":{"rate":0,"burst":7}}`
	shaped   = "other_config:max-rate=30000000 type=linux-htb queue 0 other_config:burst=800000 other_config:max-rate=30000000 other_config:min-rate=30000000"
)

// host is a port of a VIF.
type host struct {
	*ovsdb.Rows
	port *ovsdb.Port
	vif  *ovsdb.Interface
}

func newHost() *host {
	h := &host{
		port: &ovsdb.Port{UUID: "p", Name: "vif1.0", Interfaces: []ovsdb.UUID{"i"}, ExternalIDs: map[string]string{}},
		vif:  &ovsdb.Interface{UUID: "i", Name: "vif1.0", MTU: 1500, ExternalIDs: map[string]string{}},
	}
	h.Rows = &ovsdb.Rows{
		Ports: map[ovsdb.UUID]*ovsdb.Port{"p": h.port}, Interfaces: map[ovsdb.UUID]*ovsdb.Interface{"i": h.vif}, QoSs: map[ovsdb.UUID]*ovsdb.QoS{}, Queues: map[ovsdb.UUID]*ovsdb.Queue{},
	}
	return h
}

// polices is as Weir leaves it that sends 20 Mbit/s.
func (h *host) polices() {
	h.vif.IngressPolicingRate, h.vif.IngressPolicingBurst = 20_000, 800
	h.vif.ExternalIDs["weir-former-ingress-policing"] = policed
}

// shapes is as Weir leaves it that gets 30 Mbit/s.
func (h *host) shapes() {
	ids := map[string]string{"weir-owner": instance}
	h.QoSs["q"] = &ovsdb.QoS{UUID: "q", Type: "linux-htb", Queues: map[int64]ovsdb.UUID{0: "u"}, OtherConfig: map[string]string{"max-rate": "30000000"}, ExternalIDs: ids}
	h.Queues["u"] = &ovsdb.Queue{UUID: "u", OtherConfig: map[string]string{"min-rate": "30000000", "max-rate": "30000000", "burst": "800000"}, ExternalIDs: maps.Clone(ids)}
	h.port.QoS = "q"
	h.port.ExternalIDs["weir-former-qos"] = shaped
}

func TestDecide(t *testing.T) {
	limit := func(text string) policy.Limit {
		l, err := policy.ParseLimit(text)
		if err != nil {
			t.Fatal(err)
		}
		return l
	}
	out, in := shape.Limits{Out: limit("20Mbit/s burst 100kB")}, shape.Limits{In: limit("30Mbit/s burst 100kB")}
	metered := out
	metered.Meter = true
	for name, c := range map[string]struct {
		limits  shape.Limits
		host    func(*host)
		ask     func(*shape.Question)
		want    string   // the port in words
		warn    string   // the only warning holds it; "": there is none
		changes []string // COLUMN: AFTER
		undone  string
		held    bool
	}{
		"nothing": {want: "vif1.0: "},
		"off":     {limits: shape.Limits{Out: policy.Limit{Off: true}, In: policy.Limit{Off: true}}, want: "vif1.0: "},
		"policed": {
			limits: out, host: func(h *host) { h.vif.IngressPolicingBurst = 7 }, want: "vif1.0: out 20Mbit/s burst 100kB by policing of its interface, setting", held: true,
			changes: []string{"ingress_policing: 20000 kbit/s burst 800 kbit", "external_ids:weir-former-ingress-policing: " + policed},
		},
		"is policed":      {limits: out, host: (*host).polices, want: "vif1.0: out 20Mbit/s burst 100kB by policing of its interface", held: true},
		"not policed now": {host: (*host).polices, want: "vif1.0: ", changes: []string{"ingress_policing: 0 kbit/s burst 7 kbit", "external_ids:weir-former-ingress-policing: "}},
		"a meter does it": {limits: metered, want: "vif1.0: out 20Mbit/s burst 100kB by a meter of the bridge's flows"},
		"a meter does it now": {
			limits: metered, host: (*host).polices, want: "vif1.0: out 20Mbit/s burst 100kB by a meter of the bridge's flows",
			changes: []string{"ingress_policing: 0 kbit/s burst 7 kbit", "external_ids:weir-former-ingress-policing: "},
		},
		"a meter, and the platform": {
			limits: shape.Limits{Out: metered.Out, Meter: true, Beside: "XAPI limits it to 5Mbit/s by itself; the smaller acts, 5Mbit/s"}, want: "vif1.0: out 20Mbit/s burst 100kB by a meter of the bridge's flows", warn: "XAPI limits it to 5Mbit/s",
		},
		"a meter, and others police more": {
			limits: metered, host: func(h *host) { h.vif.IngressPolicingRate = 50_000 }, want: "vif1.0: out 20Mbit/s burst 100kB by a meter of the bridge's flows", warn: "policed to 50Mbit/s by others, too: this rate is not more, and acts",
		},
		"a meter, and others police less": {
			limits: metered, host: func(h *host) { h.vif.IngressPolicingRate = 5_000 }, want: "vif1.0: out 20Mbit/s burst 100kB by a meter of the bridge's flows", warn: "policed to 5Mbit/s by others, too: that is less, and acts",
		},
		"others police": {
			limits: out, host: func(h *host) { h.vif.IngressPolicingRate = 5_000 },
			want: "vif1.0: out 20Mbit/s burst 100kB by policing of its interface, foreign: its interface is policed to 5Mbit/s by others, which is left alone: 5Mbit/s acts, and not 20Mbit/s",
		},
		"others police now": {
			limits: out, host: func(h *host) { h.polices(); h.vif.IngressPolicingRate, h.vif.IngressPolicingBurst = 5_000, 500 },
			want:    "vif1.0: out 20Mbit/s burst 100kB by policing of its interface, foreign: its interface is policed to 5Mbit/s by others, which is left alone: 5Mbit/s acts, and not 20Mbit/s",
			changes: []string{"external_ids:weir-former-ingress-policing: "},
		},
		"others stopped policing": {
			limits: out, host: func(h *host) { h.polices(); h.vif.IngressPolicingRate = 0 }, want: "vif1.0: out 20Mbit/s burst 100kB by policing of its interface, setting", held: true,
			changes: []string{"ingress_policing: 20000 kbit/s burst 800 kbit"}, undone: "others changed the policing",
		},
		"what was cannot be read": {
			limits: out, host: func(h *host) { h.polices(); h.vif.ExternalIDs["weir-former-ingress-policing"] = "nothing" }, held: true,
			want: "vif1.0: out 20Mbit/s burst 100kB by policing of its interface, failed: read what policing of interface \"vif1.0\" was before Weir: external_ids:weir-former-ingress-policing: invalid character 'o' in literal null (expecting 'u'): remove that key to give it up",
		},
		"shaped": {
			limits: in, want: "vif1.0: in 30Mbit/s burst 100kB by a queue (linux-htb) of its port, setting", held: true,
			changes: []string{"qos: " + shaped, "external_ids:weir-former-qos: " + shaped},
		},
		"is shaped":      {limits: in, host: (*host).shapes, want: "vif1.0: in 30Mbit/s burst 100kB by a queue (linux-htb) of its port", held: true},
		"not shaped now": {host: (*host).shapes, want: "vif1.0: ", changes: []string{"qos: ", "external_ids:weir-former-qos: "}},
		"shared": {
			limits: in, host: (*host).shapes, ask: func(q *shape.Question) { q.Shared = true }, want: "vif1.0: in 30Mbit/s burst 100kB by a queue (linux-htb) of its port, setting", held: true,
			changes: []string{"qos: " + shaped}, undone: "others changed the QoS",
		},
		"others changed the queue": {
			limits: in, host: func(h *host) { h.shapes(); h.Queues["u"].OtherConfig["burst"] = "1" }, want: "vif1.0: in 30Mbit/s burst 100kB by a queue (linux-htb) of its port, setting", held: true,
			changes: []string{"qos: " + shaped}, undone: "others changed the QoS",
		},
		"others removed it": {
			limits: in, host: func(h *host) { h.shapes(); h.port.QoS = "" }, want: "vif1.0: in 30Mbit/s burst 100kB by a queue (linux-htb) of its port, setting", held: true,
			changes: []string{"qos: " + shaped}, undone: "others took its QoS off",
		},
		"others removed it, and again": {
			limits: in, host: func(h *host) { h.shapes(); h.port.QoS = "" }, ask: func(q *shape.Question) { q.Yielded = true }, want: "vif1.0: in 30Mbit/s burst 100kB by a queue (linux-htb) of its port, yielded", held: true,
		},
		"others shape": {
			limits: in, host: func(h *host) {
				h.QoSs["t"] = &ovsdb.QoS{UUID: "t", Type: "linux-hfsc", OtherConfig: map[string]string{"max-rate": "5000000"}}
				h.port.QoS = "t"
			},
			want: "vif1.0: in 30Mbit/s burst 100kB by a queue (linux-htb) of its port, foreign: its port has a QoS of others (linux-hfsc), which is left alone: its 5Mbit/s acts, and not 30Mbit/s",
		},
		"more than htb has": {
			limits: shape.Limits{In: limit("40Gbit/s")}, host: (*host).shapes,
			want:    "vif1.0: in 40Gbit/s by a queue (linux-htb) of its port, failed: Open vSwitch cannot tell linux-htb a rate of more than 34359 Mbit/s: what the VM gets is not limited",
			changes: []string{"qos: ", "external_ids:weir-former-qos: "},
		},
		"less than a frame": {
			limits: shape.Limits{Out: limit("1Mbit/s burst 1500B"), Meter: true}, host: func(h *host) { h.vif.MTU = 9000 }, want: "vif1.0: out 1Mbit/s burst 1500B by a meter of the bridge's flows", warn: "less than one frame of this interface, whose MTU is 9000",
		},
		"just less than a frame": {
			limits: shape.Limits{Out: limit("1Mbit/s burst 1517B"), Meter: true}, want: "vif1.0: out 1Mbit/s burst 1517B by a meter of the bridge's flows", warn: "less than one frame of this interface, whose MTU is 1500",
		},
		"just a frame": {limits: shape.Limits{Out: limit("1Mbit/s burst 1518B"), Meter: true}, want: "vif1.0: out 1Mbit/s burst 1518B by a meter of the bridge's flows"},
		"less than a frame, MTU not known": {
			limits: shape.Limits{Out: limit("1Mbit/s burst 1517B"), Meter: true}, host: func(h *host) { h.vif.MTU = 0 }, want: "vif1.0: out 1Mbit/s burst 1517B by a meter of the bridge's flows", warn: "less than one frame of this interface, whose MTU is 1500",
		},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHost()
			if c.host != nil {
				c.host(h)
			}
			tx, err := own.Begin(h.Rows, instance)
			if err != nil {
				t.Fatal(err)
			}
			q := shape.Question{Rows: h.Rows, Port: h.port, Interface: h.vif, Limits: c.limits}
			if c.ask != nil {
				c.ask(&q)
			}
			a, err := shape.Decide(tx, q)
			if err != nil {
				t.Fatal(err)
			}
			if got := a.String(); got != c.want {
				t.Errorf("port %q, want %q", got, c.want)
			}
			var got, warnings []string
			for _, x := range tx.Changes() {
				got = append(got, x.Column+": "+x.After)
			}
			if diff := cmp.Diff(c.changes, got); diff != "" {
				t.Errorf("changes (-want +got):\n%s", diff)
			}
			for _, d := range []*shape.Direction{a.Out, a.In} {
				if d != nil {
					warnings = append(warnings, d.Warnings...)
				}
			}
			if len(warnings) > 1 || (len(warnings) == 1) != (c.warn != "") || !strings.Contains(strings.Join(warnings, ""), c.warn) {
				t.Errorf("warnings %q, want %q", warnings, c.warn)
			}
			if (a.Undone == "") != (c.undone == "") || !strings.HasPrefix(a.Undone, c.undone) || a.Held != c.held || a.Setting != (len(c.changes) > 0) {
				t.Errorf("undone %q, held %v, setting %v; want %q, %v, %v", a.Undone, a.Held, a.Setting, c.undone, c.held, len(c.changes) > 0)
			}
		})
	}
}
