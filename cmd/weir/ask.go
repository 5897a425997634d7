package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"
)

// personAt returns the file descriptor of standard input if a person sits there.
func personAt(cmd *cobra.Command) (fd int, ok bool) {
	f, ok := cmd.InOrStdin().(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) {
		return 0, false
	}
	return int(f.Fd()), true
}

// maxLine bounds a line that is read, bytes.
const maxLine = 4096

// readLine reads a line, and not a byte beyond, so that the next question finds its answer.
func readLine(r io.Reader) (string, error) {
	var line []byte
	b := make([]byte, 1)
	for len(line) < maxLine {
		n, err := r.Read(b)
		switch {
		case n == 1 && b[0] == '\n':
			return strings.TrimSuffix(string(line), "\r"), nil
		case n == 1:
			line = append(line, b[0])
		case errors.Is(err, io.EOF) && len(line) > 0:
			return string(line), nil
		case err != nil:
			return "", err
		}
	}
	return "", fmt.Errorf("a line is longer than %d bytes", maxLine)
}

// askLine asks for a line.
func askLine(cmd *cobra.Command, question string) (string, error) {
	if _, ok := personAt(cmd); ok {
		fmt.Fprintf(cmd.ErrOrStderr(), "%s: ", question)
	}
	line, err := readLine(cmd.InOrStdin())
	if err != nil {
		return "", fmt.Errorf("read %s from standard input: %w", strings.ToLower(question), err)
	}
	return strings.TrimSpace(line), nil
}

// askSecret asks for a secret, which a terminal does not show.
func askSecret(cmd *cobra.Command, question string) (string, error) {
	fd, ok := personAt(cmd)
	var secret string
	var err error
	if ok {
		fmt.Fprintf(cmd.ErrOrStderr(), "%s: ", question)
		var text []byte
		text, err = term.ReadPassword(fd)
		secret = string(text)
		fmt.Fprintln(cmd.ErrOrStderr())
	} else {
		secret, err = readLine(cmd.InOrStdin())
	}
	if err != nil {
		return "", fmt.Errorf("read %s from standard input: %w", strings.ToLower(question), err)
	}
	return secret, nil
}

// askNewPassword asks for a new password, at a terminal twice.
func askNewPassword(cmd *cobra.Command) (string, error) {
	password, err := askSecret(cmd, "New password")
	if err != nil {
		return "", err
	}
	if _, ok := personAt(cmd); ok {
		again, err := askSecret(cmd, "Again")
		if err != nil {
			return "", err
		}
		if again != password {
			return "", errors.New("the two passwords differ: nothing was changed")
		}
	}
	return password, nil
}

// confirmed asks a question that is answered yes or no; that nobody answers is an error.
func confirmed(cmd *cobra.Command, question string) (bool, error) {
	fmt.Fprintf(cmd.ErrOrStderr(), "%s [y/N] ", question)
	answer, err := readLine(cmd.InOrStdin())
	switch {
	case errors.Is(err, io.EOF):
		fmt.Fprintln(cmd.ErrOrStderr())
		return false, errors.New("nothing was changed: nobody answered; give --yes where nobody can")
	case err != nil:
		return false, fmt.Errorf("read answer: %w", err)
	}
	switch strings.ToLower(strings.TrimSpace(answer)) {
	case "y", "yes":
		return true, nil
	default:
		return false, nil
	}
}

// sure asks whether something is to be lost, if a person sits there to be asked, and unless yes says so.
func sure(cmd *cobra.Command, yes bool, question string) error {
	if _, ok := personAt(cmd); !ok || yes {
		return nil
	}
	is, err := confirmed(cmd, question)
	if err == nil && !is {
		err = errors.New("nothing was changed")
	}
	return err
}
