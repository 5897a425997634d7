package state

import (
	"errors"
	"fmt"
	"time"

	"github.com/weirhq/weir/internal/bytesize"
	"github.com/weirhq/weir/internal/strictyaml"
)

// Config says where and how often state is kept. It is collector.state in the YAML file.
type Config struct {
	File     string        `yaml:"file" doc:"File in which templates and sampling rates outlive a restart, for this Weir alone; empty is collector.state in the data directory."`
	Interval time.Duration `yaml:"interval" doc:"How often what changed is written; a Weir that is killed forgets what it learnt since."`
	MaxSize  bytesize.Size `yaml:"max_size" doc:"Most that the file takes; while it is written anew, there is half as much again beside it. Templates of ten exporters take some 20KiB."`
}

// Default returns bounds that no estate of ordinary size meets.
func Default() Config { return Config{Interval: 5 * time.Second, MaxSize: 64 * bytesize.MiB} }

const (
	leastSize = bytesize.MiB
	mostSize  = bytesize.GiB // it is read as a whole
)

// Validate reports everything that is wrong with c, each with its key.
func (c *Config) Validate() error {
	var errs []error
	refuse := func(key, format string, args ...any) {
		errs = append(errs, strictyaml.At(key, fmt.Errorf(format, args...)))
	}
	if c.Interval < 10*time.Millisecond || c.Interval > time.Hour {
		refuse("interval", "found %s, want 10ms to 1h", c.Interval)
	}
	if c.MaxSize < leastSize || c.MaxSize > mostSize {
		refuse("max_size", "found %s, want %s to %s", c.MaxSize, bytesize.Size(leastSize), bytesize.Size(mostSize))
	}
	return errors.Join(errs...)
}
