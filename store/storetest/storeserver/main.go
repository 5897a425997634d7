// Command storeserver is the smallest program that serves the embedded store: the process that package storetest starts for tests.
// The real one is "weir store".
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"syscall"

	"github.com/weirhq/weir/store/embedded"
)

func main() { os.Exit(run(context.Background(), os.Args[1:], os.Stderr)) }

func run(ctx context.Context, args []string, stderr io.Writer) int {
	flags := flag.NewFlagSet("storeserver", flag.ContinueOnError)
	cfg := embedded.Default()
	flags.StringVar(&cfg.Data, "data", "", "data directory")
	flags.StringVar(&cfg.Listen, "listen", "127.0.0.1:0", "address of the HTTP interface")
	flags.StringVar(&cfg.Library, "library", "", "libchdb.so, instead of the one in the cache")
	flags.DurationVar(&cfg.StallTimeout, "stall-timeout", cfg.StallTimeout, "as in the configuration")
	flags.DurationVar(&cfg.HeaderTimeout, "header-timeout", cfg.HeaderTimeout, "as in the configuration")
	flags.DurationVar(&cfg.ShutdownTimeout, "shutdown-timeout", cfg.ShutdownTimeout, "as in the configuration")
	flags.DurationVar(&cfg.ReadOnly.ExecutionTime, "ro-execution-time", cfg.ReadOnly.ExecutionTime, "as in the configuration")
	flags.Func("grant", "GRANT statement, instead of all that Weir's own store needs; several are given one by one", func(s string) error {
		cfg.Grants = append(cfg.Grants, s)
		return nil
	})
	parent := flags.Int("parent-fd", 0, "pipe whose end ends the server")
	socket := flags.Int("listen-fd", 0, "listening socket, instead of -listen")
	remove := flags.Bool("remove", false, "remove the data directory at the end")
	if err := flags.Parse(args); err != nil {
		return 2
	}
	log := slog.New(slog.NewTextHandler(stderr, nil))
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := serve(ctx, cfg, log, *parent, *socket); err != nil {
		_, _ = fmt.Fprintln(stderr, "storeserver:", err)
		return 1
	}
	if *remove {
		_ = os.RemoveAll(cfg.Data)
	}
	return 0
}

func serve(ctx context.Context, cfg embedded.Config, log *slog.Logger, parent, socket int) error {
	var err error
	if parent > 0 {
		if ctx, err = embedded.UntilParentExits(ctx, parent); err != nil {
			return err
		}
	}
	var l net.Listener
	if socket > 0 {
		l, err = embedded.FileListener(socket)
	} else {
		l, err = embedded.Listen(cfg)
	}
	if err != nil {
		return err
	}
	s, err := embedded.New(cfg, embedded.Deps{Log: log, Listener: l})
	if err != nil {
		return err
	}
	return s.Run(ctx)
}
