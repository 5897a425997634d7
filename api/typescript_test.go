package api_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// The client for TypeScript does what it says, at a real server. Whether it is right by its types is checked by scripts/ui.sh.
func TestTypeScriptClient(t *testing.T) {
	where, err := exec.Command(filepath.Join("..", "scripts", "node-path.sh")).Output()
	if err != nil {
		if os.Getenv("CI_REQUIRE_SERVICES") != "" {
			t.Fatalf("node: %v; scripts/deps.sh node installs it", err)
		}
		t.Skip("node 24 is not installed: scripts/deps.sh node")
	}
	r := newRig(t, unauthenticated(), nil, nil)
	node := filepath.Join(strings.TrimSpace(string(where)), "node")
	cmd := exec.CommandContext(t.Context(), node, filepath.Join("..", "ui", "src", "journey.ts"), "http://"+r.addr, r.tokens["sue"])
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}
