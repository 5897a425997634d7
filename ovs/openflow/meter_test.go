package openflow_test

import (
	"encoding/hex"
	"slices"
	"strings"
	"testing"

	"github.com/weirhq/weir/ovs/openflow"
)

// FuzzMeters: whatever a switch says of meters is read or refused, a meter for each 8 octets at most; what is read of this package's kind is what is written.
func FuzzMeters(f *testing.F) {
	specs := []openflow.MeterSpec{{ID: 1, Rate: 1}, {ID: 0x8000, Rate: 20_000, Burst: 800}, {ID: 9, Rate: 10, Burst: 5, Packets: true}}
	var all []byte
	for _, m := range specs {
		all = append(all, openflow.EncodeMeter(m)...)
	}
	got, err := openflow.DecodeMeters(all)
	if err != nil || !slices.Equal(got, specs) {
		f.Fatalf("%v, %v; want %v", got, err, specs)
	}
	f.Add(all)
	f.Add([]byte{0, 8, 0, 1, 0, 0, 0, 1})
	f.Add(all[:20])
	f.Fuzz(func(t *testing.T, b []byte) {
		list, _ := openflow.DecodeMeters(b) // what came before the fault
		if len(list) > len(b)/8 {
			t.Fatalf("%d meters in %d octets", len(list), len(b))
		}
		for _, m := range list {
			if m.Other {
				continue
			}
			if again, err := openflow.DecodeMeters(openflow.EncodeMeter(m)); err != nil || len(again) != 1 || again[0] != m {
				t.Fatalf("%v is written and read as %v, %v", m, again, err)
			}
		}
	})
}

func TestMetersOfAnotherKind(t *testing.T) {
	for what, text := range map[string]string{
		"no band":    "0008 0001 00000001",
		"two bands":  "0028 0001 00000001 0001 0010 00000001 00000000 00000000 0001 0010 00000002 00000000 00000000",
		"dscp":       "0018 0001 00000001 0002 0010 00000001 00000000 01000000",
		"no unit":    "0018 0008 00000001 0001 0010 00000001 00000000 00000000",
		"both units": "0018 0003 00000001 0001 0010 00000001 00000000 00000000",
	} {
		b, err := hex.DecodeString(strings.ReplaceAll(text, " ", ""))
		if err != nil {
			t.Fatal(err)
		}
		if list, err := openflow.DecodeMeters(b); err != nil || len(list) != 1 || list[0] != (openflow.MeterSpec{ID: 1, Other: true}) {
			t.Errorf("%s: %+v, %v", what, list, err)
		}
	}
}

func TestMeterFeatures(t *testing.T) {
	for text, want := range map[string]uint32{
		"00010000 00000002 0000000f 08 00 0000": 65536, // as Open vSwitch in userspace
		"00000000 00000000 00000000 00 00 0000": 0,     // as one without meters
		"00010000 00000004 0000000f 08 00 0000": 0,     // none that drop
		"00010000 00000002 0000000e 08 00 0000": 0,     // none of kilobits
		"00010000 00000002 0000000b 08 00 0000": 0,     // none with a burst
		"00010000 00000002 0000000f 00 00 0000": 0,     // no bands
	} {
		b, err := hex.DecodeString(strings.ReplaceAll(text, " ", ""))
		if err != nil {
			t.Fatal(err)
		}
		if got, err := openflow.MeterFeatures(b); got != want || err != nil {
			t.Errorf("%s: meters up to %d, %v; want %d", text, got, err, want)
		}
	}
	if _, err := openflow.MeterFeatures(make([]byte, 15)); err == nil {
		t.Error("features of 15 octets are taken")
	}
}
