package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/weirhq/weir/internal/instance"
	"github.com/weirhq/weir/store"
)

func newSQL() *cobra.Command {
	var data, format string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "sql [QUERY]",
		Short: "Run one SQL query as the read-only user",
		Long: `Runs one query against the store of a running instance, as its read-only user, and prints the answer as the store
sends it. The query comes from the argument, or from standard input.`,
		Example: `  weir sql "SELECT src_vm_name, sum(bytes) FROM flows WHERE counted GROUP BY 1 ORDER BY 2 DESC LIMIT 5"
  weir sql --format CSVWithNames < query.sql > answer.csv`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			query := strings.Join(args, "")
			if query == "" && !terminal(cmd.InOrStdin()) {
				b, err := io.ReadAll(cmd.InOrStdin())
				if err != nil {
					return fmt.Errorf("read query: %w", err)
				}
				query = string(b)
			}
			if strings.TrimSpace(query) == "" {
				return usagef("no query: give one as argument or on standard input")
			}
			if asJSON {
				format = "JSONEachRow"
			}
			if format == "" {
				format = "TSVWithNames"
				if terminal(cmd.OutOrStdout()) {
					format = "PrettyCompactMonoBlock"
				}
			}
			in, err := instance.Find(data)
			if err != nil {
				return err
			}
			return runSQL(cmd.Context(), in, query, format, cmd.OutOrStdout())
		},
	}
	dataFlag(cmd, &data)
	cmd.Flags().StringVar(&format, "format", "", "any output format of ClickHouse (default: a table on a terminal, else TSVWithNames)")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one JSON object a row; the same as --format JSONEachRow")
	cmd.MarkFlagsMutuallyExclusive("format", "json")
	return cmd
}

// terminal tells whether a stream is one.
func terminal(stream any) bool {
	f, ok := stream.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

const codeReadonly = 164 // READONLY, of ClickHouse

// runSQL copies the store's answer to out while it comes in.
func runSQL(ctx context.Context, in instance.Instance, query, format string, out io.Writer) error {
	reader, err := readerOf(in)
	if err != nil {
		return err
	}
	c, err := store.Open(reader)
	if err != nil {
		return err
	}
	defer c.Close()
	answer, err := c.Stream(ctx, query, format)
	if e, ok := errors.AsType[*store.Error](err); ok && e.Code == codeReadonly {
		return fmt.Errorf("run query: this user can only read: %w", err)
	}
	if err != nil {
		return fmt.Errorf("run query: %w", err)
	}
	defer answer.Close()
	if _, err := io.Copy(out, answer); err != nil {
		return fmt.Errorf("run query: %w", err)
	}
	return nil
}
