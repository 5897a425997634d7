package ovsdb_test

import (
	"strings"
	"testing"

	"github.com/weirhq/weir/ovs/ovsdb"
)

func TestParseTarget(t *testing.T) {
	for text, want := range map[string]ovsdb.Target{
		"ssl:192.0.2.1:6632":        {TLS: true, Host: "192.0.2.1", Port: 6632},
		"ssl:192.0.2.1":             {TLS: true, Host: "192.0.2.1", Port: 6640},
		"tcp:xcp-1.example.net:1":   {Host: "xcp-1.example.net", Port: 1},
		"tcp:localhost":             {Host: "localhost", Port: 6640},
		"ssl:[2001:db8::1]:65535":   {TLS: true, Host: "2001:db8::1", Port: 65535},
		"tcp:[fe80::1%eth0]":        {Host: "fe80::1%eth0", Port: 6640},
		"unix:/var/run/ovs/db.sock": {Path: "/var/run/ovs/db.sock"},
		"unix:db.sock":              {Path: "db.sock"},
	} {
		got, err := ovsdb.ParseTarget(text)
		if err != nil || got != want {
			t.Errorf("ParseTarget(%q) = %+v, %v, want %+v", text, got, err, want)
		}
		if again, err := ovsdb.ParseTarget(got.String()); err != nil || again != want {
			t.Errorf("ParseTarget(%q) = %+v, %v, want %+v", got.String(), again, err, want)
		}
	}
	for text, want := range map[string]string{
		"":                                 "expected ssl:HOST:PORT",
		"192.0.2.1":                        "expected ssl:HOST:PORT",
		"http:x":                           `found scheme "http"`,
		"pssl:6640":                        "what the host listens on",
		"ssl:":                             "expected a name",
		"ssl:a b":                          "expected a name",
		"ssl:-a":                           "expected a name",
		"ssl:0.0.0.0":                      "expected a name",
		"ssl:a:":                           "expected a port",
		"ssl:a:0":                          "found port",
		"ssl:a:65536":                      "found port",
		"ssl:a:x":                          "found port",
		"ssl:2001:db8::1":                  "in brackets",
		"ssl:[2001:db8::1":                 "in brackets",
		"ssl:[192.0.2.1]:1":                "in brackets",
		"ssl:[2001:db8::1]x":               "in brackets",
		"ssl:[2001:db8::1]:":               "in brackets",
		"unix:":                            "a path",
		"unix:" + strings.Repeat("x", 108): "a path of 1 to 107 bytes",
	} {
		if got, err := ovsdb.ParseTarget(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("ParseTarget(%q) = %+v, %v, want %q", text, got, err, want)
		}
	}
	var zero ovsdb.Target
	if err := zero.UnmarshalText(nil); err != nil || !zero.IsZero() || zero.String() != "" {
		t.Errorf("no target: %v, %q", err, zero)
	}
}
