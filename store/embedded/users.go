package embedded

import (
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// Names of the two users of an embedded store.
const (
	WriterName   = "weir"    // defines tables, inserts and reads
	ReadOnlyName = "weir_ro" // reads
)

// Credentials are a user's name and password.
type Credentials struct {
	Name     string `json:"name"`
	Password string `json:"password"`
}

// Users are the two users of one store. Their passwords are secrets: never log them.
type Users struct {
	Writer   Credentials `json:"writer"`
	ReadOnly Credentials `json:"read_only"`
}

// usersFile is where the users of the store in data are.
func usersFile(data string) string { return filepath.Join(data, "users.json") }

// ReadUsers reads the users of the store in the directory data, which that store wrote at its first start.
func ReadUsers(data string) (Users, error) {
	path := usersFile(data)
	b, err := os.ReadFile(path)
	if err != nil {
		return Users{}, fmt.Errorf("read store users: %w", err)
	}
	var u Users
	if err := json.Unmarshal(b, &u); err != nil {
		return Users{}, fmt.Errorf("read store users %q: %w", path, err)
	}
	for _, c := range []Credentials{u.Writer, u.ReadOnly} {
		if c.Name == "" || len(c.Password) < 16 {
			return Users{}, fmt.Errorf("read store users %q: user %q has no name or a password shorter than 16 characters; remove the file and restart the store for new ones", path, c.Name)
		}
	}
	if u.Writer.Name == u.ReadOnly.Name {
		return Users{}, fmt.Errorf("read store users %q: both users are named %q", path, u.Writer.Name)
	}
	return u, nil
}

// ensureUsers reads the users of the store in data, or makes them.
func ensureUsers(data string) (Users, error) {
	u, err := ReadUsers(data)
	if !errors.Is(err, fs.ErrNotExist) {
		return u, err
	}
	u = Users{
		Writer:   Credentials{Name: WriterName, Password: newPassword()},
		ReadOnly: Credentials{Name: ReadOnlyName, Password: newPassword()},
	}
	b, err := json.MarshalIndent(u, "", "  ")
	if err != nil {
		return Users{}, err
	}
	if err := writeFileAtomic(usersFile(data), append(b, '\n'), 0o600); err != nil {
		return Users{}, fmt.Errorf("write store users: %w", err)
	}
	return u, nil
}

// newPassword returns 192 random bits in characters that need no quoting in URLs, shells and YAML.
func newPassword() string {
	b := make([]byte, 24)
	_, _ = rand.Read(b) // never fails
	return base64.RawURLEncoding.EncodeToString(b)
}
