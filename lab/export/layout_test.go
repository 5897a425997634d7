package export_test

import (
	"encoding/binary"
	"errors"
	"io"
	"os"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/gopacket/gopacket/pcapgo"

	"github.com/weirhq/weir/lab/export"
)

// templates returns the template records of an IPFIX message by id.
func templates(t *testing.T, message []byte, into map[uint16][]export.Field) {
	t.Helper()
	be := binary.BigEndian
	for sets := message[16:]; len(sets) >= 4; {
		id, n := be.Uint16(sets), int(be.Uint16(sets[2:]))
		set := sets[4:n]
		sets = sets[n:]
		for id == 2 && len(set) >= 4 {
			tmpl, count := be.Uint16(set), int(be.Uint16(set[2:]))
			set = set[4:]
			into[tmpl] = nil
			for range count {
				f := export.Field{ID: be.Uint16(set), Len: be.Uint16(set[2:])}
				set = set[4:]
				if f.ID&(1<<15) != 0 {
					f.ID &^= 1 << 15
					f.PEN = be.Uint32(set)
					set = set[4:]
				}
				into[tmpl] = append(into[tmpl], f)
			}
		}
	}
}

// The layout of Open vSwitch has the templates that a real one sent, field by field, but for those with tunnels.
func TestOpenVSwitchIsAsCaptured(t *testing.T) {
	file, err := os.Open("testdata/openvswitch_templates.pcap")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	r, err := pcapgo.NewReader(file)
	if err != nil {
		t.Fatal(err)
	}
	captured := map[uint16][]export.Field{}
	for {
		frame, _, err := r.ReadPacketData()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		templates(t, frame[14+20+8:], captured) // Ethernet, IPv4, UDP
	}
	for id, fields := range captured {
		if slices.ContainsFunc(fields, func(f export.Field) bool { return f.PEN == export.PENVMware }) {
			delete(captured, id) // tunnels
		}
	}
	encoded := map[uint16][]export.Field{}
	datagrams, _ := encode(t, newEncoder(t, export.Config{Version: export.IPFIX, Templates: export.OpenVSwitch(false)}), now, nil)
	for _, b := range datagrams {
		templates(t, b, encoded)
	}
	if len(captured) != 44 {
		t.Errorf("%d templates without tunnels in the capture, want 44", len(captured))
	}
	if diff := cmp.Diff(captured, encoded); diff != "" {
		t.Errorf("templates differ (-captured +encoded):\n%s", diff)
	}
}
