package plugin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"time"

	"github.com/grafana/grafana-plugin-sdk-go/backend"

	"github.com/weirhq/weir/grafana-plugin/pkg/clickhouse"
	"github.com/weirhq/weir/query"
	"github.com/weirhq/weir/sql"
)

// schemaVersion is the migration of the store that this plugin is built with.
var schemaVersion = func() int {
	files, err := fs.Glob(sql.Migrations(), "*.sql")
	if err != nil || len(files) == 0 {
		panic(fmt.Sprint("BUG: no migrations: ", err))
	}
	return len(files) // numbered from 1 without gaps
}()

// details are what a health check tells programs, and, as verboseMessage, Grafana's page of settings.
type details struct {
	Class   clickhouse.Class `json:"class,omitempty"`
	Hint    string           `json:"hint,omitempty"`
	Verbose string           `json:"verboseMessage,omitempty"`

	ClickHouse string   `json:"clickhouse,omitempty"`
	Schema     int      `json:"schema,omitempty"`
	Expected   int      `json:"expectedSchema"`
	NewestFlow string   `json:"newestFlow,omitempty"` // RFC 3339
	Exporters  int      `json:"exporters"`            // that the store knows of
	Sending    int      `json:"sendingExporters"`     // of those, in the last hour
	MayWrite   bool     `json:"mayWrite"`
	Refused    []string `json:"settingsRefused,omitempty"` // caps that hold on this side only
}

// CheckHealth answers "Save & test".
func (d *Datasource) CheckHealth(ctx context.Context, _ *backend.CheckHealthRequest) (*backend.CheckHealthResult, error) {
	found := &details{Expected: schemaVersion}
	message, err := d.examine(ctx, found)
	result := &backend.CheckHealthResult{Status: backend.HealthStatusOk, Message: message}
	if err != nil {
		p := sort(err)
		found.Class, found.Hint, found.Verbose = p.Class, p.Hint, p.Hint
		if found.Class == "" {
			found.Class = clickhouse.ClassServer
		}
		result.Status, result.Message = backend.HealthStatusError, p.Message
		backend.Logger.FromContext(ctx).Debug("health check failed", "class", string(found.Class))
	}
	if result.JSONDetails, err = json.Marshal(found); err != nil {
		return nil, err
	}
	return result, nil
}

// examine fills in what is found and says it in a line.
func (d *Datasource) examine(ctx context.Context, found *details) (string, error) {
	if d.broken != nil {
		return "", d.broken
	}
	access, err := d.client.Access(ctx)
	if err != nil {
		return "", err
	}
	found.ClickHouse, found.MayWrite, found.Refused = access.Version, access.Writes, access.Refused
	if err := d.examineSchema(ctx, found); err != nil {
		return "", err
	}
	one := func(s query.Statement) (*clickhouse.Rows, error) {
		rows, err := d.client.Query(ctx, clickhouse.Ask{Statement: s})
		if err == nil && rows.Len != 1 {
			err = errors.New("a mistake of the plugin: one row expected")
		}
		return rows, err
	}
	rows, err := one(query.Newest(query.Tables))
	if err != nil {
		return "", err
	}
	flows := "no flow yet"
	if newest, ok := columnOf[time.Time](rows, 1); ok && newest[0].Unix() > 0 {
		found.NewestFlow = newest[0].UTC().Format(time.RFC3339)
		flows = "newest flow " + age(d.now().Sub(newest[0])) + " ago"
	}
	if rows, err = one(query.Statement{SQL: "SELECT uniqExact(exporter) AS known, uniqExactIf(exporter, time > now() - INTERVAL 1 HOUR) AS sending FROM exporter_stats"}); err != nil {
		return "", err
	}
	known, _ := columnOf[uint64](rows, 0)
	sending, _ := columnOf[uint64](rows, 1)
	found.Exporters, found.Sending = int(known[0]), int(sending[0])
	message := fmt.Sprintf("ClickHouse %s, schema %d, %s, in the last hour %d of %d exporters sent", access.Version, found.Schema, flows, found.Sending, found.Exporters)
	var notes []string
	if access.Writes {
		notes = append(notes, "The user may write: better is one that only reads. Queries are sent with readonly=1.")
	}
	if len(access.Refused) > 0 {
		notes = append(notes, "The user may not set "+strings.Join(access.Refused, ", ")+": these caps hold on Grafana's side only, and ClickHouse may go on with a query that was cut or cancelled. Give the user readonly=2, or set them in its profile.")
	}
	found.Verbose = strings.Join(notes, " ")
	if found.Verbose != "" {
		message += ". " + found.Verbose
	}
	return message, nil
}

// examineSchema compares the store's migrations with those of the plugin.
func (d *Datasource) examineSchema(ctx context.Context, found *details) error {
	s := d.client.Settings()
	rows, err := d.client.Query(ctx, clickhouse.Ask{Statement: query.Statement{SQL: "SELECT max(version) AS version FROM weir_migrations"}})
	if e, ok := errors.AsType[*clickhouse.Error](err); ok && e.Class == clickhouse.ClassSchema {
		return &clickhouse.Error{Class: clickhouse.ClassSchema, Msg: "database " + quote(s.Database) + " has no tables of Weir", Hint: "check the database in the data source's settings, and that weir has migrated it"}
	}
	if err != nil {
		return err
	}
	if version, ok := columnOf[uint32](rows, 0); ok && len(version) == 1 {
		found.Schema = int(version[0])
	}
	switch {
	case found.Schema < schemaVersion:
		return &clickhouse.Error{Class: clickhouse.ClassSchema, Msg: fmt.Sprintf("schema %d of database %s is older than the plugin's, %d", found.Schema, quote(s.Database), schemaVersion), Hint: "update weir, which migrates it"}
	case found.Schema > schemaVersion:
		return &clickhouse.Error{Class: clickhouse.ClassSchema, Msg: fmt.Sprintf("schema %d of database %s is newer than the plugin's, %d", found.Schema, quote(s.Database), schemaVersion), Hint: "update the plugin; queries are answered as far as tables are what they were"}
	}
	return nil
}

// age writes a length of time in its largest units.
func age(d time.Duration) string {
	switch {
	case d < time.Second:
		return "0s"
	case d < time.Minute:
		return d.Truncate(time.Second).String()
	case d < time.Hour:
		return strings.TrimSuffix(d.Truncate(time.Minute).String(), "0s")
	case d < 48*time.Hour:
		return strings.TrimSuffix(d.Truncate(time.Hour).String(), "0m0s")
	default:
		return fmt.Sprintf("%d days", int(d/(24*time.Hour)))
	}
}
