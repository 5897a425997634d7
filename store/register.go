package store

import (
	"context"
	"encoding/binary"
	"fmt"
	"strconv"
	"time"
)

// MaxCollectors is how many collectors can have written to a database in all: their numbers are 1 to MaxCollectors. Number 0
// is whoever wrote before there were numbers.
const MaxCollectors = 299

// Collector is one that writes to the database: an installation, not a run of it.
type Collector struct {
	Number     uint16 // 1 to MaxCollectors
	Key        uint64 // random, by which it knows that the number is its own
	Name       string // for people
	Registered time.Time
}

// Collectors returns those that are registered, by number.
func Collectors(ctx context.Context, c *Client) ([]Collector, error) {
	list, err := readCollectors(ctx, c)
	if err != nil {
		return nil, fmt.Errorf("read collectors: %w", err)
	}
	return list, nil
}

func readCollectors(ctx context.Context, c *Client) ([]Collector, error) {
	ctx, cancel := context.WithTimeout(ctx, c.cfg.Timeout)
	defer cancel()
	rows, err := c.conn.Query(ctx, "SELECT number, key, name, registered FROM collectors ORDER BY number, registered")
	if err != nil {
		return nil, classify(ctx, err)
	}
	defer rows.Close()
	var list []Collector
	for rows.Next() {
		var r Collector
		if err := rows.Scan(&r.Number, &r.Key, &r.Name, &r.Registered); err != nil {
			return nil, err
		}
		list = append(list, r)
	}
	return list, classify(ctx, rows.Err())
}

// RegisterCollector returns the number of the collector that has key. One that has none yet gets one that no other has,
// even if several register at the same time: the number is the deduplication token of the row that claims it, so that of
// two claims the store takes one.
//
// held is the number that the collector has had so far, 0 for none. A database that was made anew gives it the same one, if
// that is free, so that what its write-ahead log still holds does not come under the number of another.
//
// A call that failed may have registered; the next one finds that.
func RegisterCollector(ctx context.Context, c *Client, key uint64, held uint16, name string, now time.Time) (uint16, error) {
	number, err := registerCollector(ctx, c, key, held, name, now)
	if err != nil {
		return 0, fmt.Errorf("register collector %q: %w", name, err)
	}
	return number, nil
}

func registerCollector(ctx context.Context, c *Client, key uint64, held uint16, name string, now time.Time) (uint16, error) {
	tried := map[uint16]bool{}
	for {
		list, err := readCollectors(ctx, c)
		if err != nil {
			return 0, err
		}
		own := uint16(0)
		for _, r := range list {
			if r.Key == key && (own == 0 || r.Number == held) {
				own = r.Number
			}
			tried[r.Number] = true
		}
		if own != 0 {
			return own, nil
		}
		number := held
		if number == 0 || number > MaxCollectors {
			number = uint16(key%MaxCollectors) + 1
		}
		for tried[number] {
			if len(tried) >= MaxCollectors {
				return 0, fmt.Errorf("%d are registered in database %q, as many as can be: each that lost its data directory counts; see table collectors", len(list), c.cfg.Database)
			}
			number = number%MaxCollectors + 1
		}
		// Whether it was this claim that the store took, the next look tells. If nobody's was, because a server died after it
		// wrote the token down, the number is lost.
		tried[number] = true
		if _, err := c.InsertNative(ctx, "collectors", collectorBlock(number, key, name, now), "collector-"+strconv.Itoa(int(number))); err != nil {
			return 0, err
		}
	}
}

// collectorBlock is a row of table collectors in format Native.
func collectorBlock(number uint16, key uint64, name string, now time.Time) []byte {
	text := func(b []byte, s string) []byte { return append(binary.AppendUvarint(b, uint64(len(s))), s...) }
	const columns, rows = 4, 1
	b := []byte{columns, rows}
	b = binary.LittleEndian.AppendUint16(text(text(b, "number"), "UInt16"), number)
	b = binary.LittleEndian.AppendUint64(text(text(b, "key"), "UInt64"), key)
	b = text(text(text(b, "name"), "String"), name)
	return binary.LittleEndian.AppendUint64(text(text(b, "registered"), "DateTime64(3, 'UTC')"), uint64(now.UnixMilli()))
}
