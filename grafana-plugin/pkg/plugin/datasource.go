package plugin

import (
	"context"

	"github.com/grafana/grafana-plugin-sdk-go/backend"
	"github.com/grafana/grafana-plugin-sdk-go/backend/instancemgmt"

	_ "github.com/ClickHouse/clickhouse-go/v2"
	_ "github.com/weirhq/weir/query"
)

// ID is the plugin's id in Grafana.
const ID = "weir-datasource"

// Datasource is one instance of the data source, with the settings that it was made with.
type Datasource struct{}

// New makes the instance of settings. Grafana calls it at the first request and again when the settings change.
func New(_ context.Context, _ backend.DataSourceInstanceSettings) (instancemgmt.Instance, error) {
	return &Datasource{}, nil
}
