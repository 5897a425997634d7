// Package client is how a command asks the API of a Weir: one on this machine by the socket in its data directory, as whoever may use that; one
// elsewhere by TLS and a token, as a profile says.
//
//	Profiles ── profiles.yaml: names of servers, how each is believed, where the token for it is
//	   │
//	Options ──→ Open ──→ API ──→ Get, Change, Send, Stream ──→ Problem, CertificateError, … when it is not done
//	              └─ internal/instance: the running Weir of a data directory
//
// It knows what an answer means as far as all answers share it: RFC 9457 problems, entity tags, what a refusal asks of a person. What is asked for
// is the business of commands.
package client
