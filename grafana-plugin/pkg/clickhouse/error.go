package clickhouse

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"syscall"

	"github.com/ClickHouse/clickhouse-go/v2"
)

// Class is the kind of a failure: who can do something about it, and where.
type Class string

// The classes.
const (
	ClassConfig    Class = "config"    // the settings of the data source
	ClassNetwork   Class = "network"   // no way to ClickHouse
	ClassTLS       Class = "tls"       // certificates, or TLS on one side only
	ClassAuth      Class = "auth"      // user, password, grants
	ClassTimeout   Class = "timeout"   // no answer in time
	ClassSchema    Class = "schema"    // the tables are not those that this plugin knows
	ClassLimit     Class = "limit"     // the query asks for more than it may have
	ClassQuery     Class = "query"     // the query is wrong: its author's mistake
	ClassCancelled Class = "cancelled" // whoever asked is gone
	ClassServer    Class = "server"    // ClickHouse, or what answers in its place
)

// Error is a failure in terms that its reader can act on. Neither its text nor what it wraps holds a secret.
type Error struct {
	Class Class
	Code  int    // ClickHouse's number; 0 when it was not ClickHouse that refused
	Name  string // its name, e.g. UNKNOWN_TABLE
	Msg   string // what happened
	Hint  string // what to do; empty if there is nothing to say

	err error
}

func (e *Error) Error() string {
	if e.Hint == "" {
		return e.Msg
	}
	return e.Msg + ": " + e.Hint
}

// Unwrap returns the failure as it was reported.
func (e *Error) Unwrap() error { return e.err }

// codes are the exceptions of ClickHouse that are not of class server. Names are those of its function errorCodeToName.
var codes = map[int]struct {
	class Class
	hint  string
}{
	6:   {ClassQuery, ""},                                                             // CANNOT_PARSE_TEXT
	16:  {ClassSchema, hintColumns},                                                   // NO_SUCH_COLUMN_IN_TABLE
	27:  {ClassQuery, ""},                                                             // CANNOT_PARSE_INPUT_ASSERTION_FAILED
	34:  {ClassQuery, ""},                                                             // TOO_MANY_ARGUMENTS_FOR_FUNCTION
	35:  {ClassQuery, ""},                                                             // TOO_FEW_ARGUMENTS_FOR_FUNCTION
	36:  {ClassQuery, ""},                                                             // BAD_ARGUMENTS
	38:  {ClassQuery, ""},                                                             // CANNOT_PARSE_DATE
	41:  {ClassQuery, ""},                                                             // CANNOT_PARSE_DATETIME
	42:  {ClassQuery, ""},                                                             // NUMBER_OF_ARGUMENTS_DOESNT_MATCH
	43:  {ClassQuery, ""},                                                             // ILLEGAL_TYPE_OF_ARGUMENT
	44:  {ClassQuery, ""},                                                             // ILLEGAL_COLUMN
	46:  {ClassQuery, ""},                                                             // UNKNOWN_FUNCTION
	47:  {ClassSchema, hintColumns},                                                   // UNKNOWN_IDENTIFIER
	50:  {ClassQuery, ""},                                                             // UNKNOWN_TYPE
	53:  {ClassQuery, ""},                                                             // TYPE_MISMATCH
	60:  {ClassSchema, hintTables},                                                    // UNKNOWN_TABLE
	62:  {ClassQuery, ""},                                                             // SYNTAX_ERROR
	63:  {ClassQuery, ""},                                                             // UNKNOWN_AGGREGATE_FUNCTION
	69:  {ClassQuery, ""},                                                             // ARGUMENT_OUT_OF_BOUND
	70:  {ClassQuery, ""},                                                             // CANNOT_CONVERT_TYPE
	72:  {ClassQuery, ""},                                                             // CANNOT_PARSE_NUMBER
	80:  {ClassQuery, ""},                                                             // INCORRECT_QUERY
	81:  {ClassConfig, "check the database in the data source's settings"},            // UNKNOWN_DATABASE
	153: {ClassQuery, ""},                                                             // ILLEGAL_DIVISION
	158: {ClassLimit, hintLess},                                                       // TOO_MANY_ROWS
	159: {ClassTimeout, hintLess},                                                     // TIMEOUT_EXCEEDED
	160: {ClassTimeout, hintLess},                                                     // TOO_SLOW
	164: {ClassQuery, "the data source only reads"},                                   // READONLY
	179: {ClassQuery, ""},                                                             // MULTIPLE_EXPRESSIONS_FOR_ALIAS
	184: {ClassQuery, ""},                                                             // ILLEGAL_AGGREGATION
	192: {ClassAuth, hintUser},                                                        // UNKNOWN_USER
	193: {ClassAuth, hintUser},                                                        // WRONG_PASSWORD
	194: {ClassAuth, hintUser},                                                        // REQUIRED_PASSWORD
	195: {ClassAuth, "the user may not log in from Grafana's address"},                // IP_ADDRESS_NOT_ALLOWED
	201: {ClassLimit, "the user's quota at ClickHouse is used up: wait, or raise it"}, // QUOTA_EXCEEDED
	202: {ClassServer, "ClickHouse is busy: try again, or lower maxQueries"},          // TOO_MANY_SIMULTANEOUS_QUERIES
	209: {ClassTimeout, ""},                                                           // SOCKET_TIMEOUT
	215: {ClassQuery, ""},                                                             // NOT_AN_AGGREGATE
	229: {ClassLimit, "shorten the query"},                                            // QUERY_IS_TOO_LARGE
	241: {ClassLimit, hintLess},                                                       // MEMORY_LIMIT_EXCEEDED
	291: {ClassAuth, hintGrants},                                                      // DATABASE_ACCESS_DENIED
	307: {ClassLimit, hintLess},                                                       // TOO_MANY_BYTES
	349: {ClassQuery, ""},                                                             // CANNOT_INSERT_NULL_IN_ORDINARY_COLUMN
	352: {ClassQuery, ""},                                                             // AMBIGUOUS_COLUMN_NAME
	386: {ClassQuery, ""},                                                             // NO_COMMON_TYPE
	394: {ClassServer, "somebody ended it at ClickHouse, or ClickHouse stops"},        // QUERY_WAS_CANCELLED
	396: {ClassLimit, hintLess},                                                       // TOO_MANY_ROWS_OR_BYTES
	456: {ClassQuery, "give the parameter a value, or write { without a type"},        // UNKNOWN_QUERY_PARAMETER
	457: {ClassQuery, ""},                                                             // BAD_QUERY_PARAMETER
	497: {ClassAuth, hintGrants},                                                      // ACCESS_DENIED
	516: {ClassAuth, hintUser},                                                        // AUTHENTICATION_FAILED
	636: {ClassQuery, ""},                                                             // CANNOT_EXTRACT_TABLE_STRUCTURE
}

const (
	hintUser    = "check user name and password in the data source's settings"
	hintGrants  = "grant the data source's user SELECT and dictGet on Weir's database"
	hintTables  = "check the database in the data source's settings, and that weir has migrated it"
	hintColumns = "check the spelling; of a built-in query, that the plugin and weir are of the same version"
	hintLess    = "ask for a shorter time range or filter more"
)

// over is the error of a query whose context ended, for that cause.
func (c *Client) over(cause error) error {
	switch {
	case errors.Is(cause, errClosed):
		return errClosed
	case errors.Is(cause, context.DeadlineExceeded):
		return &Error{Class: ClassTimeout, Msg: "no answer within " + (c.settings.Caps.Time + c.settings.Caps.Connect).String(), Hint: hintLess, err: cause}
	}
	return &Error{Class: ClassCancelled, Msg: "cancelled", err: cause}
}

// classify makes an *Error of what an operation returned; nil stays nil and an *Error itself.
func (c *Client) classify(err error) error {
	if _, known := errors.AsType[*Error](err); err == nil || known {
		return err
	}
	if u, ok := errors.AsType[*url.Error](err); ok {
		err = u.Err // without the URL, which holds the statement
	}
	e := *c.sort(err)
	e.Msg, e.err = clean(e.Msg), err
	return &e
}

// sort says what a failure is.
func (c *Client) sort(err error) *Error {
	at := c.settings.Addr
	if exception, ok := errors.AsType[*clickhouse.Exception](err); ok {
		e := &Error{Class: ClassServer, Code: int(exception.Code), Name: exception.CodeName, Msg: exception.Message}
		if known, ok := codes[e.Code]; ok {
			e.Class, e.Hint = known.class, known.hint
		}
		return e
	}
	if status, ok := errors.AsType[*clickhouse.HTTPError](err); ok {
		e := &Error{Class: ClassServer, Msg: at + " answered with status " + strconv.Itoa(status.StatusCode), Hint: "it is not ClickHouse that answers there: check the URL"}
		switch {
		case status.StatusCode == http.StatusUnauthorized || status.StatusCode == http.StatusForbidden:
			e.Class, e.Hint = ClassAuth, hintUser
		case strings.Contains(status.Err.Error(), "HTTP request to an HTTPS server"): // in the words of Go's and nginx's servers
			e.Class, e.Msg, e.Hint = ClassTLS, at+" wants TLS", "write https in the URL"
		case status.StatusCode == http.StatusBadGateway, status.StatusCode == http.StatusServiceUnavailable, status.StatusCode == http.StatusGatewayTimeout:
			e.Hint = "a proxy on the way does not reach ClickHouse"
		}
		return e
	}
	if e := c.sortTLS(err); e != nil {
		return e
	}
	var dns *net.DNSError
	var netErr net.Error
	switch {
	case errors.Is(err, clickhouse.ErrConnectionClosed):
		return errClosed
	case errors.As(err, &dns) && dns.IsNotFound:
		return &Error{Class: ClassNetwork, Msg: "host " + strconv.Quote(dns.Name) + " is not known", Hint: "check the host in the URL"}
	case errors.Is(err, syscall.ECONNREFUSED):
		return &Error{Class: ClassNetwork, Msg: "connection to " + at + " refused", Hint: "check host and port, and that ClickHouse (or weir up) is running there"}
	case errors.Is(err, clickhouse.ErrAcquireConnTimeout), errors.Is(err, context.DeadlineExceeded),
		errors.As(err, &netErr) && netErr.Timeout():
		e := &Error{Class: ClassTimeout, Msg: "no answer from " + at + " in time", Hint: "check that no firewall is in the way, and that the address is right"}
		if c.settings.Protocol == clickhouse.Native {
			e.Hint += "; the scheme clickhouse wants the port of the native protocol"
		}
		return e
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE), errors.Is(err, net.ErrClosed),
		strings.Contains(err.Error(), "server closed idle connection"): // net/http hides the value: it was closed before the request was on it
		return &Error{Class: ClassNetwork, Msg: "connection to " + at + " was closed", Hint: "check that the URL's scheme is the port's: http or https, or clickhouse for the native protocol"}
	}
	if op, ok := errors.AsType[*net.OpError](err); ok {
		return &Error{Class: ClassNetwork, Msg: "no connection to " + at + ": " + op.Err.Error(), Hint: "check host and port"}
	}
	return &Error{Class: ClassServer, Msg: "what " + at + " answered is not understood: " + err.Error(), Hint: "check that it is ClickHouse, and its URL"}
}

// sortTLS returns nil if TLS is not what failed.
func (c *Client) sortTLS(err error) *Error {
	at := c.settings.Addr
	var authority x509.UnknownAuthorityError
	var name x509.HostnameError
	var invalid x509.CertificateInvalidError
	var record tls.RecordHeaderError
	var alert tls.AlertError
	var op *net.OpError
	switch {
	case errors.As(err, &authority):
		return &Error{Class: ClassTLS, Msg: "the certificate of " + at + " is of an authority that is not trusted", Hint: "put the authority's certificate into the data source's settings"}
	case errors.As(err, &name):
		return &Error{Class: ClassTLS, Msg: "the certificate of " + at + " is for another name: " + name.Error(), Hint: "use that name in the URL, or as TLS server name"}
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return &Error{Class: ClassTLS, Msg: "the certificate of " + at + " has expired or is not valid yet", Hint: "renew it, or set the clock"}
	case errors.As(err, &invalid):
		return &Error{Class: ClassTLS, Msg: "the certificate of " + at + " is not valid: " + invalid.Error()}
	case errors.As(err, &record), strings.Contains(err.Error(), "server gave HTTP response to HTTPS client"): // net/http hides the type
		return &Error{Class: ClassTLS, Msg: at + " speaks no TLS", Hint: "write http in the URL, or the port that speaks TLS (8443)"}
	case errors.As(err, &alert), errors.As(err, &op) && op.Op == "remote error":
		return &Error{Class: ClassTLS, Msg: at + " refused the TLS connection: " + err.Error(), Hint: "check the client certificate in the data source's settings"}
	case strings.Contains(err.Error(), "tls: "):
		return &Error{Class: ClassTLS, Msg: "TLS with " + at + ": " + err.Error()}
	}
	return nil
}

// maxText bounds a message, in bytes.
const maxText = 1 << 10

var version = regexp.MustCompile(`\s*\(version [^)]*\)+\s*$`)

// clean makes a message of ClickHouse's fit to be shown: bounded, one line, without what only its developers read.
func clean(s string) string {
	s = strings.ToValidUTF8(s, "\uFFFD")
	s = strings.TrimPrefix(s, "DB::Exception: ")
	s = version.ReplaceAllString(s, "")
	s = strings.Join(strings.Fields(s), " ")
	if len(s) > maxText {
		s = strings.ToValidUTF8(s[:maxText], "") + "…"
	}
	return s
}
