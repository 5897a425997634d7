package client

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/weirhq/weir/internal/atomicfile"
	"github.com/weirhq/weir/internal/strictyaml"
	"github.com/weirhq/weir/ovs/ovsdb"
)

// Profiles is the file profiles.yaml of a person: the servers that they work with. It holds no secret; tokens are in files of their own.
type Profiles struct {
	Use      string             `yaml:"use,omitempty" doc:"Profile whose server is asked where nothing else is said."`
	Profiles map[string]Profile `yaml:"profiles,omitempty" doc:"Servers, by the names that --server takes."`

	file string // it was read from
}

// Profile is a server, and how it is asked.
type Profile struct {
	Server      string            `yaml:"server" json:"server" doc:"https://HOST:PORT; http only for this machine itself."`
	CAFile      string            `yaml:"ca_file,omitempty" json:"ca_file,omitempty" doc:"Certificates (PEM) of the authorities that are believed for it, instead of the system's."`
	Fingerprint ovsdb.Fingerprint `yaml:"fingerprint,omitempty" json:"fingerprint,omitempty" doc:"SHA-256 of the one certificate that is believed, whatever name it has; instead of ca_file."`
	TokenFile   string            `yaml:"token_file,omitempty" json:"token_file,omitempty" doc:"File with the token, mode 0600."`
	User        string            `yaml:"user,omitempty" json:"user,omitempty" doc:"Whose token it is."`
	Expires     time.Time         `yaml:"expires,omitempty" json:"expires,omitzero" doc:"When the token ends."`
}

// Validate refuses a profile that no server can be asked by.
func (p Profile) Validate() error {
	if _, err := parseServer(p.Server); err != nil {
		return strictyaml.At("server", err)
	}
	if p.CAFile != "" && p.Fingerprint != "" {
		return strictyaml.At("fingerprint", errors.New("found it beside ca_file: want one of them"))
	}
	return nil
}

// Validate refuses names that could be taken for something else, and the use of what is not there.
func (p *Profiles) Validate() error {
	for _, name := range p.Names() {
		if err := CheckName(name); err != nil {
			return strictyaml.At("profiles", err)
		}
	}
	if _, ok := p.Profiles[p.Use]; p.Use != "" && !ok {
		return strictyaml.At("use", fmt.Errorf("no profile %q: %s", p.Use, p.list()))
	}
	return nil
}

var profileName = regexp.MustCompile(`^[a-z0-9][a-z0-9._-]{0,63}$`)

// CheckName refuses what is no name of a profile. A name is never HOST:PORT or a URL.
func CheckName(name string) error {
	if !profileName.MatchString(name) {
		return fmt.Errorf("profile %q: expected small letters, digits, dots, hyphens and underscores, at most 64", name)
	}
	return nil
}

// ProfilesFile is where a person's profiles are: weir/profiles.yaml in $XDG_CONFIG_HOME, else in ~/.config. getenv is os.Getenv.
func ProfilesFile(getenv func(string) string) (string, error) {
	dir := getenv("XDG_CONFIG_HOME")
	if !filepath.IsAbs(dir) { // XDG Base Directory Specification: others are to be ignored
		home := getenv("HOME")
		if home == "" {
			return "", errors.New("find profiles: neither XDG_CONFIG_HOME nor HOME is set")
		}
		dir = filepath.Join(home, ".config")
	}
	return filepath.Join(dir, "weir", "profiles.yaml"), nil
}

// ReadProfiles reads a file of profiles. One that is not there has none.
func ReadProfiles(file string) (*Profiles, error) {
	p := &Profiles{file: file}
	if err := strictyaml.Load(file, p); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("read profiles: %w", err)
	}
	return p, nil
}

// Write replaces the file that p was read from.
func (p *Profiles) Write() error {
	text, err := yaml.Marshal(p)
	if err != nil {
		return fmt.Errorf("write profiles: %w", err)
	}
	if err := os.MkdirAll(filepath.Dir(p.file), 0o700); err != nil {
		return fmt.Errorf("write profiles: %w", err)
	}
	return atomicfile.Write(p.file, text)
}

// File is where the profiles are.
func (p *Profiles) File() string { return p.file }

// Names are the names of all profiles, in order.
func (p *Profiles) Names() []string { return slices.Sorted(maps.Keys(p.Profiles)) }

func (p *Profiles) list() string {
	if len(p.Profiles) == 0 {
		return "there is none yet: weir login SERVER makes one"
	}
	return "expected one of " + strings.Join(p.Names(), ", ")
}

// path is a file that a profile names: relative ones are beside the profiles.
func (p *Profiles) path(name string) string {
	if name == "" || filepath.IsAbs(name) {
		return name
	}
	return filepath.Join(filepath.Dir(p.file), name)
}

// Set keeps a profile with its token and what its server is believed by; token and authority are written to files beside the profiles, in place of
// former ones. The first profile of all is used from then on.
func (p *Profiles) Set(name string, x Profile, token string, trust Trust) error {
	if err := CheckName(name); err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(p.file), 0o700); err != nil {
		return fmt.Errorf("write profile %q: %w", name, err)
	}
	x.TokenFile = name + ".token"
	if err := atomicfile.Write(p.path(x.TokenFile), []byte(token+"\n")); err != nil {
		return err
	}
	x.CAFile, x.Fingerprint = "", trust.Fingerprint
	if len(trust.Authority) > 0 {
		x.CAFile = name + ".pem"
		if err := atomicfile.Write(p.path(x.CAFile), trust.Authority); err != nil {
			return err
		}
	}
	if p.Profiles == nil {
		p.Profiles = map[string]Profile{}
	}
	if len(p.Profiles) == 0 {
		p.Use = name
	}
	p.Profiles[name] = x
	return p.Write()
}

// Forget removes the token of a profile, which stays.
func (p *Profiles) Forget(name string) error {
	x, err := p.profile(name)
	if err != nil {
		return err
	}
	if x.TokenFile != "" {
		if err := os.Remove(p.path(x.TokenFile)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("forget token: %w", err)
		}
	}
	x.TokenFile, x.User, x.Expires = "", "", time.Time{}
	p.Profiles[name] = x
	return p.Write()
}

// Remove removes a profile with its token. The certificate of its authority stays where a person has put it.
func (p *Profiles) Remove(name string) error {
	if err := p.Forget(name); err != nil {
		return err
	}
	if p.Profiles[name].CAFile == name+".pem" {
		if err := os.Remove(p.path(name + ".pem")); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("remove profile: %w", err)
		}
	}
	delete(p.Profiles, name)
	if p.Use == name {
		p.Use = ""
	}
	return p.Write()
}

// Find returns the profile that is meant by its name, or by its server as it is written for --server; "" is the one in use.
func (p *Profiles) Find(server string) (string, Profile, error) {
	if server == "" {
		server = p.Use
	}
	if server == "" {
		return "", Profile{}, fmt.Errorf("%w is in use: %s", ErrNoProfile, p.list())
	}
	if x, ok := p.Profiles[server]; ok {
		return server, x, nil
	}
	if base, err := parseServer(server); err == nil {
		for _, name := range p.Names() {
			if u, err := parseServer(p.Profiles[name].Server); err == nil && u == base {
				return name, p.Profiles[name], nil
			}
		}
	}
	return "", Profile{}, fmt.Errorf("%w %q: %s", ErrNoProfile, server, p.list())
}

// profile returns a profile by its name.
func (p *Profiles) profile(name string) (Profile, error) {
	x, ok := p.Profiles[name]
	if !ok {
		return x, fmt.Errorf("%w %q: %s", ErrNoProfile, name, p.list())
	}
	return x, nil
}

// ErrNoProfile is of a name that no profile has.
var ErrNoProfile = errors.New("no profile")

// Trust is by what the server of a profile is believed.
func (p *Profiles) Trust(x Profile) (Trust, error) {
	t := Trust{Fingerprint: x.Fingerprint}
	if x.CAFile != "" {
		var err error
		if t.Authority, err = os.ReadFile(p.path(x.CAFile)); err != nil {
			return t, fmt.Errorf("read authority: %w", err)
		}
	}
	return t, nil
}

// maxToken bounds a token that is read, bytes.
const maxToken = 4096

// token reads the token of a profile; "" is none.
func (p *Profiles) token(x Profile) (string, error) {
	if x.TokenFile == "" {
		return "", nil
	}
	name := p.path(x.TokenFile)
	f, err := os.Open(name)
	if err != nil {
		return "", fmt.Errorf("read token: %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return "", fmt.Errorf("read token: %w", err)
	}
	if info.Mode().Perm()&0o077 != 0 {
		return "", fmt.Errorf("read token %q: others may read the file, mode %04o: want 0600 (chmod 600), and a new token (weir login)", name, info.Mode().Perm())
	}
	text := make([]byte, maxToken+1)
	n, err := readFull(f, text)
	if err != nil {
		return "", fmt.Errorf("read token %q: %w", name, err)
	}
	word := strings.TrimSpace(string(text[:n]))
	if word == "" || n > maxToken || strings.ContainsFunc(word, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return "", fmt.Errorf("read token %q: found no token in it: want one line, as weir login and weir token create make it", name)
	}
	return word, nil
}
