package account

import (
	"fmt"
	"slices"
	"strings"

	"github.com/weirhq/weir/policyd/audit"
)

// Role is what a user is for. Each may do all that the ones before it may.
type Role string

// The roles.
const (
	Viewer    Role = "viewer"    // sees everything, and changes nothing but his own password and tokens
	Operator  Role = "operator"  // changes policy, and what Weir does at hosts
	Superuser Role = "superuser" // also users, which hosts there are, and what is restored
)

// Roles are all roles, the least first.
var Roles = []Role{Viewer, Operator, Superuser}

// Known tells whether r is one of Roles.
func (r Role) Known() bool { return slices.Contains(Roles, r) }

// Includes tells whether r may do what is for least. A role that is not known may do nothing.
func (r Role) Includes(least Role) bool {
	return r.Known() && least.Known() && slices.Index(Roles, r) >= slices.Index(Roles, least)
}

// Area is a part of what can be done; tokens are for some of them.
type Area string

// The areas.
const (
	AreaStatus   Area = "status" // how Weir does, exporters, metrics
	AreaEstate   Area = "estate"
	AreaHosts    Area = "hosts"
	AreaPolicy   Area = "policy"
	AreaFlows    Area = "flows"
	AreaEvents   Area = "events"
	AreaAccounts Area = "accounts" // users, tokens, sessions, administrative events

	anyArea Area = "all"
)

// Areas are all areas.
var Areas = []Area{AreaStatus, AreaEstate, AreaHosts, AreaPolicy, AreaFlows, AreaEvents, AreaAccounts}

// Scope is what a token may be used for: AREA:read or AREA:write, which includes reading; the area may be all.
type Scope string

// Scopes are all scopes.
var Scopes = func() []Scope {
	var list []Scope
	for _, a := range append([]Area{anyArea}, Areas...) {
		list = append(list, Scope(a)+":read", Scope(a)+":write")
	}
	return list
}()

// covers tells whether s is enough for what needs another scope.
func (s Scope) covers(needed Scope) bool {
	area, what, _ := strings.Cut(string(s), ":")
	neededArea, neededWhat, _ := strings.Cut(string(needed), ":")
	return (area == neededArea || Area(area) == anyArea) && (what == "write" || neededWhat == "read")
}

// Permission is what somebody needs to do something.
type Permission struct {
	Least  Role // "": nobody needs to be known
	Area   Area
	Change audit.Operation // what it does to something; "": it changes nothing
	First  bool            // it may be done by who has to change his password first
}

// Scope is what a token needs.
func (p Permission) Scope() Scope {
	if p.Change != "" {
		return Scope(p.Area) + ":write"
	}
	return Scope(p.Area) + ":read"
}

// Identity is who asks.
type Identity struct {
	User    string
	Role    Role
	Via     audit.Via
	Session string  // id of his session; "" is none
	CSRF    string  // of the session: what a changing request must repeat
	Token   string  // id of the token; "" is none
	Scopes  []Scope // of the token
	OneTime bool    // he has to change his password first
}

// DeniedError says why somebody may not do something.
type DeniedError struct{ Reason string }

func (e *DeniedError) Error() string { return e.Reason }

// May returns nil if i may do p, else a *DeniedError.
func (i *Identity) May(p Permission) error {
	switch {
	case p.Least == "":
	case i.OneTime && !p.First:
		return &DeniedError{"the password is for one time: change it first"}
	case !i.Role.Includes(p.Least):
		return &DeniedError{fmt.Sprintf("found role %s, want at least %s", i.Role, p.Least)}
	case i.Via == audit.ViaToken && !i.Holds(p.Scope()):
		return &DeniedError{fmt.Sprintf("the token is for %s, want %s", join(i.Scopes), p.Scope())}
	}
	return nil
}

// Holds tells whether i may use a scope, as far as his token restricts him.
func (i *Identity) Holds(needed Scope) bool {
	return i.Via != audit.ViaToken || slices.ContainsFunc(i.Scopes, func(s Scope) bool { return s.covers(needed) })
}

func join(list []Scope) string {
	words := make([]string, len(list))
	for i, s := range list {
		words[i] = string(s)
	}
	return strings.Join(words, ", ")
}
