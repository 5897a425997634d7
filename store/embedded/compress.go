package embedded

import (
	"compress/gzip"
	"compress/zlib"
	"encoding/binary"
	"errors"
	"io"

	"github.com/ClickHouse/ch-go/compress"
	"github.com/andybalholm/brotli"
	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"
)

// flusher is a compressor. Flush sends out what was written so far, Close ends the stream and leaves the writer below open.
type flusher interface {
	io.Writer
	Flush() error
	Close() error
}

// newCompressor compresses for a Content-Encoding as chosen by chooseEncoding.
func newCompressor(encoding string, w io.Writer) (flusher, error) {
	switch encoding {
	case "gzip":
		return gzip.NewWriterLevel(w, gzip.BestSpeed)
	case "deflate":
		return zlib.NewWriterLevel(w, zlib.BestSpeed)
	case "br":
		return brotli.NewWriterLevel(w, 3), nil
	case "zstd":
		return zstd.NewWriter(w, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1), zstd.WithWindowSize(1<<20))
	case "lz4":
		z := lz4.NewWriter(w)
		return z, z.Apply(lz4.BlockSizeOption(lz4.Block256Kb), lz4.ConcurrencyOption(1))
	}
	return nil, errors.New("BUG: unknown encoding " + encoding)
}

// newDecompressor reads a request body with that Content-Encoding. Memory is bounded by window sizes.
func newDecompressor(encoding string, r io.Reader) (io.Reader, error) {
	switch encoding {
	case "", "identity":
		return r, nil
	case "gzip", "x-gzip":
		return gzip.NewReader(r)
	case "deflate":
		return zlib.NewReader(r)
	case "br":
		return brotli.NewReader(r), nil
	case "lz4":
		return lz4.NewReader(r), nil
	case "zstd":
		z, err := zstd.NewReader(r, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(8<<20), zstd.WithDecoderLowmem(true))
		if err != nil {
			return nil, err
		}
		return z.IOReadCloser(), nil
	}
	return nil, refuse(codeNotImplemented, "Content-Encoding %q is not supported; gzip, deflate, br, zstd and lz4 are", encoding)
}

// blockSize is the uncompressed size of one block of ClickHouse's own compression, as the server cuts them (1 MiB).
const blockSize = 1 << 20

// blockWriter writes ClickHouse's compressed blocks (parameter compress=1).
type blockWriter struct {
	w   io.Writer
	z   *compress.Writer
	buf []byte
}

func newBlockWriter(method string, w io.Writer) *blockWriter {
	m := compress.LZ4
	switch method {
	case "ZSTD":
		m = compress.ZSTD
	case "NONE":
		m = compress.None
	}
	return &blockWriter{w: w, z: compress.NewWriter(compress.LevelZero, m)}
}

func (b *blockWriter) Write(p []byte) (int, error) {
	n := len(p)
	for len(p) > 0 {
		k := min(len(p), blockSize-len(b.buf))
		b.buf, p = append(b.buf, p[:k]...), p[k:]
		if len(b.buf) == blockSize {
			if err := b.Flush(); err != nil {
				return n - len(p), err
			}
		}
	}
	return n, nil
}

func (b *blockWriter) Flush() error {
	if len(b.buf) == 0 {
		return nil
	}
	if err := b.z.Compress(b.buf); err != nil {
		return err
	}
	b.buf = b.buf[:0]
	_, err := b.w.Write(b.z.Data)
	return err
}

func (b *blockWriter) Close() error { return b.Flush() }

// maxBlock is the largest block of ClickHouse's compression that is taken; clients compress a whole batch as one.
const maxBlock = 256 << 20

// newBlockReader reads ClickHouse's compressed blocks (parameter decompress=1). A block that claims more than limit bytes, packed or not, is
// refused before memory is allocated for it.
func newBlockReader(r io.Reader, limit int64) io.Reader {
	return compress.NewReader(&blockGuard{r: r, limit: min(limit, maxBlock)})
}

// blockGuard passes blocks on and looks at their headers: 16 bytes checksum, method, size with the last 9 bytes of the header, size unpacked.
type blockGuard struct {
	r      io.Reader
	limit  int64
	header [25]byte
	ready  []byte // of header, to be passed on
	left   int64  // of the block behind its header
}

func (g *blockGuard) Read(p []byte) (n int, err error) {
	switch {
	case len(g.ready) > 0:
		n = copy(p, g.ready)
		g.ready = g.ready[n:]
		return n, nil
	case g.left > 0:
		n, err = g.r.Read(p[:min(int64(len(p)), g.left)])
		g.left -= int64(n)
		if g.left > 0 && errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return n, err
	}
	if _, err := io.ReadFull(g.r, g.header[:]); err != nil {
		return 0, err
	}
	packed, size := int64(binary.LittleEndian.Uint32(g.header[17:])), int64(binary.LittleEndian.Uint32(g.header[21:]))
	if packed < 9 || packed > g.limit || size > g.limit {
		return 0, refuse(codeCannotDecompress, "Cannot decompress request body: block of %d bytes, %d unpacked; expected compressed blocks of ClickHouse of at most %d bytes", packed, size, g.limit)
	}
	g.ready, g.left = g.header[:], packed-9
	return g.Read(p)
}
