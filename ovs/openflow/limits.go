package openflow

import (
	"errors"
	"fmt"
	"time"

	"github.com/weirhq/weir/internal/bytesize"
	"github.com/weirhq/weir/internal/strictyaml"
)

// Limits are the bounds of a connection: what a switch may take of time and memory, whatever it sends.
type Limits struct {
	HandshakeTimeout time.Duration `yaml:"handshake_timeout" doc:"Longest time from a connection of a switch to the end of its introduction, TLS included."`
	AnswerTimeout    time.Duration `yaml:"answer_timeout" doc:"Longest wait for the next part of an answer."`
	MessageTimeout   time.Duration `yaml:"message_timeout" doc:"Longest time from the first byte of a message to its last."`
	WriteTimeout     time.Duration `yaml:"write_timeout" doc:"Longest wait until a switch takes 64 KiB."`
	Probe            time.Duration `yaml:"probe" doc:"A switch that is silent for so long is sent an echo; one from which nothing comes for as long again is given up."`
	MaxAnswer        bytesize.Size `yaml:"max_answer" doc:"Longest answer to one question: all flows of a switch are one."`
}

// DefaultLimits are generous for a bridge of a million flows.
func DefaultLimits() Limits {
	return Limits{
		HandshakeTimeout: 10 * time.Second, AnswerTimeout: 30 * time.Second, MessageTimeout: 30 * time.Second, WriteTimeout: 10 * time.Second,
		Probe: 5 * time.Second, MaxAnswer: bytesize.GiB,
	}
}

// Validate says what is wrong with the limits, or nil.
func (l *Limits) Validate() error {
	var errs []error
	for _, d := range []struct {
		key   string
		value time.Duration
	}{
		{"handshake_timeout", l.HandshakeTimeout},
		{"answer_timeout", l.AnswerTimeout},
		{"message_timeout", l.MessageTimeout},
		{"write_timeout", l.WriteTimeout},
		{"probe", l.Probe},
	} {
		if d.value <= 0 {
			errs = append(errs, strictyaml.At(d.key, fmt.Errorf("found %s, want more than 0s", d.value)))
		}
	}
	if l.MaxAnswer < bytesize.MiB {
		errs = append(errs, strictyaml.At("max_answer", fmt.Errorf("found %s, want at least 1MiB", l.MaxAnswer)))
	}
	return errors.Join(errs...)
}

// What nobody needs to set.
const (
	maxMessage       = 1<<16 - 1 // the length field of a message
	maxGreeting      = 4 << 10   // longest message before a switch has introduced itself
	maxOutstanding   = 32        // questions that wait for their answers
	maxEchoes        = 32        // answers to echoes that the switch has not taken yet
	maxEvents        = 1024      // events that nobody has taken yet
	writeChunk       = 64 << 10  // octets of one write
	bundleWindow     = 1 << 20   // octets of a bundle that the switch may be behind
	bundleIdle       = 8 * time.Second
	closePatience    = time.Second // for the last words
	handshakesAtOnce = 256
	handshakesOfOne  = 128 // of one address: hosts may be behind one
)
