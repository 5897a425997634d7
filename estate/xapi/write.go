package xapi

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"strings"
	"time"
)

// failModeKey is the key of a pool's other_config that says which fail_mode XAPI gives bridges when a host starts.
const failModeKey = "vswitch-controller-fail-mode"

const (
	writeFirst = time.Second      // between two writes of a value that somebody else changes; doubled each time up to
	writeLast  = 5 * time.Minute  //
	halfLast   = 30 * time.Second // longest wait after a write that failed when the old value may be gone already
	calm       = 10 * time.Minute // a value that stayed so long after it was written is not fought over
	contested  = 3                // times that somebody else changed the value, without calm between, that are called a fight
	addWait    = 10 * time.Second // for the second half of a write, also when Weir is about to end
)

// ErrNotAllowed is what writes end with that the configuration does not allow.
var ErrNotAllowed = errors.New("the configuration does not say that Weir writes it")

// Write is what Weir writes to a pool. The zero value is: nothing.
type Write struct {
	FailMode     string `yaml:"fail_mode" doc:"secure or standalone: other_config:vswitch-controller-fail-mode of the pool, which XAPI makes the fail_mode of bridges when a host starts, is kept at that. policy: at what the fail mode that policy says of the pool asks for. Empty: it is left as it is."`
	TunnelStatus bool   `yaml:"tunnel_status" doc:"Whether the status of tunnels may be written."`
}

// FollowPolicy is the Write.FailMode of a pool that is kept at what policy asks for.
const FollowPolicy = "policy"

// Asked is what policy asks of a pool.
type Asked struct {
	FailMode string // secure or standalone; "": it asks for nothing, or nobody knows yet
	Not      string // why it is not written all the same; "": it may be
}

// FailMode is how a pool's other_config:vswitch-controller-fail-mode is, and what Weir does about it.
type FailMode struct {
	Found      string    `json:"found" doc:"What the pool has; empty: nothing."`
	Wanted     string    `json:"wanted,omitempty" doc:"What Weir keeps it at, by write.fail_mode of the configuration; empty: Weir writes nothing."`
	Asked      string    `json:"asked,omitempty" doc:"What the fail mode that policy says of the pool asks for; empty: nothing."`
	Not        string    `json:"not,omitempty" doc:"Why that is not written."`
	Written    time.Time `json:"written,omitzero" doc:"When Weir wrote it last, since it was started."`
	Writes     uint64    `json:"writes,omitempty" doc:"Times that Weir wrote it, since it was started."`
	Overridden int       `json:"overridden,omitempty" doc:"Times that somebody else changed it, one soon after the other."`
	Error      string    `json:"error,omitempty" doc:"Why the last write failed, and what to do."`
}

// problem says what is wrong; empty: nothing.
func (m *FailMode) problem() string {
	switch {
	case m.Error != "":
		return fmt.Sprintf("the pool's other_config:%s is %.40q, and %q cannot be written: %s", failModeKey, m.Found, m.Wanted, m.Error)
	case m.Overridden >= contested:
		return fmt.Sprintf("somebody else changes the pool's other_config:%s, %d times soon after one another: Weir writes %q again, at most every %s; find out who, or take write.fail_mode out of the configuration",
			failModeKey, m.Overridden, m.Wanted, writeLast)
	case m.Asked != "" && m.Found != m.Asked && m.Wanted != m.Asked:
		return fmt.Sprintf("bridges of a host that starts are %s, while policy asks for a fail mode that is %s: other_config:%s of the pool is %.40q, and is not written: %s",
			cmp.Or(m.Found, "standalone"), m.Asked, failModeKey, m.Found, m.Not)
	}
	return ""
}

// keeper decides when a value is written, so that it comes to be what is wanted, and nobody who wants another makes Weir write without end.
// It calls nobody and has no clock.
type keeper struct {
	want       string
	held       bool          // found or written as wanted, and not found otherwise since
	next       time.Time     // nothing is written before
	pause      time.Duration // from the next write to the one after it
	retry      time.Duration // from the next failure to the next try
	written    time.Time
	writes     uint64
	overridden int
	err        error // of the last try, until the value is as wanted
}

func newKeeper(want string) keeper { return keeper{want: want, pause: writeFirst, retry: writeFirst} }

// aim says what is wanted from now on.
func (k *keeper) aim(want string) {
	if k.want != want {
		written, writes := k.written, k.writes
		*k = newKeeper(want)
		k.written, k.writes = written, writes
	}
}

// see takes what is found and says whether to write now.
func (k *keeper) see(found string, now time.Time) bool {
	if k.want == "" {
		return false
	}
	if k.held && now.Sub(k.written) >= calm {
		k.overridden, k.pause = 0, writeFirst
	}
	if found == k.want {
		k.held, k.err, k.retry = true, nil, writeFirst
		return false
	}
	if k.held {
		k.held = false
		k.overridden++
	}
	return !now.Before(k.next)
}

// wrote notes how a write ended. half says that the old value may be gone while the new one is not there.
func (k *keeper) wrote(now time.Time, half bool, err error) {
	if k.err = err; err == nil {
		k.held, k.written, k.next = true, now, now.Add(k.pause)
		k.writes++
		k.pause, k.retry = min(2*k.pause, writeLast), writeFirst
		return
	}
	longest := writeLast
	if half {
		longest = halfLast
	}
	wait := min(k.retry, longest)
	k.next, k.retry = now.Add(wait), min(2*wait, longest)
}

// wait is how long changes may be waited for: no longer than until the next write is due.
func (k *keeper) wait(now time.Time) time.Duration {
	if k.want == "" || k.held {
		return waitForChanges
	}
	return min(max(k.next.Sub(now), 0), waitForChanges)
}

// keep writes the fail mode if it is to be written and is another one. It returns an error only if that ends session or connection: of any
// other the status tells, and it is tried again.
func (p *Pool) keep(ctx context.Context, c *client, session string) error {
	if p.token == "" || len(p.db.pools) != 1 { // all is to be read again, or is none of a pool
		return nil
	}
	var err error
	for r, pool := range p.db.pools {
		var asked Asked
		if p.deps.Asked != nil {
			asked = p.deps.Asked(pool.UUID)
		}
		switch follows := p.cfg.Write.FailMode == FollowPolicy; {
		case !follows:
			asked.Not = fmt.Sprintf("set write.fail_mode of the pool in estate.xapi to %s", FollowPolicy)
		case asked.Not != "":
			p.keeper.aim("")
		default:
			p.keeper.aim(asked.FailMode)
		}
		if p.keeper.see(pool.OtherConfig[failModeKey], p.deps.Now()) {
			err = p.writeFailMode(ctx, c, session, r)
		}
		found := p.db.pools[r].OtherConfig[failModeKey]
		p.set(func(s *Status) {
			s.FailMode = FailMode{
				Found: found[:min(len(found), maxText)], Asked: asked.FailMode, Wanted: p.keeper.want, Written: p.keeper.written, Writes: p.keeper.writes, Overridden: p.keeper.overridden,
			}
			if asked.FailMode != "" && asked.FailMode != p.keeper.want {
				s.FailMode.Not = asked.Not
			}
			if p.keeper.err != nil {
				s.FailMode.Error = explainWrite(p.keeper.err, "take write.fail_mode out of the configuration")
			}
		})
	}
	var f *Failure
	if errors.As(err, &f) && f.Code != failSession && f.Code != failSlave {
		return nil
	}
	return err
}

// writeFailMode replaces the value of the pool, other keys untouched: XAPI adds no key that is there, so the old one is removed first. What
// happens between is found by the next comparison: no value is not the wanted one.
func (p *Pool) writeFailMode(ctx context.Context, c *client, session string, pool ref) error {
	was := p.db.pools[pool].OtherConfig[failModeKey]
	trying, cancel := context.WithTimeout(ctx, p.cfg.Timeout)
	err := c.change(trying, "pool.remove_from_other_config", session, pool, failModeKey)
	cancel()
	half := err == nil || !errors.As(err, new(*Failure)) // without an answer nobody knows
	if err == nil {
		p.remember(pool, "")
		trying, cancel = context.WithTimeout(context.WithoutCancel(ctx), addWait)
		err = c.change(trying, "pool.add_to_other_config", session, pool, failModeKey, p.keeper.want)
		cancel()
	}
	if err != nil {
		err = fmt.Errorf("write other_config:%s at %s: %w", failModeKey, hostOf(c.url), err)
	}
	p.keeper.wrote(p.deps.Now(), half, err)
	if err != nil {
		p.log.Warn("fail mode of pool is not written, tried again", "found", was, "want", p.keeper.want, "err", err)
		return err
	}
	p.remember(pool, p.keeper.want)
	p.metrics.writes.Inc()
	p.log.Info("fail mode of pool is written", "found", was, "wrote", p.keeper.want)
	return nil
}

// remember has the copy of the pool's record say what was written, until the pool tells of it: what it tells after a call has that in it.
func (p *Pool) remember(pool ref, value string) {
	r := *p.db.pools[pool]
	r.OtherConfig = maps.Clone(r.OtherConfig)
	if delete(r.OtherConfig, failModeKey); value != "" {
		if r.OtherConfig == nil {
			r.OtherConfig = map[string]string{}
		}
		r.OtherConfig[failModeKey] = value
	}
	p.db.pools[pool] = &r
}

// SetTunnelStatus replaces the status of a tunnel, as XAPI's clients show it. It may be called from any goroutine, and is not tried again. Without
// write.tunnel_status in the configuration it calls nobody and returns an error that is ErrNotAllowed.
func (p *Pool) SetTunnelStatus(ctx context.Context, tunnelUUID string, status map[string]string) error {
	err := p.setTunnelStatus(ctx, tunnelUUID, status)
	if err != nil {
		return fmt.Errorf("set status of tunnel %q in pool %q: %w", tunnelUUID, p.cfg.Name, err)
	}
	return nil
}

func (p *Pool) setTunnelStatus(ctx context.Context, tunnelUUID string, status map[string]string) error {
	if !p.cfg.Write.TunnelStatus {
		return fmt.Errorf("%w: set write.tunnel_status of the pool in estate.xapi to true", ErrNotAllowed)
	}
	p.mu.Lock()
	c, session := p.client, p.session
	p.mu.Unlock()
	if c == nil {
		return errors.New("there is no session with the pool: try again when it is connected")
	}
	ctx, cancel := context.WithTimeout(ctx, p.cfg.Timeout)
	defer cancel()
	var tunnel ref
	if err := c.call(ctx, func(d *json.Decoder) error { return d.Decode(&tunnel) }, "tunnel.get_by_uuid", session, tunnelUUID); err != nil {
		return err
	}
	if status == nil {
		status = map[string]string{} // null is no map
	}
	err := c.change(ctx, "tunnel.set_status", session, tunnel, status)
	if err != nil {
		return errors.New(explainWrite(err, "take write.tunnel_status out of the configuration"))
	}
	p.metrics.writes.Inc()
	return nil
}

// change calls a method that changes something.
func (c *client) change(ctx context.Context, method string, params ...any) error {
	return c.call(ctx, func(d *json.Decoder) error { return d.Decode(new(any)) }, method, params...)
}

// explainWrite says why a write failed, and what to do about it or else.
func explainWrite(failure error, otherwise string) string {
	if failed(failure, failRights) {
		return fmt.Sprintf("the account may not write (%s): give it role pool-operator, or %s", oneLine(failure), otherwise)
	}
	return oneLine(failure)
}

// oneLine is an error in one line.
func oneLine(err error) string { return strings.ReplaceAll(err.Error(), "\n", "; ") }
