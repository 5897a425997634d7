package flow

import (
	"crypto/sha256"
	"encoding/binary"
)

// Kind is what an [ID] identifies.
type Kind string

// The kinds of entity that a row can refer to.
const (
	KindPool         Kind = "pool"
	KindHost         Kind = "host"
	KindBridge       Kind = "bridge"
	KindNetwork      Kind = "network"
	KindVM           Kind = "vm"
	KindVIF          Kind = "vif"
	KindAddressGroup Kind = "address_group"
	KindVMGroup      Kind = "vm_group"
	KindRule         Kind = "rule"
)

// Kinds lists every kind, in the order of the Enum8 of entities.kind (values from 1).
var Kinds = []Kind{
	KindPool, KindHost, KindBridge, KindNetwork, KindVM, KindVIF, KindAddressGroup, KindVMGroup, KindRule,
}

// ID identifies an entity for ever and everywhere: no allocator, the same on every collector. 0 means none.
type ID uint64

// NewID returns the first eight bytes, big endian, of SHA-256(kind, 0, key).
//
// key is canonical: the platform's UUID in lower case where there is one, else the parent's key, a slash and the
// name ("host1/xenbr0" for a bridge). The caller refuses collisions, which it sees as two keys with one ID.
func NewID(kind Kind, key string) ID {
	b := make([]byte, 0, 96)
	b = append(b, kind...)
	b = append(b, 0)
	b = append(b, key...)
	sum := sha256.Sum256(b)
	id := ID(binary.BigEndian.Uint64(sum[:8]))
	if id == 0 { // 0 means none; one key in 2^64 meets this
		id = 1
	}
	return id
}
