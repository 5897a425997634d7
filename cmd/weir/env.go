package main

import (
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/weirhq/weir/internal/instance"
)

// env is what the commands that run services start from.
type env struct {
	data   string // data directory, absolute
	file   string // configuration file, "" if there is none
	config config
	log    *slog.Logger
}

func configFlag(cmd *cobra.Command, file *string) {
	cmd.Flags().StringVar(file, "config", "", "configuration file (default: weir.yaml in the data directory, if it is there)")
}

// prepare finds the data directory, reads the configuration and makes the logger.
func prepare(data, configFile string, stderr io.Writer) (*env, error) {
	dir, err := filepath.Abs(instance.DataDir(data))
	if err != nil {
		return nil, fmt.Errorf("find data directory: %w", err)
	}
	cfg, file, err := loadConfig(configFile, dir)
	if err != nil {
		return nil, err
	}
	if file != "" {
		if file, err = filepath.Abs(file); err != nil {
			return nil, fmt.Errorf("find config: %w", err)
		}
	}
	cfg.rebase(file, dir)
	log, err := newLogger(cfg.Log, os.Getenv("WEIR_LOG_LEVEL"), stderr)
	if err != nil {
		return nil, err
	}
	return &env{data: dir, file: file, config: cfg, log: log}, nil
}

// makeData makes the data directory if it is not there.
func (e *env) makeData() error {
	if err := os.MkdirAll(e.data, 0o700); err != nil {
		return fmt.Errorf("make data directory: %w", err)
	}
	return nil
}

// newLogger returns the logger of c; level, from the environment, wins over the configured one.
func newLogger(c logConfig, level string, w io.Writer) (*slog.Logger, error) {
	if level != "" {
		if err := c.Level.UnmarshalText([]byte(level)); err != nil {
			return nil, fmt.Errorf("WEIR_LOG_LEVEL %q: expected debug, info, warn or error", level)
		}
	}
	options := &slog.HandlerOptions{Level: slog.Level(c.Level)}
	if c.Format == "json" {
		return slog.New(slog.NewJSONHandler(w, options)), nil
	}
	return slog.New(slog.NewTextHandler(w, options)), nil
}
