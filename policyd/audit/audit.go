// Package audit is what is told of changes that people make: who, from where, why, what, and how it was before and after. It holds the list of
// operations, and no storage: policyd/state keeps entries in the transaction of the change that they tell of, until a [Sink] has them.
package audit

import (
	"context"
	"encoding/json"
	"time"
)

// Actor is who asks for a change.
type Actor struct {
	User   string `json:"user" doc:"Account; of who asks over the admin socket, the name of the process's user; weir of Weir itself."`
	Source string `json:"source,omitempty" doc:"From where: socket, an address, or what made Weir do it."`
	Role   string `json:"role,omitempty" doc:"That the user had: superuser, operator, viewer."`
	Via    Via    `json:"via,omitempty" doc:"How the user is known."`
	Token  string `json:"token,omitempty" doc:"Id of the token that was presented."`
	Reason string `json:"reason,omitempty" doc:"What was said about it."`

	Request string `json:"request,omitempty" doc:"Id of the request: X-Request-Id of its answer."`
}

// Via is how who asks is known.
type Via string

// The values of Via.
const (
	ViaSocket  Via = "socket"  // the admin socket: a user of the machine
	ViaSession Via = "session" // logged in
	ViaToken   Via = "token"
	ViaNobody  Via = "nobody" // he is not known
)

// Weir is the user of changes that Weir makes by itself, as when a deadline passes. Nobody else may be called so.
const Weir = "weir"

// Operation is what is done to an object.
type Operation string

// The values of Operation. The word before the dot is the kind of the object.
const (
	HostAdd         Operation = "host.add"
	HostConfirm     Operation = "host.confirm" // its certificate
	HostExport      Operation = "host.export"
	HostMode        Operation = "host.mode"
	HostDetach      Operation = "host.detach"
	HostRemove      Operation = "host.remove"
	PoolExport      Operation = "pool.export"
	PoolPolicy      Operation = "pool.policy" // mode and sampling
	PolicyApply     Operation = "policy.apply"
	PolicyConfirm   Operation = "policy.confirm"
	PolicyRollback  Operation = "policy.rollback"
	PolicyRestore   Operation = "policy.restore"
	PolicyBypass    Operation = "policy.bypass"
	PolicyBypassEnd Operation = "policy.bypass_end"
	VIFQuarantine   Operation = "vif.quarantine"
	VIFRelease      Operation = "vif.release"
	PolicyPrune     Operation = "policy.prune" // old revisions are forgotten
	DraftBegin      Operation = "draft.begin"
	DraftEdit       Operation = "draft.edit"
	DraftUndo       Operation = "draft.undo"
	DraftRedo       Operation = "draft.redo"
	DraftDrop       Operation = "draft.drop"
	SnapshotTake    Operation = "snapshot.take"
	SnapshotRemove  Operation = "snapshot.remove"
	SnapshotRestore Operation = "snapshot.restore"
	SessionBegin    Operation = "session.begin" // somebody logs in
	SessionEnd      Operation = "session.end"
	UserSet         Operation = "user.set"
	UserPassword    Operation = "user.password"
	UserRemove      Operation = "user.remove"
	TokenAdd        Operation = "token.add"
	TokenRemove     Operation = "token.remove"
)

// Act is an operation that somebody asks for.
type Act struct {
	Actor
	Operation Operation `json:"operation"`
}

// Does returns the act of doing op.
func (a Actor) Does(op Operation) Act { return Act{a, op} }

// Outcome is what became of what somebody asked for.
type Outcome string

// The values of Outcome.
const (
	Done    Outcome = "done"
	Refused Outcome = "refused" // nothing was changed: he may not, or asked for something wrong
	Failed  Outcome = "failed"  // Weir could not
)

// Entry is a change that was made, or that was asked for and not made.
type Entry struct {
	ID uint64    `json:"id" doc:"Ascends with each change; never used again."`
	At time.Time `json:"at"`
	Act
	Object string          `json:"object" doc:"Name of what was changed, of the kind that the operation says."`
	Before json.RawMessage `json:"before,omitempty" doc:"Absent: it was not there."`
	After  json.RawMessage `json:"after,omitempty" doc:"Absent: it is there no more."`

	Outcome Outcome `json:"outcome" enum:"done,refused,failed"`
	Text    string  `json:"text,omitempty" doc:"Why it was not done."`
}

// MaxValue bounds Entry.Before and Entry.After, bytes: of what is longer, {"omitted_bytes": N} is kept.
const MaxValue = 64 << 10

// Sink takes entries, which it has when Write returns nil. An entry may come again after an error, or after a crash: it has the same id then. Entries
// come in the order of their ids, and calls one after the other.
type Sink interface {
	Write(ctx context.Context, list []Entry) error
}
