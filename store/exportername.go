package store

import (
	"context"
	"fmt"
	"maps"
	"net/netip"
	"time"
)

// NameKind is what an exporter gives a name to. The values are those of exporter_names.kind.
type NameKind string

// The kinds of things that exporters name.
const (
	NameInterface   NameKind = "interface"
	NameApplication NameKind = "application"
	NameVRF         NameKind = "vrf"
)

// ExporterName is a name that an exporter told in options data.
type ExporterName struct {
	Exporter    netip.Addr // IPv4 or IPv6
	Domain      uint32     // observation domain
	Kind        NameKind
	Key         uint64 // the number that flows carry
	Name        string
	Description string
}

// ExporterNames writes names that exporters tell to table exporter_names. Its methods are not for concurrent use.
type ExporterNames struct {
	client *Client
	stored map[nameKey]nameText // nil until the table was read
	stale  bool                 // the dictionary may lack something that is stored
}

type nameKey struct {
	exporter netip.Addr // in IPv6 form
	domain   uint32
	kind     NameKind
	key      uint64
}

type nameText struct{ name, description string }

// NewExporterNames returns a writer that has read nothing yet.
func NewExporterNames(c *Client) *ExporterNames { return &ExporterNames{client: c} }

// Publish writes those of names that are new or other than stored, seen at that time, and has the dictionary read them.
// Names that are not among names stay. It returns how many it wrote. After a failure the same call completes it.
func (n *ExporterNames) Publish(ctx context.Context, names []ExporterName, at time.Time) (int, error) {
	written, err := n.publish(ctx, names, at)
	if err != nil {
		return 0, fmt.Errorf("publish names of exporters: %w", err)
	}
	return written, nil
}

func (n *ExporterNames) publish(ctx context.Context, names []ExporterName, at time.Time) (int, error) {
	if n.stored == nil {
		stored, err := n.read(ctx)
		if err != nil {
			return 0, err
		}
		n.stored, n.stale = stored, true
	}
	changed := map[nameKey]nameText{}
	for _, name := range names {
		key := nameKey{netip.AddrFrom16(name.Exporter.As16()), name.Domain, name.Kind, name.Key}
		text := nameText{name.Name, name.Description}
		if old, ok := n.stored[key]; !ok || old != text {
			changed[key] = text
		}
	}
	if len(changed) > 0 {
		if err := n.insert(ctx, changed, at); err != nil {
			return 0, err
		}
		maps.Copy(n.stored, changed)
		n.stale = true
	}
	if n.stale {
		if err := n.client.reload(ctx, "exporter_name"); err != nil {
			return 0, err
		}
		n.stale = false
	}
	return len(changed), nil
}

func (n *ExporterNames) read(ctx context.Context) (map[nameKey]nameText, error) {
	rows, err := n.client.conn.Query(ctx, "SELECT exporter, domain, kind, key, name, description FROM exporter_names_now")
	if err != nil {
		return nil, classify(ctx, err)
	}
	defer rows.Close()
	stored := map[nameKey]nameText{}
	for rows.Next() {
		var key nameKey
		var text nameText
		var kind string
		if err := rows.Scan(&key.exporter, &key.domain, &kind, &key.key, &text.name, &text.description); err != nil {
			return nil, err
		}
		key.exporter, key.kind = netip.AddrFrom16(key.exporter.As16()), NameKind(kind)
		stored[key] = text
	}
	return stored, classify(ctx, rows.Err())
}

func (n *ExporterNames) insert(ctx context.Context, names map[nameKey]nameText, at time.Time) error {
	batch, err := n.client.conn.PrepareBatch(ctx, "INSERT INTO exporter_names (exporter, domain, kind, key, name, description, seen)")
	if err != nil {
		return classify(ctx, err)
	}
	defer func() { _ = batch.Close() }()
	for key, text := range names {
		if err := batch.Append(key.exporter, key.domain, string(key.kind), key.key, text.name, text.description, at); err != nil {
			return fmt.Errorf("%s %d of %s: %w", key.kind, key.key, key.exporter.Unmap(), err)
		}
	}
	return classify(ctx, batch.Send())
}
