package api

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"github.com/weirhq/weir/api/account"
	"github.com/weirhq/weir/policyd/audit"
)

// operations is the one table of what there is to do and who may: by the id of the operation.
var operations = map[string]account.Permission{
	"get-status":     {Least: account.Viewer, Area: account.AreaStatus},
	"list-exporters": {Least: account.Viewer, Area: account.AreaStatus},

	"get-estate":     {Least: account.Viewer, Area: account.AreaEstate},
	"explain-estate": {Least: account.Viewer, Area: account.AreaEstate},
	"list-sources":   {Least: account.Viewer, Area: account.AreaEstate},

	"list-entities": {Least: account.Viewer, Area: account.AreaEstate},
	"get-entity":    {Least: account.Viewer, Area: account.AreaEstate},

	"query-flows":    {Least: account.Viewer, Area: account.AreaFlows},
	"ask-flows":      {Least: account.Viewer, Area: account.AreaFlows},
	"list-rule-hits": {Least: account.Viewer, Area: account.AreaPolicy},

	"list-events":       {Least: account.Viewer, Area: account.AreaEvents},
	"stream-events":     {Least: account.Viewer, Area: account.AreaEvents},
	"list-admin-events": {Least: account.Viewer, Area: account.AreaAccounts},

	"list-hosts":          {Least: account.Viewer, Area: account.AreaHosts},
	"get-host":            {Least: account.Viewer, Area: account.AreaHosts},
	"get-pool":            {Least: account.Viewer, Area: account.AreaHosts},
	"plan-detach":         {Least: account.Viewer, Area: account.AreaHosts},
	"plan-host-mode":      {Least: account.Viewer, Area: account.AreaHosts},
	"test-host":           {Least: account.Superuser, Area: account.AreaHosts}, // Weir dials what is named
	"add-host":            {Least: account.Superuser, Area: account.AreaHosts, Change: audit.HostAdd},
	"confirm-certificate": {Least: account.Superuser, Area: account.AreaHosts, Change: audit.HostConfirm},
	"remove-host":         {Least: account.Superuser, Area: account.AreaHosts, Change: audit.HostRemove},
	"detach-host":         {Least: account.Operator, Area: account.AreaHosts, Change: audit.HostDetach},
	"set-host-export":     {Least: account.Operator, Area: account.AreaHosts, Change: audit.HostExport},
	"set-pool-export":     {Least: account.Operator, Area: account.AreaHosts, Change: audit.PoolExport},
	"set-host-mode":       {Least: account.Operator, Area: account.AreaHosts, Change: audit.HostMode},
	"set-pool-policy":     {Least: account.Operator, Area: account.AreaHosts, Change: audit.PoolPolicy},

	"get-policy-status":   {Least: account.Viewer, Area: account.AreaPolicy},
	"get-policy":          {Least: account.Viewer, Area: account.AreaPolicy},
	"list-policies":       {Least: account.Viewer, Area: account.AreaPolicy},
	"get-effective-rules": {Least: account.Viewer, Area: account.AreaPolicy},
	"list-vif-settings":   {Least: account.Viewer, Area: account.AreaPolicy},
	"check-policy":        {Least: account.Operator, Area: account.AreaPolicy}, // it takes a core for a while
	"plan-policy":         {Least: account.Operator, Area: account.AreaPolicy},
	"apply-policy":        {Least: account.Operator, Area: account.AreaPolicy, Change: audit.PolicyApply},
	"get-revision":        {Least: account.Viewer, Area: account.AreaPolicy},
	"compare-policies":    {Least: account.Viewer, Area: account.AreaPolicy},
	"export-policy":       {Least: account.Viewer, Area: account.AreaPolicy},
	"list-bypasses":       {Least: account.Viewer, Area: account.AreaPolicy},
	"list-quarantines":    {Least: account.Viewer, Area: account.AreaPolicy},
	"list-drafts":         {Least: account.Viewer, Area: account.AreaPolicy},
	"get-draft":           {Least: account.Viewer, Area: account.AreaPolicy},
	"list-draft-edits":    {Least: account.Viewer, Area: account.AreaPolicy},
	"list-groups":         {Least: account.Viewer, Area: account.AreaPolicy},
	"restore-policy":      {Least: account.Operator, Area: account.AreaPolicy, Change: audit.PolicyRestore},
	"confirm-policy":      {Least: account.Operator, Area: account.AreaPolicy, Change: audit.PolicyConfirm},
	"roll-back-policy":    {Least: account.Operator, Area: account.AreaPolicy, Change: audit.PolicyRollback},
	"begin-draft":         {Least: account.Operator, Area: account.AreaPolicy, Change: audit.DraftBegin},
	"edit-draft":          {Least: account.Operator, Area: account.AreaPolicy, Change: audit.DraftEdit},
	"drop-draft":          {Least: account.Operator, Area: account.AreaPolicy, Change: audit.DraftDrop},
	"undo-draft":          {Least: account.Operator, Area: account.AreaPolicy, Change: audit.DraftUndo},
	"redo-draft":          {Least: account.Operator, Area: account.AreaPolicy, Change: audit.DraftRedo},
	"plan-draft":          {Least: account.Operator, Area: account.AreaPolicy},
	"apply-draft":         {Least: account.Operator, Area: account.AreaPolicy, Change: audit.PolicyApply},
	"import-policy":       {Least: account.Operator, Area: account.AreaPolicy, Change: audit.DraftEdit},
	"set-group":           {Least: account.Operator, Area: account.AreaPolicy, Change: audit.DraftEdit},
	"remove-group":        {Least: account.Operator, Area: account.AreaPolicy, Change: audit.DraftEdit},
	"bypass-policy":       {Least: account.Operator, Area: account.AreaPolicy, Change: audit.PolicyBypass},
	"end-bypass":          {Least: account.Operator, Area: account.AreaPolicy, Change: audit.PolicyBypassEnd},
	"quarantine-vif":      {Least: account.Operator, Area: account.AreaPolicy, Change: audit.VIFQuarantine},
	"release-vif":         {Least: account.Operator, Area: account.AreaPolicy, Change: audit.VIFRelease},

	"list-snapshots":    {Least: account.Superuser, Area: account.AreaPolicy},
	"download-snapshot": {Least: account.Superuser, Area: account.AreaAccounts}, // it holds digests of passwords
	"take-snapshot":     {Least: account.Superuser, Area: account.AreaPolicy, Change: audit.SnapshotTake},
	"remove-snapshot":   {Least: account.Superuser, Area: account.AreaPolicy, Change: audit.SnapshotRemove},

	"login":           {Area: account.AreaAccounts, Change: audit.SessionBegin, First: true},
	"get-session":     {Least: account.Viewer, Area: account.AreaAccounts, First: true},
	"logout":          {Least: account.Viewer, Area: account.AreaAccounts, Change: audit.SessionEnd, First: true},
	"change-password": {Least: account.Viewer, Area: account.AreaAccounts, Change: audit.UserPassword, First: true},

	// Of oneself; of others it takes a superuser: see Server.mine.
	"list-sessions": {Least: account.Viewer, Area: account.AreaAccounts},
	"end-session":   {Least: account.Viewer, Area: account.AreaAccounts, Change: audit.SessionEnd},
	"list-tokens":   {Least: account.Viewer, Area: account.AreaAccounts},
	"get-token":     {Least: account.Viewer, Area: account.AreaAccounts},
	"add-token":     {Least: account.Viewer, Area: account.AreaAccounts, Change: audit.TokenAdd},
	"remove-token":  {Least: account.Viewer, Area: account.AreaAccounts, Change: audit.TokenRemove},

	"list-users":     {Least: account.Superuser, Area: account.AreaAccounts},
	"get-user":       {Least: account.Superuser, Area: account.AreaAccounts},
	"set-user":       {Least: account.Superuser, Area: account.AreaAccounts, Change: audit.UserSet},
	"remove-user":    {Least: account.Superuser, Area: account.AreaAccounts, Change: audit.UserRemove},
	"reset-password": {Least: account.Superuser, Area: account.AreaAccounts, Change: audit.UserPassword},
}

// Permission is what is needed for an operation.
type Permission struct {
	Operation string          `json:"operation"`
	Role      account.Role    `json:"role"` // the least; "": nobody needs to be known
	Scope     account.Scope   `json:"scope"`
	Change    audit.Operation `json:"change,omitempty"` // what it is told as; "": it changes nothing
}

// Permissions are those of all operations, by area and least role.
func Permissions() []Permission {
	list := make([]Permission, 0, len(operations))
	for id, p := range operations {
		list = append(list, Permission{id, p.Least, p.Scope(), p.Change})
	}
	slices.SortFunc(list, func(a, b Permission) int {
		area := func(p Permission) int { return slices.Index(account.Areas, operations[p.Operation].Area) }
		return cmp.Or(cmp.Compare(area(a), area(b)), cmp.Compare(slices.Index(account.Roles, a.Role), slices.Index(account.Roles, b.Role)), cmp.Compare(a.Operation, b.Operation))
	})
	return list
}

// permission is what an operation needs.
func permission(operation string) account.Permission {
	p, ok := operations[operation]
	if !ok {
		panic(fmt.Sprintf("BUG: operation %q is not in the table of operations", operation))
	}
	return p
}

const (
	maxBody = 1 << 20 // bytes, of requests that do not say otherwise
)

// describe completes what the document says of an operation.
func describe(op huma.Operation) huma.Operation {
	p := permission(op.OperationID)
	if op.MaxBodyBytes == 0 {
		op.MaxBodyBytes = maxBody
	}
	op.Security = []map[string][]string{{"token": {}}, {"session": {}}}
	who := "nobody needs to be logged in"
	if p.Least != "" {
		who = fmt.Sprintf("at least %s; tokens with %s", p.Least, p.Scope())
		op.Errors = append(op.Errors, http.StatusUnauthorized, http.StatusForbidden)
	} else {
		op.Security = []map[string][]string{{}}
	}
	op.Errors = append(op.Errors, http.StatusUnprocessableEntity, http.StatusServiceUnavailable)
	op.Extensions = map[string]any{"x-weir-role": string(p.Least), "x-weir-scope": string(p.Scope()), "x-weir-change": string(p.Change)}
	op.Description = strings.TrimSpace(op.Description + "\n\nWho: " + who + ".")
	return op
}

// read registers an operation that changes nothing.
func read[I, O any](api huma.API, op huma.Operation, do func(context.Context, *I) (*O, error)) {
	if permission(op.OperationID).Change != "" {
		panic(fmt.Sprintf("BUG: operation %q changes something", op.OperationID))
	}
	var cached any = new(I)
	if _, ok := cached.(knower); !ok {
		huma.Register(api, describe(op), do)
		return
	}
	op.Responses = map[string]*huma.Response{"304": {Description: "It is what the asker knows."}}
	huma.Register(api, describe(op), func(ctx context.Context, in *I) (*O, error) {
		out, err := do(ctx, in)
		if err != nil {
			return nil, err
		}
		if tag := any(out).(tagger).tagged(); any(in).(knower).knows(tag) {
			return nil, huma.ErrorWithHeaders(huma.Status304NotModified(), http.Header{"Etag": {tag}})
		}
		return out, nil
	})
}

// Known is the header of an asker who has an answer already. What it is in answers with a [Tag] of all that they say.
type Known struct {
	IfNoneMatch string `header:"If-None-Match" maxLength:"1000" doc:"ETags of answers that are known: where it is one of them, the answer is 304, without a body."`
}

// knower is an input with Known.
type knower interface{ knows(tag string) bool }

// knows compares weakly, as RFC 9110 13.1.2 says.
func (k *Known) knows(tag string) bool {
	for one := range strings.SplitSeq(k.IfNoneMatch, ",") {
		if one = strings.TrimPrefix(strings.TrimSpace(one), "W/"); one == "*" || one == tag {
			return true
		}
	}
	return false
}

// subject is what a changing request is about.
type subject struct {
	object string // name, for what is written down of a refusal
	reason string // why, as the asker says

	// read returns what is there, and errNone if nothing is; it may be nil itself. Its entity tag is what If-Match is compared with.
	read func(context.Context) (any, error)
}

// errNone is that of read of a subject if nothing is there.
var errNone = errors.New("nothing is there")

// now is what is there; nil: nothing.
func (sub *subject) now(ctx context.Context) (any, error) {
	if sub.read == nil {
		return nil, nil
	}
	v, err := sub.read(ctx)
	if errors.Is(err, errNone) {
		return nil, nil
	}
	return v, err
}

// change registers an operation that changes something. Who does it writes down what it has changed, in the same transaction; what is not done is
// written down by authorize. about may refuse a request.
func change[I, O any](s *Server, api huma.API, op huma.Operation, about func(context.Context, *I) (subject, error), do func(context.Context, *I) (*O, error)) {
	if permission(op.OperationID).Change == "" {
		panic(fmt.Sprintf("BUG: operation %q changes nothing", op.OperationID))
	}
	huma.Register(api, describe(op), func(ctx context.Context, in *I) (*O, error) {
		e := entryOf(ctx)
		sub, err := about(ctx, in)
		e.object, e.actor.Reason = sub.object, sub.reason
		if err == nil {
			var out *O
			if out, err = changeIf(ctx, s, in, &sub, do); err == nil {
				return out, nil
			}
		}
		e.why = err.Error()
		return nil, err
	})
}

// changeIf does what is asked if what is there matches, and says in the answer what it is then.
func changeIf[I, O any](ctx context.Context, s *Server, in *I, sub *subject, do func(context.Context, *I) (*O, error)) (*O, error) {
	if m, ok := any(in).(matcher); ok && m.wantsMatch() {
		s.changing.Lock() // nobody else changes it in between
		defer s.changing.Unlock()
		before, err := sub.now(ctx)
		if err != nil {
			return nil, s.refusal(err)
		}
		if err := m.match(before); err != nil {
			return nil, err
		}
	}
	out, err := do(ctx, in)
	if err != nil {
		return nil, err
	}
	if t, ok := any(out).(tagged); ok {
		if after, err := sub.now(context.WithoutCancel(ctx)); err == nil {
			t.tag(entityTag(after))
		}
	}
	return out, nil
}

// Match is the header by which a change is made only to what the asker has seen.
type Match struct {
	IfMatch     string `header:"If-Match" maxLength:"200" doc:"Change it only if its ETag is this one, as it was when it was read."`
	IfNoneMatch string `header:"If-None-Match" maxLength:"200" doc:"*: make it only if it is not there yet."`
}

// matcher is an input with Match.
type matcher interface {
	wantsMatch() bool
	match(before any) error
}

func (m *Match) wantsMatch() bool { return m.IfMatch != "" || m.IfNoneMatch != "" }

// match says why a change is not made to what is there, or nil.
func (m *Match) match(before any) error {
	refuse := func(header, why string) error {
		return huma.NewError(http.StatusPreconditionFailed, why, &huma.ErrorDetail{Location: "header." + header, Message: why})
	}
	if m.IfNoneMatch == "*" && before != nil {
		return refuse("If-None-Match", "it is there already")
	}
	if m.IfMatch == "" {
		return nil
	}
	if before == nil {
		return refuse("If-Match", "it is not there")
	}
	tag := entityTag(before)
	for one := range strings.SplitSeq(m.IfMatch, ",") {
		if one = strings.TrimSpace(one); one == "*" || one == tag {
			return nil
		}
	}
	return refuse("If-Match", fmt.Sprintf("somebody changed it meanwhile: it is %s now, read it again", tag))
}

// entityTag is the strong entity tag of what a resource says; "" of nothing.
func entityTag(v any) string {
	if v == nil {
		return ""
	}
	text, err := json.Marshal(v)
	if err != nil {
		panic("BUG: resource as JSON: " + err.Error())
	}
	sum := sha256.Sum256(text)
	return `"` + base64.RawURLEncoding.EncodeToString(sum[:12]) + `"`
}

// Tag is the header with the entity tag of what an answer is about.
type Tag struct {
	ETag string `header:"ETag" doc:"For If-Match of a change."`
}

type tagged interface{ tag(string) }

func (t *Tag) tag(tag string) { t.ETag = tag }

// tagger is an answer with Tag.
type tagger interface{ tagged() string }

func (t *Tag) tagged() string { return t.ETag }

// taggedBody is an answer with an entity tag.
type taggedBody[T any] struct {
	Tag
	Body T
}

// withTag is an answer that can be changed.
func withTag[T any](v T) *taggedBody[T] { return &taggedBody[T]{Tag{entityTag(v)}, v} }
