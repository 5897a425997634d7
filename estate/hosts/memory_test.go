package hosts_test

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weirhq/weir/estate"
	"github.com/weirhq/weir/estate/hosts"
)

// remembered runs a memory until it has written what changes tells it.
func remembered(t *testing.T, dir string, changes func(*hosts.Memory)) *hosts.Memory {
	t.Helper()
	m := hosts.NewMemory(dir, hosts.MemoryDeps{Log: slog.New(slog.DiscardHandler)})
	changes(m)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := m.Run(ctx); err != nil {
		t.Fatal(err)
	}
	return m
}

func TestMemory(t *testing.T) {
	d := newDatabase("system-id=eeeeeeee-0000-4000-8000-000000000010")
	b := d.bridge("xenbr0")
	d.port(b, 30, "vif3.0", "", 1)
	d.port(b, 0, "eth0", "", 2)
	at := time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)
	model := hosts.Map(hosts.Settings{Key: "hv1", Name: "hv1", UUID: "hv1", Pool: "lab"}, d.Rows, ours).Model(func(string) time.Time { return at })
	if len(model.VMs) != 1 || len(model.VMs[0].VIFs) != 1 || len(model.VMs[0].VIFs[0].Ports) != 1 {
		t.Fatalf("the model shows nothing: %+v", model)
	}
	dir := filepath.Join(t.TempDir(), "hosts")
	remembered(t, dir, func(m *hosts.Memory) { m.Keep("hv1", &estate.Model{}, at); m.Keep("hv1", model, at) })

	m := remembered(t, dir, func(*hosts.Memory) {})
	got, seen := m.Recall("hv1")
	if !seen.Equal(at) {
		t.Errorf("seen at %v, want %v", seen, at)
	}
	if diff := cmp.Diff(model, got, cmp.Exporter(func(reflect.Type) bool { return true })); diff != "" {
		t.Errorf("model after the way: -want +got\n%s", diff)
	}
	if got, _ := m.Recall("hv2"); got != nil {
		t.Errorf("recalled %+v of a host that was never seen", got)
	}
	remembered(t, dir, func(m *hosts.Memory) { m.Forget("hv1"); m.Forget("hv2") })
	if got, _ := m.Recall("hv1"); got != nil {
		t.Errorf("recalled %+v of a host that was forgotten", got)
	}
}

// What was kept of hosts that are not there any more goes, and nothing else in the folder.
func TestMemoryRetains(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "hosts")
	m := hosts.NewMemory(dir, hosts.MemoryDeps{Log: slog.New(slog.DiscardHandler)})
	if n, err := m.Retain(nil); n != 0 || err != nil {
		t.Errorf("without a folder: %d, %v", n, err)
	}
	at := time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)
	m = remembered(t, dir, func(m *hosts.Memory) {
		for _, host := range []string{"xapi:berlin", "xapi:paris", "libvirt:kvm1"} {
			m.Keep(host, &estate.Model{}, at)
		}
	})
	if err := os.WriteFile(filepath.Join(dir, "notes.txt"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if n, err := m.Retain([]string{"xapi:paris", "xapi:rome"}); n != 2 || err != nil {
		t.Errorf("removed %d, %v; want 2", n, err)
	}
	left, err := os.ReadDir(dir)
	if err != nil || len(left) != 2 || left[0].Name() != "notes.txt" || left[1].Name() != "xapi:paris.json" {
		t.Errorf("left are %v, %v", left, err)
	}
	if model, _ := m.Recall("xapi:paris"); model == nil {
		t.Error("what is kept of a host that is there still was removed")
	}
}

// What cannot be read is as if the host had never been seen, and a key is no way out of the folder.
func TestMemoryIsDamaged(t *testing.T) {
	dir := t.TempDir()
	m := remembered(t, dir, func(m *hosts.Memory) { m.Keep("hv1", &estate.Model{VMs: []estate.VM{{Name: "web-01"}}}, time.Now()) })
	name := filepath.Join(dir, "hv1.json")
	whole, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	for what, b := range map[string][]byte{
		"empty": nil, "cut": whole[:len(whole)/2], "of another form": []byte(strings.Replace(string(whole), `"form":1`, `"form":0`, 1)),
		"of another host": []byte(strings.Replace(string(whole), "hv1", "hv2", 1)), "no model": []byte(`{"form":1,"host":"hv1"}`),
	} {
		if err := os.WriteFile(name, b, 0o600); err != nil {
			t.Fatal(err)
		}
		if got, _ := m.Recall("hv1"); got != nil {
			t.Errorf("recalled %+v of a file that is %s", got, what)
		}
	}
	outside := filepath.Join(dir, "..", "outside.json")
	remembered(t, dir, func(m *hosts.Memory) { m.Keep("../outside", &estate.Model{}, time.Now()) })
	if _, err := os.Stat(outside); err == nil {
		t.Error("it wrote a file outside of its folder")
	}
}
