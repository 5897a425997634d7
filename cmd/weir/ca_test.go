package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/weirhq/weir/ovs/ovsdb"
	"github.com/weirhq/weir/ovs/ovsdb/ovsdbtest"
)

func TestCA(t *testing.T) {
	data := filepath.Join(t.TempDir(), "data")
	out := filepath.Join(t.TempDir(), "xcp1")
	fails(t, exitFailed, "there is no authority; make one: weir ca init", "ca", "show", "--data", data)
	made := good(t, "ca", "init", "--data", data)
	fails(t, exitFailed, "is there already", "ca", "init", "--data", data)
	fails(t, exitUsage, "--out", "ca", "host", "xcp1", "--data", data)
	fails(t, exitUsage, "letters, digits", "ca", "host", "../x", "--data", data, "--out", out)
	fails(t, exitUsage, "IP address", "ca", "host", "xcp1", "--data", data, "--out", out, "--address", "x")
	fails(t, exitUsage, "--days", "ca", "host", "xcp1", "--data", data, "--out", out, "--days", "0")

	said := good(t, "ca", "host", "xcp1", "--data", data, "--out", out, "--rsa", "--address", "192.0.2.1")
	for _, want := range []string{"xcp1", "RSA", "ovs-vsctl set-ssl /etc/openvswitch/xcp1-privkey.pem /etc/openvswitch/xcp1-cert.pem /etc/openvswitch/weir-ca.pem"} {
		if !strings.Contains(said, want) {
			t.Errorf("weir ca host said %q, want %q", said, want)
		}
	}
	for _, name := range []string{"xcp1-privkey.pem", "xcp1-cert.pem", "weir-ca.pem"} {
		info, err := os.Stat(filepath.Join(out, name))
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %v", name, info.Mode())
		}
	}
	pem, err := os.ReadFile(filepath.Join(out, "weir-ca.pem"))
	if err != nil {
		t.Fatal(err)
	}
	if good(t, "ca", "show", "--pem", "--data", data) != string(pem) {
		t.Error("weir ca show --pem is not what the host is given")
	}
	var list []certificate
	if err := json.Unmarshal([]byte(good(t, "ca", "show", "--json", "--data", data)), &list); err != nil {
		t.Fatal(err)
	}
	var of []string
	for _, c := range list {
		of = append(of, c.Of+" "+c.Key)
		if _, err := ovsdb.ParseFingerprint(string(c.Fingerprint)); err != nil || c.NotAfter.IsZero() {
			t.Errorf("certificate %+v", c)
		}
	}
	if got := strings.Join(of, ", "); got != "authority ECDSA, weir ECDSA, weir RSA, host RSA" || !strings.Contains(made, string(list[0].Fingerprint)) {
		t.Errorf("certificates %s", got)
	}
	renewed := good(t, "ca", "renew", "--data", data)
	if strings.Contains(renewed, string(list[0].Fingerprint)) || !strings.Contains(renewed, list[0].Name) {
		t.Errorf("weir ca renew said %q", renewed)
	}
}

// What weir ca host prints is what a host takes, from the directory where the files are.
func TestCAHostCommands(t *testing.T) {
	server := ovsdbtest.Start(t, nil)
	data := filepath.Join(t.TempDir(), "data")
	good(t, "ca", "init", "--data", data)
	var answer struct {
		Directory string   `json:"directory"`
		Commands  []string `json:"commands"`
	}
	if err := json.Unmarshal([]byte(good(t, "ca", "host", "hv1", "--data", data, "--out", filepath.Join(t.TempDir(), "hv1"), "--json")), &answer); err != nil {
		t.Fatal(err)
	}
	for _, line := range answer.Commands {
		line = strings.NewReplacer("/etc/openvswitch", answer.Directory, "WEIR", "192.0.2.5", "ovs-vsctl", "ovs-vsctl --no-wait --db="+server.Socket()).Replace(line)
		server.Shell(line)
	}
	if got := server.VSCtl("get-manager"); !strings.Contains(got, "pssl:6640") || !strings.Contains(got, "ssl:192.0.2.5:6640") {
		t.Errorf("managers %q", got)
	}
	if got := server.VSCtl("get-ssl"); !strings.Contains(got, "hv1-cert.pem") {
		t.Errorf("ssl %q", got)
	}
}
