package embedded

import (
	"errors"
	"fmt"
	"net/http"

	"github.com/weirhq/weir/store/embedded/chdb"
)

// Codes of ClickHouse's exceptions that the front raises itself or treats in a special way.
const (
	codeBadArguments     = 36
	codeNotImplemented   = 48
	codeSyntaxError      = 62
	codeUnknownFormat    = 73
	codeTooManyAtOnce    = 202
	codeReadonly         = 164
	codeRequiredPassword = 194
	codeSocketTimeout    = 209
	codeQueryTooLarge    = 229
	codeCannotDecompress = 271
	codeIntoOutfile      = 358
	codeCancelled        = 394
	codeAccessDenied     = 497
	codeAuthFailed       = 516
	codeUnknown          = 1002
)

// codeName is the name of the codes above.
func codeName(code int) string {
	switch code {
	case codeBadArguments:
		return "BAD_ARGUMENTS"
	case codeNotImplemented:
		return "NOT_IMPLEMENTED"
	case codeSyntaxError:
		return "SYNTAX_ERROR"
	case codeUnknownFormat:
		return "UNKNOWN_FORMAT"
	case codeTooManyAtOnce:
		return "TOO_MANY_SIMULTANEOUS_QUERIES"
	case codeReadonly:
		return "READONLY"
	case codeRequiredPassword:
		return "REQUIRED_PASSWORD"
	case codeSocketTimeout:
		return "SOCKET_TIMEOUT"
	case codeQueryTooLarge:
		return "QUERY_IS_TOO_LARGE"
	case codeCannotDecompress:
		return "CANNOT_DECOMPRESS"
	case codeIntoOutfile:
		return "INTO_OUTFILE_NOT_ALLOWED"
	case codeCancelled:
		return "QUERY_WAS_CANCELLED"
	case codeAccessDenied:
		return "ACCESS_DENIED"
	case codeAuthFailed:
		return "AUTHENTICATION_FAILED"
	}
	return "UNKNOWN_EXCEPTION"
}

// refuse makes an exception of the front, in the form of the engine's.
func refuse(code int, format string, args ...any) error {
	return &chdb.Error{Code: code, Name: codeName(code), Message: fmt.Sprintf(format, args...) + "."}
}

// exception gives err the form in which clients get it; errors without a code become UNKNOWN_EXCEPTION.
func exception(err error) *chdb.Error {
	var e *chdb.Error
	if errors.As(err, &e) && e.Code != 0 {
		return e
	}
	return &chdb.Error{Code: codeUnknown, Name: codeName(codeUnknown), Message: err.Error()}
}

// httpStatus is the status that ClickHouse's HTTP interface gives to an exception's code.
func httpStatus(code int) int {
	switch code {
	case codeRequiredPassword:
		return http.StatusUnauthorized
	case 192, 193, codeAuthFailed, codeAccessDenied: // UNKNOWN_USER, WRONG_PASSWORD
		return http.StatusForbidden
	case codeBadArguments, codeSyntaxError,
		6, 25, 26, 27, 38, 41, 72, // CANNOT_PARSE_*
		37, 123, 167, 168, 223, // *_AST*
		44, 43, 53, 117, 457, 427: // ILLEGAL_COLUMN, ILLEGAL_TYPE_OF_ARGUMENT, TYPE_MISMATCH, INCORRECT_DATA, BAD_QUERY_PARAMETER, CANNOT_COMPILE_REGEXP
		return http.StatusBadRequest
	case 60, 46, 47, 50, 56, 81, 115, 152, 63, codeUnknownFormat, 336, 78, 511: // UNKNOWN_*
		return http.StatusNotFound
	case codeQueryTooLarge:
		return http.StatusRequestEntityTooLarge
	case codeNotImplemented:
		return http.StatusNotImplemented
	case codeSocketTimeout, 76, 439: // CANNOT_OPEN_FILE, CANNOT_SCHEDULE_TASK
		return http.StatusServiceUnavailable
	case 381: // HTTP_LENGTH_REQUIRED
		return http.StatusLengthRequired
	case 159: // TIMEOUT_EXCEEDED
		return http.StatusRequestTimeout
	}
	return http.StatusInternalServerError
}
