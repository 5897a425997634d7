package fold

import (
	"errors"
	"fmt"
	"time"

	"github.com/weirhq/weir/internal/strictyaml"
)

// Config is about the folding of rollups.
type Config struct {
	File    string        `yaml:"file" doc:"File that holds who this collector is to the store, and which slot of sums it opened last. It goes with the write-ahead log: never copy it to another collector."`
	Every   time.Duration `yaml:"every" doc:"How long sums stay as each batch brought them before they are summed once more. More often costs more, less often leaves more rows to read."`
	Settle  time.Duration `yaml:"settle" doc:"Pause before and after readers change over to the folded rows; longer than it takes a query to begin."`
	Timeout time.Duration `yaml:"timeout" doc:"Longest time of one statement of a fold."`
}

// Default folds by the hour.
func Default() Config {
	return Config{Every: time.Hour, Settle: time.Minute, Timeout: 15 * time.Minute}
}

// Validate reports everything that is wrong with c, each with its key.
func (c *Config) Validate() error {
	var errs []error
	refuse := func(key, format string, args ...any) {
		errs = append(errs, strictyaml.At(key, fmt.Errorf(format, args...)))
	}
	if c.Every < time.Second || c.Every > 24*time.Hour || c.Every%time.Second != 0 {
		refuse("every", "found %s, want whole seconds, 1s to 24h", c.Every)
	}
	if c.Settle < 0 || c.Settle > time.Hour {
		refuse("settle", "found %s, want 0s to 1h", c.Settle)
	}
	if c.Timeout < time.Second || c.Timeout > 24*time.Hour {
		refuse("timeout", "found %s, want 1s to 24h", c.Timeout)
	}
	return errors.Join(errs...)
}
