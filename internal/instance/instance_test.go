package instance_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/weirhq/weir/internal/instance"
)

func TestWriteFindRemove(t *testing.T) {
	dir := t.TempDir()
	want := instance.Instance{Data: dir, PID: os.Getpid(), Store: "127.0.0.1:8123", Listen: []string{"127.0.0.1:2055"}}
	if err := instance.Write(want); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(filepath.Join(dir, "run", "instance.json"))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("instance.json: mode %v, error %v; want 0600", info.Mode(), err)
	}
	got, err := instance.Find(dir)
	if err != nil || got.Store != want.Store || got.Data != dir {
		t.Fatalf("Find = %+v, %v; want the instance written", got, err)
	}
	if err := instance.Remove(dir, os.Getpid()+1); err != nil {
		t.Fatal(err)
	}
	if _, err := instance.Find(dir); err != nil {
		t.Errorf("Remove by another pid took the instance away: %v", err)
	}
	if err := instance.Remove(dir, os.Getpid()); err != nil {
		t.Fatal(err)
	}
	if _, err := instance.Find(dir); !errors.Is(err, instance.ErrNotRunning) {
		t.Errorf("Find after Remove: %v, want ErrNotRunning", err)
	}
}

func TestFindTellsAnEndedProcess(t *testing.T) {
	dir := t.TempDir()
	// Above the highest pid that Linux gives out.
	if err := instance.Write(instance.Instance{Data: dir, PID: 1<<22 + 1}); err != nil {
		t.Fatal(err)
	}
	if _, err := instance.Find(dir); !errors.Is(err, instance.ErrNotRunning) {
		t.Errorf("Find with a dead pid: %v, want ErrNotRunning", err)
	}
}

func TestLockIsExclusive(t *testing.T) {
	dir := t.TempDir()
	unlock, err := instance.Lock(dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := instance.Lock(dir); !errors.Is(err, instance.ErrRunning) {
		t.Errorf("second Lock: %v, want ErrRunning", err)
	}
	unlock()
	again, err := instance.Lock(dir)
	if err != nil {
		t.Fatalf("Lock after unlock: %v", err)
	}
	again()
}

// A backup is made beside an instance that runs, and no two at once.
func TestLockBackup(t *testing.T) {
	dir := t.TempDir()
	unlock, err := instance.Lock(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer unlock()
	end, err := instance.LockBackup(dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := instance.LockBackup(dir); !errors.Is(err, instance.ErrBackup) {
		t.Errorf("second LockBackup: %v, want ErrBackup", err)
	}
	end()
}

func TestStranger(t *testing.T) {
	dir := t.TempDir()
	if err := errors.Join(instance.Stranger(dir), instance.Stranger(filepath.Join(dir, "nothing"))); err != nil {
		t.Error(err)
	}
	if os.Geteuid() != 0 {
		t.Skip("only root can give a directory away")
	}
	if err := os.Chown(dir, 1, 1); err != nil { // daemon on Debian
		t.Fatal(err)
	}
	if err := instance.Stranger(dir); err == nil || !strings.Contains(err.Error(), "sudo -u ") {
		t.Errorf("root in the directory of another: %v", err)
	}
}
