package systemd_test

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/weirhq/weir/internal/systemd"
)

// TestMain runs this program again as the service: what is passed by number of descriptor and of process needs a process of its own.
func TestMain(m *testing.M) {
	if os.Getenv("WEIR_TEST_SERVICE") == "" {
		os.Exit(m.Run())
	}
	os.Exit(service())
}

// service prints what was passed to it: the name and address of each socket, and what is left for a second call and for children.
func service() int {
	if os.Getenv("LISTEN_PID") == "own" {
		_ = os.Setenv("LISTEN_PID", fmt.Sprint(os.Getpid()))
	}
	files, err := systemd.Sockets()
	if err != nil {
		fmt.Println("error:", err)
		return 0
	}
	for _, f := range files {
		pc, err := net.FilePacketConn(f)
		if err != nil {
			fmt.Println("error:", err)
			continue
		}
		fmt.Println(f.Name(), pc.LocalAddr())
	}
	again, err := systemd.Sockets()
	fmt.Println("again:", len(again), err, os.Getenv("LISTEN_FDS"))
	child, err := exec.Command("sh", "-c", "ls -l /proc/self/fd | grep -c socket").Output()
	if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
		fmt.Println("error:", err)
	}
	fmt.Printf("child: %s", child)
	return 0
}

func serve(t *testing.T, files []*os.File, env ...string) string {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), append(env, "WEIR_TEST_SERVICE=1")...)
	cmd.ExtraFiles = files
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("service: %v\n%s", err, out)
	}
	return string(out)
}

// socket is a bound UDP socket as a file, and its address.
func socket(t *testing.T) (*os.File, string) {
	t.Helper()
	pc, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	f, err := pc.(*net.UDPConn).File()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(f.Close(), pc.Close()); err != nil {
			t.Error(err)
		}
	})
	return f, pc.LocalAddr().String()
}

func TestSockets(t *testing.T) {
	a, addrA := socket(t)
	b, addrB := socket(t)
	got := serve(t, []*os.File{a, b}, "LISTEN_PID=own", "LISTEN_FDS=2", "LISTEN_FDNAMES=netflow:")
	if want := fmt.Sprintf("netflow %s\nfd 4 %s\nagain: 0 <nil> \nchild: 0\n", addrA, addrB); got != want {
		t.Errorf("service with two sockets printed\n%s\nwant\n%s", got, want)
	}
}

func TestSocketsOfOthers(t *testing.T) {
	a, _ := socket(t)
	for _, env := range [][]string{nil, {"LISTEN_PID=1", "LISTEN_FDS=1"}, {"LISTEN_FDS=1"}, {"LISTEN_PID=own"}} {
		if got := serve(t, []*os.File{a}, env...); !strings.HasPrefix(got, "again: 0 <nil> \n") {
			t.Errorf("service with %q printed\n%s\nwant no socket", env, got)
		}
	}
}

func TestSocketsThatAreNotThere(t *testing.T) {
	for env, want := range map[string]string{
		"LISTEN_FDS=x":    `LISTEN_FDS is "x", want a number`,
		"LISTEN_FDS=-1":   `LISTEN_FDS is "-1", want a number`,
		"LISTEN_FDS=9999": `LISTEN_FDS is "9999", want a number`,
		"LISTEN_FDS=900":  "of 900: bad file descriptor",
	} {
		if got := serve(t, nil, "LISTEN_PID=own", env); !strings.HasPrefix(got, "error: take sockets of systemd: ") || !strings.Contains(got, want) {
			t.Errorf("service with %s printed\n%s\nwant an error with %q", env, got, want)
		}
	}
}

func TestNotify(t *testing.T) {
	path := filepath.Join(t.TempDir(), "notify")
	l, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	t.Setenv("NOTIFY_SOCKET", path)
	for _, state := range []systemd.State{systemd.Ready, systemd.Stopping} {
		if err := systemd.Notify(state); err != nil {
			t.Fatalf("Notify(%s): %v", state, err)
		}
		b := make([]byte, 100)
		n, err := l.Read(b)
		if err != nil {
			t.Fatal(err)
		}
		if got := string(b[:n]); got != string(state) {
			t.Errorf("Notify(%s) sent %q", state, got)
		}
	}
}

func TestNotifyNobody(t *testing.T) {
	t.Setenv("NOTIFY_SOCKET", "")
	if err := systemd.Notify(systemd.Ready); err != nil {
		t.Errorf("Notify without NOTIFY_SOCKET: %v", err)
	}
	t.Setenv("NOTIFY_SOCKET", filepath.Join(t.TempDir(), "gone"))
	if err := systemd.Notify(systemd.Ready); err == nil {
		t.Error("Notify to a socket that is not there: no error")
	}
}
