package clickhouse_test

import (
	"strings"
	"testing"
	"time"

	driver "github.com/ClickHouse/clickhouse-go/v2"

	"github.com/weirhq/weir/grafana-plugin/pkg/clickhouse"
)

func TestSettings(t *testing.T) {
	// What provisioning leaves out, it writes as empty; what is Grafana's is passed over.
	for _, data := range []string{"", "{}", `{"url":"","database":"","username":"","timeout":"","maxRows":null,"manageAlerts":true}`} {
		s, err := clickhouse.ParseSettings([]byte(data), nil)
		if err != nil {
			t.Fatalf("%q: %v", data, err)
		}
		want := clickhouse.Caps{Connect: 10 * time.Second, Time: 30 * time.Second, Rows: 10_000, ResultBytes: 100 << 20, ReadBytes: 64 << 30, Queries: 8}
		if s.Addr != "127.0.0.1:8123" || s.Database != "default" || s.Username != "weir_ro" || s.TLS != nil || s.Caps != want {
			t.Errorf("%q: %+v, want the store of weir up, and %+v", data, s, want)
		}
	}
	for text, want := range map[string]struct {
		addr, path string
		protocol   driver.Protocol
		tls        bool
	}{
		"http://h":                   {"h:8123", "", driver.HTTP, false},
		" https://h/ ":               {"h:8443", "", driver.HTTP, true},
		"https://h:1/clickhouse/":    {"h:1", "/clickhouse", driver.HTTP, true},
		"clickhouse://[2001:db8::1]": {"[2001:db8::1]:9000", "", driver.Native, false},
		"clickhouses://h.example:1":  {"h.example:1", "", driver.Native, true},
	} {
		s, err := clickhouse.ParseSettings([]byte(`{"url":"`+text+`"}`), nil)
		if err != nil || s.Addr != want.addr || s.Path != want.path || s.Protocol != want.protocol || (s.TLS != nil) != want.tls {
			t.Errorf("%s: %+v, %v, want %+v", text, s, err, want)
		}
	}
}

func TestSettingsThatAreWrong(t *testing.T) {
	for _, test := range []struct {
		data    string
		secrets map[string]string
		says    []string
	}{
		{`{`, nil, []string{"read settings"}},
		{`{"url":1}`, nil, []string{"url"}},
		{`{"url":"h:8123"}`, nil, []string{"url: "}},
		{`{"url":"gopher://h"}`, nil, []string{"gopher", "clickhouses"}},
		{`{"url":"http://u:s3cr3t-pa55word@h"}`, nil, []string{"url", "user or password"}},
		{`{"url":"http://u:s3cr3t-pa55word@h:port"}`, nil, []string{"url"}},
		{`{"url":"http://h?password=s3cr3t-pa55word"}`, nil, []string{"url", "parameters"}},
		{`{"url":"clickhouse://h/db"}`, nil, []string{"path"}},
		{`{"url":"http://"}`, nil, []string{"url"}},
		{`{"maxRows":0,"maxSeconds":601,"maxBytes":"many","timeout":"1h"}`, nil, []string{"maxRows: found 0", "maxSeconds: found 601", "maxBytes: found", "timeout: found"}},
		{`{"url":"https://h"}`, map[string]string{"tlsCACert": "s3cr3t-pa55word"}, []string{"tlsCACert"}},
		{`{"url":"https://h"}`, map[string]string{"tlsClientKey": "s3cr3t-pa55word"}, []string{"tlsClientCert"}},
		{`{"url":"https://h"}`, map[string]string{"tlsClientCert": "x", "tlsClientKey": "s3cr3t-pa55word"}, []string{"tlsClientCert"}},
	} {
		s, err := clickhouse.ParseSettings([]byte(test.data), test.secrets)
		if classOf(err) != clickhouse.ClassConfig {
			t.Errorf("%s: %+v, %v, want class config", test.data, s, err)
			continue
		}
		for _, says := range test.says {
			if !strings.Contains(err.Error(), says) {
				t.Errorf("%s: %v, want %q in it", test.data, err, says)
			}
		}
		if strings.Contains(err.Error(), secret) {
			t.Errorf("%s: the secret is told: %v", test.data, err)
		}
	}
}
