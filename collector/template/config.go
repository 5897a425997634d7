package template

import (
	"errors"
	"fmt"
	"time"

	"github.com/weirhq/weir/internal/bytesize"
	"github.com/weirhq/weir/internal/strictyaml"
)

// Config bounds what exporters may make a [Store] remember. It is collector.templates in the YAML file.
type Config struct {
	MaxExporters int           `yaml:"max_exporters" doc:"Exporter addresses that are remembered; datagrams of further ones are dropped and counted as too_many_exporters."`
	MaxDomains   int           `yaml:"max_domains" doc:"Observation domains of one exporter."`
	MaxTemplates int           `yaml:"max_templates" doc:"Templates of one observation domain."`
	MaxFields    int           `yaml:"max_fields" doc:"Fields of one template."`
	MaxMemory    bytesize.Size `yaml:"max_memory" doc:"Memory of all templates, names and held data together."`
	MaxHeld      bytesize.Size `yaml:"max_held" doc:"Data of one observation domain that may wait for its templates; 0 drops what comes before its template."`
	HeldAge      time.Duration `yaml:"held_age" doc:"How long data waits for its template before it is dropped."`
	Timeout      time.Duration `yaml:"timeout" doc:"How long a template, or an exporter that sends nothing, is remembered."`
}

// DefaultConfig returns bounds that no estate of ordinary size meets.
func DefaultConfig() Config {
	return Config{
		MaxExporters: 10_000,
		MaxDomains:   256,
		MaxTemplates: 1024,
		MaxFields:    512,
		MaxMemory:    256 * bytesize.MiB,
		MaxHeld:      256 * bytesize.KiB,
		HeldAge:      time.Minute,
		Timeout:      24 * time.Hour,
	}
}

// Validate reports every value that makes no sense, each with its key.
func (c Config) Validate() error {
	var errs []error
	refuse := func(key, format string, args ...any) {
		errs = append(errs, strictyaml.At(key, fmt.Errorf(format, args...)))
	}
	for _, n := range []struct {
		key string
		v   int
	}{
		{"max_exporters", c.MaxExporters},
		{"max_domains", c.MaxDomains},
		{"max_templates", c.MaxTemplates},
		{"max_fields", c.MaxFields},
	} {
		if n.v < 1 {
			refuse(n.key, "found %d, want 1 or more", n.v)
		}
	}
	if c.MaxMemory < 1 {
		refuse("max_memory", "found %s, want 1B or more", c.MaxMemory)
	}
	if c.MaxHeld < 0 {
		refuse("max_held", "found %s, want 0 (hold nothing) or more", c.MaxHeld)
	}
	if c.HeldAge < 0 {
		refuse("held_age", "found %s, want 0s or more", c.HeldAge)
	}
	if c.Timeout <= 0 {
		refuse("timeout", "found %s, want more than 0s", c.Timeout)
	}
	return errors.Join(errs...)
}
