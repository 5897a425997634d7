package file

// Look looks at the file as Run does at each tick.
func (s *Source) Look() error { return s.look() }
