package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// listing is the request that changes nothing.
const listing = "list"

// requestTimeout is how long a request may take: some wait for a switch that starts.
const requestTimeout = time.Minute

// request and answer are what goes over the socket of a running lab, one each a connection, as JSON.
type request struct {
	Words []string `json:"words"` // a command and its arguments
}

type answer struct {
	Text  string `json:"text,omitempty"`
	Error string `json:"error,omitempty"`
}

func socketPath(data string) string { return filepath.Join(data, "run", "lab.sock") }

// listen makes the socket of a lab, which only root may use. Two labs cannot share a data directory.
func listen(data string) (net.Listener, error) {
	path := socketPath(data)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, err
	}
	if c, err := net.Dial("unix", path); err == nil {
		_ = c.Close()
		return nil, fmt.Errorf("listen on %q: a lab runs there already", path)
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) { // of one that was killed
		return nil, err
	}
	before := syscall.Umask(0o177)
	defer syscall.Umask(before)
	return net.Listen("unix", path)
}

// serve answers requests with do until l is closed.
func serve(l net.Listener, do func(ctx context.Context, words []string) (string, error)) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		go func() {
			defer c.Close()
			ctx, cancel := context.WithTimeout(context.Background(), requestTimeout)
			defer cancel()
			_ = c.SetDeadline(time.Now().Add(requestTimeout + time.Second))
			var q request
			var a answer
			err := json.NewDecoder(io.LimitReader(c, 1<<16)).Decode(&q)
			if err == nil && len(q.Words) == 0 {
				err = errors.New("found no command")
			}
			if err == nil {
				a.Text, err = do(ctx, q.Words)
			}
			if err != nil {
				a.Error = err.Error()
			}
			_ = json.NewEncoder(c).Encode(&a) // whoever asked may have gone
		}()
	}
}

// ask has the lab that runs in data do something, and prints what it answers.
func ask(ctx context.Context, out io.Writer, data string, words []string) error {
	c, err := (&net.Dialer{}).DialContext(ctx, "unix", socketPath(data))
	if err != nil {
		return fmt.Errorf("find lab in %q: %w; start one with: weirlab up --data %s", data, err, data)
	}
	defer c.Close()
	stop := context.AfterFunc(ctx, func() { c.Close() })
	defer stop()
	var a answer
	err = json.NewEncoder(c).Encode(request{words})
	if err == nil {
		err = json.NewDecoder(c).Decode(&a)
	}
	if err != nil {
		return fmt.Errorf("ask lab in %q: %w", data, err)
	}
	if a.Error != "" {
		return errors.New(a.Error)
	}
	_, err = fmt.Fprint(out, a.Text)
	return err
}
