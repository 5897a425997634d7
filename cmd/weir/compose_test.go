package main

import (
	"encoding/xml"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

// composeFile is as much of a Compose file as is used.
type composeFile struct {
	Name     string
	Services map[string]struct {
		Image, Restart string
		Build          struct{ Context, Dockerfile string }
		NetworkMode    string `yaml:"network_mode"`
		DependsOn      any    `yaml:"depends_on"`
		Ports          []string
		Environment    map[string]string
		Volumes        []string
		Secrets        []string
		Ulimits        map[string]int
		Healthcheck    struct {
			Test     []string
			Interval string
			Retries  int
		}
	}
	Secrets map[string]struct{ Environment string }
	Volumes map[string]any
}

// What the Compose file names is there, and what its parts say of each other is the same. Nothing is run.
func TestComposeFile(t *testing.T) {
	const dir = "../../deploy/compose"
	text, err := os.ReadFile(filepath.Join(dir, "compose.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var f composeFile
	d := yaml.NewDecoder(strings.NewReader(string(text)))
	d.KnownFields(true)
	if err := d.Decode(&f); err != nil {
		t.Fatal(err)
	}

	built := []string{"./plugins"} // of make plugin
	for name, s := range f.Services {
		for _, v := range s.Volumes {
			from, _, _ := strings.Cut(v, ":")
			_, isVolume := f.Volumes[from]
			if _, err := os.Stat(filepath.Join(dir, from)); err != nil && !isVolume && !slices.Contains(built, from) {
				t.Errorf("service %s: volume %q is neither a file nor a volume: %v", name, v, err)
			}
		}
		for _, secret := range s.Secrets {
			if f.Secrets[secret].Environment == "" {
				t.Errorf("service %s: secret %q is none of the file", name, secret)
			}
		}
		if s.Image == "" {
			if _, err := os.Stat(filepath.Join(dir, s.Build.Context, s.Build.Dockerfile)); err != nil {
				t.Errorf("service %s: %v", name, err)
			}
		} else if _, tag, ok := strings.Cut(s.Image, ":"); !ok || tag == "latest" {
			t.Errorf("service %s: image %q, want one with a version", name, s.Image)
		}
		var needs []string
		switch x := s.DependsOn.(type) {
		case []any:
			for _, v := range x {
				needs = append(needs, v.(string))
			}
		case map[string]any:
			for v := range x {
				needs = append(needs, v)
			}
		}
		for _, v := range needs {
			if _, ok := f.Services[v]; !ok {
				t.Errorf("service %s depends on %q, which is none", name, v)
			}
		}
	}

	// Variables: what is used is in the example, and the other way round; what Grafana's files use is set.
	example, err := os.ReadFile(filepath.Join(dir, "env.example"))
	if err != nil {
		t.Fatal(err)
	}
	said := variables(string(example), `(?m)^([A-Z_]+)=`)
	used := variables(string(text), `\$\{([A-Z_]+)[}:]`)
	for _, s := range f.Secrets {
		used = append(used, s.Environment)
	}
	slices.Sort(used)
	if used = slices.Compact(used); !slices.Equal(said, used) {
		t.Errorf("env.example says %q, compose.yaml uses %q", said, used)
	}
	source, err := os.ReadFile("../../deploy/grafana/provisioning/datasources/weir.yaml")
	if err != nil {
		t.Fatal(err)
	}
	grafana := f.Services["grafana"].Environment
	for _, v := range variables(string(source), `\$\{([A-Z_]+)\}`) {
		if grafana[v] == "" {
			t.Errorf("Grafana's data source uses %s, which the service does not set", v)
		}
	}

	// Weir's configuration is right, and speaks of the users, the database, the secrets and the ports that there are.
	c, _, err := loadConfig(filepath.Join(dir, "weir.yaml"), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	var users struct {
		Users struct {
			List []struct {
				XMLName  xml.Name
				Password struct {
					FromEnv string `xml:"from_env,attr"`
				} `xml:"password"`
				Grants []string `xml:"grants>query"`
			} `xml:",any"`
		} `xml:"users"`
	}
	b, err := os.ReadFile(filepath.Join(dir, "clickhouse", "users.xml"))
	if err == nil {
		err = xml.Unmarshal(b, &users)
	}
	if err != nil {
		t.Fatal(err)
	}
	passwords := map[string]string{}
	for _, u := range users.Users.List {
		passwords[u.XMLName.Local] = u.Password.FromEnv
	}
	server, reader := &c.Store.Server, &c.Store.Reader
	for user, file := range map[string]string{server.User: server.PasswordFile, reader.User: reader.PasswordFile} {
		secret, ok := strings.CutPrefix(file, "/run/secrets/")
		if !ok || !slices.Contains(f.Services["weir"].Secrets, secret) || f.Secrets[secret].Environment != passwords[user] || passwords[user] == "" {
			t.Errorf("user %q with password %q: users.xml takes it from %q, the secret %q from %q", user, file, passwords[user], secret, f.Secrets[secret].Environment)
		}
	}
	create, err := os.ReadFile(filepath.Join(dir, "clickhouse", "database.sql"))
	if err != nil || !strings.Contains(string(create), " "+server.Database+";") || grafana["WEIR_DATABASE"] != server.Database || grafana["WEIR_USER"] != reader.User {
		t.Errorf("Weir uses database %q and reads as %q; database.sql: %s, Grafana: %v", server.Database, reader.User, create, grafana)
	}
	for _, u := range users.Users.List {
		for _, g := range u.Grants {
			if _, on, ok := strings.Cut(g, " ON "); !ok || on != server.Database+".*" && on != "*.*" && !strings.HasPrefix(on, "system.") {
				t.Errorf("user %q: %s, which is not on database %q", u.XMLName.Local, g, server.Database)
			}
		}
	}
	for user, want := range map[string]string{"clickhouse": passwords[server.User], "grafana": "WEIR_PASSWORD"} {
		if f.Services[user].Environment[want] == "" {
			t.Errorf("service %s: %s is not set", user, want)
		}
	}
	if a := netip.MustParseAddrPort(server.Addr); !slices.Contains(f.Services["clickhouse"].Ports, a.String()+":8123") || f.Services["weir"].NetworkMode != "host" {
		t.Errorf("Weir looks for the store at %s: ports of clickhouse are %q, the network of weir is %q", a, f.Services["clickhouse"].Ports, f.Services["weir"].NetworkMode)
	}
}

// variables are the names that a pattern finds, each once, sorted.
func variables(text, pattern string) (list []string) {
	for _, m := range regexp.MustCompile(pattern).FindAllStringSubmatch(text, -1) {
		list = append(list, m[1])
	}
	slices.Sort(list)
	return slices.Compact(list)
}
