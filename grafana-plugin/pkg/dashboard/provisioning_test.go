package dashboard_test

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"github.com/weirhq/weir/grafana-plugin/pkg/dashboard"
)

// What Grafana reads of provisioning files, as far as ours say it. https://grafana.com/docs/grafana/latest/administration/provisioning/
type (
	datasources struct {
		APIVersion  int `yaml:"apiVersion"`
		Datasources []struct {
			Name           string            `yaml:"name"`
			UID            string            `yaml:"uid"`
			Type           string            `yaml:"type"`
			Access         string            `yaml:"access"`
			Editable       bool              `yaml:"editable"`
			JSONData       map[string]string `yaml:"jsonData"`
			SecureJSONData map[string]string `yaml:"secureJsonData"`
		} `yaml:"datasources"`
	}
	apps struct {
		APIVersion int `yaml:"apiVersion"`
		Apps       []struct {
			Type     string `yaml:"type"`
			OrgID    int    `yaml:"org_id"`
			Disabled bool   `yaml:"disabled"`
		} `yaml:"apps"`
	}
	providers struct {
		APIVersion int `yaml:"apiVersion"`
		Providers  []struct {
			Name                  string `yaml:"name"`
			OrgID                 int    `yaml:"orgId"`
			Type                  string `yaml:"type"`
			Folder                string `yaml:"folder"`
			FolderUID             string `yaml:"folderUid"`
			DisableDeletion       bool   `yaml:"disableDeletion"`
			AllowUIUpdates        bool   `yaml:"allowUiUpdates"`
			UpdateIntervalSeconds int    `yaml:"updateIntervalSeconds"`
			Options               struct {
				Path string `yaml:"path"`
			} `yaml:"options"`
		} `yaml:"providers"`
	}
)

const grafana = "../../../deploy/grafana"

func decode[T any](t *testing.T, file string) (into T) {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(grafana, "provisioning", file))
	if err != nil {
		t.Fatal(err)
	}
	d := yaml.NewDecoder(bytes.NewReader(b))
	d.KnownFields(true)
	if err := d.Decode(&into); err != nil {
		t.Fatalf("%s: %v", file, err)
	}
	return into
}

// pluginID reads the id of the plugin that is built of a directory of the frontend.
func pluginID(t *testing.T, dir string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("../../src", dir, "plugin.json"))
	if err != nil {
		t.Fatal(err)
	}
	var p struct {
		ID string `json:"id"`
	}
	if err := json.Unmarshal(b, &p); err != nil {
		t.Fatal(err)
	}
	return p.ID
}

func TestProvisionedDatasource(t *testing.T) {
	got := decode[datasources](t, "datasources/weir.yaml")
	if got.APIVersion != 1 || len(got.Datasources) != 1 {
		t.Fatalf("version %d, %d data sources, want version 1 and one", got.APIVersion, len(got.Datasources))
	}
	ds := got.Datasources[0]
	if ds.Type != pluginID(t, "datasource") || ds.Access != "proxy" {
		t.Errorf("type %q, access %q, want those of the plugin, and proxy", ds.Type, ds.Access)
	}
	for key := range ds.SecureJSONData {
		if key != "password" {
			t.Errorf("secureJsonData.%s: want password only", key)
		}
	}
	all, err := dashboard.Read(directory)
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range all {
		i := slices.IndexFunc(d.Templating.List, func(v dashboard.Variable) bool { return v.Type == "datasource" })
		if i < 0 || d.Templating.List[i].Current != (dashboard.Option{Text: ds.Name, Value: ds.UID}) {
			t.Errorf("%s does not begin with the data source %q of uid %q", d.UID, ds.Name, ds.UID)
		}
	}
}

func TestProvisionedApp(t *testing.T) {
	got := decode[apps](t, "plugins/weir.yaml")
	if got.APIVersion != 1 || len(got.Apps) != 1 || got.Apps[0].Type != pluginID(t, "") || got.Apps[0].OrgID != 1 || got.Apps[0].Disabled {
		t.Errorf("%+v, want the app of the plugin, enabled", got)
	}
}

func TestProvisionedDashboards(t *testing.T) {
	got := decode[providers](t, "dashboards/weir.yaml")
	if got.APIVersion != 1 || len(got.Providers) != 1 {
		t.Fatalf("%+v, want one provider", got)
	}
	p := got.Providers[0]
	if p.Name == "" || p.OrgID != 1 || p.Type != "file" || p.Folder == "" || p.FolderUID == "" || !filepath.IsAbs(p.Options.Path) {
		t.Errorf("%+v, want a folder of its own, and an absolute path", p)
	}
}

// grafana.ini lets Grafana load exactly what is not signed of ours.
func TestUnsigned(t *testing.T) {
	b, err := os.ReadFile(filepath.Join(grafana, "grafana.ini"))
	if err != nil {
		t.Fatal(err)
	}
	want := "allow_loading_unsigned_plugins = " + pluginID(t, "") + "," + pluginID(t, "datasource")
	if !slices.Contains(strings.Split(string(b), "\n"), want) {
		t.Errorf("grafana.ini has no line %q", want)
	}
}
