package ovsdb

import (
	"errors"
	"fmt"
	"io"
	"os"
	"time"
)

// idleBuffer is what a framer keeps of its buffer between messages; a longer one was for a long message.
const idleBuffer = 64 << 10

// stream is what a framer reads from: a connection.
type stream interface {
	io.Reader
	SetReadDeadline(time.Time) error
}

// framer cuts a stream into JSON objects. It checks brackets and strings only, and takes no more memory than twice what has come
// of one message, which is limit bytes at most.
type framer struct {
	in       stream
	limit    func() int    // longest message, bytes
	patience time.Duration // from the first byte of a message to its last

	buf         []byte
	start, end  int  // what has come and was not returned yet
	unread      int  // of that, how much was not looked at: from end-unread
	brackets    int  // open ones
	text, slash bool // within a string; after a backslash there
}

// next returns the next message, which is valid until the following call. io.EOF: the stream ended between messages.
func (f *framer) next() ([]byte, error) {
	if f.start == f.end {
		f.start, f.end = 0, 0
		if cap(f.buf) > idleBuffer {
			f.buf = nil
		}
	}
	begun := false
	for {
		length, err := f.scan()
		if err != nil {
			return nil, err
		}
		if length > 0 {
			message := f.buf[f.start : f.start+length]
			f.start += length
			if begun {
				f.deadline(time.Time{})
			}
			return message, nil
		}
		if !begun && f.brackets > 0 {
			begun = true
			f.deadline(time.Now().Add(f.patience))
		}
		if err := f.fill(); err != nil {
			if begun && errors.Is(err, os.ErrDeadlineExceeded) {
				err = fmt.Errorf("read message: not complete after %s", f.patience)
			}
			return nil, err
		}
	}
}

// deadline sets that of reading. A connection on which that fails has ended, which reading tells better.
func (f *framer) deadline(t time.Time) { _ = f.in.SetReadDeadline(t) }

// scan looks at what it has not seen yet. It returns the length of the message that is complete with it, or 0.
func (f *framer) scan() (int, error) {
	for ; f.unread > 0; f.unread-- {
		i := f.end - f.unread
		b := f.buf[i]
		switch {
		case f.slash:
			f.slash = false
		case f.text:
			f.text, f.slash = b != '"', b == '\\'
		case b == '{' || b == '[' && f.brackets > 0:
			if f.brackets++; f.brackets > maxDepth {
				return 0, fmt.Errorf("read message: more than %d brackets deep", maxDepth)
			}
		case f.brackets == 0:
			if b != ' ' && b != '\t' && b != '\n' && b != '\r' {
				return 0, fmt.Errorf("read message: found %q, expected a JSON object: is this an OVSDB server?", b)
			}
			f.start = i + 1
		case b == '"':
			f.text = true
		case b == '}' || b == ']':
			if f.brackets--; f.brackets == 0 {
				f.unread--
				return i + 1 - f.start, nil
			}
		}
	}
	return 0, nil
}

// fill reads once, for which it makes room.
func (f *framer) fill() error {
	if limit := f.limit(); f.end-f.start >= limit {
		return fmt.Errorf("read message: longer than %d bytes", limit)
	}
	if f.end == len(f.buf) || f.start == f.end {
		held := copy(f.buf, f.buf[f.start:f.end])
		f.start, f.end = 0, held
		if held == len(f.buf) {
			grown := make([]byte, max(4<<10, 2*held))
			copy(grown, f.buf[:held])
			f.buf = grown
		}
	}
	n, err := f.in.Read(f.buf[f.end:])
	f.end += n
	f.unread += n
	switch {
	case n > 0: // what comes of err comes again
		return nil
	case errors.Is(err, io.EOF) && f.brackets > 0:
		return fmt.Errorf("read message: %w", io.ErrUnexpectedEOF)
	case err == nil:
		return io.ErrNoProgress
	default:
		return err
	}
}

// buffered says that more came after the last message, perhaps a whole one.
func (f *framer) buffered() bool { return f.start < f.end }
