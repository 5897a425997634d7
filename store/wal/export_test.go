package wal

import "hash/crc32"

// Checksum is the CRC of the files.
func Checksum(b []byte) uint32 { return crc32.Checksum(b, castagnoli) }
