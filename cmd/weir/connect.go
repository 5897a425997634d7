package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/weirhq/weir/cli"
	"github.com/weirhq/weir/internal/instance"
	"github.com/weirhq/weir/store"
	"github.com/weirhq/weir/store/embedded"
)

// storeDir is where the embedded store lives in a data directory.
func storeDir(data string) string { return filepath.Join(data, "store") }

func dataFlag(cmd *cobra.Command, data *string) {
	cmd.Flags().StringVar(data, "data", "", "data directory of the instance (default: ./data/demo, else /var/lib/weir)")
}

func jsonFlag(cmd *cobra.Command, asJSON *bool) {
	cmd.Flags().BoolVar(asJSON, "json", false, "print JSON")
}

func outputOf(cmd *cobra.Command, asJSON bool) *cli.Output {
	return cli.NewOutput(cmd.OutOrStdout(), cmd.ErrOrStderr(), asJSON, os.Getenv)
}

// readerOf returns the configuration of a connection to the instance's store that can read only.
func readerOf(in instance.Instance) (store.Config, error) {
	if in.StorePID == 0 { // a server: who reads was configured
		return configuredReader(in)
	}
	users, err := embedded.ReadUsers(storeDir(in.Data))
	if err != nil {
		return store.Config{}, err
	}
	return embeddedConfig(in.Store, users.ReadOnly), nil
}

// configuredReader is the connection that the instance's configuration names for reading.
func configuredReader(in instance.Instance) (store.Config, error) {
	cfg, file, err := loadConfig(in.Config, in.Data)
	if err != nil {
		return store.Config{}, err
	}
	cfg.rebase(file, in.Data)
	c := cfg.Store.Server
	if r := cfg.Store.Reader; r.User != "" {
		c.User, c.PasswordFile = r.User, r.PasswordFile
	}
	return c, nil
}

// embeddedConfig is a connection to the embedded store at addr.
func embeddedConfig(addr string, user embedded.Credentials) store.Config {
	c := store.DefaultConfig()
	c.Addr, c.User, c.Password = addr, user.Name, user.Password
	return c
}

// openReader connects to the store of a running instance as the user that can read only.
func openReader(data string) (*store.Client, instance.Instance, error) {
	in, err := instance.Find(data)
	if err != nil {
		return nil, in, err
	}
	cfg, err := readerOf(in)
	if err != nil {
		return nil, in, err
	}
	c, err := store.Open(cfg)
	return c, in, err
}

// getJSON asks the API of an instance.
func getJSON(ctx context.Context, in instance.Instance, path string, into any) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	client, base := apiOf(in)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, base+path, nil)
	if err != nil {
		return fmt.Errorf("ask %s: %w", path, err)
	}
	resp, err := client.Do(req)
	if err != nil {
		return fmt.Errorf("ask weir: %w", err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return refusal(resp, path)
	}
	if err := json.NewDecoder(resp.Body).Decode(into); err != nil {
		return fmt.Errorf("ask weir for %s: %w", path, err)
	}
	return nil
}

// apiOf returns how the API of an instance is asked: by its socket, where whoever may is known; else, as of a collector alone or by another user of
// the machine, over loopback, where api.local_reads lets everybody look.
func apiOf(in instance.Instance) (client *http.Client, base string) {
	if in.Admin == "" || unix.Access(in.Admin, unix.W_OK) != nil {
		return http.DefaultClient, "http://" + in.API
	}
	return socketClient(in.Admin), "http://weir"
}

// socketClient asks over a unix socket.
func socketClient(path string) *http.Client {
	return &http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", path)
		},
		DisableKeepAlives: true,
	}}
}

// refusal is what an answer says that is not 200: an error with its status and, where it has one, its sentence.
func refusal(resp *http.Response, what string) error {
	text, err := io.ReadAll(io.LimitReader(resp.Body, 64<<10))
	if err != nil {
		return fmt.Errorf("ask weir for %s: %s: %w", what, resp.Status, err)
	}
	var problem huma.ErrorModel
	if json.Unmarshal(text, &problem) == nil && problem.Detail != "" {
		return errors.New(problem.Detail) // whole sentences
	}
	return fmt.Errorf("ask weir for %s: %s: %s", what, resp.Status, strings.TrimSpace(string(text)))
}

// dialable returns addr with an unspecified host replaced by loopback.
func dialable(addr string) string {
	a, err := netip.ParseAddrPort(addr)
	if err != nil || !a.Addr().IsUnspecified() {
		return addr
	}
	if a.Addr().Is4() {
		return netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), a.Port()).String()
	}
	return netip.AddrPortFrom(netip.IPv6Loopback(), a.Port()).String()
}
