package bench_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/weirhq/weir/api"
	"github.com/weirhq/weir/internal/apptest"
	"github.com/weirhq/weir/lab/flowgen"
	"github.com/weirhq/weir/store"
	"github.com/weirhq/weir/store/embedded"
)

// instance is a running `weir up` that knows the estate of which flows are.
type instance struct {
	*apptest.App
	port   uint16        // on which it receives flows
	client *store.Client // as the user that writes
}

// up starts Weir in a data directory.
func up(tb testing.TB, data string, hosts *flowgen.Estate) instance {
	tb.Helper()
	if _, err := embedded.FindLibrary(""); err != nil {
		tb.Skipf("not measured: %v", err)
	}
	i := instance{port: freePort(tb)}
	estate, err := hosts.YAML()
	if err != nil {
		tb.Fatal(err)
	}
	dir := tb.TempDir()
	config := filepath.Join(dir, "weir.yaml")
	text := fmt.Sprintf(`collector: {listen: ["127.0.0.1:%d"], recv_buffer: 64MiB}
estate: {file: %s/estate.yaml}
store: {embedded: {listen: "127.0.0.1:0"}, fold: {settle: 0s}}
api: {listen: "127.0.0.1:0"}
`, i.port, dir)
	for path, content := range map[string][]byte{config: []byte(text), filepath.Join(dir, "estate.yaml"): estate} {
		if err := os.WriteFile(path, content, 0o600); err != nil {
			tb.Fatal(err)
		}
	}
	i.App = apptest.Start(tb, data, "--config", config)
	users, err := embedded.ReadUsers(filepath.Join(data, "store"))
	if err != nil {
		tb.Fatal(err)
	}
	cfg := store.DefaultConfig()
	cfg.Addr, cfg.User, cfg.Password = i.Store, users.Writer.Name, users.Writer.Password
	if i.client, err = store.Open(cfg); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = i.client.Close() })
	return i
}

// restart ends Weir and starts it again; with cold, none of the files of its store are in the page cache then.
func (i *instance) restart(tb testing.TB, hosts *flowgen.Estate, cold bool) {
	tb.Helper()
	i.Stop()
	if cold {
		forget(tb, i.Data)
	}
	*i = up(tb, i.Data, hosts)
}

// get decodes the answer of the API to a path.
func (i instance) get(tb testing.TB, path string, v any) {
	tb.Helper()
	resp, err := http.Get("http://" + i.API + path)
	if err != nil {
		tb.Fatal(err)
	}
	defer resp.Body.Close()
	if err := json.NewDecoder(resp.Body).Decode(v); err != nil || resp.StatusCode != http.StatusOK {
		tb.Fatalf("GET %s: %s, %v", path, resp.Status, err)
	}
}

func (i instance) status(tb testing.TB) (s api.Status) {
	tb.Helper()
	i.get(tb, "/api/v1/status", &s)
	return s
}

// exec runs a statement.
func (i instance) exec(tb testing.TB, statement string) {
	tb.Helper()
	if err := i.client.Exec(context.Background(), statement); err != nil {
		tb.Fatalf("%s: %v", statement, err)
	}
}

// cpu returns the CPU time of a process.
func cpu(tb testing.TB, pid int) time.Duration {
	tb.Helper()
	s, err := processes(func(p procStat) bool { return p.pid == pid })
	if err != nil {
		tb.Fatal(err)
	}
	if len(s) != 1 {
		tb.Fatalf("process %d is gone", pid)
	}
	return s[0].cpu
}
