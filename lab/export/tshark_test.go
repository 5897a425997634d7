package export_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/pcapgo"

	"github.com/weirhq/weir/lab/export"
)

// Wireshark reads what the encoder wrote: a reader that nobody here had a hand in.
func TestWiresharkReadsWhatWasEncoded(t *testing.T) {
	tshark, err := exec.LookPath("tshark")
	if err != nil {
		if os.Getenv("CI_REQUIRE_SERVICES") == "1" {
			t.Fatal("tshark is not installed: apt-get install tshark")
		}
		t.Skip("tshark is not installed")
	}
	records := slices.DeleteFunc(randomRecords(rand.New(rand.NewPCG(3, 4)), 400), func(r export.Record) bool { return !r.Src.Is4() })
	for i := range records { // as Wireshark prints them
		records[i].Bytes &= 1<<32 - 1
		records[i].Packets &= 1<<32 - 1
		records[i].InName, records[i].OutName, records[i].VirtualID = "vif1.0", "eth0", "h"
	}
	for name, cfg := range map[string]export.Config{
		"NetFlow 5":        {Version: export.NetFlow5, Boot: now - 86_400_000},
		"NetFlow 9 router": {Version: export.NetFlow9, Boot: now - 86_400_000, Templates: export.Router(export.UptimeTimes)},
		"NetFlow 9 switch": {
			Version: export.NetFlow9, Boot: now - 86_400_000, Templates: export.Switch(export.MillisecondTimes),
			Options: []export.Option{export.SamplingOption(9, 0, 10), export.InterfaceOption(9, []export.Interface{{1, "eth0", "uplink"}})},
		},
		"IPFIX router": {
			Version: export.IPFIX, Templates: export.Router(export.NanosecondTimes),
			Options: []export.Option{export.SamplingOption(10, 0, 10), export.InterfaceOption(10, []export.Interface{{1, "eth0", "uplink"}})},
		},
		"IPFIX Open vSwitch": {Version: export.IPFIX, Templates: export.OpenVSwitch(true)},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			datagrams, skipped := encode(t, newEncoder(t, cfg), now, records)
			if skipped != 0 {
				t.Fatalf("%d records skipped", skipped)
			}
			file := writePcap(t, datagrams)
			var out, errs bytes.Buffer
			cmd := exec.CommandContext(t.Context(), tshark, "-n", "-r", file, "-d", "udp.port==2055,cflow", "-o", "cflow.max_template_fields:0", "-T", "fields", "-E", "separator=;",
				"-e", "cflow.srcaddr", "-e", "cflow.dstaddr", "-e", "cflow.srcport", "-e", "cflow.dstport", "-e", "cflow.protocol",
				"-e", "cflow.octets", "-e", "cflow.packets", "-e", "_ws.malformed", "-e", "_ws.expert.message")
			cmd.Stdout, cmd.Stderr = &out, &errs
			if err := cmd.Run(); err != nil {
				t.Fatalf("tshark: %v: %s", err, errs.String())
			}
			got := make([][]string, 7)
			for line := range strings.Lines(out.String()) {
				columns := strings.Split(strings.TrimSuffix(line, "\n"), ";")
				if columns[7] != "" || columns[8] != "" {
					t.Fatalf("tshark finds fault: %q", line)
				}
				for i := range got {
					if columns[i] != "" {
						got[i] = append(got[i], strings.Split(columns[i], ",")...)
					}
				}
			}
			for i := range records {
				r := &records[i]
				port := r.DstPort
				if r.Protocol == 1 && cfg.Version == export.NetFlow5 {
					port = uint16(r.ICMPType)<<8 | uint16(r.ICMPCode)
				}
				want := []any{r.Src, r.Dst, r.SrcPort, port, r.Protocol, r.Bytes, r.Packets}
				for c := range want {
					if len(got[c]) != len(records) {
						if c == 2 || c == 3 { // records without ports
							continue
						}
						t.Fatalf("column %d: tshark read %d values of %d records", c, len(got[c]), len(records))
					}
					if w := fmt.Sprint(want[c]); got[c][i] != w {
						t.Fatalf("record %d, column %d: tshark read %s, want %s", i, c, got[c][i], w)
					}
				}
			}
		})
	}
}

func writePcap(t *testing.T, datagrams [][]byte) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "export.pcap")
	file, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	w := pcapgo.NewWriter(file)
	if err := w.WriteFileHeader(65535, layers.LinkTypeRaw); err != nil {
		t.Fatal(err)
	}
	for _, b := range datagrams {
		ip := &layers.IPv4{Version: 4, TTL: 64, Protocol: layers.IPProtocolUDP, SrcIP: net.IPv4(192, 0, 2, 1), DstIP: net.IPv4(192, 0, 2, 2)}
		udp := &layers.UDP{SrcPort: 40000, DstPort: 2055}
		_ = udp.SetNetworkLayerForChecksum(ip)
		buf := gopacket.NewSerializeBuffer()
		if err := gopacket.SerializeLayers(buf, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}, ip, udp, gopacket.Payload(b)); err != nil {
			t.Fatal(err)
		}
		info := gopacket.CaptureInfo{Timestamp: time.UnixMilli(now), Length: len(buf.Bytes()), CaptureLength: len(buf.Bytes())}
		if err := w.WritePacket(info, buf.Bytes()); err != nil {
			t.Fatal(err)
		}
	}
	return name
}
