package plugin

import (
	"errors"
	"slices"
	"testing"

	"github.com/grafana/grafana-plugin-sdk-go/backend"

	"github.com/weirhq/weir/grafana-plugin/pkg/clickhouse"
)

// Every cell: what is set, who asks, and whether for an alert rule. That it is one never allows more than its user may.
func TestWhoMayRunSQL(t *testing.T) {
	const none = "(no user)"
	for _, test := range []struct {
		settings string
		may      []string // roles
		alert    []string // roles with which an alert rule may
	}{
		{``, []string{"Editor", "Admin", none}, []string{"Editor", "Admin", none}},
		{`{"sqlRole":"","sqlWithoutUser":null}`, []string{"Editor", "Admin", none}, []string{"Editor", "Admin", none}},
		{`{"sqlRole":"Viewer"}`, []string{"Viewer", "Editor", "Admin", none}, []string{"Viewer", "Editor", "Admin", none}},
		{`{"sqlRole":"Editor","sqlWithoutUser":false}`, []string{"Editor", "Admin"}, nil},
		{`{"sqlRole":"Admin","sqlWithoutUser":true}`, []string{"Admin", none}, []string{"Admin", none}},
		{`{"sqlRole":"none"}`, []string{none}, []string{none}},
		{`{"sqlRole":"none","sqlWithoutUser":false}`, nil, nil},
	} {
		a, err := parseAccess([]byte(test.settings))
		if err != nil {
			t.Fatal(err)
		}
		for _, role := range []string{"", "None", "Viewer", "Editor", "Admin", "admin", "Grafana Admin", none} {
			for _, alert := range []bool{false, true} {
				who, may := asker{alert: alert}, test.may
				if role != none {
					who.user = &backend.User{Role: role}
				}
				if alert {
					may = test.alert
				}
				err := a.mayRunSQL(who)
				if got, want := err == nil, slices.Contains(may, role); got != want {
					t.Errorf("%s, role %q, alert %v: %v, may is %v", test.settings, role, alert, err, want)
				}
				if err != nil && sort(err).Status != 403 {
					t.Errorf("%s, role %q: %+v, want 403", test.settings, role, sort(err))
				}
			}
		}
	}
	for _, wrong := range []string{`{"sqlRole":"editor"}`, `{"sqlRole":"None"}`, `{"sqlRole":1}`, `{"sqlWithoutUser":"yes"}`, `[`} {
		_, err := parseAccess([]byte(wrong))
		if e, ok := errors.AsType[*clickhouse.Error](err); !ok || e.Class != clickhouse.ClassConfig {
			t.Errorf("%s: %v, want class config", wrong, err)
		}
	}
}
