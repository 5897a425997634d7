package ovsdb

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"fmt"
	"strings"
)

// Fingerprint is the SHA-256 of a certificate (DER) as `openssl x509 -fingerprint -sha256` prints it: 32 pairs of upper case
// hexadecimal digits, joined by colons. Empty is none.
type Fingerprint string

// FingerprintOf returns that of a certificate.
func FingerprintOf(c *x509.Certificate) Fingerprint {
	sum := sha256.Sum256(c.Raw)
	pairs := make([]string, len(sum))
	for i, b := range sum {
		pairs[i] = fmt.Sprintf("%02X", b)
	}
	return Fingerprint(strings.Join(pairs, ":"))
}

// ParseFingerprint takes 64 hexadecimal digits in any case, with or without colons or blanks between pairs.
func ParseFingerprint(text string) (Fingerprint, error) {
	_, after, found := strings.Cut(text, "=") // openssl's own line: "sha256 Fingerprint=AB:…"
	if !found {
		after = text
	}
	digits := strings.ToUpper(strings.NewReplacer(":", "", " ", "").Replace(strings.TrimSpace(after)))
	raw, err := hex.DecodeString(digits)
	if err != nil || len(raw) != sha256.Size {
		return "", fmt.Errorf("parse fingerprint %q: expected the %d hexadecimal digits of a SHA-256", text, 2*sha256.Size)
	}
	pairs := make([]string, len(raw))
	for i := range raw {
		pairs[i] = digits[2*i : 2*i+2]
	}
	return Fingerprint(strings.Join(pairs, ":")), nil
}

// UnmarshalText is ParseFingerprint; empty text is none.
func (f *Fingerprint) UnmarshalText(b []byte) (err error) {
	if len(b) == 0 {
		*f = ""
		return nil
	}
	*f, err = ParseFingerprint(string(b))
	return err
}
