package state

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"errors"
	"fmt"
	"sync"

	"github.com/klauspost/compress/zstd"
)

// maxDocument bounds what is unpacked, bytes: twice what a policy may have.
const maxDocument = 16 << 20

// packer and unpacker are safe for use by several goroutines: only EncodeAll and DecodeAll are called.
var (
	packer = sync.OnceValue(func() *zstd.Encoder {
		e, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithLowerEncoderMem(true))
		if err != nil {
			panic(fmt.Sprintf("BUG: %v", err))
		}
		return e
	})
	unpacker = sync.OnceValue(func() *zstd.Decoder {
		d, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(maxDocument))
		if err != nil {
			panic(fmt.Sprintf("BUG: %v", err))
		}
		return d
	})
)

// putDocument returns the id of a text, which is kept if it is not yet. Who refers to it does so in the same transaction, else it is swept away.
func putDocument(ctx context.Context, tx *sql.Tx, text string) (id int64, err error) {
	sum := sha256.Sum256([]byte(text))
	digest := hex.EncodeToString(sum[:])
	err = tx.QueryRowContext(ctx, "SELECT id FROM documents WHERE digest = ?", digest).Scan(&id)
	if !errors.Is(err, sql.ErrNoRows) {
		return id, err
	}
	err = tx.QueryRowContext(ctx, "INSERT INTO documents (digest, packed, size, text) VALUES (?, 1, ?, ?) RETURNING id",
		digest, len(text), packer().EncodeAll([]byte(text), nil)).Scan(&id)
	if err != nil {
		return 0, fmt.Errorf("keep text: %w", err)
	}
	return id, nil
}

// unpack returns the text of a document.
func unpack(packed bool, text []byte) (string, error) {
	if !packed {
		return string(text), nil
	}
	plain, err := unpacker().DecodeAll(text, nil)
	if err != nil {
		return "", fmt.Errorf("unpack text: %w", err)
	}
	return string(plain), nil
}

// sweepDocuments forgets texts to which nothing refers any more.
func sweepDocuments(ctx context.Context, tx *sql.Tx) error {
	_, err := tx.ExecContext(ctx, `DELETE FROM documents WHERE NOT EXISTS (SELECT 1 FROM policies WHERE document = documents.id)
		AND NOT EXISTS (SELECT 1 FROM draft_steps WHERE document = documents.id)`)
	if err != nil {
		return fmt.Errorf("sweep texts: %w", err)
	}
	return nil
}
