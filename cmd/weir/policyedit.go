package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/weirhq/weir/cli"
	"github.com/weirhq/weir/client"
	"github.com/weirhq/weir/policyd"
)

// firstDraft is the name of a draft that is begun without one.
const firstDraft = "draft"

// emptyPolicy is what a policy without rules is written as, and firstPolicy what is in the editor instead.
const (
	emptyPolicy = "{}"
	firstPolicy = `#
# There are no rules yet. The first rule that matches a packet decides, else the default. For example, without #:
#
# default: allow
# global:
#   mandatory:
#     - {id: no-telnet, action: deny, protocol: tcp, remote_ports: "23", comment: nobody needs it}
# vms:
#   - name: db-01
#     mandatory:
#       - {id: postgres, action: allow, direction: from, protocol: tcp, remote: 10.0.0.0/8, local_ports: "5432"}
#       - {id: nothing-else, action: deny, direction: from}
`
)

func newPolicyEdit() *cobra.Command {
	var data string
	cmd := &cobra.Command{
		Use:   "edit [DRAFT]",
		Short: "Change a draft in your editor",
		Long: `Opens a draft in $VISUAL, else $EDITOR, else vi. Without DRAFT it is the only one that you have; if you have none, one is begun with what is in force.
What you save is checked: if something is wrong, all of it is named with its line, and the editor can be opened again where you left it. Nothing is in
force until weir policy apply.

A text that cannot be kept, since it is wrong or somebody changed the draft meanwhile, stays in a file, which is named.`,
		Example: `  weir policy edit
  weir policy edit web`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := connect(cmd, data)
			if err != nil {
				return err
			}
			d, begun, err := draftToEdit(cmd.Context(), c, firstArg(args))
			if err != nil {
				return err
			}
			saved, err := editDraft(cmd, c, &d)
			if begun && (err != nil || saved == nil) { // nothing of it is anybody's work
				err = errors.Join(err, c.Change(context.WithoutCancel(cmd.Context()), http.MethodDelete, draftPath(d.Name), nil, nil))
			}
			if err != nil {
				return err
			}
			out := outputOf(cmd, false)
			if saved == nil {
				_, err := fmt.Fprintln(out.W, "nothing was changed")
				return err
			}
			fmt.Fprintf(out.W, "draft %s is saved (%s)\n\n", cli.Clean(saved.Name), cli.Clean(saved.What))
			if err := writeAgainstCurrent(cmd.Context(), out, c, saved); err != nil {
				return err
			}
			_, err = fmt.Fprintf(out.W, "\nnothing of it is in force: weir policy plan --draft %[1]s, then weir policy apply --draft %[1]s\n", cli.Clean(saved.Name))
			return err
		},
	}
	apiFlags(cmd, &data)
	completes(cmd, &data, nil, false, ownDrafts)
	return cmd
}

// draftToEdit returns the draft that is meant, which it begins if there is none.
func draftToEdit(ctx context.Context, c *client.API, name string) (d policyd.DraftText, begun bool, err error) {
	found, err := onlyDraft(ctx, c, name)
	if err == nil {
		d, err = getDraft(ctx, c, "", found)
	}
	if code := exitCode(err); code != exitNotFound {
		return d, false, err
	}
	err = c.Change(ctx, http.MethodPost, "/api/v1/policy/drafts", policyd.DraftRequest{Name: firstOf(name, firstDraft)}, &d)
	return d, true, err
}

// editDraft has a draft changed in the editor, until it is right or the user has enough. It returns what was saved; nil: nothing was changed.
func editDraft(cmd *cobra.Command, c *client.API, d *policyd.DraftText) (*policyd.DraftText, error) {
	head := fmt.Sprintf(`# Draft %s of %s, based on revision %d. Save it and leave the editor: it is checked, and kept; nothing of it is in force
# until weir policy apply --draft %s. Lines that begin with # are not kept; rules have a key comment.
# What is wrong is named with its line; nothing that you write is lost.
`, d.Name, d.Owner, d.Base, d.Name)
	text := d.Policy
	if strings.TrimSpace(text) == emptyPolicy {
		text = firstPolicy
	}
	before := []byte(head + text)
	f, err := os.CreateTemp("", "weir-policy-"+d.Name+"-*.yaml") // mode 0600
	if err != nil {
		return nil, fmt.Errorf("edit draft %q: %w", d.Name, err)
	}
	_, err = f.Write(before)
	if err = errors.Join(err, f.Close()); err != nil {
		return nil, fmt.Errorf("edit draft %q: %w", d.Name, errors.Join(err, os.Remove(f.Name())))
	}
	kept := func(err error) error {
		return fmt.Errorf("%w\nyour text is kept in %s: weir policy import %[2]s --draft %[3]s makes it the draft once it is right", err, f.Name(), d.Name)
	}
	for {
		editing := runEditor(cmd, f.Name())
		text, err := readEdited(f.Name())
		switch {
		case err != nil:
			return nil, fmt.Errorf("edit draft %q: %w", d.Name, errors.Join(editing, err))
		case editing != nil && bytes.Equal(text, before):
			return nil, fmt.Errorf("edit draft %q: %w", d.Name, errors.Join(editing, os.Remove(f.Name())))
		case editing != nil:
			return nil, kept(fmt.Errorf("edit draft %q: %w", d.Name, editing))
		case bytes.Equal(text, before):
			return nil, os.Remove(f.Name())
		case len(bytes.TrimSpace(text)) == 0:
			return nil, errors.Join(fmt.Errorf("edit draft %q: the file is empty, which is taken for a mistake: nothing was changed; a policy without rules is {}", d.Name), os.Remove(f.Name()))
		}
		var saved policyd.DraftText
		err = c.Change(cmd.Context(), http.MethodPut, draftPath(d.Name), policyd.DraftEdit{Policy: string(text), Version: d.Version}, &saved)
		if err == nil {
			return &saved, os.Remove(f.Name())
		}
		problem, ok := errors.AsType[*client.Problem](err)
		if !ok || problem.Status != http.StatusUnprocessableEntity {
			return nil, kept(err)
		}
		err = withPlaces(err, f.Name())
		fmt.Fprintf(cmd.ErrOrStderr(), "%s\n", cleanLines(err.Error()))
		if again, askErr := askAgain(cmd); askErr != nil || !again {
			return nil, kept(errors.Join(fmt.Errorf("edit draft %q: nothing was changed, since the text is wrong", d.Name), askErr))
		}
	}
}

// cleanLines is cli.Clean of text of several lines.
func cleanLines(text string) string {
	lines := strings.Split(text, "\n")
	for i := range lines {
		lines[i] = cli.Clean(lines[i])
	}
	return strings.Join(lines, "\n")
}

// readEdited reads what an editor left.
func readEdited(name string) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxPolicyFile+1))
	if err == nil && len(text) > maxPolicyFile {
		err = fmt.Errorf("%s is longer than %s", name, cli.Bytes(maxPolicyFile))
	}
	return text, err
}

// askAgain asks whether the editor is to be opened once more: yes, unless the answer is no or there is none.
func askAgain(cmd *cobra.Command) (bool, error) {
	fmt.Fprint(cmd.ErrOrStderr(), "Edit again? [Y/n] ")
	answer, err := readLine(cmd.InOrStdin())
	switch {
	case errors.Is(err, io.EOF) && answer == "":
		fmt.Fprintln(cmd.ErrOrStderr())
		return false, nil
	case err != nil && !errors.Is(err, io.EOF):
		return false, fmt.Errorf("read answer: %w", err)
	}
	switch strings.ToLower(strings.TrimSpace(answer)) {
	case "n", "no":
		return false, nil
	}
	return true, nil
}

// runEditor lets the user edit a file. VISUAL and EDITOR may have arguments.
func runEditor(cmd *cobra.Command, file string) error {
	editor := firstOf(os.Getenv("VISUAL"), os.Getenv("EDITOR"), "vi")
	if f, ok := cmd.InOrStdin().(*os.File); editor == "vi" && (!ok || !term.IsTerminal(int(f.Fd()))) {
		return usagef("there is no terminal to edit on: expected an editor that needs none in EDITOR, or use weir policy export and import")
	}
	run := exec.CommandContext(cmd.Context(), "/bin/sh", "-c", editor+` "$1"`, "sh", file)
	run.Stdout, run.Stderr = cmd.ErrOrStderr(), cmd.ErrOrStderr()
	if f, ok := cmd.InOrStdin().(*os.File); ok { // it reads from a terminal, and draws on it
		run.Stdin = f
	}
	if f, ok := cmd.OutOrStdout().(*os.File); ok {
		run.Stdout = f
	}
	if err := run.Run(); err != nil {
		return fmt.Errorf("editor %q: %w; VISUAL or EDITOR names another one", editor, err)
	}
	return nil
}
