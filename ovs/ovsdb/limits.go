package ovsdb

import (
	"errors"
	"fmt"
	"time"

	"github.com/weirhq/weir/internal/bytesize"
	"github.com/weirhq/weir/internal/strictyaml"
)

// Limits are the bounds of a session: what a host may take of time and memory, whatever it sends.
type Limits struct {
	DialTimeout    time.Duration `yaml:"dial_timeout" doc:"Longest wait for a connection, and again for the TLS handshake."`
	AnswerTimeout  time.Duration `yaml:"answer_timeout" doc:"Longest wait for the content of a host's database, and for each transaction."`
	MessageTimeout time.Duration `yaml:"message_timeout" doc:"Longest time from the first byte of a message to its last."`
	WriteTimeout   time.Duration `yaml:"write_timeout" doc:"Longest wait until a host takes a message."`
	Probe          time.Duration `yaml:"probe" doc:"Each host is sent an echo this often; one from which nothing comes for as long is given up."`
	BackoffMin     time.Duration `yaml:"backoff_min" doc:"Wait before a host is dialled again; doubled each time, with up to half of it taken off at random."`
	BackoffMax     time.Duration `yaml:"backoff_max" doc:"Longest such wait."`
	MaxMessage     bytesize.Size `yaml:"max_message" doc:"Longest message that is read; a host's whole database comes in one."`
	MaxMemory      bytesize.Size `yaml:"max_memory" doc:"Memory, about, that what is kept of one host's database may take."`
}

// DefaultLimits are generous for a host of some thousand ports.
func DefaultLimits() Limits {
	return Limits{
		DialTimeout: 10 * time.Second, AnswerTimeout: 30 * time.Second, MessageTimeout: time.Minute, WriteTimeout: 10 * time.Second,
		Probe: 5 * time.Second, BackoffMin: 250 * time.Millisecond, BackoffMax: 15 * time.Second,
		MaxMessage: 16 * bytesize.MiB, MaxMemory: 64 * bytesize.MiB,
	}
}

// Validate says what is wrong with the limits, or nil.
func (l *Limits) Validate() error {
	var errs []error
	for _, d := range []struct {
		key   string
		value time.Duration
	}{
		{"dial_timeout", l.DialTimeout},
		{"answer_timeout", l.AnswerTimeout},
		{"message_timeout", l.MessageTimeout},
		{"write_timeout", l.WriteTimeout},
		{"probe", l.Probe},
		{"backoff_min", l.BackoffMin},
	} {
		if d.value <= 0 {
			errs = append(errs, strictyaml.At(d.key, fmt.Errorf("found %s, want more than 0s", d.value)))
		}
	}
	if l.BackoffMax < l.BackoffMin {
		errs = append(errs, strictyaml.At("backoff_max", fmt.Errorf("found %s, want at least backoff_min (%s)", l.BackoffMax, l.BackoffMin)))
	}
	if l.MaxMessage < 64*bytesize.KiB || l.MaxMessage > bytesize.GiB {
		errs = append(errs, strictyaml.At("max_message", fmt.Errorf("found %s, want 64KiB to 1GiB", l.MaxMessage)))
	}
	if l.MaxMemory < l.MaxMessage {
		errs = append(errs, strictyaml.At("max_memory", fmt.Errorf("found %s, want at least max_message (%s)", l.MaxMemory, l.MaxMessage)))
	}
	return errors.Join(errs...)
}
