package ovsdb

import (
	"net/netip"
	"time"
)

// State is how a session is.
type State string

// States of a session.
const (
	StateNew        State = "new"        // Run was not called yet
	StateWaiting    State = "waiting"    // the host dials in, and has not yet, or it ended
	StateConnecting State = "connecting" // being dialled, or it was accepted and its content is not known yet
	StateConnected  State = "connected"  // its content is known and kept current
	StateBackoff    State = "backoff"    // it failed; the next attempt is at Status.Next
	StateConfirm    State = "confirm"    // nothing but the handshake happened: its certificate waits to be confirmed by a person
	StateRefused    State = "refused"    // its certificate is not the one that was confirmed, or not of the authority
	StateStopped    State = "stopped"    // Run has returned
)

// Status is what is known of a session.
type Status struct {
	State State
	Since time.Time // of State
	Next  time.Time // of the next attempt; zero if none is due

	Peer   netip.AddrPort // of the connection that is, or was last; zero of a unix socket
	TLS    string         // "TLS 1.3 TLS_AES_128_GCM_SHA256"; empty without TLS
	Cert   Certificate    // that the host presented; zero without TLS
	Error  string         // why the last connection ended or failed; empty while connected
	Heard  time.Time      // when something came from the host last
	Trip   time.Duration  // of the last question that was answered, there and back
	Starts uint64         // connections whose content became known, so far

	OVSVersion    string   // as "3.1.0"
	SchemaVersion string   // as "8.3.1"
	SystemID      string   // external_ids:system-id
	Missing       []string // tables and columns that Weir reads and the host's schema lacks: "Controller.type"; not to be changed
}

// Certificate is what a person needs to know of a certificate to confirm it.
type Certificate struct {
	Fingerprint Fingerprint
	Subject     string
	Issuer      string
	NotBefore   time.Time
	NotAfter    time.Time
}

// IsZero says that there was none.
func (c Certificate) IsZero() bool { return c.Fingerprint == "" }
