package collector_test

import (
	"cmp"
	"net/netip"
	"slices"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/weirhq/weir/collector"
	"github.com/weirhq/weir/collector/template"
)

func TestNames(t *testing.T) {
	store := template.New(template.DefaultConfig())
	exporter := netip.MustParseAddr("192.0.2.1")
	domain := func(protocol uint8, id uint32) *template.Domain {
		d, why := store.Domain(template.Key{Exporter: exporter, Protocol: protocol, Domain: id}, 1000)
		if why != template.None {
			t.Fatal(why)
		}
		return d
	}
	names := collector.NewNames(store)
	want := func(step string, want ...collector.Name) []collector.Name {
		t.Helper()
		got := names.Changed()
		slices.SortFunc(got, func(a, b collector.Name) int {
			return cmp.Or(cmp.Compare(a.Domain, b.Domain), cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Number, b.Number))
		})
		if diff := gocmp.Diff(want, got, gocmp.Comparer(func(a, b netip.Addr) bool { return a == b })); diff != "" {
			t.Errorf("%s: Changed() (-want +got):\n%s", step, diff)
		}
		return got
	}
	want("empty store")

	d := domain(9, 7)
	d.SetInterface(3, []byte("ge-0/0/3"), []byte("uplink"))
	d.SetApplication(0x0d000001, []byte("http"), nil)
	d.SetVRF(5, []byte("blue"))
	application := collector.Name{Exporter: exporter, Domain: 7, Kind: "application", Number: 0x0d000001, Name: "http"}
	uplink := collector.Name{Exporter: exporter, Domain: 7, Kind: "interface", Number: 3, Name: "ge-0/0/3", Description: "uplink"}
	vrf := collector.Name{Exporter: exporter, Domain: 7, Kind: "vrf", Number: 5, Name: "blue"}
	want("first", application, uplink, vrf)
	all := want("not published, so again", application, uplink, vrf)
	names.Published(all)
	want("published")

	d.SetInterface(3, []byte("ge-0/0/3"), []byte("downlink"))
	uplink.Description = "downlink"
	names.Published(want("one changed", uplink))

	domain(10, 7).SetInterface(3, []byte("by ipfix"), nil)
	byIPFIX := collector.Name{Exporter: exporter, Domain: 7, Kind: "interface", Number: 3, Name: "by ipfix"}
	names.Published(want("two protocols", byIPFIX))
	want("still two protocols")

	store.Expire(1000 + template.DefaultConfig().Timeout.Milliseconds() + 1)
	want("forgotten")
	domain(9, 7).SetVRF(5, []byte("blue"))
	want("told again", vrf)
}
