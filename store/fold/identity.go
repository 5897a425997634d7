package fold

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"time"

	"github.com/weirhq/weir/internal/atomicfile"
	"github.com/weirhq/weir/store"
)

// identity is what a collector keeps of itself, in Config.File: who it is to the store, and the slot that it opened last.
type identity struct {
	key       uint64 // random; 0 is none
	collector uint16 // number that the store gave it; 0 is none yet
	slot      int64  // seconds since epoch; all that it opened before are lower
}

// identityFile is the form of the file: one JSON object.
type identityFile struct {
	Key       string    `json:"key"` // hexadecimal: JSON numbers are not of 64 bits everywhere
	Collector uint16    `json:"collector,omitempty"`
	Slot      time.Time `json:"slot,omitzero"`
}

// errNoIdentity is what readIdentity returns where there is no file.
var errNoIdentity = errors.New("there is none yet")

func readIdentity(name string) (identity, error) {
	b, err := os.ReadFile(name)
	if errors.Is(err, fs.ErrNotExist) {
		return identity{}, errNoIdentity
	}
	if err != nil {
		return identity{}, fmt.Errorf("read identity: %w", err)
	}
	var f identityFile
	if err := json.Unmarshal(b, &f); err != nil {
		return identity{}, fmt.Errorf("read identity %q: %w", name, err)
	}
	id := identity{collector: f.Collector}
	if id.key, err = strconv.ParseUint(f.Key, 16, 64); err != nil || id.key == 0 {
		return identity{}, fmt.Errorf("read identity %q: key: found %q, want a hexadecimal number of 64 bits, not 0", name, f.Key)
	}
	if id.collector > store.MaxCollectors {
		return identity{}, fmt.Errorf("read identity %q: collector: found %d, want at most %d", name, id.collector, store.MaxCollectors)
	}
	if !f.Slot.IsZero() {
		id.slot = f.Slot.Unix()
	}
	return id, nil
}

func (id identity) write(name string) error {
	f := identityFile{Key: strconv.FormatUint(id.key, 16), Collector: id.collector}
	if id.slot != 0 {
		f.Slot = time.Unix(id.slot, 0).UTC()
	}
	b, err := json.Marshal(f)
	if err != nil {
		return fmt.Errorf("write identity: %w", err)
	}
	return atomicfile.Write(name, append(b, '\n'))
}
