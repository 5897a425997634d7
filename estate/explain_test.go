package estate_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/weirhq/weir/estate"
)

// told returns an explanation as lines.
func told(e estate.Explanation) (lines []string) {
	for _, x := range e.Found {
		lines = append(lines, fmt.Sprintf("%s %s %v", x.Kind, x.Name, x.SameAs))
		for _, f := range x.Fields {
			line := "  " + f.Field + "=" + f.Value + ":"
			for _, w := range f.Said {
				mark := ""
				if w.Used {
					mark = "*"
				}
				if w.Stale {
					mark += " stale"
				}
				line += fmt.Sprintf(" [%s %s%s]", w.Source, w.Value, mark)
			}
			lines = append(lines, line)
		}
	}
	for _, r := range e.Flow {
		lines = append(lines, strings.TrimSpace(fmt.Sprintf("%s: %s %s %s %s %s", r.By, r.Result, r.VIF, r.VM, r.Host, strings.Join(r.Groups, ","))))
	}
	return lines
}

func TestExplain(t *testing.T) {
	b := newBed(t)
	m := fileModel()
	m.AddressGroups = []estate.AddressGroup{{Name: "inside", Members: []string{"10.0.0.0/8"}}}
	b.set("file", m)
	b.set("host:1", onHost("xcp1", plug{vm: uuidVM, vif: uuidVIF, mac: 0x020000000001, ofPort: 3, vlan: 8}))
	b.Lost("host:1", b.at)
	f := func(query string, want ...string) {
		t.Helper()
		if diff := cmp.Diff(want, told(b.Explain(query))); diff != "" {
			t.Errorf("Explain(%q): -want +got\n%s", query, diff)
		}
	}
	// The file says network front, but the VIF is plugged into VLAN 8: so the MAC address does not make them one, and each has its own.
	f("02-00-00-00-00-01",
		"vif web/0 []",
		"  key=lab/web/0: [file lab/web/0*]",
		"  device=0: [file 0*]",
		"  mac=02:00:00:00:00:01: [file 02:00:00:00:00:01*]",
		"  ips=10.0.0.5: [file 10.0.0.5*]",
		"  network=front: [file front*]",
		"  ports=: [file xcp1/xenbr0 if_index 99]",
		"vif "+uuidVM+"/02:00:00:00:00:01 []",
		"  key="+uuidVIF+": [host:xcp1 "+uuidVIF+"* stale]",
		"  uuid="+uuidVIF+": [host:xcp1 "+uuidVIF+"* stale]",
		"  mac=02:00:00:00:00:01: [host:xcp1 02:00:00:00:00:01* stale]",
		"  network=back: [host:xcp1 back* stale]",
		"  ports=xcp1/xenbr0/vif3.0 of_port 3 if_index 103: [host:xcp1 xcp1/xenbr0/vif3.0 of_port 3 if_index 103* stale]",
		"MAC address: ambiguous",
		"MAC address in network back: hit "+uuidVM+"/02:00:00:00:00:01 "+uuidVM+" xcp1 known by uuid",
		"MAC address in network front: hit web/0 web xcp1 fronts",
	)
	b.set("host:1", onHost("xcp1", plug{vm: uuidVM, vif: uuidVIF, mac: 0x020000000001, ofPort: 3, vlan: 7}))
	f("10.0.0.5",
		"vif web/0 ["+uuidVIF+"]",
		"  key=lab/web/0: [file lab/web/0*] [host:xcp1 "+uuidVIF+"]",
		"  device=0: [file 0*]",
		"  uuid="+uuidVIF+": [host:xcp1 "+uuidVIF+"*]",
		"  mac=02:00:00:00:00:01: [host:xcp1 02:00:00:00:00:01*] [file 02:00:00:00:00:01]",
		"  ips=10.0.0.5: [file 10.0.0.5*]",
		"  network=front: [host:xcp1 front*] [file front]",
		"  ports=xcp1/xenbr0/vif3.0 of_port 3 if_index 103: [host:xcp1 xcp1/xenbr0/vif3.0 of_port 3 if_index 103*] [file xcp1/xenbr0 if_index 99]",
		"IP address: hit web/0 web xcp1 inside,fronts,known by uuid",
	)
	vm := []string{
		"vm web [" + uuidVM + "]",
		"  key=lab/web: [file lab/web*] [host:xcp1 " + uuidVM + "]",
		"  name=web: [file web*] [host:xcp1 " + uuidVM + "]",
		"  uuid=" + uuidVM + ": [host:xcp1 " + uuidVM + "*]",
		"  pool=lab: [file lab*] [host:xcp1 lab]",
		"  host=xcp1: [host:xcp1 xcp1*] [file xcp1]",
		"  tags=www: [file www*]",
		"  attributes=owner=ann: [file owner=ann*]",
	}
	f("WEB", vm...)
	f(strings.ToUpper(uuidVM), vm...)
	f("192.0.2.11",
		"host xcp1 [eeeeeeee-0000-4000-8000-000000000001]",
		"  key=lab/xcp1: [file lab/xcp1*] [host:xcp1 eeeeeeee-0000-4000-8000-000000000001]",
		"  name=xcp1: [file xcp1*] [host:xcp1 xcp1]",
		"  pool=lab: [file lab*] [host:xcp1 lab]",
		"  exporters=192.0.2.11: [file 192.0.2.11*]",
		"  bridges=xenbr0: [host:xcp1 xenbr0*] [file xenbr0*]",
		"exporter: hit   xcp1",
		"IP address: miss",
	)
	f("nobody")
}
