package gate_test

import (
	"archive/zip"
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/weirhq/weir/grafana-plugin/pkg/plugin"
)

// scratch is a directory that is removed with the tests; what is in atEnd is done before.
var (
	scratch string
	atEnd   []func()
)

func TestMain(m *testing.M) {
	var err error
	if scratch, err = os.MkdirTemp("", "weir-gate-"); err != nil {
		panic(err)
	}
	code := m.Run()
	for _, end := range atEnd {
		end()
	}
	_ = os.RemoveAll(scratch)
	os.Exit(code)
}

// architectures are those that tests build for: this machine's. The other one compiles all that the plugin stands on anew, two minutes of
// two cores, for what is the same Go without cgo.
var architectures = []string{runtime.GOARCH}

// version is what builds of the tests say.
const version = "1.2.3"

// tree is a directory with the plugin as make plugin builds it for each architecture, and the zips.
func tree(t *testing.T) string {
	t.Helper()
	if _, err := os.Stat("../node_modules"); err != nil {
		if os.Getenv("CI_REQUIRE_SERVICES") == "1" {
			t.Fatal(err)
		}
		t.Skip("the plugin's npm packages are not there: scripts/deps.sh plugin")
	}
	dir, err := builtTree()
	must(t, err)
	return dir
}

var builtTree = sync.OnceValues(func() (string, error) {
	dir := filepath.Join(scratch, "tree")
	return dir, build("../..", dir)
})

// build runs scripts/plugin.sh of a checkout, with a version and a time that do not depend on git.
func build(root, into string) error {
	cmd := exec.Command("scripts/plugin.sh", append([]string{into}, architectures...)...)
	cmd.Dir = root
	cmd.Env = append(os.Environ(), "VERSION=v"+version, "SOURCE_DATE_EPOCH=1767225600")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build the plugin: %w\n%s", err, out)
	}
	return nil
}

func zipName(arch string) string { return fmt.Sprintf("weir-app-%s.linux_%s.zip", version, arch) }

// The same files give the same zips, byte for byte, in a checkout at another path.
func TestBuildIsReproducible(t *testing.T) {
	first, second, copied := tree(t), t.TempDir(), filepath.Join(t.TempDir(), "a", "path", "of", "another", "length")
	list, err := exec.Command("git", "-C", "../..", "ls-files", "-coz", "--exclude-standard").Output()
	must(t, err)
	for name := range strings.SplitSeq(strings.Trim(string(list), "\x00"), "\x00") {
		from, to := filepath.Join("../..", name), filepath.Join(copied, name)
		info, err := os.Lstat(from)
		if err != nil || !info.Mode().IsRegular() {
			continue // deleted and not yet committed, or a link of the developer's own
		}
		content, err := os.ReadFile(from)
		must(t, err)
		must(t, os.MkdirAll(filepath.Dir(to), 0o755))
		must(t, os.WriteFile(to, content, info.Mode().Perm()))
	}
	packages := filepath.Join(copied, "grafana-plugin", "node_modules")
	if exec.Command("cp", "-al", "../node_modules", packages).Run() != nil { // on another file system
		must(t, os.RemoveAll(packages))
		must(t, exec.Command("cp", "-a", "../node_modules", packages).Run())
	}
	must(t, build(copied, second))
	for _, arch := range architectures {
		a, b := filepath.Join(first, zipName(arch)), filepath.Join(second, zipName(arch))
		if sum(t, a) == sum(t, b) {
			continue
		}
		t.Errorf("%s: two builds differ", zipName(arch))
		before, after := contents(t, a), contents(t, b)
		for name, content := range before {
			if !bytes.Equal(content, after[name]) {
				t.Errorf("%s: %d and %d bytes", name, len(content), len(after[name]))
			}
			delete(after, name)
		}
		for name := range after {
			t.Errorf("%s: only in the second", name)
		}
	}
}

// Every package that the program is made of has files for each architecture that make plugin builds for.
func TestArchitectures(t *testing.T) {
	for _, arch := range []string{"amd64", "arm64"} {
		cmd := exec.Command("go", "list", "-deps", "../pkg/main")
		cmd.Env = append(os.Environ(), "GOOS=linux", "GOARCH="+arch, "CGO_ENABLED=0")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("linux/%s: %v\n%s", arch, err, out)
		}
	}
}

func sum(t *testing.T, file string) [sha256.Size]byte {
	t.Helper()
	b, err := os.ReadFile(file)
	must(t, err)
	return sha256.Sum256(b)
}

// contents returns the files of a zip.
func contents(t *testing.T, file string) map[string][]byte {
	t.Helper()
	z, err := zip.OpenReader(file)
	must(t, err)
	defer z.Close()
	files := map[string][]byte{}
	for _, f := range z.File {
		r, err := f.Open()
		must(t, err)
		var b bytes.Buffer
		_, err = b.ReadFrom(r)
		must(t, err)
		must(t, r.Close())
		files[f.Name] = b.Bytes()
	}
	return files
}

// A zip unpacks to one directory, the plugin's id, with the one program of its architecture, executable.
func TestZips(t *testing.T) {
	dir := tree(t)
	for _, arch := range architectures {
		z, err := zip.OpenReader(filepath.Join(dir, zipName(arch)))
		must(t, err)
		defer z.Close()
		var programs []string
		for _, f := range z.File {
			if !strings.HasPrefix(f.Name, "weir-app/") {
				t.Errorf("%s: %s is outside of weir-app", zipName(arch), f.Name)
			}
			if !f.Modified.UTC().Equal(time.Unix(1767225600, 0)) {
				t.Errorf("%s: %s is of %v", zipName(arch), f.Name, f.Modified)
			}
			mode := os.FileMode(0o644)
			if strings.HasPrefix(path.Base(f.Name), "gpx_") {
				programs = append(programs, f.Name)
				mode = 0o755
			}
			if f.Mode() != mode {
				t.Errorf("%s: %s has mode %v, want %v", zipName(arch), f.Name, f.Mode(), mode)
			}
		}
		if want := "weir-app/datasource/gpx_weir_datasource_linux_" + arch; len(programs) != 1 || programs[0] != want {
			t.Errorf("%s: programs are %q, want %q", zipName(arch), programs, want)
		}
	}
}

// metadata is plugin.json, with every property that ours may have. What Grafana knows besides is left out until it is needed: a
// misspelt property is an error here, where Grafana would ignore it.
type metadata struct {
	Schema       string `json:"$schema"`
	Type         string `json:"type"`
	Name         string `json:"name"`
	ID           string `json:"id"`
	Category     string `json:"category"`
	AutoEnabled  bool   `json:"autoEnabled"`
	Preload      bool   `json:"preload"`
	Backend      bool   `json:"backend"`
	Executable   string `json:"executable"`
	Alerting     bool   `json:"alerting"`
	Annotations  bool   `json:"annotations"`
	Logs         bool   `json:"logs"`
	Metrics      bool   `json:"metrics"`
	Tracing      bool   `json:"tracing"`
	Streaming    bool   `json:"streaming"`
	MultiValue   bool   `json:"multiValueFilterOperators"` // ad hoc filters offer "one of"
	QueryOptions struct {
		MinInterval   bool `json:"minInterval"`
		MaxDataPoints bool `json:"maxDataPoints"`
		CacheTimeout  bool `json:"cacheTimeout"`
	} `json:"queryOptions"`
	Info struct {
		Description string   `json:"description"`
		Keywords    []string `json:"keywords"`
		Author      struct {
			Name string `json:"name"`
			URL  string `json:"url"`
		} `json:"author"`
		Logos struct {
			Small string `json:"small"`
			Large string `json:"large"`
		} `json:"logos"`
		Links []struct {
			Name string `json:"name"`
			URL  string `json:"url"`
		} `json:"links"`
		Screenshots []struct {
			Name string `json:"name"`
			Path string `json:"path"`
		} `json:"screenshots"`
		Version string `json:"version"`
		Updated string `json:"updated"`
	} `json:"info"`
	Includes []struct {
		Type       string `json:"type"`
		Name       string `json:"name"`
		Path       string `json:"path"`
		Role       string `json:"role"`
		AddToNav   bool   `json:"addToNav"`
		DefaultNav bool   `json:"defaultNav"`
		Icon       string `json:"icon"`
	} `json:"includes"`
	Dependencies struct {
		GrafanaDependency string `json:"grafanaDependency"`
		Plugins           []struct {
			Type string `json:"type"`
			Name string `json:"name"`
			ID   string `json:"id"`
		} `json:"plugins"`
	} `json:"dependencies"`
}

func readMetadata(t *testing.T, file string) metadata {
	t.Helper()
	content, err := os.ReadFile(file)
	must(t, err)
	d := json.NewDecoder(bytes.NewReader(content))
	d.DisallowUnknownFields()
	var m metadata
	if err := d.Decode(&m); err != nil {
		t.Fatalf("%s: %v", file, err)
	}
	return m
}

// plugin.json says what Grafana needs, in the sources and as it is built, of the app and of the data source in it.
func TestMetadata(t *testing.T) {
	dist := filepath.Join(tree(t), "linux_"+runtime.GOARCH, "weir-app")
	for _, dir := range []string{"../src", dist} {
		of := func(name string) metadata {
			m := readMetadata(t, filepath.Join(dir, name, "plugin.json"))
			want := "%VERSION%"
			if dir == dist {
				want = version
			}
			if m.Info.Version != want {
				t.Errorf("%s/%s: version %q, want %q", dir, name, m.Info.Version, want)
			}
			if _, err := time.Parse(time.DateOnly, m.Info.Updated); err != nil {
				t.Errorf("%s/%s: updated: %v", dir, name, err)
			}
			if m.Name == "" || m.Info.Description == "" || m.Info.Author.Name == "" || len(m.Info.Keywords) == 0 {
				t.Errorf("%s/%s: name, description, author or keywords are empty: %+v", dir, name, m.Info)
			}
			if !regexp.MustCompile(`^>=\d+\.\d+\.\d+$`).MatchString(m.Dependencies.GrafanaDependency) {
				t.Errorf("%s/%s: grafanaDependency %q, want one such as >=13.1.0", dir, name, m.Dependencies.GrafanaDependency)
			}
			files := []string{m.Info.Logos.Small, m.Info.Logos.Large}
			for _, s := range m.Info.Screenshots {
				files = append(files, s.Path)
			}
			for _, file := range files {
				if info, err := os.Stat(filepath.Join(dir, name, file)); err != nil || !info.Mode().IsRegular() {
					t.Errorf("%s/%s: names a picture %q: %v", dir, name, file, err)
				}
			}
			return m
		}
		app, datasource := of("."), of("datasource")
		if app.Type != "app" || app.ID != "weir-app" || app.Backend || app.Executable != "" {
			t.Errorf("%s: type %q, id %q, backend %v, want an app weir-app without a program", dir, app.Type, app.ID, app.Backend)
		}
		if datasource.Type != "datasource" || datasource.ID != plugin.ID || datasource.Executable != "gpx_weir_datasource" ||
			!datasource.Backend || !datasource.Alerting || !datasource.Annotations || !datasource.Logs || !datasource.Metrics {
			t.Errorf("%s/datasource: %+v, want data source %s with a program, alerting, annotations, logs and metrics", dir, datasource, plugin.ID)
		}
		if !slices.Contains([]string{"tsdb", "logging", "cloud", "tracing", "profiling", "sql", "enterprise", "iot", "other"}, datasource.Category) {
			t.Errorf("%s/datasource: category %q is none that Grafana has", dir, datasource.Category)
		}
		if app.Dependencies.GrafanaDependency != datasource.Dependencies.GrafanaDependency {
			t.Errorf("%s: app and data source want different Grafanas: %q, %q", dir, app.Dependencies.GrafanaDependency, datasource.Dependencies.GrafanaDependency)
		}
		nested := 0
		for _, i := range app.Includes {
			switch i.Type {
			case "datasource":
				nested++
				if i.Path != "datasource/plugin.json" {
					t.Errorf("%s: includes a data source at %q, want datasource/plugin.json", dir, i.Path)
				}
			case "page":
				if i.Path != "/a/weir-app" && !strings.HasPrefix(i.Path, "/a/weir-app/") && !strings.HasPrefix(i.Path, "/d/") {
					t.Errorf("%s: includes a page at %q, which is not the app's", dir, i.Path)
				}
				if !slices.Contains([]string{"Viewer", "Editor", "Admin"}, i.Role) {
					t.Errorf("%s: page %q is for role %q", dir, i.Name, i.Role)
				}
			default:
				t.Errorf("%s: includes a %q", dir, i.Type)
			}
		}
		if nested != 1 {
			t.Errorf("%s: includes %d data sources, want 1", dir, nested)
		}
		if dir != dist {
			continue
		}
		offered := 0
		for _, i := range datasource.Includes {
			if i.Type != "dashboard" {
				t.Errorf("%s/datasource: includes a %q", dir, i.Type)
			}
			offered++
			var d struct{ Title string }
			content, err := os.ReadFile(filepath.Join(dir, "datasource", i.Path))
			must(t, err)
			must(t, json.Unmarshal(content, &d))
			if d.Title != i.Name {
				t.Errorf("%s/datasource: dashboard %s is named %q, and has the title %q", dir, i.Path, i.Name, d.Title)
			}
		}
		provisioned, err := filepath.Glob("../../deploy/grafana/dashboards/*.json")
		must(t, err)
		if offered == 0 || offered != len(provisioned) {
			t.Errorf("%s/datasource: offers %d dashboards, deploy/grafana has %d", dir, offered, len(provisioned))
		}
	}
	for _, arch := range architectures {
		app := filepath.Join(tree(t), "linux_"+arch, "weir-app")
		for _, file := range []string{"module.js", "datasource/module.js", "LICENSE", "README.md", "datasource/gpx_weir_datasource_linux_" + arch} {
			if info, err := os.Stat(filepath.Join(app, file)); err != nil || info.Size() == 0 {
				t.Errorf("linux_%s: %s: %v", arch, file, err)
			}
		}
	}
}
