package ovstrace

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"
)

// timeout is how long the switch may take to answer.
const timeout = 30 * time.Second

// Control is a connection on which an Open vSwitch daemon takes commands, as ovs-appctl(8) gives them (JSON-RPC 1.0, one command after
// the other). It is for one goroutine at a time.
type Control struct {
	conn    net.Conn
	answers *json.Decoder
	last    uint64 // id of the last request
}

// Dial connects to the control socket of a daemon.
func Dial(socket string) (*Control, error) {
	conn, err := net.Dial("unix", socket)
	if err != nil {
		return nil, fmt.Errorf("dial control socket: %w", err)
	}
	return &Control{conn: conn, answers: json.NewDecoder(conn)}, nil
}

// Close ends the connection.
func (c *Control) Close() error { return c.conn.Close() }

// Call gives the daemon a command and returns what it prints.
func (c *Control) Call(command string, args ...string) (string, error) {
	printed, err := c.call(command, args)
	if err != nil {
		return "", fmt.Errorf("command %q: %w", command+" "+strings.Join(args, " "), err)
	}
	return printed, nil
}

func (c *Control) call(command string, args []string) (string, error) {
	if args == nil {
		args = []string{}
	}
	c.last++
	request, err := json.Marshal(map[string]any{"method": command, "params": args, "id": c.last})
	if err != nil {
		return "", err
	}
	if err := c.conn.SetDeadline(time.Now().Add(timeout)); err != nil {
		return "", err
	}
	if _, err := c.conn.Write(request); err != nil {
		return "", err
	}
	var answer struct {
		ID     uint64  `json:"id"`
		Error  *string `json:"error"`
		Result string  `json:"result"`
	}
	if err := c.answers.Decode(&answer); err != nil {
		return "", err
	}
	switch {
	case answer.ID != c.last:
		return "", fmt.Errorf("answer of id %d, expected %d", answer.ID, c.last)
	case answer.Error != nil:
		return "", errors.New(strings.TrimSpace(*answer.Error))
	}
	return answer.Result, nil
}
