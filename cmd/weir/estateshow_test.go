package main

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/weirhq/weir/api"
	"github.com/weirhq/weir/estate"
	"github.com/weirhq/weir/flow"
	"github.com/weirhq/weir/internal/apptest"
)

func testEstate(t *testing.T, a *apptest.App) {
	args := func(more ...string) []string {
		return append(append([]string{"estate"}, more...), "--data", a.Data)
	}
	tree := good(t, args("tree")...)
	for _, want := range []string{"KIND", "pool ", "host ", "    xenbr0", "network ", "vm ", "vif ", "address_group ", "web-01", "file", "mac="} {
		if !strings.Contains(tree, want) {
			t.Errorf("weir estate tree lacks %q:\n%s", want, tree)
		}
	}
	var answer api.EstateAnswer
	decode := func(into any, more ...string) {
		t.Helper()
		out := good(t, args(append(more, "--json")...)...)
		if err := json.Unmarshal([]byte(out), into); err != nil {
			t.Fatalf("weir estate %q: %v\n%s", more, err, out)
		}
	}
	decode(&answer, "search", "WEB-01")
	names := map[string]bool{}
	for _, e := range answer.Entities {
		names[string(e.Kind)+" "+e.Name] = true
		if e.Kind == flow.KindVM && e.ID != flow.NewID(e.Kind, e.Key) {
			t.Errorf("JSON has id %d of %s", e.ID, e.Key)
		}
	}
	if !names["vm web-01"] || !names["vif web-01/0"] || names["vm db-01"] || len(answer.Sources) != 1 {
		t.Errorf("weir estate search WEB-01: %v, sources %v; want the VM, its VIF and its pool, of the file", names, answer.Sources)
	}
	// As it was stored: it takes a moment until it is.
	apptest.Eventually(t, soon, "the estate is stored", func() error {
		decode(&answer, "tree", "--at", "now")
		if n := len(answer.Entities); n <= 40 {
			return fmt.Errorf("%d entities are stored", n)
		}
		return nil
	})
	fails(t, exitNotFound, `nothing in the estate has "web-01"`, args("search", "web-01", "--at", "2020-01-01 00:00")...)
	fails(t, exitNotFound, `nothing in the estate has "web-01"`, args("search", "web-01", "--at", "2020-01-01 00:00", "--json")...)
	fails(t, exitUsage, `--at: time "some day": expected`, args("tree", "--at", "some day")...)
	fails(t, exitUsage, "found an empty argument: expected weir estate search TEXT", args("search", "")...)

	var e estate.Explanation
	decode(&e, "explain", "web-01")
	if len(e.Found) != 1 || e.Found[0].Kind != flow.KindVM || e.Found[0].Name != "web-01" {
		t.Fatalf("weir estate explain web-01 found %+v", e.Found)
	}
	mac := ""
	decode(&answer, "search", "web-01/0")
	for _, x := range answer.Entities {
		if x.Kind == flow.KindVIF {
			mac = x.Attributes["mac"]
		}
	}
	out := good(t, args("explain", mac)...)
	for _, want := range []string{"vif web-01/0, id ", "PROPERTY", "file *", "a flow with it, by MAC address: hit, VIF web-01/0, VM web-01"} {
		if !strings.Contains(out, want) {
			t.Errorf("weir estate explain %s lacks %q:\n%s", mac, want, out)
		}
	}
	fails(t, exitNotFound, `nothing in the estate goes by "nobody"`, args("explain", "nobody")...)
	fails(t, exitNotFound, `nothing in the estate goes by "nobody"`, args("explain", "nobody", "--json")...)
	fails(t, exitUsage, "found an empty argument: expected weir estate explain WHAT", args("explain", "")...)
}
