package openflow

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Apply does all modifications, in order, or none: packets see the flows before, or those after. If one is refused the error is a
// *ModError. If the switch is too old for that it wraps ErrNoBundles. If it is not known whether the switch did it, because the connection
// or the answer was lost, it wraps ErrUnknown.
//
// Bundles are one at a time: a second Apply waits. Doing the same once more is no harm, except that AddGroup is refused.
func (c *Conn) Apply(ctx context.Context, mods []Mod) error {
	if len(mods) == 0 {
		return nil
	}
	leave, err := c.enter(ctx)
	if err != nil {
		return applied(mods, err)
	}
	defer leave()
	return applied(mods, c.inBundle(ctx, mods))
}

// applied says of an error what was to be done, if it does not.
func applied(mods []Mod, err error) error {
	if _, ok := errors.AsType[*ModError](err); ok || err == nil {
		return err
	}
	return fmt.Errorf("apply %d modifications: %w", len(mods), err)
}

// ErrNoBundles says that a switch cannot do several modifications as one. Nothing was done.
var ErrNoBundles = errors.New("the switch has no bundles over OpenFlow 1.3, as Open vSwitch 2.6 and later has")

// ApplyEach does the modifications one after the other, for switches without bundles: packets see what is between. An error is as that of
// Apply, but other modifications than a *ModError says may have been done.
func (c *Conn) ApplyEach(ctx context.Context, mods []Mod) error {
	if len(mods) == 0 {
		return nil
	}
	leave, err := c.enter(ctx)
	if err != nil {
		return applied(mods, err)
	}
	defer leave()
	b, end := c.begin(len(mods))
	defer end()
	err = c.fill(ctx, b, mods, 0, func(to []byte, xid uint32, m Mod) []byte {
		at := len(to)
		to = m.append(to)
		put32(to[at+4:], xid)
		return to
	})
	if _, ok := errors.AsType[*ModError](err); !ok && err != nil {
		err = fmt.Errorf("%w: %w", ErrUnknown, err)
	}
	return applied(mods, err)
}

// enter waits until no other modifications are under way.
func (c *Conn) enter(ctx context.Context) (leave func(), err error) {
	select {
	case c.apply <- struct{}{}:
		return func() { <-c.apply }, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	case <-c.done:
		return nil, c.Err()
	}
}

// begin reserves xids for n modifications, whose errors are noted until end is called.
func (c *Conn) begin(n int) (b *bundled, end func()) {
	b = &bundled{first: c.xid.Add(uint32(n)) - uint32(n) + 1, count: uint32(n)}
	set := func(b *bundled) {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.bundled = b
	}
	set(b)
	return b, func() { set(nil) }
}

// inBundle opens a bundle, fills it and commits it.
func (c *Conn) inBundle(ctx context.Context, mods []Mod) error {
	id := c.bundle.Add(1)
	if err := c.control(ctx, id, bundleOpen); err != nil {
		if e, ok := errors.AsType[*SwitchError](err); ok && e.Type == badRequest {
			return fmt.Errorf("%w: %w", ErrNoBundles, err)
		}
		return fmt.Errorf("open bundle: %w", err)
	}
	b, end := c.begin(len(mods))
	defer end()
	encode := func(to []byte, xid uint32, m Mod) []byte { return appendBundled(to, xid, id, m) }
	if err := c.fill(ctx, b, mods, bundleIdle, encode); err != nil {
		// The switch would forget it by itself, after a while.
		closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), closePatience)
		defer cancel()
		_ = c.control(closing, id, bundleDiscard)
		return err
	}
	err := c.control(ctx, id, bundleCommit)
	if err == nil {
		return nil
	}
	if _, ok := errors.AsType[*SwitchError](err); !ok {
		return fmt.Errorf("commit bundle: %w: %w", ErrUnknown, err)
	}
	if failed := c.refusal(b, mods); failed != nil {
		return failed
	}
	return fmt.Errorf("commit bundle: %w", err)
}

// refusal returns which of the modifications the switch refused, nil if none.
func (c *Conn) refusal(b *bundled, mods []Mod) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !b.failed {
		return nil
	}
	return &ModError{Index: int(b.index), Mod: mods[b.index], Err: b.err}
}

// errStalled says that the switch may have forgotten a bundle.
var errStalled = errors.New("the switch was so slow that it may have forgotten what it was sent; nothing was done")

// fill sends the modifications and waits until the switch has taken all of them. patience is that of the switch with a bundle; 0: none is
// open.
//
// Open vSwitch forgets a bundle for which nothing came for ten seconds, and makes a new one of what comes later, which would then be
// committed without what came before. So there is a barrier behind each window: there was no such pause between two barriers if the second
// was answered soon enough after the first was sent.
func (c *Conn) fill(ctx context.Context, b *bundled, mods []Mod, patience time.Duration, encode func([]byte, uint32, Mod) []byte) error {
	var before *call    // the barrier behind the window before
	var asked time.Time // when it was handed over to be sent
	since := time.Now() // when the one before that was: the switch had not come so far yet
	settle := func() error {
		if before == nil {
			return nil
		}
		k := before
		before = nil
		if err := c.wait(ctx, k); err != nil {
			return fmt.Errorf("await barrier: %w", err)
		}
		if patience > 0 && time.Since(since) > patience {
			return errStalled
		}
		since = asked
		return c.refusal(b, mods)
	}
	defer func() {
		if before != nil {
			c.forget(before)
			<-c.slots
		}
	}()
	chunk, sent := c.chunk(), 0
	for i, m := range mods {
		at := len(chunk)
		chunk = encode(chunk, b.first+uint32(i), m)
		if n := len(chunk) - at; n > maxMessage {
			return &ModError{i, m, fmt.Errorf("its message has %d octets, and OpenFlow's have up to %d", n, maxMessage)}
		}
		last := i == len(mods)-1
		if len(chunk) < writeChunk && !last {
			continue
		}
		if sent += len(chunk); sent < bundleWindow && !last {
			if err := c.put(ctx, chunk); err != nil {
				return err
			}
			chunk = c.chunk()
			continue
		}
		sent = 0
		if err := settle(); err != nil {
			return err
		}
		k, err := c.ask(ctx, isBarrier)
		if err != nil {
			return err
		}
		before, asked = k, time.Now()
		if err := c.put(ctx, appendRequest(chunk, typeBarrierRequest, k.xid)); err != nil {
			return err
		}
		if !last {
			chunk = c.chunk()
		}
	}
	return settle()
}

// control sends a control message of a bundle and waits until the switch says that it was done.
func (c *Conn) control(ctx context.Context, id uint32, kind uint16) error {
	return c.question(ctx,
		func(b []byte, xid uint32) []byte { return appendBundle(b, xid, id, kind) },
		func(m message) (bool, error) {
			if m.kind != typeExperimenter || len(m.body) < 14 || get32(m.body) != vendorONF || get32(m.body[4:]) != bundleControl {
				return false, malformed("answer of type %d to the control of a bundle", m.kind)
			}
			if got := get32(m.body[8:]); got != id || get16(m.body[12:]) != kind+1 {
				return false, malformed("answer %d of bundle %d to %d of bundle %d", get16(m.body[12:]), got, kind, id)
			}
			return true, nil
		})
}
