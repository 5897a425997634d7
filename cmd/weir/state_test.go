package main

import (
	"encoding/json"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/weirhq/weir/api"
	"github.com/weirhq/weir/internal/apptest"
	"github.com/weirhq/weir/lab/export"
)

// Exporters send templates and sampling rates every few minutes only, Open vSwitch every ten. A Weir that is killed and
// started again decodes what comes next at once, at the right rate; a state file that is damaged costs a warning.
func TestTemplatesOutliveAKill(t *testing.T) {
	if testing.Short() {
		t.Skip("runs weir up three times")
	}
	data := t.TempDir()
	config := filepath.Join(data, "weir.yaml")
	if err := os.WriteFile(config, []byte("collector:\n  state:\n    interval: 50ms\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	router := export.Router(export.UptimeTimes)
	for i := range router {
		router[i].Fields = append(router[i].Fields, export.Field{ID: 48, Len: 2})
	}
	boot := time.Now().Add(-time.Hour).UnixMilli()
	exporters := []struct {
		export.Config
		sampler uint32
		rate    int
		*export.Encoder
	}{
		{Config: export.Config{
			Version: export.NetFlow9, Domain: 7, Boot: boot, Templates: router,
			Options: []export.Option{export.SamplerOption(export.NetFlow9, map[uint32]uint32{1: 100, 2: 1000})},
		}, sampler: 2, rate: 1000},
		{Config: export.Config{
			Version: export.IPFIX, Domain: 8, Boot: boot, Templates: export.Router(export.MillisecondTimes),
			Options: []export.Option{export.SamplingOption(export.IPFIX, 8, 64)},
		}, rate: 64},
		{Config: export.Config{Version: export.IPFIX, Domain: 9, Boot: boot, Templates: export.OpenVSwitch(true)}, rate: 1},
	}
	send := func(a *apptest.App, i int, records ...export.Record) {
		t.Helper()
		conn, err := net.Dial("udp", a.Listen[0])
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if _, err := exporters[i].Encode(time.Now().UnixMilli(), records, func(b []byte) error { _, err := conn.Write(b); return err }); err != nil {
			t.Fatal(err)
		}
	}
	state := func(a *apptest.App) (s api.Status) {
		t.Helper()
		if _, body := ask(t, a, "/api/v1/status"); json.Unmarshal([]byte(body), &s) != nil || s.Collector.State == nil {
			t.Fatalf("no state in %s", body)
		}
		return s
	}

	a := apptest.Start(t, data, anyPorts...)
	for i := range exporters {
		x := &exporters[i]
		var err error
		if x.Encoder, err = export.New(x.Config); err != nil {
			t.Fatal(err)
		}
		send(a, i) // templates and options
	}
	apptest.Eventually(t, soon, "the state of three domains is saved", func() error {
		s := state(a).Collector
		if s.State.Domains != 3 || s.State.SavedAt.IsZero() || s.Datagrams < 5 {
			return fmt.Errorf("%+v", s.State)
		}
		return nil
	})
	a.Kill()
	gone(t, a, soon)

	b := apptest.Start(t, data, anyPorts...)
	if r := state(b).Collector.State.Restored; r.Domains != 3 || r.Templates < 10 {
		t.Fatalf("restored %+v, want 3 domains with their templates", r)
	}
	if out, err := b.Run("exporters"); err != nil || !strings.Contains(out, "restored") {
		t.Errorf("weir exporters does not say that templates are restored: %v\n%s", err, out)
	}
	now := time.Now().UnixMilli()
	for i, x := range exporters {
		send(b, i, export.Record{
			Start: now - 3000, End: now - 1000, Bytes: 5000, Packets: 10, Protocol: 6, SrcPort: 40_000, DstPort: 443, InIf: 1, OutIf: 2,
			Ethertype: 0x0800, Src: netip.MustParseAddr("192.0.2.1"), Dst: netip.MustParseAddr("192.0.2.2"), Sampler: x.sampler,
		})
	}
	rows := ""
	apptest.Eventually(t, soon, "three flows", func() (err error) {
		rows, err = b.SQL(`SELECT observation_domain, sampling_rate, sampling_assumed, packets, src_addr FROM flows ORDER BY 1`)
		if err == nil && strings.Count(rows, "\n") < 2 {
			err = fmt.Errorf("%q", rows)
		}
		return err
	})
	var want []string
	for _, x := range exporters {
		want = append(want, fmt.Sprintf("%d\t%d\tfalse\t10\t::ffff:192.0.2.1", x.Domain, x.rate))
	}
	if rows != strings.Join(want, "\n") {
		t.Errorf("of data that came without templates after a kill, the rows are\n%s\nwant\n%s", rows, strings.Join(want, "\n"))
	}
	b.Interrupt()
	if code := b.Wait(soon); code != 0 {
		t.Errorf("exit code %d", code)
	}

	file := filepath.Join(data, "collector.state")
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	content[30] ^= 0xFF // in its first frame
	if err := os.WriteFile(file, content, 0o600); err != nil {
		t.Fatal(err)
	}
	c := apptest.Start(t, data, anyPorts...)
	if s := state(c).Collector.State; s.SetAside != file+".bad" || s.Restored.Domains != 0 || !strings.Contains(c.Output(), "set aside") {
		t.Errorf("with a damaged state file: %+v", s)
	}
}
