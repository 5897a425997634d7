// Command gpx_weir_datasource is the backend of the Grafana data source weir-datasource. Grafana starts it and speaks
// with it by gRPC; started by hand it only says so.
package main

import (
	"os"

	"github.com/grafana/grafana-plugin-sdk-go/backend/datasource"
	"github.com/grafana/grafana-plugin-sdk-go/backend/log"

	"github.com/weirhq/weir/grafana-plugin/pkg/plugin"
)

func main() {
	if err := datasource.Manage(plugin.ID, plugin.New, datasource.ManageOpts{}); err != nil {
		log.DefaultLogger.Error("serve plugin", "err", err)
		os.Exit(1)
	}
}
