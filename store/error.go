package store

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"strconv"
	"strings"

	"github.com/ClickHouse/clickhouse-go/v2"
)

// Error is a failure of a request to ClickHouse.
type Error struct {
	Code      int    // ClickHouse's number, e.g. 252; 0 when the request did not get an answer of ClickHouse's
	Name      string // its name, e.g. TOO_MANY_PARTS; "" when the answer has none
	Retryable bool   // the same request can succeed later: it is not the request that is wrong

	err error
}

func (e *Error) Error() string { return e.err.Error() }

// Unwrap returns the failure as the client library or the network reported it.
func (e *Error) Unwrap() error { return e.err }

// transient are the codes after which the same request can succeed: the server was busy, full, restarting, read-only
// or did not let the user in. ClickHouse's function errorCodeToName gives the names.
var transient = map[int]bool{
	75:  true, // CANNOT_WRITE_TO_FILE_DESCRIPTOR: disk full
	76:  true, // CANNOT_OPEN_FILE: out of descriptors
	159: true, // TIMEOUT_EXCEEDED
	164: true, // READONLY: the server or the user, not the data
	173: true, // CANNOT_ALLOCATE_MEMORY
	192: true, // UNKNOWN_USER
	193: true, // WRONG_PASSWORD
	194: true, // REQUIRED_PASSWORD
	198: true, // DNS_ERROR
	201: true, // QUOTA_EXCEEDED
	202: true, // TOO_MANY_SIMULTANEOUS_QUERIES
	203: true, // NO_FREE_CONNECTION
	209: true, // SOCKET_TIMEOUT
	210: true, // NETWORK_ERROR
	225: true, // NO_ZOOKEEPER
	236: true, // ABORTED
	241: true, // MEMORY_LIMIT_EXCEEDED
	242: true, // TABLE_IS_READ_ONLY
	243: true, // NOT_ENOUGH_SPACE
	252: true, // TOO_MANY_PARTS
	265: true, // NO_AVAILABLE_REPLICA
	279: true, // ALL_CONNECTION_TRIES_FAILED
	285: true, // TOO_FEW_LIVE_REPLICAS
	286: true, // UNSATISFIED_QUORUM_FOR_PREVIOUS_WRITE
	289: true, // REPLICA_IS_NOT_IN_QUORUM
	319: true, // UNKNOWN_STATUS_OF_INSERT
	364: true, // RECEIVED_ERROR_TOO_MANY_REQUESTS
	394: true, // QUERY_WAS_CANCELLED
	425: true, // SYSTEM_ERROR
	439: true, // CANNOT_SCHEDULE_TASK
	473: true, // DEADLOCK_AVOIDED
	497: true, // ACCESS_DENIED
	516: true, // AUTHENTICATION_FAILED
	517: true, // CANNOT_ASSIGN_ALTER
	571: true, // DATABASE_REPLICATION_FAILED
	574: true, // DISTRIBUTED_TOO_MANY_PENDING_BYTES
	677: true, // THREAD_WAS_CANCELED
	692: true, // TOO_MANY_MUTATIONS
	696: true, // ASYNC_LOAD_CANCELED
	733: true, // TABLE_IS_BEING_RESTARTED
	735: true, // QUERY_WAS_CANCELLED_BY_CLIENT
	745: true, // SERVER_OVERLOADED
	904: true, // TOO_MANY_UNAVAILABLE_SHARDS
	999: true, // KEEPER_EXCEPTION
}

// isTransient judges a failure that ClickHouse reports. A full disk comes with its own code where ClickHouse reserves
// space, and as STD_EXCEPTION (1001) where a write fails.
func isTransient(code int, text string) bool {
	return transient[code] || strings.Contains(text, "No space left on device")
}

// classify makes an *Error of what an operation returned; nil stays nil, an *Error stays itself. The caller's own
// cancellation (ctx) is not a failure of the store's and is returned as it is.
func classify(ctx context.Context, err error) error {
	var known *Error
	if err == nil || errors.As(err, &known) {
		return err
	}
	if ctx.Err() != nil && errors.Is(err, context.Cause(ctx)) {
		return err
	}
	e := &Error{err: err}
	var exception *clickhouse.Exception
	var status *clickhouse.HTTPError
	switch {
	case errors.As(err, &exception):
		e.Code, e.Name = int(exception.Code), exception.CodeName
		e.Retryable = isTransient(e.Code, exception.Message)
	case errors.As(err, &status):
		e.Retryable = retryableStatus(status.StatusCode)
	default:
		e.Retryable = true // no answer: refused, reset, timed out, restarted
	}
	return e
}

// retryableStatus judges an answer that is not ClickHouse's own: of a proxy, or of a server on its way up or down.
func retryableStatus(code int) bool {
	switch code {
	case http.StatusUnauthorized, http.StatusForbidden, http.StatusRequestTimeout, http.StatusTooManyRequests,
		http.StatusInsufficientStorage:
		return true
	}
	return code >= 500
}

// maxErrorText bounds how much of an answer is kept as error text, in bytes.
const maxErrorText = 4 << 10

var (
	exceptionText = regexp.MustCompile(`(?s)Code: (\d{1,5})\. (.*)`)
	exceptionName = regexp.MustCompile(`\(([A-Z][A-Z0-9_]{2,})\)`)
)

// answerError reads the failure in an answer: body is its beginning, and code the header X-ClickHouse-Exception-Code.
func answerError(status int, code string, body []byte) error {
	text := strings.TrimSpace(string(body))
	e := &Error{Retryable: retryableStatus(status)}
	if m := exceptionText.FindStringSubmatch(text); m != nil {
		e.Code, _ = strconv.Atoi(m[1])
		if names := exceptionName.FindAllStringSubmatch(m[2], -1); names != nil {
			e.Name = names[len(names)-1][1]
		}
		text = m[0]
	}
	if n, err := strconv.Atoi(code); err == nil && n > 0 {
		e.Code = n
	}
	if e.Code != 0 {
		e.Retryable = isTransient(e.Code, text)
		e.err = errors.New(strings.ToValidUTF8(text, "\uFFFD"))
	} else {
		e.err = fmt.Errorf("answer with status %d: %q", status, text)
	}
	return e
}
