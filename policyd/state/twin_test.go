package state_test

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/weirhq/weir/flow"
	"github.com/weirhq/weir/internal/chance"
	"github.com/weirhq/weir/policyd/audit"
	"github.com/weirhq/weir/policyd/state"
)

// twin is what a State is to hold, in the plainest form: maps, that are copied whole before each change.
type twin struct {
	hosts    map[string]string // names by UUID
	revs     map[uint64]rev
	force    map[string]uint64
	pending  uint64 // 0: none
	back     map[string]uint64
	drafts   map[[2]string]draft
	bypasses map[string]string // reasons by name of the host
	isolated map[string]string // reasons by name of a VIF that is quarantined
	next     uint32            // instance
	newest   uint64            // revision that there is
	made     uint64            // last revision that was ever made
	given    map[uint32]string // what each number was ever given to
	audits   int
}

// rev is a revision.
type rev struct {
	text     string
	kind     state.Kind
	of       uint64
	replaces uint64
	hosts    string
	deadline bool
	by       string            // who confirmed it
	rules    map[string]uint32 // instances by what they mean
}

type draft struct {
	base  uint64
	steps []string
	at    int
}

func newTwin() *twin {
	return &twin{
		hosts: map[string]string{}, revs: map[uint64]rev{}, force: map[string]uint64{}, back: map[string]uint64{}, drafts: map[[2]string]draft{},
		bypasses: map[string]string{}, isolated: map[string]string{}, given: map[uint32]string{},
	}
}

func (w *twin) clone() *twin {
	c := *w
	c.hosts, c.revs, c.force, c.back, c.drafts = maps.Clone(w.hosts), maps.Clone(w.revs), maps.Clone(w.force), maps.Clone(w.back), maps.Clone(w.drafts)
	c.bypasses, c.isolated, c.given = maps.Clone(w.bypasses), maps.Clone(w.isolated), maps.Clone(w.given)
	for k, d := range c.drafts {
		d.steps = slices.Clone(d.steps)
		c.drafts[k] = d
	}
	return &c
}

// live returns the numbers in force, by what they mean.
func (w *twin) live() map[string]uint32 {
	all := map[string]uint32{}
	for _, r := range w.force {
		maps.Copy(all, w.revs[r].rules)
	}
	return all
}

// number gives the next revision its number.
func (w *twin) number() {
	w.made++
	w.newest = w.made
}

// dump writes down all that matters.
func (w *twin) dump() string {
	var b strings.Builder
	for _, uuid := range slices.Sorted(maps.Keys(w.hosts)) {
		fmt.Fprintf(&b, "host %s %s\n", uuid, w.hosts[uuid])
	}
	for _, n := range slices.Sorted(maps.Keys(w.revs)) {
		r := w.revs[n]
		fmt.Fprintf(&b, "revision %d %s of %d replaces %d at %q deadline %v confirmed %q: %s\n", n, r.kind, r.of, r.replaces, r.hosts, r.deadline, r.by, r.text)
	}
	for _, host := range slices.Sorted(maps.Keys(w.force)) {
		r := w.force[host]
		fmt.Fprintf(&b, "in force %q: %d %s %v\n", host, r, w.revs[r].text, slices.Sorted(maps.Values(w.revs[r].rules)))
	}
	fmt.Fprintf(&b, "pending %d %v\n", w.pending, w.back)
	for _, k := range slices.SortedFunc(maps.Keys(w.drafts), func(a, b [2]string) int { return strings.Compare(a[0]+" "+a[1], b[0]+" "+b[1]) }) {
		d := w.drafts[k]
		fmt.Fprintf(&b, "draft %v base %d undo %d redo %d: %s\n", k, d.base, d.at, len(d.steps)-1-d.at, d.steps[d.at])
	}
	for _, name := range slices.Sorted(maps.Keys(w.bypasses)) {
		fmt.Fprintf(&b, "bypass %s %s\n", name, w.bypasses[name])
	}
	for _, name := range slices.Sorted(maps.Keys(w.isolated)) {
		fmt.Fprintf(&b, "quarantine %s %s\n", name, w.isolated[name])
	}
	fmt.Fprintf(&b, "live %v\n", slices.Sorted(maps.Values(w.live())))
	fmt.Fprintf(&b, "next %d, newest %d, audits %d\n", w.next, w.newest, w.audits)
	return b.String()
}

// dump writes down of a State what twin.dump does of a twin.
func dump(ctx context.Context, s *state.State) (string, error) {
	i, err := s.Intent(ctx)
	if err != nil {
		return "", err
	}
	hosts, err1 := s.Hosts(ctx)
	revisions, err2 := s.Revisions(ctx, 0, 10_000)
	drafts, err3 := s.Drafts(ctx, "")
	entries, err4 := s.AuditEntries(ctx, 1_000_000)
	if err := errors.Join(err1, err2, err3, err4); err != nil {
		return "", err
	}
	var b strings.Builder
	slices.SortFunc(hosts, func(a, b state.Host) int { return strings.Compare(a.UUID, b.UUID) })
	for _, h := range hosts {
		fmt.Fprintf(&b, "host %s %s\n", h.UUID, h.Name)
	}
	slices.Reverse(revisions)
	for _, r := range revisions {
		whole, _, err := s.Revision(ctx, r.Revision)
		if err != nil {
			return "", err
		}
		fmt.Fprintf(&b, "revision %d %s of %d replaces %d at %q deadline %v confirmed %q: %s\n", r.Revision, r.Kind, r.Of, r.Replaces, strings.Join(r.Hosts, " "), !r.Deadline.IsZero(), r.ConfirmedBy, whole.Text)
	}
	force := maps.Clone(i.Only)
	if i.Revision != 0 {
		force[""] = i.Revision
	}
	for _, host := range slices.Sorted(maps.Keys(force)) {
		var numbers []uint32
		for _, p := range i.Rules[force[host]] {
			numbers = append(numbers, p.Instance)
		}
		slices.Sort(numbers)
		fmt.Fprintf(&b, "in force %q: %d %s %v\n", host, force[host], i.Policies[force[host]].Text, numbers)
	}
	if i.Pending != nil {
		fmt.Fprintf(&b, "pending %d %v\n", i.Pending.Revision, i.Pending.Back)
	} else {
		fmt.Fprintf(&b, "pending 0 map[]\n")
	}
	for _, d := range drafts {
		whole, err := s.Draft(ctx, d.Owner, d.Name)
		if err != nil {
			return "", err
		}
		fmt.Fprintf(&b, "draft %v base %d undo %d redo %d: %s\n", [2]string{d.Owner, d.Name}, d.Base, d.Undo, d.Redo, whole.Text)
	}
	for _, x := range i.Bypasses {
		fmt.Fprintf(&b, "bypass %s %s\n", x.Name, x.Reason)
	}
	for _, x := range i.Quarantines {
		fmt.Fprintf(&b, "quarantine %s %s\n", x.Name, x.Reason)
	}
	var live []uint32
	for _, n := range i.Live {
		if n.Until.IsZero() {
			live = append(live, n.Instance)
		}
	}
	fmt.Fprintf(&b, "live %v\n", live)
	fmt.Fprintf(&b, "next %d, newest %d, audits %d\n", i.Next, i.Head, len(entries))
	return b.String(), nil
}

// step is a change, of a State and of a twin; what is refused of the one is of the other, as the same error.
type step struct {
	what  string
	model func(w *twin) error
	do    func(ctx context.Context, s *state.State) error
}

// errBase and errPending stand for errors that have a type.
var (
	errBase    = errors.New("base")
	errPending = errors.New("pending")
)

// like says whether an error of a State is the one of a twin.
func like(err, want error) bool {
	var newer *state.NewerError
	var pending *state.PendingError
	switch {
	case want == nil:
		return err == nil
	case errors.Is(want, errBase):
		return errors.As(err, &newer)
	case errors.Is(want, errPending):
		return errors.As(err, &pending)
	}
	return errors.Is(err, want)
}

// steps makes random changes.
type steps struct {
	r *rand.Rand
	n int // made
}

var act = audit.Actor{User: "alice", Source: "test"}.Does("test")

func pick[T any](r *rand.Rand, list []T) T { return list[r.IntN(len(list))] }

// random returns a change that may be asked for in the state that the twin has.
func (g *steps) random(w *twin) step {
	g.n++
	switch k := g.r.IntN(100); {
	case k < 8:
		return g.addHost()
	case k < 12:
		return g.removeHost(w)
	case k < 45:
		return g.apply(w)
	case k < 55:
		return g.confirm(w)
	case k < 63:
		return g.rollBack(w)
	case k < 70:
		return g.addDraft(w)
	case k < 80:
		return g.editDraft(w)
	case k < 88:
		return g.moveDraft(w)
	case k < 91:
		return g.dropDraft(w)
	case k < 94:
		return g.bypass(w)
	case k < 97:
		return g.quarantine(w)
	}
	return g.prune(w)
}

func (g *steps) addHost() step {
	name := fmt.Sprintf("h%d", g.r.IntN(4))
	uuid := fmt.Sprintf("00000000-0000-4000-8000-00000000000%s", name[1:])
	return step{"add host " + name, func(w *twin) error {
		if _, ok := w.hosts[uuid]; ok {
			return state.ErrExists
		}
		w.hosts[uuid] = name
		w.audits++
		return nil
	}, func(ctx context.Context, s *state.State) error {
		_, err := s.AddHost(ctx, act, state.Host{Name: name, UUID: uuid})
		return err
	}}
}

// host returns one that is there, mostly.
func (g *steps) host(w *twin) (uuid, name string) {
	list := slices.Sorted(maps.Keys(w.hosts))
	if len(list) == 0 || g.r.IntN(20) == 0 {
		return "nobody", "nobody"
	}
	uuid = pick(g.r, list)
	return uuid, w.hosts[uuid]
}

func (g *steps) removeHost(w *twin) step {
	uuid, name := g.host(w)
	return step{"remove host " + name, func(w *twin) error {
		if _, ok := w.hosts[uuid]; !ok {
			return state.ErrNotFound
		}
		delete(w.hosts, uuid)
		delete(w.force, uuid)
		delete(w.bypasses, name)
		w.audits++
		return nil
	}, func(ctx context.Context, s *state.State) error { return s.RemoveHost(ctx, act, uuid) }}
}

// meanings returns rules of a policy: what they mean, as "rule/meaning".
func (g *steps) meanings() []string {
	list := []string{"default/" + fmt.Sprint(g.r.IntN(2))}
	for i := range g.r.IntN(5) {
		list = append(list, fmt.Sprintf("r%d/%d", i, g.r.IntN(3)))
	}
	return list
}

func (g *steps) apply(w *twin) step {
	a := state.Application{Policy: state.Policy{Text: fmt.Sprintf("text %d", g.r.IntN(10))}, Ends: func(state.Instance) bool { return true }}
	var names []string
	if len(w.hosts) > 0 && g.r.IntN(3) == 0 {
		for range 1 + g.r.IntN(2) {
			uuid := pick(g.r, slices.Sorted(maps.Keys(w.hosts)))
			if !slices.Contains(a.Only, uuid) {
				a.Only, names = append(a.Only, uuid), append(names, w.hosts[uuid])
			}
		}
	}
	a.Hosts = names
	if g.r.IntN(3) == 0 {
		a.Deadline = then.Add(time.Hour)
	}
	if g.r.IntN(4) == 0 {
		base := w.newest
		if g.r.IntN(4) == 0 {
			base++
		}
		a.Base = &base
	}
	a.Replaces = w.force[""]
	var key [2]string
	if len(w.drafts) > 0 && g.r.IntN(4) == 0 {
		key = g.draft(w)
		if d, ok := w.drafts[key]; ok {
			a.Text = d.steps[d.at]
		}
	}
	rules := map[string]uint32{}
	live := w.live()
	a.Next = max(w.next, 256)
	for i, m := range g.meanings() {
		rule, digest, _ := strings.Cut(m, "/")
		n, ok := live[m]
		if !ok {
			n = a.Next
			a.Next++
			a.Instances = append(a.Instances, state.Instance{Instance: n, Rule: rule, Action: "allow", Digest: digest})
		}
		rules[m] = n
		a.Placed = append(a.Placed, state.Placed{Tier: 1, Rule: rule, Instance: n, Rank: uint16(i + 1)})
	}
	what := fmt.Sprintf("apply %q at %v, base %v, deadline %v, draft %v", a.Text, names, a.Base != nil, !a.Deadline.IsZero(), key)
	return step{what, func(w *twin) error {
		_, known := w.drafts[key]
		switch {
		case key[0] != "" && !known:
			return state.ErrNotFound
		case w.pending != 0:
			return errPending
		case a.Base != nil && *a.Base != w.newest:
			return errBase
		}
		before := maps.Clone(w.force)
		w.number()
		w.revs[w.newest] = rev{text: a.Text, kind: state.KindApply, replaces: a.Replaces, hosts: strings.Join(names, " "), deadline: !a.Deadline.IsZero(), rules: rules}
		if len(a.Only) == 0 {
			w.force = map[string]uint64{"": w.newest}
		}
		for _, host := range a.Only {
			w.force[host] = w.newest
		}
		if !a.Deadline.IsZero() {
			w.pending, w.back = w.newest, before
		}
		for _, n := range a.Instances {
			w.given[n.Instance] = n.Rule + "/" + n.Digest
		}
		w.next = a.Next
		if d, ok := w.drafts[key]; ok {
			if len(a.Only) == 0 {
				delete(w.drafts, key)
			} else {
				d.base = w.newest
				w.drafts[key] = d
			}
		}
		w.audits++
		return nil
	}, func(ctx context.Context, s *state.State) error {
		if key[0] != "" {
			d, err := s.Draft(ctx, key[0], key[1])
			if err != nil {
				return err
			}
			a.Draft = &state.DraftKey{Owner: key[0], Name: key[1], Version: d.Version}
		}
		_, err := s.Apply(ctx, act, a)
		return err
	}}
}

// waiting returns the revision that waits to be confirmed, mostly.
func (g *steps) waiting(w *twin) uint64 {
	if g.r.IntN(10) == 0 {
		return w.newest + 1
	}
	return w.pending
}

func (g *steps) confirm(w *twin) step {
	n := g.waiting(w)
	return step{fmt.Sprintf("confirm %d", n), func(w *twin) error {
		if w.pending == 0 || n != w.pending {
			return errPending
		}
		r := w.revs[n]
		r.by = act.User
		w.revs[n] = r
		w.pending, w.back = 0, map[string]uint64{}
		w.audits++
		return nil
	}, func(ctx context.Context, s *state.State) error {
		_, err := s.Confirm(ctx, act, n)
		return err
	}}
}

func (g *steps) rollBack(w *twin) step {
	n := g.waiting(w)
	return step{fmt.Sprintf("roll back %d", n), func(w *twin) error {
		if w.pending == 0 || n != w.pending {
			return errPending
		}
		w.undo()
		w.audits++
		return nil
	}, func(ctx context.Context, s *state.State) error {
		_, err := s.RollBack(ctx, act, n)
		return err
	}}
}

// undo puts in force what was before the pending revision.
func (w *twin) undo() {
	after := map[string]uint64{}
	for host, r := range w.back {
		if _, ok := w.hosts[host]; ok || host == "" {
			after[host] = r
		}
	}
	hostsOf := func(uuids []string) string {
		var names []string
		for _, uuid := range uuids {
			if uuid == "" {
				return ""
			}
			names = append(names, w.hosts[uuid])
		}
		slices.Sort(names)
		return strings.Join(names, " ")
	}
	made := map[uint64][]string{} // hosts by old revision
	for host, r := range after {
		if w.force[host] != r {
			made[r] = append(made[r], host)
		}
	}
	add := func(r rev, hosts []string) {
		w.number()
		r.kind, r.of, r.replaces, r.hosts, r.deadline, r.by = state.KindRollback, w.pending, w.pending, hostsOf(hosts), false, ""
		w.revs[w.newest] = r
	}
	for _, old := range slices.Sorted(maps.Keys(made)) {
		add(w.revs[old], made[old])
		for _, host := range made[old] {
			after[host] = w.newest
		}
	}
	if len(made) == 0 {
		var gone []string
		for host := range w.force {
			if _, ok := after[host]; !ok {
				gone = append(gone, host)
			}
		}
		r := w.revs[after[""]] // an empty one if there is none
		r.rules = nil
		add(r, gone)
	}
	w.force, w.pending, w.back = after, 0, map[string]uint64{}
}

// draft returns the key of one that is there, mostly.
func (g *steps) draft(w *twin) [2]string {
	list := slices.SortedFunc(maps.Keys(w.drafts), func(a, b [2]string) int { return cmp.Or(strings.Compare(a[0], b[0]), strings.Compare(a[1], b[1])) })
	if len(list) == 0 || g.r.IntN(20) == 0 {
		return [2]string{"nobody", "x"}
	}
	return pick(g.r, list)
}

func (g *steps) addDraft(w *twin) step {
	d := state.Draft{Owner: pick(g.r, []string{"alice", "bob"}), Name: pick(g.r, []string{"a", "b", "c"}), Base: w.newest, Text: fmt.Sprintf("text %d", g.r.IntN(10)), What: "begun"}
	key := [2]string{d.Owner, d.Name}
	return step{fmt.Sprintf("begin draft %v", key), func(w *twin) error {
		if _, ok := w.drafts[key]; ok {
			return state.ErrExists
		}
		w.drafts[key] = draft{base: d.Base, steps: []string{d.Text}}
		w.audits++
		return nil
	}, func(ctx context.Context, s *state.State) error {
		_, err := s.AddDraft(ctx, act, d)
		return err
	}}
}

func (g *steps) editDraft(w *twin) step {
	key := g.draft(w)
	c := state.DraftChange{Owner: key[0], Name: key[1], Text: fmt.Sprintf("text %d", g.r.IntN(10)), What: "edited"}
	if g.r.IntN(5) == 0 {
		c.Base = w.newest
	}
	return step{fmt.Sprintf("edit draft %v: %s, base %d", key, c.Text, c.Base), func(w *twin) error {
		d, ok := w.drafts[key]
		if !ok {
			return state.ErrNotFound
		}
		if c.Text == d.steps[d.at] && (c.Base == 0 || c.Base == d.base) {
			return nil
		}
		if c.Base != 0 {
			d.base = c.Base
		}
		d.steps = append(d.steps[:d.at+1], c.Text)
		d.at++
		w.drafts[key] = d
		w.audits++
		return nil
	}, func(ctx context.Context, s *state.State) error {
		_, err := s.EditDraft(ctx, act, c)
		return err
	}}
}

func (g *steps) moveDraft(w *twin) step {
	key := g.draft(w)
	n := g.r.IntN(7) - 3
	return step{fmt.Sprintf("undo %d of draft %v", n, key), func(w *twin) error {
		d, ok := w.drafts[key]
		if !ok {
			return state.ErrNotFound
		}
		if to := d.at - n; to < 0 || to >= len(d.steps) {
			return state.ErrNoStep
		}
		if n != 0 {
			w.audits++
		}
		d.at -= n
		w.drafts[key] = d
		return nil
	}, func(ctx context.Context, s *state.State) error {
		_, err := s.MoveDraft(ctx, act, key[0], key[1], 0, n)
		return err
	}}
}

func (g *steps) dropDraft(w *twin) step {
	key := g.draft(w)
	return step{fmt.Sprintf("drop draft %v", key), func(w *twin) error {
		if _, ok := w.drafts[key]; !ok {
			return state.ErrNotFound
		}
		delete(w.drafts, key)
		w.audits++
		return nil
	}, func(ctx context.Context, s *state.State) error { return s.DropDraft(ctx, act, key[0], key[1]) }}
}

func (g *steps) bypass(w *twin) step {
	uuid, name := g.host(w)
	by := act
	by.Reason = fmt.Sprintf("reason %d", g.n)
	if _, on := w.bypasses[name]; on || g.r.IntN(3) == 0 {
		return step{"end bypass of " + name, func(w *twin) error {
			if _, ok := w.bypasses[name]; !ok {
				return state.ErrNotFound
			}
			delete(w.bypasses, name)
			w.audits++
			return nil
		}, func(ctx context.Context, s *state.State) error { return s.EndBypass(ctx, by, state.BypassHost, uuid) }}
	}
	return step{"bypass " + name, func(w *twin) error {
		w.bypasses[name] = by.Reason
		w.audits++
		return nil
	}, func(ctx context.Context, s *state.State) error {
		_, err := s.SetBypass(ctx, by, state.Bypass{Kind: state.BypassHost, Target: uuid, Name: name})
		return err
	}}
}

func (g *steps) quarantine(w *twin) step {
	id := 1 + g.r.IntN(4)
	vif, name := flow.ID(id), fmt.Sprintf("vm%d/0", id)
	by := act
	by.Reason = fmt.Sprintf("reason %d", g.n)
	if _, on := w.isolated[name]; on && g.r.IntN(3) > 0 || g.r.IntN(5) == 0 {
		return step{"release " + name, func(w *twin) error {
			if _, ok := w.isolated[name]; !ok {
				return state.ErrNotFound
			}
			delete(w.isolated, name)
			w.audits++
			return nil
		}, func(ctx context.Context, s *state.State) error { return s.EndQuarantine(ctx, by, vif) }}
	}
	return step{"quarantine " + name, func(w *twin) error {
		w.isolated[name] = by.Reason
		w.audits++
		return nil
	}, func(ctx context.Context, s *state.State) error {
		_, err := s.SetQuarantine(ctx, by, vif, name)
		return err
	}}
}

func (g *steps) prune(w *twin) step {
	keep := 1 + g.r.IntN(5)
	return step{fmt.Sprintf("prune to %d", keep), func(w *twin) error {
		stay := map[uint64]bool{w.pending: true}
		list := slices.Sorted(maps.Keys(w.revs))
		for _, n := range list[max(0, len(list)-keep):] {
			stay[n] = true
		}
		confirmed := uint64(0)
		for _, n := range w.force {
			stay[n], stay[w.revs[n].replaces] = true, true
		}
		for _, n := range w.back {
			stay[n] = true
		}
		for _, d := range w.drafts {
			stay[d.base] = true
		}
		for n, r := range w.revs {
			if r.by != "" {
				confirmed = max(confirmed, n)
			}
		}
		stay[confirmed] = true
		gone := 0
		for _, n := range list {
			if !stay[n] {
				delete(w.revs, n)
				gone++
			}
		}
		if gone > 0 {
			w.audits++
		}
		return nil
	}, func(ctx context.Context, s *state.State) error {
		_, err := s.Prune(ctx, act, keep)
		return err
	}}
}

// unused says that numbers were given twice: that a number in force means something else than it was given to.
func (w *twin) repeated() error {
	for m, n := range w.live() {
		if w.given[n] != m {
			return fmt.Errorf("number %d is of %s, and was given to %q", n, m, w.given[n])
		}
	}
	return nil
}

// Whatever is changed in whatever order, a State holds what plain maps do, also after it was closed and opened again, and after a copy took its place.
func TestTwin(t *testing.T) {
	runs, length := 8, 60
	if testing.Short() {
		runs = 2
	}
	seed := chance.Seed(t)
	for run := range runs {
		r := rand.New(rand.NewPCG(seed, uint64(run)))
		g := &steps{r: r}
		name := filepath.Join(t.TempDir(), "state.db")
		s := open(t, name)
		w := newTwin()
		var did []string
		fail := func(format string, args ...any) {
			t.Helper()
			t.Fatalf("seed %d, run %d, after:\n  %s\n%s", seed, run, strings.Join(did, "\n  "), fmt.Sprintf(format, args...))
		}
		for range length {
			switch r.IntN(20) {
			case 0:
				did = append(did, "open again")
				if err := s.Close(); err != nil {
					t.Fatal(err)
				}
				s = open(t, name)
			case 1:
				did = append(did, "copy and restore")
				s = g.restored(t, s, w, name)
			}
			x := g.random(w)
			did = append(did, x.what)
			next := w.clone()
			want := x.model(next)
			if want != nil {
				next = w
			}
			if err := x.do(t.Context(), s); !like(err, want) {
				fail("%s: %v, want %v", x.what, err, want)
			}
			w = next
			got, err := dump(t.Context(), s)
			if err != nil {
				t.Fatal(err)
			}
			if want := w.dump(); got != want {
				fail("got\n%s\nwant\n%s", got, want)
			}
			if err := w.repeated(); err != nil {
				fail("%v", err)
			}
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// restored makes a copy, goes on for a while, and puts the copy in the place of the database. The twin is what the copy is: all but what counts on.
func (g *steps) restored(t *testing.T, s *state.State, w *twin, name string) *state.State {
	t.Helper()
	copied := filepath.Join(t.TempDir(), fmt.Sprintf("copy-%d.db", g.n))
	if err := s.Backup(t.Context(), alice, copied); err != nil {
		t.Fatal(err)
	}
	later := w.clone()
	for range g.r.IntN(10) {
		x := g.random(later)
		next := later.clone()
		if err := x.do(t.Context(), s); err == nil && x.model(next) == nil {
			later = next
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := state.Restore(t.Context(), copied, name, then.Add(time.Duration(g.n)*time.Second)); err != nil {
		t.Fatal(err)
	}
	s = open(t, name)
	w.made = max(w.made, later.made) + 10_000
	w.next, w.given = max(later.next, w.next, 256)+1<<20, maps.Clone(later.given)
	w.audits = 1 // that it was restored; what waited is the original's
	return s
}
