package account

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base32"
	"encoding/base64"
	"fmt"
	"strings"
	"unicode/utf8"

	"golang.org/x/crypto/argon2"
)

// cost is what a guess of a password takes. These are the second recommendation of RFC 9106 §4.
type cost struct {
	memory  uint32 // KiB
	passes  uint32
	threads uint8
}

var current = cost{memory: 64 << 10, passes: 3, threads: 4}

const (
	saltBytes = 16
	hashBytes = 32

	// Bounds of a password, characters and bytes.
	minPassword = 12
	maxPassword = 1024
)

// hashPassword writes a password in the form of PHC: $argon2id$v=19$m=65536,t=3,p=4$SALT$HASH.
func hashPassword(password string, c cost) string {
	salt := make([]byte, saltBytes)
	_, _ = rand.Read(salt) // it never fails
	hash := argon2.IDKey([]byte(password), salt, c.passes, c.memory, c.threads, hashBytes)
	b64 := base64.RawStdEncoding
	return fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d$%s$%s", argon2.Version, c.memory, c.passes, c.threads, b64.EncodeToString(salt), b64.EncodeToString(hash))
}

// checkPassword tells whether a password is the one of a hash, and whether that is of another cost than is used now. What is no hash is that
// of no password.
func checkPassword(password, hash string) (ok, stale bool) {
	var c cost
	var version int
	parts := strings.Split(hash, "$") // "", argon2id, v, parameters, salt, hash
	if len(parts) != 6 || parts[1] != "argon2id" {
		return false, false
	}
	if _, err := fmt.Sscanf(parts[2], "v=%d", &version); err != nil || version != argon2.Version {
		return false, false
	}
	if _, err := fmt.Sscanf(parts[3], "m=%d,t=%d,p=%d", &c.memory, &c.passes, &c.threads); err != nil || c.passes == 0 || c.threads == 0 || c.memory > 1<<21 {
		return false, false
	}
	salt, err1 := base64.RawStdEncoding.DecodeString(parts[4])
	want, err2 := base64.RawStdEncoding.DecodeString(parts[5])
	if err1 != nil || err2 != nil || len(want) == 0 {
		return false, false
	}
	got := argon2.IDKey([]byte(password), salt, c.passes, c.memory, c.threads, uint32(len(want)))
	return subtle.ConstantTimeCompare(got, want) == 1, c != current
}

// validPassword says why a password is not good enough for a user, as a *MistakeError, or returns nil.
func validPassword(user, password string) error {
	switch {
	case !utf8.ValidString(password) || len(password) > maxPassword:
		return &MistakeError{"password", fmt.Sprintf("found more than %d bytes, or what is no text: want %d to %d", maxPassword, minPassword, maxPassword)}
	case utf8.RuneCountInString(password) < minPassword:
		return &MistakeError{"password", fmt.Sprintf("found %d characters, want at least %d", utf8.RuneCountInString(password), minPassword)}
	case strings.Contains(strings.ToLower(password), strings.ToLower(user)):
		return &MistakeError{"password", "it holds the name of the user: want another one"}
	case strings.Count(password, password[:1]) == len(password):
		return &MistakeError{"password", "it is one character, over and over: want another one"}
	}
	return nil
}

// letters are those of base 32 that nobody mistakes for another.
var letters = base32.NewEncoding("abcdefghjkmnpqrstuvwxyz023456789").WithPadding(base32.NoPadding)

// random returns n random bytes as text.
func random(n int) string {
	b := make([]byte, n)
	_, _ = rand.Read(b) // it never fails
	return letters.EncodeToString(b)
}

// oneTimePassword returns a password of 100 bits that a person can type.
func oneTimePassword() string {
	text := random(13)[:20]
	return text[:5] + "-" + text[5:10] + "-" + text[10:15] + "-" + text[15:]
}

// digest is what is kept of a random secret.
func digest(secret string) []byte {
	sum := sha256.Sum256([]byte(secret))
	return sum[:]
}
