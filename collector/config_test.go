package collector_test

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/weirhq/weir/collector"
	"github.com/weirhq/weir/internal/strictyaml"
)

func TestDefaultIsValid(t *testing.T) {
	cfg := collector.Default()
	if err := strictyaml.Validate(&cfg); err != nil {
		t.Error(err)
	}
}

func TestValidate(t *testing.T) {
	cfg := collector.Default()
	cfg.Listen = []string{":2055", "2055", ":2055", ":0", ":0"}
	cfg.Workers = -1
	cfg.RecvBuffer = 1 << 40
	cfg.Allow = []netip.Prefix{{}, netip.MustParsePrefix("10.0.0.1/8")}
	cfg.BatchRows = 0
	cfg.FlushInterval = time.Hour
	cfg.ActiveTimeout = 0
	cfg.Sampling = []collector.Sampling{
		{Exporters: netip.MustParsePrefix("::ffff:10.0.0.0/104")},
		{Exporters: netip.MustParsePrefix("10.0.0.0/8"), Rate: 1 << 24},
		{Exporters: netip.MustParsePrefix("10.0.0.0/8"), Rate: 1<<24 + 1},
	}
	cfg.DefaultSampling = 0
	err := strictyaml.Validate(&cfg)
	if err == nil {
		t.Fatal("no error")
	}
	for _, want := range []string{
		`listen[1]: found "2055": want host:port`, `listen[2]: ":2055" is there twice`, "workers: found -1",
		"recv_buffer: found 1TiB", "allow[0]: missing network", "allow[1]: 10.0.0.1/8 has bits behind its length, want 10.0.0.0/8",
		"batch_rows: found 0", "flush_interval: found 1h0m0s", "active_timeout: found 0s",
		"sampling[0].exporters: ::ffff:10.0.0.0/104 is an IPv4 network in IPv6 form", "sampling[0].rate: found 0",
		"sampling[2].exporters: 10.0.0.0/8 is in sampling[1] already", "sampling[2].rate: found 16777217, want 1 (every packet) to 16777216",
		"default_sampling: found 0",
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("error does not have %q:\n%v", want, err)
		}
	}
	if n := len(strings.Split(err.Error(), "\n")); n != 14 {
		t.Errorf("%d problems, want 14:\n%v", n, err)
	}
}

func TestConfigFromYAML(t *testing.T) {
	cfg := collector.Default()
	err := strictyaml.Decode(strictyaml.Document{File: "weir.yaml", Data: []byte(`
listen: ["127.0.0.1:0"]
recv_buffer: 32MiB
allow: [10.0.0.0/8, "2001:db8::/32"]
flush_interval: 500ms
templates:
  max_exporters: 7
sampling:
  - exporters: 10.1.0.0/16
    rate: 1000
`)}, &cfg)
	if err != nil {
		t.Fatal(err)
	}
	if cfg.Templates.MaxExporters != 7 || cfg.Sampling[0].Rate != 1000 || len(cfg.Allow) != 2 || cfg.FlushInterval != 500*time.Millisecond ||
		cfg.BatchRows != collector.Default().BatchRows {
		t.Errorf("decoded %+v", cfg)
	}
}
