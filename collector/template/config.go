package template

import (
	"errors"
	"fmt"
	"time"

	"github.com/weirhq/weir/internal/bytesize"
)

// Config bounds what exporters may make a [Store] remember. It is collector.templates in the YAML file.
type Config struct {
	// MaxExporters is the number of exporter addresses that are remembered. Datagrams of further ones are dropped
	// and counted as too_many_exporters.
	MaxExporters int `yaml:"max_exporters"`
	// MaxDomains is the number of observation domains of one exporter.
	MaxDomains int `yaml:"max_domains"`
	// MaxTemplates is the number of templates of one observation domain.
	MaxTemplates int `yaml:"max_templates"`
	// MaxFields is the number of fields of one template.
	MaxFields int `yaml:"max_fields"`
	// MaxMemory bounds all templates, names and held data together.
	MaxMemory bytesize.Size `yaml:"max_memory"`
	// MaxHeld is how much data one observation domain may have waiting for its templates.
	MaxHeld bytesize.Size `yaml:"max_held"`
	// HeldAge is how long data waits for its template before it is dropped.
	HeldAge time.Duration `yaml:"held_age"`
	// Timeout is how long a template, or an exporter that sends nothing, is remembered.
	Timeout time.Duration `yaml:"timeout"`
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
	positive := func(key string, v int64) {
		if v < 1 {
			errs = append(errs, fmt.Errorf("%s: %d: want at least 1", key, v))
		}
	}
	positive("max_exporters", int64(c.MaxExporters))
	positive("max_domains", int64(c.MaxDomains))
	positive("max_templates", int64(c.MaxTemplates))
	positive("max_fields", int64(c.MaxFields))
	positive("max_memory", int64(c.MaxMemory))
	positive("timeout", int64(c.Timeout))
	if c.MaxHeld < 0 {
		errs = append(errs, fmt.Errorf("max_held: %d: want 0 (hold nothing) or more", c.MaxHeld))
	}
	if c.HeldAge < 0 {
		errs = append(errs, fmt.Errorf("held_age: %s: want 0 or more", c.HeldAge))
	}
	return errors.Join(errs...)
}
