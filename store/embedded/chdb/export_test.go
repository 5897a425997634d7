package chdb

// ParseError is parseError, for its test.
func ParseError(text string) error { return parseError(text) }
