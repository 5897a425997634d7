package main

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/weirhq/weir/cli"
	"github.com/weirhq/weir/client"
	"github.com/weirhq/weir/internal/strictyaml"
	"github.com/weirhq/weir/ovs/ovsdb"
)

// loginOptions are the flags of weir login.
type loginOptions struct {
	name, user, fingerprint, ca, expires string
	scopes                               []string
	withToken, use, asJSON               bool
}

func newLogin() *cobra.Command {
	var o loginOptions
	cmd := &cobra.Command{
		Use:   "login [SERVER]",
		Short: "Log in at a Weir elsewhere, and keep a profile for it",
		Long: `Asks for user and password, and keeps a token, which ends, in a profile: from then on commands ask that server with --server NAME, or
without, while it is the profile in use. SERVER is HOST:PORT, a URL or a profile; without it, the profile in use is logged in anew.

A password for one time is changed on the way. Where standard input is no terminal, the password is read from it, and, if it is for one time,
the new one from the next line. With --with-token a token that somebody made (weir token create) is read from it instead.

If the server's certificate is not believed by the authorities of the system, it is shown, and is believed from then on once you have compared
it with what weir ca show says at the server; or by --fingerprint, or with the authority's certificate in --ca. The password is sent after that.`,
		Example: `  weir login weir.example:8080
  weir login weir.example:8080 --name prod --user vera --expires 30d
  weir login prod`,
		Args:        cobra.MaximumNArgs(1),
		Annotations: map[string]string{asksAPI: "true"},
		RunE:        func(cmd *cobra.Command, args []string) error { return o.run(cmd, args) },
	}
	f := cmd.Flags()
	f.StringVar(&o.name, "name", "", "name of the profile (default: the host's)")
	f.StringVar(&o.user, "user", "", "user (default: that of the profile, else it is asked)")
	f.StringVar(&o.fingerprint, "fingerprint", "", "SHA-256 fingerprint of the authority's certificate, or of the server's")
	f.StringVar(&o.ca, "ca", "", "file with the certificate of the authority (PEM)")
	f.StringVar(&o.expires, "expires", "90d", "how long the token is good, as 12h or 90d, at most 366d")
	f.StringSliceVar(&o.scopes, "scope", []string{"all:write"}, "what the token may be used for, as far as the user may it; weir role list tells")
	f.BoolVar(&o.withToken, "with-token", false, "read a token from standard input instead of asking for user and password")
	f.BoolVar(&o.use, "use", false, "use this profile where no server is named; the first profile is in any case")
	jsonFlag(cmd, &o.asJSON)
	cmd.MarkFlagsMutuallyExclusive("fingerprint", "ca")
	for _, flag := range []string{"user", "expires", "scope"} {
		cmd.MarkFlagsMutuallyExclusive("with-token", flag)
	}
	return cmd
}

// lifeOf is when something ends that is good for a span of time.
func lifeOf(span string, now time.Time) (time.Time, error) {
	d, err := strictyaml.ParseDuration(span)
	if err != nil || d <= 0 || d > 366*24*time.Hour {
		return time.Time{}, usagef("--expires %q: expected a span of time, as 12h or 90d, at most 366d", span)
	}
	return now.Add(d).UTC().Truncate(time.Second), nil
}

func (o *loginOptions) run(cmd *cobra.Command, args []string) error {
	if _, err := lifeOf(o.expires, time.Now()); err != nil {
		return err
	}
	file, err := client.ProfilesFile(os.Getenv)
	if err != nil {
		return err
	}
	profiles, err := client.ReadProfiles(file)
	if err != nil {
		return err
	}
	server := serverOf(cmd)
	if len(args) > 0 {
		server = args[0]
	}
	name, p, err := profiles.Find(server)
	if err != nil {
		if server == "" {
			return usagef("found no SERVER, and no profile is in use: expected HOST:PORT, a URL or a profile")
		}
		p = client.Profile{Server: server}
	}
	former, err := profiles.Trust(p)
	if err != nil {
		return err
	}
	a, trust, err := o.believed(cmd, p.Server, former)
	if err != nil {
		return err
	}
	if o.name != "" {
		name = o.name
	}
	if name == "" {
		if name, err = defaultName(a.Server()); err != nil {
			return err
		}
	}
	if err := client.CheckName(name); err != nil {
		return usageError{err}
	}
	if other, ok := profiles.Profiles[name]; ok && other.Server != p.Server && other.Server != a.Server() {
		return usagef("profile %q is of another server, %s: choose a --name", name, other.Server)
	}
	p.Server = a.Server()
	secret, err := o.token(cmd, a, &p)
	if err != nil {
		return err
	}
	var replaced *client.API
	if former, ok := profiles.Profiles[name]; ok && !former.Expires.IsZero() { // made by weir login, for nobody else
		replaced, _ = client.Open(client.Options{Server: name, Profiles: profiles, Version: versionString()})
	}
	if err := profiles.Set(name, p, secret, trust); err != nil {
		return err
	}
	if replaced != nil {
		_ = replaced.Revoke(cmd.Context()) // it may have ended; if not, it does
	}
	if o.use {
		profiles.Use = name
		if err := profiles.Write(); err != nil {
			return err
		}
	}
	return o.tell(cmd, profiles, name)
}

func (o *loginOptions) tell(cmd *cobra.Command, profiles *client.Profiles, name string) error {
	out, p := outputOf(cmd, o.asJSON), profiles.Profiles[name]
	if o.asJSON {
		return cli.WriteJSON(out, profileListing(profiles, name))
	}
	until := ""
	if !p.Expires.IsZero() {
		until = ", until " + p.Expires.Local().Format(time.DateTime)
	}
	fmt.Fprintf(out.W, "logged in at %s as %s%s\n", p.Server, firstOf(p.User, "the user of the token"), until)
	how := "it is asked by commands with --server " + name + "; weir profile use " + name + " makes it the one that is asked without"
	if profiles.Use == name {
		how = "it is asked by commands without --server and --data; weir profile use --none ends that"
	}
	_, err := fmt.Fprintf(out.W, "kept as profile %s in %s\n%s\n", name, profiles.File(), how)
	return err
}

// believed returns a server once it is known who it is: by what the command line says, else by what was believed before, else by the authorities of the system, else by a person.
func (o *loginOptions) believed(cmd *cobra.Command, server string, trust client.Trust) (*client.API, client.Trust, error) {
	var pin ovsdb.Fingerprint
	switch {
	case o.ca != "":
		text, err := os.ReadFile(o.ca)
		if err != nil {
			return nil, trust, fmt.Errorf("read authority: %w", err)
		}
		trust = client.Trust{Authority: text}
	case cmd.Flags().Changed("fingerprint"):
		var err error
		if pin, err = ovsdb.ParseFingerprint(o.fingerprint); err != nil {
			return nil, trust, usageError{err}
		}
		trust = client.Trust{Fingerprint: pin}
	}
	for asked := false; ; asked = true {
		a, err := client.Remote(server, trust, "", versionString())
		if err != nil {
			return nil, trust, usageError{err}
		}
		err = a.Known(cmd.Context())
		unknown, ok := errors.AsType[*client.CertificateError](err)
		if !ok || asked {
			return a, trust, err
		}
		if pin == "" {
			if pin, err = o.compared(cmd, unknown); err != nil {
				return nil, trust, err
			}
		}
		if trust, err = unknown.Presented(pin); err != nil {
			return nil, trust, err
		}
	}
}

// compared asks a person whether a certificate is the one.
func (o *loginOptions) compared(cmd *cobra.Command, e *client.CertificateError) (ovsdb.Fingerprint, error) {
	_, person := personAt(cmd)
	if !person || !e.Unknown() {
		return "", e
	}
	fmt.Fprintf(cmd.ErrOrStderr(), "%v\n\n", e)
	is, err := confirmed(cmd, "Did you compare it, and is it the same?")
	if err == nil && !is {
		err = errors.New("log in: the server is not believed, nothing was sent")
	}
	c, _ := e.Best()
	return ovsdb.FingerprintOf(c), err
}

// token returns a token for a server, and says in the profile whose it is and when it ends.
func (o *loginOptions) token(cmd *cobra.Command, a *client.API, p *client.Profile) (string, error) {
	if o.withToken {
		return o.givenToken(cmd, a, p)
	}
	user := firstOf(o.user, p.User)
	if user == "" {
		var err error
		if user, err = askLine(cmd, "User"); err != nil {
			return "", err
		}
	}
	password, err := askSecret(cmd, "Password")
	if err != nil {
		return "", err
	}
	s, err := a.Login(cmd.Context(), user, password)
	if err != nil {
		return "", err
	}
	secret, expires, err := o.makeToken(cmd, s, password)
	ctx, cancel := context.WithTimeout(context.WithoutCancel(cmd.Context()), 10*time.Second)
	defer cancel()
	if endErr := s.End(ctx); err == nil && endErr != nil {
		err = fmt.Errorf("end session: %w", endErr)
	}
	p.User, p.Expires = s.User, expires
	return secret, err
}

func (o *loginOptions) makeToken(cmd *cobra.Command, s *client.Session, password string) (secret string, expires time.Time, err error) {
	if s.OneTime {
		fmt.Fprintln(cmd.ErrOrStderr(), "The password is for one time: choose another, of at least 12 characters.")
		better, err := askNewPassword(cmd)
		if err != nil {
			return "", expires, err
		}
		if err := s.ChangePassword(cmd.Context(), password, better); err != nil {
			return "", expires, err
		}
	}
	if expires, err = lifeOf(o.expires, time.Now()); err != nil { // it took a person's time
		return "", expires, err
	}
	secret, err = s.Token(cmd.Context(), tokenName(), o.scopes, expires)
	return secret, expires, err
}

// tokenName names a token after this machine, so that people see in weir token list where it is.
func tokenName() string {
	var random [3]byte
	_, _ = rand.Read(random[:]) // it never fails
	host := strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' || r == '-' || r == '.' {
			return r
		}
		return -1
	}, strings.ToLower(hostName()))
	return "login-" + host[:min(len(host), 48)] + "-" + hex.EncodeToString(random[:])
}

// givenToken reads a token, and asks the server whose it is.
func (o *loginOptions) givenToken(cmd *cobra.Command, a *client.API, p *client.Profile) (string, error) {
	secret, err := askSecret(cmd, "Token")
	if err != nil {
		return "", err
	}
	secret = strings.TrimSpace(secret)
	if client.TokenID(secret) == "" {
		return "", errors.New("read token from standard input: found none: want one line that begins with weir_")
	}
	whose, err := a.With(secret).Session(cmd.Context())
	if problem, ok := errors.AsType[*client.Problem](err); ok && problem.Status == http.StatusForbidden { // it is a token, and not for asking whose
		err = nil
	}
	if err != nil {
		return "", err
	}
	p.User, p.Expires = whose.User, time.Time{}
	return secret, nil
}

// defaultName names a profile after the host of its server.
func defaultName(server string) (string, error) {
	u, err := url.Parse(server)
	if err != nil {
		return "", err
	}
	name := strings.ToLower(u.Hostname())
	if net.ParseIP(name) != nil {
		name = strings.ReplaceAll(strings.Trim(name, ":"), ":", "-")
	}
	return name, nil
}

func newLogout() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "logout [PROFILE]",
		Short: "Remove the token of a profile, at the server and here",
		Long: `Has the server forget the token of a profile, and forgets it here; without PROFILE, of the one in use. The profile stays, and weir login
PROFILE logs in again. If the server cannot be asked, the token is gone here, and is told to stay good there until it ends.`,
		Example:     `  weir logout prod`,
		Args:        cobra.MaximumNArgs(1),
		Annotations: map[string]string{asksAPI: "true"},
		RunE: func(cmd *cobra.Command, args []string) error {
			profiles, err := readProfiles()
			if err != nil {
				return err
			}
			server := serverOf(cmd)
			if len(args) > 0 {
				server = args[0]
			}
			name, p, err := profiles.Find(server)
			if err != nil {
				return err
			}
			if p.TokenFile == "" {
				return fmt.Errorf("profile %q has no token: you are not logged in there", name)
			}
			a, err := client.Open(client.Options{Server: name, Profiles: profiles, Version: versionString()})
			if err == nil {
				err = a.Revoke(cmd.Context())
			}
			if p, ok := errors.AsType[*client.Problem](err); ok && p.Status == http.StatusUnauthorized { // it is none any more
				err = nil
			}
			if forget := profiles.Forget(name); forget != nil {
				return errors.Join(forget, err)
			}
			if err != nil {
				until := ""
				if !p.Expires.IsZero() {
					until = " until " + p.Expires.Local().Format(time.DateTime)
				}
				return fmt.Errorf("the token is gone here, and stays good at %s%s, unless weir token revoke ends it: %w", p.Server, until, err)
			}
			out := outputOf(cmd, asJSON)
			if asJSON {
				return cli.WriteJSON(out, map[string]string{"profile": name})
			}
			_, err = fmt.Fprintf(out.W, "logged out of %s\n", p.Server)
			return err
		},
	}
	jsonFlag(cmd, &asJSON)
	return cmd
}
