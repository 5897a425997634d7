// Package bytesize holds sizes in bytes as operators write them: "64MiB", "10GB", "512B".
package bytesize

import (
	"errors"
	"fmt"
	"math"
	"math/big"
	"strconv"
	"strings"
)

// Size is a number of bytes, never negative when it comes from [Parse].
type Size int64

// The binary units.
const (
	B   Size = 1
	KiB Size = 1 << 10
	MiB Size = 1 << 20
	GiB Size = 1 << 30
	TiB Size = 1 << 40
)

// units are the accepted suffixes: binary ones in the order in which String tries them, then decimal ones.
var units = []struct {
	suffix string
	size   int64
}{
	{"TiB", 1 << 40},
	{"GiB", 1 << 30},
	{"MiB", 1 << 20},
	{"KiB", 1 << 10},
	{"TB", 1e12},
	{"GB", 1e9},
	{"MB", 1e6},
	{"kB", 1e3},
	{"KB", 1e3},
	{"B", 1},
}

// ErrMissingUnit is the cause when a size other than 0 has no unit.
var ErrMissingUnit = errors.New(`missing unit, e.g. "64MiB"`)

// Parse reads a decimal number followed by a unit: B, KiB, MiB, GiB, TiB (powers of 1024) or kB, MB, GB, TB (powers
// of 1000). A space may stand between them; 0 needs no unit. The result is a whole number of bytes below 8 EiB.
func Parse(s string) (Size, error) {
	if s == "0" {
		return 0, nil
	}
	number, unit := s, int64(0)
	for _, u := range units {
		if n, ok := strings.CutSuffix(s, u.suffix); ok {
			number, unit = strings.TrimSuffix(n, " "), u.size
			break
		}
	}
	const maxDigits = 24 // bounds the work on big numbers; no size below 8 EiB needs more
	if number == "" || len(number) > maxDigits || strings.Trim(number, "0123456789.") != "" {
		return 0, fmt.Errorf(`parse size %q: want a number and a unit, e.g. "64MiB"`, s)
	}
	rat, ok := new(big.Rat).SetString(number)
	if !ok {
		return 0, fmt.Errorf(`parse size %q: want a number and a unit, e.g. "64MiB"`, s)
	}
	if unit == 0 {
		return 0, fmt.Errorf("parse size %q: %w", s, ErrMissingUnit)
	}
	rat.Mul(rat, new(big.Rat).SetInt64(unit))
	if !rat.IsInt() {
		return 0, fmt.Errorf("parse size %q: not a whole number of bytes", s)
	}
	if !rat.Num().IsInt64() {
		return 0, fmt.Errorf("parse size %q: more than %d bytes", s, int64(math.MaxInt64))
	}
	return Size(rat.Num().Int64()), nil
}

// String returns the size exactly, in the largest binary unit of which it is a multiple: "64MiB", "1536KiB", "1000B".
func (s Size) String() string {
	if s == 0 {
		return "0"
	}
	for _, u := range units {
		if strings.HasSuffix(u.suffix, "iB") && int64(s)%u.size == 0 {
			return strconv.FormatInt(int64(s)/u.size, 10) + u.suffix
		}
	}
	return strconv.FormatInt(int64(s), 10) + "B"
}

// Short returns the size to three digits, for people: "1.21GiB", "64MiB", "999B".
func (s Size) Short() string {
	for _, u := range units {
		if !strings.HasSuffix(u.suffix, "iB") || int64(s) < u.size {
			continue
		}
		n := float64(s) / float64(u.size)
		decimals := 0
		switch {
		case n < 9.995:
			decimals = 2
		case n < 99.95:
			decimals = 1
		}
		text := strconv.FormatFloat(n, 'f', decimals, 64)
		if decimals > 0 {
			text = strings.TrimRight(strings.TrimRight(text, "0"), ".")
		}
		return text + u.suffix
	}
	return s.String()
}

// MarshalText implements encoding.TextMarshaler with [Size.String].
func (s Size) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler with [Parse].
func (s *Size) UnmarshalText(text []byte) error {
	v, err := Parse(string(text))
	if err != nil {
		return err
	}
	*s = v
	return nil
}
