package store

import (
	"context"
	"fmt"
	"net/netip"
	"time"

	"github.com/weirhq/weir/flow"
)

// Sent is an address from which a VIF sent by a port, as an exporter saw.
type Sent struct {
	Exporter netip.Addr // IPv4 is mapped
	Domain   uint32
	Version  uint8 // of the protocol
	Port     uint32
	VIF      flow.ID
	MAC      uint64 // 0: the exporter did not say
	Addr     netip.Addr
}

const (
	sentOfVIF = 16      // addresses of a VIF that SentBy returns: those with most packets
	sentMost  = 200_000 // that it returns in all
)

// SentBy returns from which addresses VIFs sent of late, by the port where their packets came in, whatever collector was told. A row is of
// a VIF for several reasons: whether it is of the VIF's own port is for the caller to see.
func (c *Client) SentBy(ctx context.Context, last time.Duration) ([]Sent, error) {
	ctx, cancel := context.WithTimeout(ctx, c.cfg.Timeout)
	defer cancel()
	rows, err := c.conn.Query(ctx, fmt.Sprintf(`SELECT exporter, observation_domain, version, in_if, src_vif, src_mac, src_addr FROM flows
WHERE time_received > now64(3) - toIntervalMillisecond(%d) AND src_vif != 0 AND in_if != 0 AND src_addr != toIPv6('::')
GROUP BY ALL ORDER BY sum(packets) DESC LIMIT %d BY src_vif LIMIT %d
SETTINGS max_rows_to_group_by = 1000000, group_by_overflow_mode = 'any'`, last.Milliseconds(), sentOfVIF, sentMost))
	if err != nil {
		return nil, fmt.Errorf("ask from which addresses VIFs sent: %w", classify(ctx, err))
	}
	defer rows.Close()
	var list []Sent
	for rows.Next() {
		var s Sent
		var vif uint64
		if err := rows.Scan(&s.Exporter, &s.Domain, &s.Version, &s.Port, &vif, &s.MAC, &s.Addr); err != nil {
			return nil, fmt.Errorf("ask from which addresses VIFs sent: %w", err)
		}
		s.VIF = flow.ID(vif)
		list = append(list, s)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("ask from which addresses VIFs sent: %w", classify(ctx, err))
	}
	return list, nil
}
