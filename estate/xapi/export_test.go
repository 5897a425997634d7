package xapi

import (
	"bytes"
	"context"
	"encoding/json"
	"time"

	"github.com/weirhq/weir/estate"
)

// Fresh reads all that a pool has over a connection of its own, and returns the model of it.
func (p *Pool) Fresh(ctx context.Context) (*estate.Model, error) {
	password, err := p.cfg.password()
	if err != nil {
		return nil, err
	}
	other := &Pool{cfg: p.cfg, deps: p.deps, log: p.log, http: p.http, metrics: p.metrics}
	c, session, err := other.login(ctx, password)
	if err != nil {
		return nil, err
	}
	defer c.logout(session)
	db := &database{}
	tables := db.tables()
	_, _, err = c.from(ctx, session, "", 0, func(e *event) error { return db.apply(tables, e) })
	return db.model(p.cfg.Pool), err
}

// ModelOf returns the model of what an answer to event.from has.
func ModelOf(text []byte) (*estate.Model, error) {
	db := &database{}
	tables := db.tables()
	err := answer(json.NewDecoder(bytes.NewReader(text)), func(d *json.Decoder) error {
		_, counts, err := changes(d, func(e *event) error { return db.apply(tables, e) })
		db.differs(counts, db.beside(counts))
		return err
	})
	return db.model(""), err
}

// Keeper decides when a value is written.
type Keeper struct{ keeper }

// NewKeeper returns one that wants a value.
func NewKeeper(want string) *Keeper { return &Keeper{newKeeper(want)} }

// See says whether to write.
func (k *Keeper) See(found string, now time.Time) bool { return k.see(found, now) }

// Wrote notes how a write ended.
func (k *Keeper) Wrote(now time.Time, half bool, err error) { k.wrote(now, half, err) }

// Wait is how long changes may be waited for.
func (k *Keeper) Wait(now time.Time) time.Duration { return k.wait(now) }

// Overridden is how often somebody else changed the value.
func (k *Keeper) Overridden() int { return k.overridden }
