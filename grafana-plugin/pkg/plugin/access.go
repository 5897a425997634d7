package plugin

import (
	"encoding/json"
	"slices"

	"github.com/grafana/grafana-plugin-sdk-go/backend"

	"github.com/weirhq/weir/grafana-plugin/pkg/clickhouse"
)

// Values of sqlRole in jsonData: nobody, or the least role that may run SQL of its own.
const (
	roleNone   = "none"
	roleViewer = "Viewer"
	roleEditor = "Editor"
	roleAdmin  = "Admin"
)

// roles are those of Grafana, each with less than the next.
var roles = []string{roleViewer, roleEditor, roleAdmin}

// access says who may run SQL of their own.
type access struct {
	least       string // sqlRole
	withoutUser bool   // also queries that Grafana makes itself: of alert rules, recording rules and reports
}

// accessSettings are the keys of jsonData that say it.
type accessSettings struct {
	SQLRole        string `json:"sqlRole" default:"Editor" doc:"Least role of Grafana that may run SQL of its own: none, Admin, Editor or Viewer. It is looked at in the backend."`
	SQLWithoutUser *bool  `json:"sqlWithoutUser" default:"true" doc:"Run SQL also where no user asks: in alert rules, recording rules and reports."`
}

func parseAccess(jsonData []byte) (access, error) {
	var raw accessSettings
	if len(jsonData) > 0 {
		if err := json.Unmarshal(jsonData, &raw); err != nil {
			return access{}, &clickhouse.Error{Class: clickhouse.ClassConfig, Msg: "read settings: " + err.Error(), Hint: "save the data source's settings anew"}
		}
	}
	a := access{least: raw.SQLRole, withoutUser: raw.SQLWithoutUser == nil || *raw.SQLWithoutUser}
	switch {
	case a.least == "":
		a.least = roleEditor
	case a.least != roleNone && !slices.Contains(roles, a.least):
		return access{}, &clickhouse.Error{Class: clickhouse.ClassConfig, Msg: "sqlRole: found " + quote(a.least) + ", want none, Admin, Editor or Viewer", Hint: "correct the data source's settings"}
	}
	return a, nil
}

// mayRunSQL refuses who may not run SQL of their own. An alert rule is asked twice: Grafana may make its queries without a user, or as a
// user of its own who is an admin; that a request is of an alert rule never allows what the user's role does not.
func (a access) mayRunSQL(who asker) error {
	switch {
	case (who.user == nil || who.alert) && !a.withoutUser:
		return &forbidden{"SQL in queries that no user makes, as those of alert rules, is not allowed by this data source", "ask in another way, or have sqlWithoutUser set"}
	case who.user == nil:
		return nil
	case a.least == roleNone:
		return &forbidden{"this data source runs no SQL of users", "ask in another way"}
	case slices.Index(roles, who.user.Role) < slices.Index(roles, a.least): // -1 is a role that is not known
		return &forbidden{"SQL may be run by those whose role is " + a.least + " or higher; yours is " + role(who.user), "ask in another way"}
	}
	return nil
}

func role(u *backend.User) string {
	if u.Role == "" {
		return "none"
	}
	return quote(u.Role)
}

// forbidden is what somebody may not do.
type forbidden struct{ msg, hint string }

func (e *forbidden) Error() string { return e.msg + ": " + e.hint }
